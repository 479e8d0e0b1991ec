//! Prints every limit that bounds a peer, ours and those of the libraries and the kernel, for
//! `docs/limits.md`. A limit that a library does not let us set is written here as text.

use std::fmt::Write as _;
use std::time::Duration;

use super::Config;
use super::descriptors::DESCRIPTORS_RESERVED;
use super::knobs::grouped;
use super::way;
use crate::grpc::server::{self, arriving, bounds::Bound, shape};
use crate::grpc::settlement::page;
use crate::grpc::{WATCHES_PER_CONNECTION_MAX, status};
use crate::http::admin;
use crate::http::listener::{self, Limits};

/// A limit: what is bounded, by how much, and what happens beyond it.
type Row = (&'static str, String, &'static str);

/// All limits at the defaults of their knobs, as Markdown.
pub fn limits() -> String {
    let config = Config::default();
    let mut page = String::new();
    table(&mut page, "The process", &process(&config));
    table(&mut page, "gRPC: connections", &grpc_connections(&config));
    table(&mut page, "gRPC: HTTP/2", &grpc_http2());
    table(&mut page, "HTTP/2 on each port: what h2 does not let us choose", &h2());
    table(&mut page, "gRPC: calls", &grpc_calls(&config));
    table(&mut page, "gRPC: answers", &grpc_answers(&config));
    table(&mut page, "Callbacks", &callbacks(&config.callback.limits));
    table(&mut page, "Admin", &self::admin(&admin::limits()));
    table(&mut page, "TLS, on each port that speaks it", &tls());
    table(&mut page, "The client of Douyin", &douyin(&config));
    table(&mut page, "The store", &store(&config));
    page
}

fn table(page: &mut String, heading: &str, rows: &[Row]) {
    let _ = write!(page, "## {heading}\n\n| limit | value | beyond it |\n| --- | --- | --- |\n");
    for (what, value, beyond) in rows {
        let _ = writeln!(page, "| {what} | {value} | {beyond} |");
    }
    page.push('\n');
}

fn count(number: impl ToString) -> String {
    grouped(&number.to_string())
}

fn bytes(number: impl TryInto<u64>) -> String {
    let number: u64 = number.try_into().unwrap_or(u64::MAX);
    const MIB: u64 = 1024 * 1024;
    match number {
        _ if number >= MIB && number.is_multiple_of(MIB) => format!("{} MiB", count(number / MIB)),
        _ if number.is_multiple_of(1024) => format!("{} KiB", count(number / 1024)),
        _ => format!("{} bytes", count(number)),
    }
}

fn time(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", count(duration.as_secs())),
        _ => format!("{} ms", count(duration.as_millis())),
    }
}

fn knob(key: &str, value: &str) -> String {
    format!("`{key}` = {value}")
}

fn per_process_and_connection(bound: Bound, of: fn(usize) -> String) -> String {
    let (process, connection) = (of(bound.process_max), of(bound.connection_max));
    format!("{process} in all, {connection} of one connection")
}

fn process(config: &Config) -> Vec<Row> {
    let needed = super::descriptors::total(&config.descriptors());
    vec![
        (
            "file descriptors",
            format!(
                "the hard limit (`ulimit -Hn`); with these defaults and no app {}",
                count(needed)
            ),
            "the soft limit is raised to the hard one at start. `serve` ends with 64 if the \
             limits add up to more, and names them",
        ),
        (
            "of these, kept for what no knob sizes",
            count(DESCRIPTORS_RESERVED),
            "connections beyond their own limits are turned away long before",
        ),
        (
            "threads for blocking work (tokio)",
            "512".to_owned(),
            "the work waits; reads of the store have their own, smaller limit",
        ),
        (
            "connections that wait to be accepted, per listener (kernel)",
            "1_024, or `net.core.somaxconn` if that is less".to_owned(),
            "the kernel drops the attempt, and the peer tries again. Connections too many do not \
             wait here: they are accepted and turned away",
        ),
    ]
}

