//! Numbers as Kubernetes writes them.

use std::fmt;

/// A number that is not negative, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(u128);

/// Decimal suffixes and what they stand for in thousandths, the largest first (`resource.Quantity` of Kubernetes).
const SUFFIXES: [(&str, u32); 8] = [
    ("E", 21),
    ("P", 18),
    ("T", 15),
    ("G", 12),
    ("M", 9),
    ("k", 6),
    ("", 3),
    ("m", 0),
];

impl Quantity {
    /// A whole number.
    #[must_use]
    pub fn whole(number: u64) -> Quantity {
        Quantity(u128::from(number) * 1000)
    }

    /// So many thousandths.
    #[must_use]
    pub fn milli(thousandths: u64) -> Quantity {
        Quantity(u128::from(thousandths))
    }

    /// A share, to a thousandth, rounded up as Kubernetes does; none of it for what is no number or negative.
    #[must_use]
    pub fn share(share: f64) -> Quantity {
        // A cast stops at the ends of its range, and makes 0 of what is no number.
        Quantity((share * 1000.0 - 1e-9).ceil() as u128)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Quantity) -> Quantity {
        Quantity(self.0.saturating_add(other.0))
    }

    /// The part of one of so many, rounded up; all of it for none.
    #[must_use]
    pub fn over(self, count: usize) -> Quantity {
        Quantity(self.0.div_ceil(count.max(1) as u128))
    }
}

/// In its canonical form: no fraction, and the largest suffix that needs none.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, digits): &&(&str, u32)| self.0.is_multiple_of(10u128.pow(*digits));
        match SUFFIXES.iter().find(fits) {
            Some((suffix, digits)) if self.0 > 0 => {
                write!(f, "{}{suffix}", self.0 / 10u128.pow(*digits))
            }
            _ => f.write_str("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_form_that_kubernetes_gives_them() {
        for (quantity, text) in [
            (Quantity::whole(0), "0"),
            (Quantity::whole(7), "7"),
            (Quantity::whole(1500), "1500"),
            (Quantity::whole(12_000), "12k"),
            (Quantity::whole(2_500_000), "2500k"),
            (Quantity::whole(3_000_000_000), "3G"),
            (Quantity::whole(u64::MAX), "18446744073709551615"),
            (Quantity::milli(457), "457m"),
            (Quantity::milli(1_001), "1001m"),
            (Quantity::milli(2_000), "2"),
        ] {
            assert_eq!(quantity.to_string(), text);
        }
    }

    #[test]
    fn shares_are_rounded_up_to_a_thousandth() {
        for (share, text) in [
            (0.0, "0"),
            (0.7, "700m"),
            (0.7001, "701m"),
            (1.0, "1"),
            (0.29, "290m"),
            (-1.0, "0"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(Quantity::share(share).to_string(), text, "{share}");
        }
    }

    #[test]
    fn what_many_have_is_a_sum_and_a_mean() {
        let sum = Quantity::milli(500).plus(Quantity::whole(1));
        assert_eq!(sum.to_string(), "1500m");
        assert_eq!(sum.over(4).to_string(), "375m");
        assert_eq!(Quantity::milli(1).over(3).to_string(), "1m");
        assert_eq!(sum.over(0), sum);
    }
}
