//! The two fields of a descriptor that each receiver gets its own of, and how they are rewritten in
//! place.
//!
//! A receiver that is sent fewer layers than there are is told so by the bitmask of *active decode
//! targets* (§A.8.2). Most descriptors have none, and the fields after it are not aligned to bytes.
//! So a copy is made once ([`Dependencies::store`]) that has the mask with each picture's first
//! packet; after that, a receiver's own is a few bits set in place.

use super::super::bits::Bits;

/// The longest value of a header extension, in bytes (RFC 8285 §4.3).
pub const MAX_LEN: usize = 255;

/// How much longer a value may be as [`Dependencies::store`] writes it, in bytes: the flags and the
/// bitmask of 32 decode targets.
pub const MAX_GROWTH: usize = 5;

/// The mandatory fields, the first of which has the frame number in its last 16 bits, and the flags
/// that come next.
const MANDATORY_BITS: usize = 24;
const FLAGS_BITS: usize = 5;

/// Which of the flags says that there are active decode targets.
const HAS_TARGETS: usize = MANDATORY_BITS + 1;

/// What of a descriptor depends on the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependencies {
    /// The frame's number in its stream. Others refer to it by differences, so numbers of frames
    /// that are left out stay free.
    pub frame_number: u16,
    targets: Option<Targets>,
}

/// The active decode targets of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Targets {
    /// Where their bitmask begins, in bits.
    at: u16,
    count: u8,
    /// Those that the sender says are active.
    active: u32,
    /// The value as it came has the mask, too.
    has_own: bool,
    /// What each target needs: spatial layer in the upper two bits of each half byte, temporal
    /// layer in the lower.
    needs: [u8; 16],
}

impl Targets {
    /// None if a descriptor of `len` bytes has no room for them.
    pub(super) fn new(
        needs: &[(u8, u8)],
        active: u32,
        at: usize,
        has_own: bool,
        len: usize,
    ) -> Option<Self> {
        let mut this = Self {
            at: u16::try_from(at.max(MANDATORY_BITS + FLAGS_BITS)).ok()?,
            count: u8::try_from(needs.len()).ok()?,
            active,
            has_own,
            needs: [0; 16],
        };
        for (target, (spatial, temporal)) in needs.iter().enumerate() {
            let need = (*spatial).min(3) << 2 | (*temporal).min(3);
            *this.needs.get_mut(target / 2)? |= need << (4 * (target % 2));
        }
        (this.stored_len(len) <= MAX_LEN).then_some(this)
    }

    fn need(&self, target: usize) -> (u8, u8) {
        let both = self.needs.get(target / 2).copied().unwrap_or_default();
        let need = both >> (4 * (target % 2)) & 0x0f;
        (need >> 2, need & 0x03)
    }

    /// How long a value becomes that has this mask, too.
    fn stored_len(&self, len: usize) -> usize {
        if self.has_own {
            return len;
        }
        let before = (8 * len).max(MANDATORY_BITS + FLAGS_BITS);
        (before + usize::from(self.count)).div_ceil(8)
    }
}

impl Dependencies {
    pub(super) fn new(frame_number: u16, targets: Option<Targets>) -> Self {
        Self {
            frame_number,
            targets,
        }
    }

    /// Copies the value that this was read from, in the form that [`Self::rewrite`] takes; its
    /// length. None if there is no room.
    pub fn store(&self, value: &[u8], out: &mut [u8]) -> Option<usize> {
        let Some(targets) = self.targets.filter(|targets| !targets.has_own) else {
            out.get_mut(..value.len())?.copy_from_slice(value);
            return Some(value.len());
        };
        let len = targets.stored_len(value.len());
        let out = out.get_mut(..len)?;
        out.fill(0);
        let (at, count) = (usize::from(targets.at), usize::from(targets.count));
        let mut bits = Bits::new(value);
        let mut to = 0;
        while let Some(bit) = bits.bit() {
            if to == at {
                to += count;
            }
            set_bits(out, to, 1, u32::from(bit));
            to += 1;
        }
        set_bits(out, HAS_TARGETS, 1, 1);
        Some(len)
    }

    /// The decode targets that need no higher layers than these, of those that are active, by bit.
    /// 0 if the descriptor tells of none.
    #[inline]
    pub fn targets_up_to(&self, spatial: u8, temporal: u8) -> u32 {
        let Some(targets) = &self.targets else {
            return 0;
        };
        (0..usize::from(targets.count))
            .filter(|target| {
                let need = targets.need(*target);
                need.0 <= spatial && need.1 <= temporal
            })
            .fold(0, |mask, target| mask | 1 << target)
            & targets.active
    }

    /// Gives what [`Self::store`] wrote the numbers that it came with, for a receiver that forwards it in turn: all that
    /// is active is sent to it.
    pub fn restate(&self, stored: &mut [u8]) {
        self.rewrite(
            stored,
            self.frame_number,
            self.targets_up_to(u8::MAX, u8::MAX),
        );
    }

    /// Gives what [`Self::store`] wrote another frame number, and other active decode targets.
    #[inline]
    pub fn rewrite(&self, stored: &mut [u8], frame_number: u16, active_targets: u32) {
        if let Some(number) = stored.get_mut(1..3) {
            number.copy_from_slice(&frame_number.to_be_bytes());
        }
        if let Some(targets) = &self.targets {
            let (at, count) = (usize::from(targets.at), usize::from(targets.count));
            set_bits(stored, at, count, active_targets);
        }
    }
}

/// Sets `count` bits (up to 32) from bit `at` on, most significant first. Those beyond the end are
/// left out.
fn set_bits(bytes: &mut [u8], at: usize, count: usize, value: u32) {
    for nth in 0..count {
        let Some(byte) = bytes.get_mut((at + nth) / 8) else {
            return;
        };
        let mask = 0x80 >> ((at + nth) % 8);
        if value >> (count - 1 - nth) & 1 == 1 {
            *byte |= mask;
        } else {
            *byte &= !mask;
        }
    }
}
