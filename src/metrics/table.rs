//! All metrics. `docs/metrics.md` is printed from these rows, and a test compares them.
//!
//! A label has a bounded number of values: the apps that are configured or have open settles, words
//! of the code, reasons and numbers of the error tables, and `other` for the rest. Nothing that a
//! peer chooses is a label.

use super::family::{Counter, Gauge, Histogram, Metric, Row, Unit};

/// Metrics of one concern.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) metrics: &'static [&'static dyn Metric],
}

/// One list makes the metrics and the list of them, so that no metric is missing in a look.
macro_rules! table {
    ($($title:literal {
        $($metric:ident = $kind:ident($name:literal, $unit:ident, [$($label:literal),*]
            $(, $bounds:ident)?) $meaning:literal;)*
    })*) => {
        $($(
            pub(crate) static $metric: $kind<{ <[&str]>::len(&[$($label),*]) }> = $kind::new(
                Row {
                    name: $name,
                    unit: Unit::$unit,
                    labels: &[$($label),*],
                    meaning: $meaning,
                },
                $($bounds)?
            );
        )*)*

        /// All metrics, in the order in which they are documented.
        pub(super) static GROUPS: &[Group] =
            &[$(Group { title: $title, metrics: &[$(&$metric),*] }),*];
    };
}

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// What a caller or a request to Douyin waits for.
const CALL_TIMES: &[u64] = &[
    MS,
    2_500,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    SECOND,
    2_500 * MS,
    5 * SECOND,
    10 * SECOND,
    20 * SECOND,
];
/// What a commit or a wait of a write takes.
const COMMIT_TIMES: &[u64] = &[
    500,
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    SECOND,
    3 * SECOND,
];
/// What a settle or a message of Douyin takes.
const LONG_TIMES: &[u64] = &[
    SECOND,
    5 * SECOND,
    15 * SECOND,
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    HOUR,
    6 * HOUR,
    24 * HOUR,
    72 * HOUR,
];
/// What a settle that is due waits for the poller.
const LATE_TIMES: &[u64] =
    &[10 * MS, 100 * MS, SECOND, 5 * SECOND, 15 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR];
const BATCH_SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64];

