//! Extended reports (RFC 3611): how one who only receives learns the round trip. It says its time,
//! and the sender says how long ago that was.

use super::{BufferFull, EXTENDED_REPORT, Writer};
use crate::reports::NtpTime;

const REFERENCE_TIME: u8 = 4;
const DELAY: u8 = 5;

/// A block of an extended report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// Receiver reference time (§4.4): the time at which this was sent.
    ReferenceTime(NtpTime),
    /// One of the answers in a DLRR block (§4.5).
    Delay(Delay),
}

/// An answer to a reference time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// Who said its time.
    pub ssrc: u32,
    /// The middle 32 bits of that.
    pub last_rr: u32,
    /// How long ago it came, in 1/65,536 s.
    pub delay: u32,
}

/// Iterates over the blocks that are known; ends at one that is cut off.
#[derive(Clone, Copy, Debug)]
pub struct ExtendedBlocks<'a> {
    rest: &'a [u8],
    delays: &'a [u8],
}

impl<'a> ExtendedBlocks<'a> {
    /// The blocks in these bytes.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            delays: &[],
        }
    }
}

impl Iterator for ExtendedBlocks<'_> {
    type Item = Extended;

    fn next(&mut self) -> Option<Extended> {
        loop {
            if let Some((answer, rest)) = self.delays.split_first_chunk::<12>() {
                self.delays = rest;
                let word = |at| crate::be32(answer, at).unwrap_or(0);
                return Some(Extended::Delay(Delay {
                    ssrc: word(0),
                    last_rr: word(4),
                    delay: word(8),
                }));
            }
            let ([kind, _, high, low], rest) = self.rest.split_first_chunk::<4>()?;
            let words = u16::from_be_bytes([*high, *low]);
            let (block, rest) = rest.split_at_checked(4 * usize::from(words))?;
            self.rest = rest;
            match (*kind, block.first_chunk()) {
                (REFERENCE_TIME, Some(time)) => {
                    let time = NtpTime(u64::from_be_bytes(*time));
                    return Some(Extended::ReferenceTime(time));
                }
                (DELAY, _) => self.delays = block,
                _ => {}
            }
        }
    }
}

impl Writer<'_> {
    /// Writes an XR that says the time.
    ///
    /// # Errors
    /// If there is no room.
    pub fn reference_time(&mut self, ssrc: u32, ntp: NtpTime) -> Result<(), BufferFull> {
        let head = u32::from(REFERENCE_TIME) << 24 | 2;
        self.words(
            EXTENDED_REPORT,
            0,
            [ssrc, head, (ntp.0 >> 32) as u32, ntp.0 as u32],
        )
    }

    /// Writes an XR that answers one.
    ///
    /// # Errors
    /// If there is no room.
    pub fn delay(&mut self, ssrc: u32, delay: Delay) -> Result<(), BufferFull> {
        let head = u32::from(DELAY) << 24 | 3;
        self.words(
            EXTENDED_REPORT,
            0,
            [ssrc, head, delay.ssrc, delay.last_rr, delay.delay],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Packet, packets};

    fn blocks(bytes: &[u8]) -> (u32, Vec<Extended>) {
        match packets(bytes).next() {
            Some(Ok(Packet::ExtendedReport { ssrc, blocks })) => (ssrc, blocks.collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn times_and_answers_read_back_as_written() {
        let time = NtpTime(0x0102_0304_0506_0708);
        let answer = Delay {
            ssrc: 9,
            last_rr: time.middle(),
            delay: 65_536,
        };
        let mut buf = [0; 64];
        let mut writer = Writer::new(&mut buf);
        writer.reference_time(1, time).unwrap();
        let first = 20;
        writer.delay(2, answer).unwrap();
        let len = writer.finish();
        assert_eq!(
            blocks(&buf[..first]),
            (1, vec![Extended::ReferenceTime(time)])
        );
        assert_eq!(blocks(&buf[first..len]), (2, vec![Extended::Delay(answer)]));
    }

    #[test]
    fn blocks_of_other_kinds_are_passed_over() {
        let mut xr = vec![0x80, EXTENDED_REPORT, 0, 12, 0, 0, 0, 7];
        // Statistics summary, shortened; a DLRR block of two; a reference time that is cut off.
        xr.extend([6, 0, 0, 1, 1, 2, 3, 4]);
        xr.extend([DELAY, 0, 0, 6]);
        for word in [1u32, 2, 3, 4, 5, 6] {
            xr.extend(word.to_be_bytes());
        }
        xr.extend([REFERENCE_TIME, 0, 0, 2, 9, 9, 9, 9]);
        let delay = |ssrc, last_rr, delay| {
            Extended::Delay(Delay {
                ssrc,
                last_rr,
                delay,
            })
        };
        assert_eq!(blocks(&xr), (7, vec![delay(1, 2, 3), delay(4, 5, 6)]));
    }
}
