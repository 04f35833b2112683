//! Chance, from a seed: the same numbers on any machine and with any version of anything.

/// A generator (SplitMix64, by Steele, Lea and Flood, 2014). It need not be unguessable, only even.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed, for one of many purposes: those of one seed don't resemble one another.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Random {
        let mut random = Random(seed ^ purpose.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from 0 to less than 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly between two numbers.
    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// Whether something that happens with this probability does.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// How long it takes until something happens that does so at random, on average once in `mean`.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// How often something happens that does so at random, on average `mean` times (Poisson).
    pub fn count(&mut self, mean: f64) -> u32 {
        if mean <= 0.0 {
            return 0;
        }
        // Above, the normal distribution is as good, and takes the same time for any mean.
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u32;
        }
        let (mut count, mut product, least) = (0, self.unit(), (-mean).exp());
        while product > least {
            count += 1;
            product *= self.unit();
        }
        count
    }

    /// How many of `all` do something that each does with this small probability.
    pub fn of(&mut self, all: u32, probability: f64) -> u32 {
        self.count(f64::from(all) * probability).min(all)
    }

    /// The normal distribution, by the sum of twelve.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_another_gives_others() {
        let numbers = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            [0; 4].map(|_| random.next())
        };
        assert_eq!(numbers(1, 1), numbers(1, 1));
        assert_ne!(numbers(1, 1), numbers(2, 1));
        assert_ne!(numbers(1, 1), numbers(1, 2));
    }

    #[test]
    fn means_are_as_asked() {
        let mut random = Random::new(7, 0);
        for mean in [0.01, 0.5, 5.0, 29.0, 31.0, 500.0] {
            let sum: f64 = (0..20_000).map(|_| f64::from(random.count(mean))).sum();
            let found = sum / 20_000.0;
            let error = 4.0 * (mean / 20_000.0_f64).sqrt();
            assert!((found - mean).abs() < error, "{mean}: {found}");
        }
        let sum: f64 = (0..20_000).map(|_| random.exponential(3.0)).sum();
        assert!((sum / 20_000.0 - 3.0).abs() < 0.1);
        assert!((0..100).all(|_| random.of(3, 0.9) <= 3));
    }
}
