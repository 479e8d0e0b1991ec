//! Money in whole fen (分, 1/100 yuan), without floats and overflows.

use std::fmt;

/// An amount in fen. What Douyin reports may be zero or negative; what a caller orders is checked
/// to be positive where it is parsed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fen(i64);

impl Fen {
    pub const fn new(fen: i64) -> Self {
        Self(fen)
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The sum of amounts, or `None` if it does not fit into 64 bits.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Fen>) -> Option<Fen> {
        amounts.into_iter().try_fold(0_i64, |sum, fen| sum.checked_add(fen.0)).map(Fen)
    }
}

impl fmt::Display for Fen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fen", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fen_is_positive_and_none_is_not() {
        assert_eq!([-1, 0, 1].map(|fen| Fen(fen).is_positive()), [false, false, true]);
        assert_eq!(Fen(-120).to_string(), "-120 fen");
    }

    #[test]
    fn a_sum_that_overflows_is_no_sum() {
        assert_eq!(Fen::checked_sum([Fen(2), Fen(3)]), Some(Fen(5)));
        assert_eq!(Fen::checked_sum([Fen(i64::MAX), Fen(1)]), None);
    }
}
