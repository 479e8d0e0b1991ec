//! How often a callback is sent again, and when: the retry ladders of §3.5.
//!
//! It counts failures and knows neither time nor callbacks.

use serde::{Deserialize, Serialize};

use crate::system::System;
use crate::systems::Reading;

/// The schedules in the documents. Which one applies to trade_basic is undocumented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ladder {
    /// Each system has the one of its own page.
    Own,
    /// General system, payment, current page: ten retries within about 29 minutes.
    General,
    /// The same page in 2024, and the one of self-operated settles, which speaks of 20 retries but
    /// lists ten: within about 4 h 16 min.
    #[serde(rename = "general-2024")]
    General2024,
    /// Industry settle: 20 retries, the first after two seconds.
    Industry,
    /// Guaranteed payment settle: 15 retries.
    Guaranteed,
    /// Douyin's sandbox: sent once, and never again.
    Once,
}

impl Ladder {
    /// Every ladder that is one by itself.
    pub(crate) const ALL: [Self; 5] =
        [Self::General, Self::General2024, Self::Industry, Self::Guaranteed, Self::Once];

    /// How long after the nth failure a callback of this system is sent again. `None`: never.
    pub(crate) fn wait_ms(self, system: System, failures: usize) -> Option<u64> {
        let rungs = self.rungs_s(system);
        rungs.get(failures.checked_sub(1)?).map(|seconds| seconds * 1_000)
    }

    /// In seconds.
    fn rungs_s(self, system: System) -> &'static [u64] {
        match self {
            // That of a page, never this one again.
            Self::Own => Reading::of(system).ladder.rungs_s(system),
            Self::General => &[12, 12, 33, 60, 120, 180, 240, 300, 360, 420],
            Self::General2024 => &[15, 30, 60, 120, 240, 480, 960, 1_920, 3_840, 7_680],
            Self::Industry => &[
                2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 18_000, 18_000,
                18_000, 18_000, 18_000, 18_000, 18_000,
            ],
            Self::Guaranteed => &[
                15, 15, 30, 180, 600, 1_200, 1_800, 1_800, 1_800, 3_600, 10_800, 10_800, 10_800,
                21_600, 21_600,
            ],
            Self::Once => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladders_are_as_long_as_the_pages_say() {
        let length = |ladder: Ladder| {
            let wait_ms = |failures| ladder.wait_ms(System::General, failures);
            let waits_ms = (1..100).map_while(wait_ms);
            let (count, sum_ms) = waits_ms.fold((0, 0), |(n, sum), wait_ms| (n + 1, sum + wait_ms));
            (count, sum_ms / 1_000)
        };
        assert_eq!(length(Ladder::General), (10, 28 * 60 + 57));
        assert_eq!(length(Ladder::General2024), (10, 4 * 3_600 + 15 * 60 + 45));
        assert_eq!(length(Ladder::Industry), (20, 16_382 + 7 * 5 * 3_600));
        assert_eq!(length(Ladder::Guaranteed), (15, 86_640));
        assert_eq!(length(Ladder::Once), (0, 0));
        assert_eq!(Ladder::General.wait_ms(System::General, 0), None);
        let own = |system, failures| Ladder::Own.wait_ms(system, failures);
        assert_eq!(own(System::General, 1), Some(12_000));
        assert_eq!(own(System::SelfOperated, 1), Some(15_000));
        assert_eq!(own(System::Industry, 1), Some(2_000));
        assert_eq!(own(System::Guaranteed, 3), Some(30_000));
    }
}