fn grpc_connections(config: &Config) -> Vec<Row> {
    let grpc = &config.grpc;
    let per_peer = match grpc.connections_per_peer_max {
        0 => "off".to_owned(),
        some => count(some),
    };
    vec![
        (
            "connections",
            knob("connections_max", &count(grpc.connections_max)),
            "the one that has rested longest makes room: GOAWAY without an error if it has asked \
             something, else closed. If each has a call or a watch, the new one gets GOAWAY with \
             ENHANCE_YOUR_CALM, `too many connections`; with TLS it is only closed",
        ),
        (
            "of one address",
            knob("connections_per_peer_max", &per_peer),
            "GOAWAY with ENHANCE_YOUR_CALM, `too many connections from one address`; with TLS \
             it is only closed",
        ),
        (
            "time to go for one that makes room: without a call, and at most",
            format!("{}, `unary_limit_ms` = {}", time(server::LEAVE_TIME), time(grpc.unary_limit)),
            "closed",
        ),
        (
            "connections that make room and have not gone, on each listener",
            count(crate::http::seats::LEAVING_MAX),
            "the new one is turned away",
        ),
        (
            "time for the handshake of TLS; after it, until a peer has said that it speaks HTTP/2",
            format!(
                "{0}; {0}, looked at every {1}",
                time(server::PREFACE_TIME_MAX),
                time(server::LOOK_INTERVAL)
            ),
            "closed",
        ),
        (
            "time without a call: before the first one, and after one",
            format!("{}, {}", time(server::FIRST_CALL_TIME_MAX), time(server::IDLE_TIME_MAX)),
            "GOAWAY without an error; closed at the next look if it stays",
        ),
        (
            "time without an answer to a ping",
            format!(
                "{}, sent every {}",
                time(server::KEEPALIVE_TIMEOUT),
                time(server::KEEPALIVE_INTERVAL)
            ),
            "closed: the peer is dead, or does not read at all",
        ),
    ]
}

fn grpc_http2() -> Vec<Row> {
    vec![
        (
            "streams at once on one connection",
            count(server::STREAMS_PER_CONNECTION_MAX),
            "REFUSED_STREAM; clients wait instead",
        ),
        (
            "streams that the peer took back before they were looked at",
            count(server::RESETS_PENDING_MAX),
            "GOAWAY `too_many_resets` (h2's default of 20 met honest callers whose deadlines \
             passed while the process stood still)",
        ),
        (
            "streams that h2 reset because of the peer's errors, in the life of a connection",
            count(server::RESETS_OF_ERRORS_MAX),
            "GOAWAY `too_many_internal_resets`",
        ),
        ("the head of a request", bytes(server::HEAD_BYTES_MAX), "431"),
        (
            "what a peer may send unread: of one request, of all on a connection",
            format!(
                "{}, {}",
                bytes(server::STREAM_WINDOW_BYTES),
                bytes(server::CONNECTION_WINDOW_BYTES)
            ),
            "the peer waits, or its stream or connection ends with FLOW_CONTROL_ERROR",
        ),
        (
            "what h2 keeps of one answer",
            bytes(server::SEND_BUFFER_BYTES_MAX),
            "the answer waits where it is counted, see below",
        ),
    ]
}

fn h2() -> Vec<Row> {
    vec![
        ("a frame", bytes(16_384_u64), "FRAME_SIZE_ERROR"),
        (
            "the table of repeated headers",
            bytes(4_096_u64),
            "COMPRESSION_ERROR; a peer that was told keeps to it",
        ),
        (
            "frames of one head, by the size of a head",
            "5".to_owned(),
            "GOAWAY `too_many_continuations`",
        ),
        (
            "empty frames of data on one connection",
            "100".to_owned(),
            "GOAWAY `too_many_data_frames`",
        ),
        (
            "what small frames of data cost together, by the window of a connection",
            bytes(512 * 1024_u64),
            "the same",
        ),
        (
            "streams of the past that late frames may still name",
            "50 for 1 s".to_owned(),
            "a late frame counts among the errors above",
        ),
    ]
}

