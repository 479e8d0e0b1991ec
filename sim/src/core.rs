//! The simulator without a wire: a request and the time go in, a [`Reply`] comes out.
//!
//! No I/O, no clock and no waiting in here. What takes time is handed back as a [`Reply`] whose
//! [`Pending`] rest goes into [`Core::resume`] later. `http.rs` is one transport around it; the
//! simulation of the whole service in one process can be another.

mod perform;

use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::SimConfig;
use super::answers::{Answer, Refusal};
use super::books::Books;
use super::callbacks::{self, CallbackAnswer, Delivery, Outbox};
use super::endpoint::{Endpoint, Route};
use super::faults::{Gate, Script, Scripts, Word};
use super::fields::peek;
use super::query::peek_key;
use super::received::{Received, Snapshot};
use super::settles::Status;
use super::signed::{SignedRequest, Signers};
use super::system::System;
use super::systems::{Guard, Reading};
use super::token::Tokens;

/// Douyin, as a caller sees it.
#[derive(Debug)]
pub struct Core {
    pub(super) books: Books,
    pub(super) tokens: Tokens,
    pub(super) signers: Signers,
    pub(super) scripts: Scripts,
    pub(super) outbox: Outbox,
    seed: u64,
    slow_ms: u64,
    received: Received,
    /// The `sim-lost` numbers whose first answer was lost.
    lost: HashSet<(System, String)>,
    answers_total: u64,
    /// Ends the requests that hang. It is replaced each time it is used.
    release: CancellationToken,
}

/// One HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// With what follows a question mark, if anything does.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What a transport must do with a request.
#[derive(Debug)]
pub enum Reply {
    /// Send this.
    Answer(Answer),
    /// Resume after this long, whether or not the sender still waits.
    Wait { delay_ms: u64, then: Box<Pending> },
    /// Resume when the gate is open, whether or not the sender still waits.
    Hold { gate: Gate, then: Box<Pending> },
    /// Close the connection without an answer.
    Drop,
    /// Send the headers and half the body of this, then close the connection.
    CloseMid(Answer),
    /// Do nothing until the client goes or this is cancelled; then close the connection.
    Hang { released: CancellationToken },
}

/// The rest of a request that waits.
#[derive(Debug)]
pub struct Pending {
    call: Call,
    script: Script,
}

/// A request whose token or signature was accepted.
#[derive(Debug)]
struct Call {
    route: Route,
    /// Of the token or the signature. Empty for a token call.
    app_id: String,
    content_type_is_json: bool,
    body: Bytes,
    /// The true answer, once the request has been applied.
    truth: Option<Answer>,
}

/// By what a script or a word is chosen.
struct Marks {
    /// The keys of scripts, the first of which names the request.
    keys: Vec<String>,
    out_order_no: String,
    nth: usize,
}

impl Core {
    /// An empty Douyin with these apps.
    #[must_use]
    pub fn new(config: &SimConfig) -> Self {
        Self {
            books: Books::new(config),
            tokens: Tokens::new(config),
            signers: Signers::new(&config.apps),
            scripts: Scripts::default(),
            outbox: Outbox::new(config),
            seed: config.seed,
            slow_ms: config.slow_ms,
            received: Received::default(),
            lost: HashSet::new(),
            answers_total: 0,
            release: CancellationToken::new(),
        }
    }

    /// Treats one request at this time (unix, in milliseconds).
    pub fn handle(&mut self, now_ms: u64, request: Request) -> Reply {
        self.advance(now_ms);
        let path = request.path.split('?').next().unwrap_or_default();
        let Some(route) = Route::of(path) else {
            return self.page(StatusCode::NOT_FOUND, "404 page not found");
        };
        if request.method != Method::POST {
            return self.page(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed");
        }
        let marks = self.note(route, &request.body);
        let app_id = match self.admit(route, &request) {
            Ok(app_id) => app_id,
            Err(refusal) => return Reply::Answer(self.writer(route).refusal(&refusal)),
        };
        let call = Call {
            route,
            app_id,
            // Exactly this, without a charset.
            content_type_is_json: header_text(&request.headers, header::CONTENT_TYPE.as_str())
                == "application/json",
            body: request.body,
            truth: None,
        };
        let script = self.script_for(route, &marks);
        self.perform(call, script)
    }

    /// Goes on with a request that waited.
    pub fn resume(&mut self, now_ms: u64, pending: Pending) -> Reply {
        self.advance(now_ms);
        self.perform(pending.call, pending.script)
    }

    /// Lets everything happen that is due. New callbacks then wait in the outbox.
    pub fn advance(&mut self, now_ms: u64) {
        self.books.advance(now_ms);
        self.announce_news();
    }

    /// When something happens by itself next, as far as can be told from outside.
    #[must_use]
    pub fn next_event_at_ms(&self) -> Option<u64> {
        let books = self.books.next_event_at_ms().filter(|_| self.can_announce());
        self.outbox.next_at_ms().into_iter().chain(books).min()
    }

    /// The callbacks that must be sent by now: at most `at_most`, or one more if the last one is
    /// sent twice. Each must be answered once, in any order.
    pub fn callbacks_due(&mut self, now_ms: u64, at_most: usize) -> Vec<Delivery> {
        self.advance(now_ms);
        self.outbox.due(self.books.now_ms(), &self.books.choices, at_most)
    }

    /// Takes the answer to a delivery. If that is not in flight, it is ignored.
    pub fn callback_answered(&mut self, now_ms: u64, delivery: u64, answer: &CallbackAnswer) {
        self.advance(now_ms);
        self.outbox.answered(self.books.now_ms(), delivery, answer, &self.books.choices);
    }

    /// The body with which the platform would announce that a settle has this status since now,
    /// even if it has not. `None`: no such settle.
    #[must_use]
    pub fn callback_body(&self, settle_id: &str, status: Status) -> Option<Bytes> {
        let settle = self.books.settle(settle_id)?;
        Some(callbacks::body(settle, status, self.books.now_ms(), &self.books.choices))
    }

    /// Whether any app has an address for callbacks.
    fn can_announce(&self) -> bool {
        self.outbox.has_console_url() || self.books.has_notify_url()
    }

    /// Puts into the outbox what has happened since the last call.
    pub(super) fn announce_news(&mut self) {
        for news in self.books.take_news() {
            let announced = match news.status {
                Status::Success | Status::Fail => true,
                Status::Processing => self.books.choices.callback_processing,
                Status::Init => false,
            };
            let settle = self.books.settle_at(news.index);
            let announced = announced && Reading::of(settle.system).callback.is_some();
            if announced && Word::of(&settle.out_order_no) != Word::Quiet {
                self.outbox.announce(settle, news.status, news.at_ms, &self.books.choices);
            }
        }
    }

    /// Ends the requests that hang, without an answer.
    pub(super) fn release(&mut self) {
        std::mem::take(&mut self.release).cancel();
    }

    /// Changes how many of 10 000 requests, settles, tokens and callbacks meet a fault from now on.
    pub fn set_faults_per_10_000(&mut self, faults_per_10_000: u32) {
        self.books.weather.faults_per_10_000 = faults_per_10_000;
        self.tokens.weather.faults_per_10_000 = faults_per_10_000;
        self.outbox.weather.faults_per_10_000 = faults_per_10_000;
    }

    /// How many create requests arrived, with any outcome.
    pub(super) fn creates_total(&self) -> usize {
        self.received.creates_total()
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Everything that tests may look at.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            settles: self.books.settles().cloned().collect(),
            callbacks: self.outbox.callbacks().cloned().collect(),
            callbacks_turned_away: self.outbox.turned_away(),
            received: self.received.clone(),
            tokens: self.tokens.fetched(),
        }
    }

