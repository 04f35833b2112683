//! Redundant audio (RFC 2198): a packet brings, beside its own frame, those of packets before it,
//! so that what is lost comes again with the next packet, without asking.

use crate::ParseError;
use crate::packet::NoRoom;

/// Redundant frames can be this many timestamp units older than their packet: 14 bits.
pub const MAX_OFFSET: u32 = (1 << 14) - 1;

/// Bytes of a redundant frame that a block can have: 10 bits.
pub const MAX_LEN: usize = (1 << 10) - 1;

/// Bytes before each redundant frame.
const HEADER: usize = 4;

/// A frame of a redundant packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Which format the frame has.
    pub payload_type: u8,
    /// How many timestamp units it is older than the packet; 0 for the packet's own.
    pub offset: u32,
    /// The frame.
    pub frame: &'a [u8],
}

/// The frames of a packet: the redundant ones, then its own.
///
/// # Errors
/// If a header or a frame is cut off.
pub fn blocks(payload: &[u8]) -> Result<Blocks<'_>, ParseError> {
    let (mut headers, mut frames) = (0, 0);
    loop {
        let first = *payload.get(headers).ok_or(ParseError::Truncated)?;
        if first & 0x80 == 0 {
            headers += 1;
            break;
        }
        frames += crate::be32(payload, headers)? as usize & MAX_LEN;
        headers += HEADER;
    }
    let (headers, frames_at) = payload
        .split_at_checked(headers)
        .ok_or(ParseError::Truncated)?;
    if frames_at.len() < frames {
        return Err(ParseError::Truncated);
    }
    Ok(Blocks {
        headers,
        frames: frames_at,
    })
}

/// Iterates over the frames of a packet.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    headers: &'a [u8],
    frames: &'a [u8],
}

impl<'a> Blocks<'a> {
    /// How many frames are left.
    pub fn count_left(&self) -> usize {
        self.headers.len().div_ceil(HEADER)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        if let Some((header, rest)) = self.headers.split_first_chunk::<HEADER>() {
            let word = u32::from_be_bytes(*header);
            let (frame, frames) = self.frames.split_at_checked(word as usize & MAX_LEN)?;
            (self.headers, self.frames) = (rest, frames);
            return Some(Block {
                payload_type: header[0] & 0x7f,
                offset: word >> 10 & MAX_OFFSET,
                frame,
            });
        }
        let (&last, rest) = self.headers.split_first()?;
        let frame = std::mem::take(&mut self.frames);
        self.headers = rest;
        Some(Block {
            payload_type: last & 0x7f,
            offset: 0,
            frame,
        })
    }
}

/// Writes a payload of redundant frames, the oldest first, and the packet's own; its length.
/// What no block can carry ([`MAX_OFFSET`], [`MAX_LEN`]) is left out.
///
/// # Errors
/// If `out` is too small.
pub fn write<'a>(
    out: &mut [u8],
    redundant: impl Iterator<Item = Block<'a>> + Clone,
    own: Block<'_>,
) -> Result<usize, NoRoom> {
    let usable =
        redundant.filter(|block| block.offset <= MAX_OFFSET && block.frame.len() <= MAX_LEN);
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        let room = out.get_mut(at..at + bytes.len()).ok_or(NoRoom)?;
        room.copy_from_slice(bytes);
        at += bytes.len();
        Ok(())
    };
    for block in usable.clone() {
        let word = block.offset << 10 | block.frame.len() as u32;
        let mut header = word.to_be_bytes();
        header[0] = 0x80 | block.payload_type & 0x7f;
        put(&header)?;
    }
    put(&[own.payload_type & 0x7f])?;
    for block in usable {
        put(block.frame)?;
    }
    put(own.frame)?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(offset: u32, frame: &[u8]) -> Block<'_> {
        Block {
            payload_type: 111,
            offset,
            frame,
        }
    }

    /// RFC 2198 §3: F, block PT, 14 bits of offset, 10 bits of length; then F = 0 and the PT.
    #[test]
    fn the_layout_is_that_of_the_rfc() {
        let mut out = [0; 32];
        let redundant = [block(960, b"old")];
        let len = write(&mut out, redundant.into_iter(), block(0, b"new")).unwrap();
        let expected = [0x80 | 111, 0x0f, 0x00, 0x03, 111];
        assert_eq!(out[..len], [&expected[..], b"oldnew"].concat());
    }

    #[test]
    fn a_packet_without_redundancy_costs_one_byte() {
        let mut out = [0; 8];
        assert_eq!(write(&mut out, [].into_iter(), block(0, b"new")), Ok(4));
        let all: Vec<_> = blocks(&out[..4]).unwrap().collect();
        assert_eq!(all, [block(0, b"new")]);
    }

    #[test]
    fn what_no_block_can_carry_is_left_out() {
        let mut out = [0; 4096];
        let long = [7; MAX_LEN + 1];
        let redundant = [
            block(MAX_OFFSET + 1, b"too old"),
            block(MAX_OFFSET, b"just"),
            block(960, &long),
            block(960, &long[1..]),
        ];
        let len = write(&mut out, redundant.into_iter(), block(0, b"new")).unwrap();
        let all: Vec<_> = blocks(&out[..len]).unwrap().collect();
        assert_eq!(all, [redundant[1], redundant[3], block(0, b"new")]);
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let mut out = [0; 32];
        let redundant = [block(1920, b"older"), block(960, b"old")];
        let len = write(&mut out, redundant.into_iter(), block(0, b"")).unwrap();
        for cut in 0..len {
            assert_eq!(blocks(&out[..cut]).err(), Some(ParseError::Truncated));
        }
        let all = blocks(&out[..len]).unwrap();
        assert_eq!(all.count_left(), 3);
        assert_eq!(
            all.collect::<Vec<_>>(),
            [redundant[0], redundant[1], block(0, b"")]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            redundant in prop::collection::vec((0..=MAX_OFFSET, prop::collection::vec(any::<u8>(), 0..=MAX_LEN)), 0..6),
            own in prop::collection::vec(any::<u8>(), 0..200),
            room in 0usize..8000,
        ) {
            let mut out = vec![0; room];
            let older = redundant.iter().map(|(offset, frame)| block(*offset, frame));
            let needed = 1 + own.len() + redundant.iter().map(|(_, f)| 4 + f.len()).sum::<usize>();
            let written = write(&mut out, older.clone(), block(0, &own));
            if room < needed {
                prop_assert_eq!(written, Err(NoRoom));
            } else {
                prop_assert_eq!(written, Ok(needed));
                let all: Vec<_> = blocks(&out[..needed]).unwrap().collect();
                let expected: Vec<_> = older.chain([block(0, &own)]).collect();
                prop_assert_eq!(all, expected);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(all) = blocks(&bytes) {
                let (count, frames) = (all.count_left(), all.collect::<Vec<_>>());
                prop_assert_eq!(count, frames.len());
                prop_assert!(frames.iter().map(|b| b.frame.len()).sum::<usize>() < bytes.len());
            }
        }
    }
}