fn grpc_calls(config: &Config) -> Vec<Row> {
    let grpc = &config.grpc;
    let watches = format!(
        "`watches_max` = {}, {} of one connection",
        count(grpc.watches_max),
        count(WATCHES_PER_CONNECTION_MAX)
    );
    vec![
        (
            "a request, compressed or not",
            bytes(arriving::REQUEST_BYTES_MAX),
            "`REQUEST_TOO_LARGE`; a second message is `REQUEST_MALFORMED`",
        ),
        (
            "time until a request is here",
            time(shape::BODY_TIME_MAX),
            "`TIME_LIMIT_REACHED`, or the caller's deadline",
        ),
        (
            "requests on their way, each 4 KiB and what has come",
            per_process_and_connection(server::ARRIVING, bytes),
            "`OVERLOADED`; a connection with less than 64 of them still gets through",
        ),
        (
            "calls at work, counted once their request is here",
            knob("calls_max", &count(grpc.calls_max)),
            "`OVERLOADED`",
        ),
        (
            "creates of one app at work",
            knob("creates_max", &count(config.gateway.creates_max)),
            "`OVERLOADED`, `not_sent`",
        ),
        ("a unary call", knob("unary_limit_ms", &time(grpc.unary_limit)), "`TIME_LIMIT_REACHED`"),
        ("watch streams and waits", watches, "`WATCH_LIMIT_REACHED`"),
        (
            "streams of health and reflection",
            per_process_and_connection(server::STREAMS, count),
            "`OVERLOADED`; a connection with less than 4 still gets through, and a check of \
             the health is no stream",
        ),
    ]
}

fn grpc_answers(config: &Config) -> Vec<Row> {
    let grpc = &config.grpc;
    let answers = Bound { process_max: grpc.unread_bytes_max, ..server::ANSWERS };
    let untaken = grpc.slow_consumer + server::UNTAKEN_TIME_MAX;
    vec![
        (
            "pages of lists that are read at once",
            count(crate::grpc::PAGES_MAX),
            "the others wait, and are `OVERLOADED` if their caller has left too much untaken by \
             then",
        ),
        ("a page of a list", bytes(page::PAGE_BYTES_MAX), "it ends earlier, with a page token"),
        (
            "answers that wait to be taken",
            format!("`unread_bytes_max` = {}", per_process_and_connection(answers, bytes)),
            "`OVERLOADED` before anything is done; a connection with less than 64 KiB still gets \
             through, but for pages of lists. What became of a create, a wait and a watch is \
             told all the same",
        ),
        (
            "time for which what was begun of an answer stays untaken",
            format!(
                "{} (`slow_consumer_ms` and {})",
                time(untaken),
                time(server::UNTAKEN_TIME_MAX)
            ),
            "its stream is reset with CANCEL; a watch has ended with `SLOW_CONSUMER` by then. \
             What only the connection can give up ends it after two such times",
        ),
        ("the details of an error", bytes(status::DETAILS_BYTES_MAX), "texts are cut"),
    ]
}

fn callbacks(limits: &Limits) -> Vec<Row> {
    let mut rows = vec![
        (
            "connections",
            knob("callback_connections_max", &count(limits.connections_max)),
            "the one that has rested longest is closed. If each has a request at work, the new one \
             gets 503; with TLS it is only closed",
        ),
        (
            "requests at work, counted once their body is here",
            knob("callback_requests_max", &count(limits.requests_max)),
            "503",
        ),
        (
            "requests on their way, each 4 KiB, its head and what has come",
            bytes(limits.arriving_bytes_max()),
            "503; a connection with less than 16 KiB of them still gets through",
        ),
        ("a body", bytes(limits.body_bytes_max), "413"),
        ("time until a body is here", time(limits.body_time_max), "408"),
    ];
    rows.extend(edge_http(limits));
    rows
}

fn admin(limits: &Limits) -> Vec<Row> {
    let mut rows = vec![
        ("connections", count(limits.connections_max), "the oldest is closed"),
        ("a body", "none".to_owned(), "it is not read"),
        (
            "time from one page of the metrics to the next",
            time(admin::PAGES_APART),
            "all who ask meanwhile wait for the next page, and get the same one",
        ),
    ];
    rows.extend(edge_http(limits));
    rows
}