    /// Counts the request and finds its keys for scripts. The body may be anything.
    fn note(&mut self, route: Route, body: &Bytes) -> Marks {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        match route.endpoint {
            Endpoint::Token => {
                let nth = self.received.token_call();
                Marks { keys: vec![String::new()], out_order_no: String::new(), nth }
            }
            Endpoint::Create => {
                let out_settle_no = peek(&value, "out_settle_no");
                let nth = self.received.create(route.system, &out_settle_no, body);
                let out_order_no = peek(&value, "out_order_no");
                Marks { keys: vec![out_settle_no], out_order_no, nth }
            }
            Endpoint::Query => {
                let key = peek_key(route.reading(), &value);
                let nth = self.received.query(&key);
                // A script for a number also applies to queries by the id of its settle.
                let number = self.books.number_of(&key).map(str::to_owned);
                let keys = std::iter::once(key).chain(number).collect();
                Marks { keys, out_order_no: String::new(), nth }
            }
            Endpoint::AmountLeft | Endpoint::PlatformOrder => {
                let key = peek(&value, "out_order_no");
                let nth = self.received.query(&key);
                Marks { keys: vec![key], out_order_no: String::new(), nth }
            }
        }
    }

    /// The platform in front of the settlement system first looks who calls.
    fn admit(&mut self, route: Route, request: &Request) -> Result<String, Refusal> {
        if route.endpoint == Endpoint::Token {
            return Ok(String::new());
        }
        let now_ms = self.books.now_ms();
        match route.reading().guard {
            Guard::AccessToken => {
                let token = header_text(&request.headers, "access-token");
                self.tokens.owner(now_ms, token, &self.books.choices)
            }
            Guard::ByteAuthorization => self.signers.of_header(
                now_ms,
                &SignedRequest {
                    method: &request.method,
                    uri: &request.path,
                    headers: &request.headers,
                    body: &request.body,
                },
                &self.books.choices,
            ),
            Guard::SignField => self.signers.of_body(&request.body),
        }
    }

    /// The four sources of `faults.rs`, in their order.
    fn script_for(&mut self, route: Route, marks: &Marks) -> Script {
        let Route { system, endpoint } = route;
        let scripts = &mut self.scripts;
        // What asks is scripted as a query.
        let endpoint = match endpoint {
            Endpoint::AmountLeft | Endpoint::PlatformOrder => Endpoint::Query,
            Endpoint::Token | Endpoint::Create | Endpoint::Query => endpoint,
        };
        if let Some(script) = marks.keys.iter().find_map(|key| scripts.next_once(endpoint, key)) {
            return script;
        }
        if let Some(script) = self.scripts.always(endpoint) {
            return script.clone();
        }
        let name = marks.keys.first().map_or("", String::as_str);
        match Word::of(&marks.out_order_no) {
            Word::Err(err_no) => return Script::Refuse(err_no),
            Word::Slow => {
                let answer_late = Script::delay(self.slow_ms, Script::Normal);
                return Script::apply_then(answer_late);
            }
            Word::Lost if self.lost.insert((system, name.to_owned())) => {
                return Script::apply_then(Script::Drop);
            }
            Word::Lost | Word::Fail | Word::Hold | Word::Quiet | Word::None => {}
        }
        self.books.weather.fault(route, name, marks.nth).unwrap_or(Script::Normal)
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
