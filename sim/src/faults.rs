//! What a request gets before its true answer, or instead of it.
//!
//! Four sources, in this order: a one-shot script for its number, a standing script for its
//! endpoint, a word in its order number (`sim-lost-…`), and faults drawn from the seed
//! (`weather.rs`). All four are [`Script`]s; `core.rs` knows what one does to the books.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;

/// One way to treat one request.
///
/// Nothing is applied to the books unless the script says so ([`Script::ApplyThen`]) or ends in
/// [`Script::Normal`].
///
/// In JSON one is a word or has one field: `"drop"`, `{"refuse": 23000}`,
/// `{"apply-then": {"delay": [500, "normal"]}}`, `{"answer": {"status": 503, "body": "{}"}}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Script {
    /// Apply and answer by the rules.
    Normal,
    /// Answer this `err_no` in the envelope that the choices name.
    Refuse(i64),
    /// Answer exactly this, as JSON.
    Answer {
        status: u16,
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        body: Bytes,
    },
    /// Apply the request at once, then do the rest; `Normal` in there is the true answer.
    ApplyThen(Box<Script>),
    /// Wait (as a slow network would), then do the rest. In milliseconds.
    Delay(u64, Box<Script>),
    /// Wait until the test opens the gate, then treat the request normally, even if its sender is
    /// gone. This is a request that was on its way for a long time.
    #[serde(skip_deserializing)]
    Hold(Gate),
    /// Close the connection without an answer.
    Drop,
    /// Send the headers and half the body of a good answer, then close the connection.
    #[serde(rename = "cut")]
    CloseMidAnswer,
    /// Never answer. The connection ends when the client gives up, or unanswered at `release`.
    Hang,
    /// A good answer, padded with white space to this many bytes.
    Huge(usize),
    /// A gateway's error page: 502, `text/html`.
    Html,
    /// Status 200 and no body.
    Empty,
    /// Status 200 and JSON in which every field has a type that no document mentions.
    WrongTypes,
    /// `err_no` 0 without the thing that was asked for (id, data or token).
    AcceptWithoutId,
    /// `err_no` 0 and an empty array, as a query gets that finds nothing.
    FindNothing,
}

impl Script {
    /// Applies the request, then does `rest` instead of the true answer.
    #[must_use]
    pub fn apply_then(rest: Self) -> Self {
        Self::ApplyThen(Box::new(rest))
    }

    /// Waits this long, then does `rest`.
    #[must_use]
    pub fn delay(delay_ms: u64, rest: Self) -> Self {
        Self::Delay(delay_ms, Box::new(rest))
    }

    /// A raw JSON answer.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Answer { status, body: body.into() }
    }
}

pub(super) fn as_text<S: Serializer>(body: &Bytes, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&String::from_utf8_lossy(body))
}

fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    String::deserialize(from).map(Bytes::from)
}

/// A place where requests wait until a test lets them pass.
#[derive(Clone, Debug)]
pub struct Gate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    /// How many requests have arrived; only ever grows.
    arrivals: watch::Sender<usize>,
    /// Once open, a gate stays open.
    open: CancellationToken,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        let arrivals = watch::Sender::new(0);
        Self(Arc::new(GateState { arrivals, open: CancellationToken::new() }))
    }

    /// Waits until a request has arrived; at once if one has been here before.
    pub async fn arrived(&self) {
        let mut arrivals = self.0.arrivals.subscribe();
        arrivals.wait_for(|count| *count > 0).await.expect("self keeps the sender alive");
    }

    /// Lets everything pass, now and later.
    pub fn open(&self) {
        self.0.open.cancel();
    }

    /// Notes an arrival; called by the core when it holds a request here.
    pub(super) fn arrive(&self) {
        self.0.arrivals.send_modify(|count| *count += 1);
    }

    /// Waits until the gate is open.
    pub async fn opened(&self) {
        self.0.open.cancelled().await;
    }
}

/// Gates are shown as a word only.
impl Serialize for Gate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_unit()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// The scripts that tests have queued.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    /// One-shot, by endpoint and key. The key of a token call is the empty string.
    once: HashMap<(Endpoint, String), VecDeque<Script>>,
    /// Standing, by endpoint.
    always: HashMap<Endpoint, Script>,
}

impl Scripts {
    /// Adds scripts for the next requests with this key.
    pub(super) fn queue(&mut self, endpoint: Endpoint, key: &str, scripts: Vec<Script>) {
        self.once.entry((endpoint, key.to_owned())).or_default().extend(scripts);
    }

    /// Sets or clears the script of every request to this endpoint.
    pub(super) fn set_always(&mut self, endpoint: Endpoint, script: Option<Script>) {
        match script {
            Some(script) => self.always.insert(endpoint, script),
            None => self.always.remove(&endpoint),
        };
    }

    /// Takes the next one-shot script for this key.
    pub(super) fn next_once(&mut self, endpoint: Endpoint, key: &str) -> Option<Script> {
        let key = (endpoint, key.to_owned());
        let queue = self.once.get_mut(&key)?;
        let script = queue.pop_front();
        if queue.is_empty() {
            self.once.remove(&key);
        }
        script
    }

    /// The standing script.
    pub(super) fn always(&self, endpoint: Endpoint) -> Option<&Script> {
        self.always.get(&endpoint)
    }
}

/// What an `out_order_no` that begins with `sim-` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// `sim-err-<err_no>`: create answers that number.
    Err(i64),
    /// `sim-fail`: the settle ends FAIL.
    Fail,
    /// `sim-slow`: the answer takes seconds.
    Slow,
    /// `sim-lost`: the first answer is lost.
    Lost,
    /// `sim-hold`: the settle stays PROCESSING.
    Hold,
    /// `sim-quiet`: no callback tells how the settle ends.
    Quiet,
    /// Anything else: an ordinary order.
    None,
}

impl Word {
    pub(super) fn of(out_order_no: &str) -> Self {
        let mut words = out_order_no.split('-');
        if words.next() != Some("sim") {
            return Self::None;
        }
        match words.next() {
            Some("err") => {
                words.next().and_then(|word| word.parse().ok()).map_or(Self::None, Self::Err)
            }
            Some("fail") => Self::Fail,
            Some("slow") => Self::Slow,
            Some("lost") => Self::Lost,
            Some("hold") => Self::Hold,
            Some("quiet") => Self::Quiet,
            Some(_) | None => Self::None,
        }
    }
}