fn edge_http(limits: &Limits) -> Vec<Row> {
    vec![
        (
            "time without a request: the handshake of TLS and a head included",
            time(limits.idle_time_max),
            "closed after once to twice that long",
        ),
        ("a head", bytes(listener::HEAD_BYTES_MAX), "431"),
        ("headers over HTTP/1.1", count(listener::HEADERS_MAX), "431"),
        (
            "requests at once on one connection over HTTP/2",
            count(listener::STREAMS_MAX),
            "REFUSED_STREAM",
        ),
        (
            "requests over HTTP/2 that the peer took back before they were looked at",
            count(listener::RESETS_PENDING_MAX),
            "GOAWAY `too_many_resets`",
        ),
        (
            "streams that h2 reset because of the peer's errors, in the life of a connection",
            count(listener::RESETS_OF_ERRORS_MAX),
            "GOAWAY `too_many_internal_resets`",
        ),
        (
            "what a peer may send unread over HTTP/2: of one request, of all on a connection",
            format!(
                "{}, {}",
                bytes(limits.body_bytes_max),
                bytes(listener::CONNECTION_WINDOW_BYTES)
            ),
            "the peer waits, or its stream or connection ends with FLOW_CONTROL_ERROR",
        ),
        (
            "what h2 keeps of one answer",
            bytes(listener::SEND_BUFFER_BYTES_MAX),
            "the answer waits, until the connection is idle for too long",
        ),
    ]
}

fn tls() -> Vec<Row> {
    vec![
        ("a file of certificates, or of a key", "256 KiB".to_owned(), "`serve` ends with 64"),
        ("a message of the handshake (rustls)", bytes(65_535_u64), "closed"),
        ("a record (TLS)", bytes(16_384_u64), "closed"),
        ("what rustls keeps to be written", bytes(64 * 1024_u64), "the answer waits"),
        (
            "sessions remembered for a quick start (rustls): gRPC, others",
            "0, 256".to_owned(),
            "the oldest go",
        ),
    ]
}

fn douyin(config: &Config) -> Vec<Row> {
    let (douyin, budget) = (&config.douyin, crate::apps::Budget::default());
    vec![
        (
            "requests of one app at once, one on each connection",
            knob("requests_in_flight", &count(budget.requests_in_flight)),
            "they wait",
        ),
        (
            "requests of one app in a second",
            knob("requests_per_second", &count(budget.requests_per_second)),
            "the same",
        ),
        (
            "time for which a create or a question waits for either",
            time(config.gateway.budget_wait),
            "`BUDGET_EXHAUSTED`",
        ),
        (
            "unused connections that are kept, and how long",
            format!(
                "`idle_connections_max` = {}, {}",
                count(douyin.idle_connections_max),
                time(douyin.idle_timeout)
            ),
            "closed",
        ),
        (
            "time to connect, of one request, of a whole call",
            format!(
                "{}, {}, {}",
                time(douyin.connect_timeout),
                time(douyin.attempt_timeout),
                time(douyin.call_timeout)
            ),
            "`unknown`, unless nothing left the machine",
        ),
        ("an answer, unpacked", bytes(douyin.answer_bytes_max), "`unknown`"),
        ("the head of an answer (hyper's default)", bytes(8_192 + 4_096 * 100_u64), "`unknown`"),
        ("headers of an answer (hyper's default)", "100".to_owned(), "`unknown`"),
        (
            "the answer of a proxy to a request for a tunnel (hyper's default)",
            format!("{}, 100 headers", bytes(8_192 + 4_096 * 100_u64)),
            "nothing is sent",
        ),
        (
            "`ca_file`, `proxy_credentials_file`",
            format!("{}, {}", bytes(way::CA_BYTES_MAX), bytes(way::CREDENTIALS_BYTES_MAX)),
            "`serve` ends with 64",
        ),
        ("redirects, and repeats by the library", "0".to_owned(), "a redirect is `unknown`"),
    ]
}

fn store(config: &Config) -> Vec<Row> {
    let sqlite = &config.sqlite;
    vec![
        ("connections that read", count(sqlite.readers), "reads wait"),
        ("reads that wait or run", count(sqlite.reads_max), "`STORE_UNAVAILABLE`"),
        ("writes that wait", count(sqlite.queue_jobs_max), "`STORE_UNAVAILABLE`"),
        ("writes in one transaction", count(sqlite.batch_jobs_max), "the next transaction"),
        (
            "PostgreSQL: connections (`store.connections_max`)",
            count(config.store.connections_max),
            "operations wait 5 s, then `STORE_UNAVAILABLE`",
        ),
        ("PostgreSQL: operations that wait or run", count(4_096), "`STORE_UNAVAILABLE`"),
        ("PostgreSQL: time of a statement", "4 s".to_owned(), "it changes nothing"),
        (
            "PostgreSQL: time until an answer",
            "6 s".to_owned(),
            "the connection is closed, and a write is in doubt",
        ),
    ]
}
