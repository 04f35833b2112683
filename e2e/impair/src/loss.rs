//! Which packets are lost.

use fastrand::Rng;

/// A way to lose packets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each by itself, with this probability.
    Random(f64),
    /// In bursts: the model of Gilbert and Elliott, where nothing is lost in the good state and
    /// everything in the bad one.
    Bursts {
        /// Of all packets, in the long run. Below [`max_share`].
        share: f64,
        /// How many are lost in a row on average, at least 1.
        mean_length: f64,
    },
}

/// The largest share that bursts of this mean length can make: between two bursts at least one
/// packet gets through.
pub fn max_share(mean_length: f64) -> f64 {
    mean_length / (mean_length + 1.0)
}

/// What decides it, packet by packet.
#[derive(Clone, Debug)]
pub struct Process {
    loss: Loss,
    is_bad: bool,
}

impl Process {
    /// One that is in the bad state as likely as it will be ever after.
    pub fn new(loss: Loss, rng: &mut Rng) -> Self {
        let is_bad = match loss {
            Loss::None | Loss::Random(_) => false,
            Loss::Bursts { share, .. } => rng.f64() < share,
        };
        Self { loss, is_bad }
    }

    /// What it was made for.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Whether the next packet is lost.
    pub fn loses(&mut self, rng: &mut Rng) -> bool {
        match self.loss {
            Loss::None => false,
            Loss::Random(share) => rng.f64() < share,
            Loss::Bursts { share, mean_length } => {
                let is_lost = self.is_bad;
                let end = 1.0 / mean_length;
                // In the long run as many bursts begin as end: (1 − share) · begin = share · end.
                let begin = if share < 1.0 {
                    end * share / (1.0 - share)
                } else {
                    1.0
                };
                let turns = rng.f64() < if self.is_bad { end } else { begin };
                self.is_bad ^= turns;
                is_lost
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};

    use super::*;

    const PACKETS: usize = 200_000;

    /// Share of lost packets, and mean length of what was lost in a row.
    fn measure(loss: Loss, seed: u64) -> (f64, f64) {
        let mut rng = Rng::with_seed(seed);
        let mut process = Process::new(loss, &mut rng);
        let (mut lost, mut bursts, mut was_lost) = (0u32, 0u32, false);
        for _ in 0..PACKETS {
            let is_lost = process.loses(&mut rng);
            lost += u32::from(is_lost);
            bursts += u32::from(is_lost && !was_lost);
            was_lost = is_lost;
        }
        (
            f64::from(lost) / PACKETS as f64,
            f64::from(lost) / f64::from(bursts.max(1)),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn single_losses_have_their_share(share in 0.0..=1.0f64, seed: u64) {
            let (measured, _) = measure(Loss::Random(share), seed);
            // Six standard deviations.
            let bound = 6.0 * (share * (1.0 - share) / PACKETS as f64).sqrt();
            prop_assert!((measured - share).abs() <= bound, "{measured} of {share}");
        }

        #[test]
        fn bursts_have_their_share_and_length(
            mean_length in 1.0..12.0f64,
            part in 0.02..0.9f64,
            seed: u64,
        ) {
            let share = part * max_share(mean_length);
            let (measured, length) = measure(Loss::Bursts { share, mean_length }, seed);
            // Burst and gap are geometric: so many of them, each spread about as widely as long.
            let cycles = PACKETS as f64 * share / mean_length;
            let bound = 6.0 / cycles.sqrt();
            prop_assert!((measured / share - 1.0).abs() <= 1.5 * bound, "{measured} of {share}");
            prop_assert!((length / mean_length - 1.0).abs() <= bound, "{length} of {mean_length}");
        }
    }

    #[test]
    fn the_same_seed_loses_the_same_packets() {
        let lost = |seed| {
            let mut rng = Rng::with_seed(seed);
            let loss = Loss::Bursts {
                share: 0.05,
                mean_length: 5.0,
            };
            let mut process = Process::new(loss, &mut rng);
            (0..1000)
                .map(|_| process.loses(&mut rng))
                .collect::<Vec<_>>()
        };
        assert_eq!(lost(7), lost(7));
        assert_ne!(lost(7), lost(8));
    }
}
