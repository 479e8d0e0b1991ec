//! When an answer must leave: before the caller's deadline, and never later than our own limit.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

use super::status::Limit;

/// The latest moment for an answer, and whose limit it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    pub at: Instant,
    pub limit: Limit,
}

impl Deadline {
    /// The deadline of a call that arrived just now.
    pub fn of(metadata: &MetadataMap, own_limit: Duration) -> Self {
        let now = Instant::now();
        let asked = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
        match asked.and_then(timeout).map(|timeout| timeout.saturating_sub(margin(timeout))) {
            Some(timeout) if timeout < own_limit => {
                Self { at: now + timeout, limit: Limit::Caller }
            }
            Some(_) | None => Self { at: now + own_limit, limit: Limit::Gateway },
        }
    }
}

/// How much earlier the answer leaves, so that it arrives in time: 5 %, at least 20 ms, at most
/// 500 ms.
fn margin(timeout: Duration) -> Duration {
    (timeout / 20).clamp(Duration::from_millis(20), Duration::from_millis(500))
}

/// A `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn timeout(value: &str) -> Option<Duration> {
    let unit = value.chars().last()?;
    let digits = value.strip_suffix(unit)?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits || digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count * 3600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_grpc_writes_it() {
        let ok = [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("4m", 4), ("5000u", 5)];
        for (text, ms) in ok {
            assert_eq!(timeout(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "S", "12", "1x", "-1S", "123456789S", "1.5S", "１S"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }

    #[test]
    fn the_margin_is_a_twentieth_within_bounds() {
        for (ms, margin_ms) in [(10, 20), (100, 20), (1_000, 50), (20_000, 500), (90_000, 500)] {
            assert_eq!(margin(Duration::from_millis(ms)), Duration::from_millis(margin_ms));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_nearer_limit_counts_and_says_whose_it_is() {
        let mut metadata = MetadataMap::new();
        let own = Duration::from_secs(20);
        let ours = Deadline { at: Instant::now() + own, limit: Limit::Gateway };
        assert_eq!(Deadline::of(&metadata, own), ours);
        metadata.insert("grpc-timeout", "60S".parse().unwrap());
        assert_eq!(Deadline::of(&metadata, own), ours);
        metadata.insert("grpc-timeout", "1S".parse().unwrap());
        let theirs = Instant::now() + Duration::from_millis(950);
        assert_eq!(Deadline::of(&metadata, own), Deadline { at: theirs, limit: Limit::Caller });
        metadata.insert("grpc-timeout", "10m".parse().unwrap());
        assert_eq!(Deadline::of(&metadata, own).at, Instant::now());
    }
}
