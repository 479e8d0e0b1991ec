//! When an answer must leave: before the caller's deadline, and never later than our own limit.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::status::Limit;

/// The latest moment for an answer, and whose limit it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deadline {
    pub at: Instant,
    pub limit: Limit,
    /// When the work for an answer that should have left at `at` is given up. Still before the
    /// caller, or the server's stack, gives up without a word about the money.
    pub last: Instant,
    /// Until when the caller wants a stream, if it has a deadline.
    pub stream: Option<Instant>,
}

impl Deadline {
    /// The deadline of a call that arrived just now.
    pub(crate) fn of(headers: &HeaderMap, own_limit: Duration) -> Self {
        let now = Instant::now();
        let asked = headers.get("grpc-timeout").and_then(|value| value.to_str().ok());
        let asked = asked.and_then(timeout);
        let wanted = asked.map(|timeout| timeout.saturating_sub(margin(timeout)));
        let stream = wanted.and_then(|wanted| now.checked_add(wanted));
        match asked.zip(wanted) {
            Some((timeout, wanted)) if wanted < own_limit => Self {
                at: now + wanted,
                limit: Limit::Caller,
                last: now + wanted + (timeout - wanted) / 2,
                stream,
            },
            Some(_) | None => Self {
                at: now + own_limit,
                limit: Limit::Gateway,
                last: now + own_limit + margin(own_limit) / 2,
                stream,
            },
        }
    }

    /// The deadline of a request that has reached the code of its RPC, counted from the arrival of
    /// its headers if that was noted.
    pub(crate) fn of_request<T>(request: &tonic::Request<T>, own_limit: Duration) -> Self {
        let noted = request.extensions().get().copied();
        noted.unwrap_or_else(|| Self::of(request.metadata().as_ref(), own_limit))
    }
}

/// How much earlier the answer leaves, so that it arrives in time: 5 %, at least 20 ms and at most
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
    async fn the_nearer_limit_counts_and_names_its_owner() {
        let own = Duration::from_secs(20);
        let of = |timeout: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(timeout) = timeout {
                headers.insert("grpc-timeout", timeout.parse().unwrap());
            }
            Deadline::of(&headers, own)
        };
        let after = |ms| Instant::now() + Duration::from_millis(ms);
        let (at, last) = (after(20_000), after(20_250));
        let ours = Deadline { at, limit: Limit::Gateway, last, stream: None };
        assert_eq!(of(None), ours);
        assert_eq!(of(Some("60S")), Deadline { stream: Some(after(59_500)), ..ours });
        let (at, last) = (after(950), after(975));
        let theirs = Deadline { at, limit: Limit::Caller, last, stream: Some(at) };
        assert_eq!(of(Some("1S")), theirs);
        let none = of(Some("10m"));
        assert_eq!((none.at, none.last), (Instant::now(), after(5)));
        assert_eq!(of(Some("99999999H")).at, ours.at, "eleven thousand years");
    }

    /// The server's stack gives up after `grpc-timeout`, and says CANCELLED then.
    #[tokio::test(start_paused = true)]
    async fn an_answer_leaves_before_the_stack_gives_up() {
        for own_ms in [100, 20_000] {
            for timeout_ms in [0, 1, 5, 20, 21, 99, 100, 101, 119, 120, 121, 20_499, 20_501] {
                let mut headers = HeaderMap::new();
                headers.insert("grpc-timeout", format!("{timeout_ms}m").parse().unwrap());
                let deadline = Deadline::of(&headers, Duration::from_millis(own_ms));
                let given_up = Instant::now() + Duration::from_millis(timeout_ms);
                assert!(deadline.at <= deadline.last, "{timeout_ms} {deadline:?}");
                assert!(deadline.last <= given_up, "{timeout_ms} {deadline:?}");
            }
        }
    }
}
