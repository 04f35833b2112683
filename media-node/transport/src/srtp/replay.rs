//! Packet indices of a source and which of them came before (RFC 3711 §3.3.1, §3.3.2).

use super::SrtpError;

/// Indices this far behind the highest are still told apart.
const WINDOW: u64 = u128::BITS as u64;

/// The highest index of a source, and which of the 128 up to it were seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: index `highest - n` was seen.
    seen: u128,
}

impl Window {
    pub(super) fn starting_at(index: u64) -> Window {
        Window {
            highest: index,
            seen: 1,
        }
    }

    #[inline]
    pub(super) fn check(&self, index: u64) -> Result<(), SrtpError> {
        match self.highest.checked_sub(index) {
            Some(behind) if behind >= WINDOW || self.seen >> behind & 1 == 1 => {
                Err(SrtpError::Replay)
            }
            _ => Ok(()),
        }
    }

    #[inline]
    pub(super) fn accept(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            Some(ahead) => {
                self.seen = if ahead < WINDOW {
                    self.seen << ahead | 1
                } else {
                    1
                };
                self.highest = index;
            }
            None => self.seen |= 1 << ((self.highest - index).min(WINDOW - 1)),
        }
    }
}

/// What a [`Receiver`](super::Receiver) knows of one RTP stream (SSRC). Kept by its caller, one
/// for each SSRC; it begins with the first authentic packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamState(Option<Window>);

impl StreamState {
    /// The index that a sequence number most likely means: the one nearest to the highest so far.
    /// A stream begins with roll-over counter 0.
    #[inline]
    pub(super) fn index_of(&self, sequence_number: u16) -> Result<u64, SrtpError> {
        let Some(window) = &self.0 else {
            return Ok(sequence_number.into());
        };
        let distance = sequence_number.wrapping_sub(window.highest as u16) as i16;
        // Before the beginning of the stream: nothing that we could know.
        let index = window
            .highest
            .checked_add_signed(distance.into())
            .ok_or(SrtpError::Replay)?;
        if index >> 48 != 0 {
            return Err(SrtpError::Exhausted);
        }
        window.check(index)?;
        Ok(index)
    }

    #[inline]
    pub(super) fn accept(&mut self, index: u64) {
        match &mut self.0 {
            Some(window) => window.accept(index),
            None => self.0 = Some(Window::starting_at(index)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_counts_on_over_the_roll_over() {
        let mut stream = StreamState::default();
        for (seq, index) in [
            (65_530, 65_530),
            (3, 65_539),
            (65_535, 65_535),
            (30_000, 95_536),
        ] {
            let got = stream.index_of(seq).unwrap();
            assert_eq!(got, index);
            stream.accept(got);
        }
    }

    #[test]
    fn nothing_comes_before_the_beginning() {
        let mut stream = StreamState::default();
        stream.accept(2);
        assert_eq!(stream.index_of(65_535), Err(SrtpError::Replay));
    }

    #[test]
    fn repeated_and_old_packets_are_refused_and_late_ones_are_not() {
        let mut window = Window::starting_at(1_000);
        window.accept(1_010);
        assert_eq!(window.check(1_010), Err(SrtpError::Replay));
        assert_eq!(window.check(1_000), Err(SrtpError::Replay));
        assert_eq!(window.check(1_005), Ok(()));
        window.accept(1_005);
        assert_eq!(window.check(1_005), Err(SrtpError::Replay));
        assert_eq!(window.check(1_010 - 127), Ok(()));
        assert_eq!(window.check(1_010 - 128), Err(SrtpError::Replay));
        window.accept(5_000);
        assert_eq!(window.check(1_010), Err(SrtpError::Replay));
        assert_eq!(window.check(4_999), Ok(()));
    }
}
