//! When to look at a settle again. Pure: the chance comes in as a number.
//!
//! Soon after something happened, then backing off to a cap, always with jitter so that a crowd
//! created together does not ask together; sooner while somebody watches.

use std::time::Duration;

/// The back-off of one settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// The first wait after something was news.
    pub first: Duration,
    /// The longest wait when nobody watches.
    pub cap: Duration,
    /// The longest wait while somebody watches.
    pub watched_cap: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(600),
            watched_cap: Duration::from_secs(5),
        }
    }
}

/// Whether somebody watches the settle on this replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watched {
    Yes,
    No,
}

impl Schedule {
    /// The wait after `backoff` fruitless looks: doubled each time, capped, and spread over
    /// ± 20 % by `chance` in 0..1.
    #[expect(clippy::float_arithmetic, reason = "jitter needs no exact arithmetic")]
    pub fn wait(&self, backoff: u32, watched: Watched, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(backoff).unwrap_or(u32::MAX));
        let cap = match watched {
            Watched::Yes => self.watched_cap,
            Watched::No => self.cap,
        };
        doubled.min(cap).mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
    }

    /// The longest wait this schedule can give: a row due later than that was written by a clock
    /// that jumped.
    pub fn wait_max(&self) -> Duration {
        self.cap.max(self.watched_cap).mul_f64(1.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_never_leave_the_jitter() {
        let schedule = Schedule::default();
        for backoff in [0, 1, 2, 5, 9, 10, 31, 32, 40, u32::MAX] {
            let doubled = 2_f64.powi(i32::try_from(backoff.min(40)).unwrap()).min(600.0);
            for (watched, cap) in [(Watched::No, 600.0), (Watched::Yes, 5.0)] {
                let low = schedule.wait(backoff, watched, 0.0).as_secs_f64();
                let high = schedule.wait(backoff, watched, 1.0).as_secs_f64();
                let middle = doubled.min(cap);
                assert!((low - middle * 0.8).abs() < 1e-6, "{backoff} {low} {middle}");
                assert!((high - middle * 1.2).abs() < 1e-6, "{backoff} {high} {middle}");
                assert!(high <= schedule.wait_max().as_secs_f64() + 1e-6);
            }
        }
    }
}
