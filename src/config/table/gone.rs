//! Knobs of earlier versions. Their values are fixed now, and a file or a variable that still sets
//! one is a problem.

use std::time::Duration;

use super::super::Config;
use super::super::knobs::{grouped, path};
use crate::grpc::WATCHES_PER_CONNECTION_MAX;

/// A knob of an earlier version.
pub(in super::super) struct Gone {
    pub section: &'static str,
    pub key: &'static str,
    now: Now,
    /// What the value is, for the documentation.
    pub meaning: &'static str,
}

/// The field with the value. Only tests in this process set another one.
enum Now {
    Ms(fn(&Config) -> Duration),
    Count(fn(&Config) -> usize),
    Number(fn(&Config) -> u32),
}

impl Gone {
    /// The value, as the file would spell it.
    pub(in super::super) fn now(&self) -> String {
        let config = Config::default();
        let digits = match self.now {
            Now::Ms(of) => of(&config).as_millis().to_string(),
            Now::Count(of) => of(&config).to_string(),
            Now::Number(of) => of(&config).to_string(),
        };
        grouped(&digits)
    }

    /// The problem for a source that still sets it.
    pub(in super::super) fn told(&self) -> String {
        let path = path(self.section, self.key);
        format!("{path} is no key any more: it is {} for every gateway; remove it", self.now())
    }
}

/// In the order of their tables.
pub(in super::super) static GONE: &[Gone] = &[
    Gone {
        section: "server",
        key: "watch_age_max_ms",
        now: Now::Ms(|config| config.gateway.watch_age_max),
        meaning: "The greatest age of a watch stream, ± 10 %. It ends with `STREAM_ROTATED` then.",
    },
    Gone {
        section: "server",
        key: "watches_per_connection_max",
        now: Now::Count(|_| WATCHES_PER_CONNECTION_MAX),
        meaning: "Watch streams and waits of one connection, which carries 1_024 calls at once.",
    },
    Gone {
        section: "server",
        key: "budget_wait_ms",
        now: Now::Ms(|config| config.gateway.budget_wait),
        meaning: "How long a create or a question waits for a request of its app's budget before \
                  it gets `BUDGET_EXHAUSTED`.",
    },
    Gone {
        section: "server",
        key: "callback_body_time_max_ms",
        now: Now::Ms(|config| config.callback.limits.body_time_max),
        meaning: "How long the body of a callback may take to arrive.",
    },
    Gone {
        section: "server",
        key: "callback_idle_time_max_ms",
        now: Now::Ms(|config| config.callback.limits.idle_time_max),
        meaning: "How long a connection to the callback listener may stay without a whole request \
                  head.",
    },
    Gone {
        section: "store",
        key: "sqlite_queue_jobs_max",
        now: Now::Count(|config| config.sqlite.queue_jobs_max),
        meaning: "Writes that may wait for the writer. With room for a few only, polls that step \
                  together would turn each other away for ever.",
    },
    Gone {
        section: "store",
        key: "sqlite_batch_jobs_max",
        now: Now::Count(|config| config.sqlite.batch_jobs_max),
        meaning: "Writes in one transaction, which costs one flush of the disk.",
    },
    Gone {
        section: "store",
        key: "sqlite_readers",
        now: Now::Number(|config| config.sqlite.readers),
        meaning: "Connections for reading.",
    },
    Gone {
        section: "store",
        key: "sqlite_reads_max",
        now: Now::Count(|config| config.sqlite.reads_max),
        meaning: "Reads that may wait or run.",
    },
    Gone {
        section: "store",
        key: "sqlite_busy_wait_ms",
        now: Now::Ms(|config| config.sqlite.busy_wait),
        meaning: "How long to wait for another program (a shell, a backup) that holds the \
                  database.",
    },
    Gone {
        section: "store",
        key: "sqlite_check_time_max_ms",
        now: Now::Ms(|config| config.sqlite.check_time_max),
        meaning: "How long the check of the database may take at start. What it has not read by \
                  then is read beside serving.",
    },
    Gone {
        section: "douyin",
        key: "answer_bytes_max",
        now: Now::Count(|config| config.douyin.answer_bytes_max),
        meaning: "The largest answer of Douyin's that is read, after decompression.",
    },
    Gone {
        section: "douyin",
        key: "idle_timeout_ms",
        now: Now::Ms(|config| config.douyin.idle_timeout),
        meaning: "How long an unused connection to Douyin is kept: shorter than usual servers keep \
                  it, because a request that meets the server's closing has an unknown outcome.",
    },
    Gone {
        section: "douyin",
        key: "refresh_ahead_ms",
        now: Now::Ms(|config| config.douyin.refresh_ahead),
        meaning: "How long before its end a token is replaced: less than the 5 min for which \
                  Douyin keeps the token before the newest one alive.",
    },
    Gone {
        section: "douyin",
        key: "pause_min_ms",
        now: Now::Ms(|config| config.douyin.pause_min),
        meaning: "The first pause of an app that Douyin throttles or whose credentials it rejects.",
    },
    Gone {
        section: "settle",
        key: "unlisted_times_max",
        now: Now::Number(|config| config.gateway.policy.unlisted_times_max),
        meaning: "How often in a row a number that the error table does not list must come, with \
                  empty queries past the grace, to count as a refusal.",
    },
    Gone {
        section: "settle",
        key: "submit_window_max_ms",
        now: Now::Ms(|config| config.gateway.submit_window_max),
        meaning: "The longest submission window, and the one of a create that names no \
                  `submit_before`. Sending stops one visibility grace before its end.",
    },
    Gone {
        section: "settle",
        key: "expiry_attempts_min",
        now: Now::Number(|config| config.gateway.policy.expiry_attempts_min),
        meaning: "Calls to Douyin that must have been tried before the submission window of a \
                  settle may end it.",
    },
    Gone {
        section: "settle",
        key: "nudge_gap_ms",
        now: Now::Ms(|config| config.gateway.nudge_gap),
        meaning: "A repeated create brings the next attempt of its settle forward, but not closer \
                  than this to the last attempt.",
    },
    Gone {
        section: "settle",
        key: "absent_ttl_ms",
        now: Now::Ms(|config| config.gateway.absent_ttl),
        meaning: "How long the answer \"Douyin knows no such settle\" is believed when a caller \
                  watches a number that is not recorded here.",
    },
    Gone {
        section: "poller",
        key: "sleep_max_ms",
        now: Now::Ms(|config| config.poller.sleep_max),
        meaning: "The longest sleep of the loop that looks for settles that are due.",
    },
];
