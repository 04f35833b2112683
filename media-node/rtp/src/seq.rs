//! Sequence numbers that go on where 16 bits end.

/// Makes 64-bit numbers of 16-bit ones that may be lost, late or repeated, but are never off by
/// more than half the range.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrapper {
    highest: Option<u64>,
}

impl Unwrapper {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number meant. The first is put at 65,536 and more, so that none before it is negative.
    pub fn unwrap(&mut self, seq: u16) -> u64 {
        let number = match self.highest {
            None => 0x1_0000 + u64::from(seq),
            Some(highest) => nearest(highest, seq),
        };
        self.highest = self.highest.max(Some(number));
        number
    }
}

/// The number with these low 16 bits that is nearest to `reference`; never below zero.
pub fn nearest(reference: u64, seq: u16) -> u64 {
    let ahead = i64::from(seq.wrapping_sub(reference as u16) as i16);
    reference
        .checked_add_signed(ahead)
        .unwrap_or_else(|| u64::from(seq))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive_wrapping_loss_and_disorder(
            start in 0x1_0000u64..0x2_0000,
            steps in prop::collection::vec(-1000i64..3000, 0..300),
        ) {
            let mut unwrapper = Unwrapper::new();
            prop_assert_eq!(unwrapper.unwrap(start as u16), start);
            let (mut at, mut highest) = (start, start);
            for step in steps {
                at = (at as i64 + step).max(highest as i64 - 30_000).max(0x1_0000) as u64;
                prop_assert_eq!(unwrapper.unwrap(at as u16), at);
                highest = highest.max(at);
            }
        }
    }
}