table! {
    "Calls" {
        CALLS = Counter("settlement_calls_total", Number, ["rpc", "code", "reason", "outcome"])
            "Calls that ended. `rpc`: `none` for a call that is no RPC of the contract. `code`: as \
             gRPC spells it. `reason`: of the error, empty for `OK`; `CALLER_GONE`, if the caller \
             hung up first. `outcome`: of an error of CreateSettle, else empty. A watch counts \
             when it ends.";
        CALL_TIME = Histogram("rpc_server_call_duration_seconds", Seconds,
            ["rpc_method", "rpc_status_code"], CALL_TIMES)
            "How long calls took, by OpenTelemetry's names. `rpc_method`: `_OTHER` for a call that \
             is no RPC of the contract. A watch is measured from its beginning to its end.";
        CALLS_OPEN = Gauge("settlement_calls_open", Number, ["rpc"])
            "Calls that have begun and not ended. A watch ends with its stream.";
        WATCHES_OPEN = Gauge("settlement_watches_open", Number, [])
            "Watch streams and waits that are open now.";
        WATCHES_ALLOWED = Gauge("settlement_watches_allowed", Number, [])
            "How many of them may be open at once (`server.watches_max`).";
        WATCHES_ENDED = Counter("settlement_watches_ended_total", Number, ["ending"])
            "Watch streams that ended. `ending`: `FINAL` if the final state was told, \
             `CALLER_GONE`, else the reason of the error.";
        ANSWER_BYTES = Gauge("settlement_grpc_answer_bytes", Bytes, [])
            "Answers that callers have not taken yet.";
    }
    "Calls to Douyin" {
        DOUYIN_CALLS = Counter("settlement_douyin_calls_total", Number,
            ["app_id", "trade_system", "endpoint", "outcome", "err_no"])
            "Calls to Douyin. `trade_system`: as in the configuration, or `platform` for the fetch \
             of a token. `endpoint`: `settle_create`, `settle_query`, \
             `unsettle_amount` or `client_token`. \
             `outcome`: of a create `accepted`, `refused`, `unknown`, `unlisted`, `not_sent` or \
             `exists`; of a query `found`, `absent` or `failed`; of a token `fetched` or `failed`. \
             `err_no`: Douyin's number if the error table has it, `other` if not, empty if the \
             answer had none.";
        DOUYIN_TIME = Histogram("settlement_douyin_call_duration_seconds", Seconds,
            ["endpoint", "outcome"], CALL_TIMES)
            "How long these calls took, with the fetch of a token if one was needed.";
        UNLISTED_ANSWERS = Counter("settlement_unlisted_answers_total", Number, ["app_id"])
            "Answers of Douyin's with a number that the error table does not list.";
        UNREADABLE_FIELDS = Counter("settlement_unreadable_fields_total", Number, ["field"])
            "Fields of Douyin's that only inform, did not fit and were left out.";
        TOKEN_REJECTIONS = Counter("settlement_token_rejections_total", Number, ["app_id"])
            "Access tokens that Douyin rejected. A few are normal: another system that fetches a \
             token ends ours.";
        TOKEN_FETCHED = Gauge("settlement_token_fetched_timestamp_seconds", Seconds, ["app_id"])
            "When the access token in use was fetched; 0: there is none yet.";
        TOKEN_ENDS = Gauge("settlement_token_end_timestamp_seconds", Seconds, ["app_id"])
            "When the access token in use ends; 0: there is none yet.";
        PAUSES = Counter("settlement_pauses_total", Number, ["app_id", "reason"])
            "How often an app began a pause, in which it does not call Douyin.";
        PAUSED_UNTIL = Gauge("settlement_paused_until_timestamp_seconds", Seconds, ["app_id"])
            "When the last pause ends; in the past or 0 if the app is not paused.";
        BUDGET_LEFT = Gauge("settlement_budget_left", Number, ["app_id", "share"])
            "Requests that could leave at once. `share`: `creates` (what creates, and then others, \
             may use), `polls` (the quarter of polling).";
        BUDGET_WAIT = Histogram("settlement_budget_wait_seconds", Seconds, ["app_id", "asker"],
            CALL_TIMES)
            "How long granted requests waited for the budget. `asker`: `create`, `poll` or \
             `question`.";
        BUDGET_REFUSED = Counter("settlement_budget_refused_total", Number, ["app_id", "asker"])
            "Requests that the budget did not grant in time. A settle that is refused for `poll` \
             is looked at later.";
    }
    "Replicas" {
        REPLICAS = Gauge("settlement_replicas", Number, [])
            "Replicas that are alive, this one included, as this one sees it; 0 on a store for one \
             gateway.";
        REPLICAS_DISAGREE = Gauge("settlement_replicas_disagree", Number, [])
            "1 while another living replica has other settings on which money hangs, so that no \
             settle in doubt is rejected; else 0.";
        FOREIGN_SENDS = Gauge("settlement_foreign_sends", Number, [])
            "Settles whose last send another replica permitted and about which time can still \
             prove something, as far as this one remembers them (at most 100,000).";
        FOREIGN_SENDS_OLDEST = Gauge("settlement_foreign_sends_oldest_seconds", Seconds, [])
            "How long ago this replica first saw the oldest of them.";
        HINTS_LOST = Counter("settlement_hints_lost_total", Number, [])
            "Hints about changes that could not be sent. The other replicas look by themselves \
             within a second.";
        HINTS_UNHEARD = Counter("settlement_hints_unheard_total", Number, [])
            "Probes of LISTEN that did not come back, probably because of a pooler.";
    }
    "Settles" {
        SETTLES_OPEN = Gauge("settlement_settles_open", Number, ["app_id", "state"])
            "Settles that are not at their end, as of the last round. `state`: `UNREADABLE` if a \
             newer version wrote the settle. `app_id`: also that of an app which is not configured \
             any more.";
        OLDEST_OPEN = Gauge("settlement_settle_oldest_open_seconds", Seconds, ["app_id", "state"])
            "Age of the oldest of them at that round; 0 if there is none.";
        STUCK = Gauge("settlement_settles_stuck", Number, ["app_id", "kind"])
            "Settles that need a person to reach their end, as of the last round. `kind`: see \
             [Stuck settles](runbook.md#stuck-settles); `contradiction` are the open \
             contradictions. `app_id`: also that of an app which is not configured any more.";
        ALERTS = Counter("settlement_alerts_total", Number, ["app_id", "alert"])
            "Lines of the log that say `a person must look at this settle`. `alert`: see \
             [Alerts](runbook.md#alerts).";
        ROUND_AT = Gauge("settlement_round_timestamp_seconds", Seconds, [])
            "When the last round over the settles that are not at their end was complete; 0: none \
             was yet.";
        CHANGES = Counter("settlement_settle_changes_total", Number,
            ["app_id", "trade_system", "state", "source"])
            "Changes that callers can see. `trade_system`: as in the configuration. `state`: the \
             new one. `source`: who told it: `create`, `query`, `callback`, `gateway` or \
             `operator`.";
        END_TIME = Histogram("settlement_settle_duration_seconds", Seconds, ["app_id", "state"],
            LONG_TIMES)
            "Time from the creation of a settle to its end. `state`: the final one.";
        TURNS_OPEN = Gauge("settlement_turns_open", Number, ["app_id"])
            "Settles that the poller works on now.";
        DUE_SINCE = Gauge("settlement_due_since_timestamp_seconds", Seconds, ["app_id"])
            "Since when there has always been a settle that is due and waits for the poller; 0 if \
             none waits.";
        SETTLES_DUE = Gauge("settlement_settles_due", Number, ["app_id"])
            "Settles that were due and waited for the poller at the end of the last round, counted \
             up to 10,000.";
        CLAIMS = Counter("settlement_claims_total", Number, ["app_id"])
            "Due settles that the poller took up.";
        CLAIMS_LATE = Histogram("settlement_claim_late_seconds", Seconds, ["app_id"], LATE_TIMES)
            "How long each of them had been due, or free again after a worker that did not come \
             back.";
    }
    "Callbacks" {
        CALLBACKS = Counter("settlement_callbacks_total", Number, ["app_id", "result"])
            "Callbacks by what became of them, see [Callbacks](runbook.md#callbacks). `app_id`: \
             `none` if the callback belongs to no configured app, or for `busy`.";
        CALLBACK_DELAY = Histogram("settlement_callback_delay_seconds", Seconds, ["app_id"],
            LONG_TIMES)
            "How long after the end of the settle, as Douyin tells it, its callback was \
             acknowledged.";
    }
    "The store" {
        COMMIT_TIME = Histogram("settlement_store_commit_duration_seconds", Seconds, ["result"],
            COMMIT_TIMES)
            "How long batches of writes took, flush included. With PostgreSQL each write is one, \
             and its wait for a connection is included. `result`: `durable` or `failed`.";
        COMMIT_SIZE = Histogram("settlement_store_commit_jobs", Number, [], BATCH_SIZES)
            "Writes in one batch. With PostgreSQL there are none.";
        STORE_QUEUE = Gauge("settlement_store_queue_jobs", Number, [])
            "Writes that waited when the last batch began. With PostgreSQL: reads and writes that \
             waited for a connection when the last one came.";
        STORE_BYTES = Gauge("settlement_store_bytes", Bytes, [])
            "Size of SQLite's database file at the last write by which health tested the database. \
             Missing with PostgreSQL: its server's own metrics tell its size.";
        STORE_LOG_BYTES = Gauge("settlement_store_log_bytes", Bytes, [])
            "Size of the log (`-wal`) of SQLite's database at that write, see [The log \
             grows](runbook.md#the-log-grows). Missing with PostgreSQL.";
    }
    "Connections" {
        CONNECTIONS_OPEN = Gauge("settlement_connections_open", Number, ["listener"])
            "Open connections. `listener`: `grpc`, `callbacks` or `admin`.";
        CONNECTIONS_ALLOWED = Gauge("settlement_connections_allowed", Number, ["listener"])
            "How many may be open at once.";
        CONNECTIONS_REFUSED = Counter("settlement_connections_refused_total", Number,
            ["listener", "why"])
            "Connections that the gateway turned away or closed to make room, see [Too many \
             peers](runbook.md#too-many-peers). `why`: `full`, `rested`; for `grpc` also `peer`, \
             `silent`, `certificate` and `handshake`.";
        STREAMS_OPEN = Gauge("settlement_streams_open", Number, [])
            "Open streams of health and reflection.";
        STREAMS_ALLOWED = Gauge("settlement_streams_allowed", Number, [])
            "How many of them may be open at once.";
        CERTIFICATE_ENDS = Gauge("settlement_certificate_end_timestamp_seconds", Seconds, ["key"])
            "When the first certificate in a file of the configuration ends. `key`: the key that \
             names the file.";
    }
    "The process" {
        BUILD = Gauge("settlement_build_info", Number, ["version"])
            "1, with the version of the gateway.";
        READY = Gauge("settlement_ready", Number, [])
            "1 while `/readyz` says ready.";
        REHEARSAL = Gauge("settlement_rehearsal", Number, [])
            "1 if `rehearsal` is true, so that values were taken with which money is not safe.";
        RELOADS = Counter("settlement_reloads_total", Number, ["result"])
            "How often the configuration was read again: `applied`, or `refused`, so that what was \
             read before stays in force.";
        LOG_DROPPED = Counter("settlement_log_lines_dropped_total", Number, [])
            "Lines of the log that were lost, because it could not be written, see [The \
             log](runbook.md#the-log).";
        LOG_HELD_BACK = Counter("settlement_log_lines_held_back_total", Number, [])
            "Lines of the log beyond what one place may log in 10 s, which were summed up in one.";
        LOG_ERRORS = Counter("settlement_log_errors_total", Number, [])
            "Lines of level ERROR in the log: each wants a person.";
        AUDIT_DROPPED = Counter("settlement_audit_lines_dropped_total", Number, [])
            "Lines of the audit that were lost, because it could not be written.";
        PROCESS_START = Gauge("process_start_time_seconds", Seconds, [])
            "When the gateway began to serve.";
        PROCESS_CPU = Counter("process_cpu_seconds_total", Seconds, [])
            "Time of processors that the process used.";
        PROCESS_MEMORY = Gauge("process_resident_memory_bytes", Bytes, [])
            "Memory that the process has.";
        PROCESS_THREADS = Gauge("process_threads", Number, [])
            "Threads of the process.";
        DESCRIPTORS_OPEN = Gauge("process_open_fds", Number, [])
            "Open file descriptors.";
        DESCRIPTORS_ALLOWED = Gauge("process_max_fds", Number, [])
            "File descriptors that may be open; missing if there is no limit.";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_named_once_and_as_prometheus_names_them() {
        let mut names = BTreeSet::new();
        for metric in GROUPS.iter().flat_map(|group| group.metrics) {
            let Row { name, unit, labels, meaning } = metric.row();
            assert!(names.insert(name), "{name} is there twice");
            let begins = ["settlement_", "rpc_server_", "process_"];
            assert!(begins.iter().any(|begin| name.starts_with(begin)), "{name}");
            let word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(word(name) && labels.iter().all(|label| word(label)), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind() == "counter", "{name}");
            let bare = name.trim_end_matches("_total");
            let of_unit = match unit {
                Unit::Seconds => bare.ends_with("_seconds"),
                Unit::Bytes => bare.ends_with("_bytes"),
                Unit::Number => !bare.ends_with("_seconds") && !bare.ends_with("_bytes"),
            };
            assert!(of_unit, "{name}");
            assert!(meaning.ends_with('.') && !meaning.contains('\n'), "{name}");
        }
    }

    #[test]
    fn bounds_grow() {
        for bounds in [CALL_TIMES, COMMIT_TIMES, LONG_TIMES, LATE_TIMES, BATCH_SIZES] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
