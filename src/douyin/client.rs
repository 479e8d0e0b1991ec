//! The two calls to Douyin. Where they go and what they send is each trade system's own.
//!
//! A call is: take a token, send, and after a token error send once more with another token. All
//! its requests share one permission and one deadline.
//!
//! What it must not know: when to call, and what becomes of a settle because of the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{Instrument as _, field, info_span};

use super::codes::Handling;
use super::config::{App, BuildError, ClientConfig};
use super::exchange::{Exchange, Failed};
use super::outcome::{CreateAnswer, Line, QueryAnswer, QueryFailure, Said, created, found};
use super::pause::{Pause, is_throttling};
use super::token::{Access, Tokens};
use super::trade_basic;
use super::transport::{Deadline, HttpTransport, Transport};
use super::wire::QueryBy;
use crate::clock::{Clock, Uptime};
use crate::settle::{AppId, Content, Failure, Key, NotifyUrl, Reason, TradeSystem};
use crate::store::Store;

/// Calls Douyin for all configured apps. Cheap to clone; clones share tokens and pauses.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: ClientConfig,
    clock: Clock,
    exchange: Exchange,
    tokens: Tokens,
    apps: BTreeMap<AppId, Access>,
}

impl Client {
    /// `transport`: `None` speaks HTTP to `config.base_url`.
    pub fn new(
        config: ClientConfig,
        apps: Vec<App>,
        transport: Option<Transport>,
        store: Store,
        clock: Clock,
    ) -> Result<Self, BuildError> {
        let transport = match transport {
            Some(transport) => transport,
            None => Transport::Http(HttpTransport::new(&config)?),
        };
        let mut accesses = BTreeMap::new();
        for app in apps {
            let app_id = app.app_id.clone();
            let access = Access::new(app, clock.clone(), &config);
            if accesses.insert(app_id.clone(), access).is_some() {
                return Err(BuildError::DuplicateApp(app_id));
            }
        }
        let exchange = Exchange { transport, attempt_timeout: config.attempt_timeout };
        let tokens = Tokens::new(exchange.clone(), store, clock.clone(), &config);
        Ok(Self(Arc::new(Inner { config, clock, exchange, tokens, apps: accesses })))
    }

    /// The configured apps, in the order of their ids.
    pub fn apps(&self) -> impl Iterator<Item = &AppId> {
        self.0.apps.keys()
    }

    pub fn serves(&self, app_id: &AppId) -> bool {
        self.0.apps.contains_key(app_id)
    }

    /// Why and until when the app is not called: Douyin limits it, rejects its credentials, or
    /// gives it no token. `None`: free to call. A call during a pause ends unsent.
    pub fn pause(&self, app_id: &AppId) -> Option<Pause> {
        self.0.apps.get(app_id)?.pauses.current()
    }

    /// Sends the create of a settle, whose body is [`create_body`]. `permitted` is when the
    /// permission for it was made durable: nothing is sent once the call's total time has passed
    /// since then.
    pub async fn create(&self, key: &Key, body: &str, permitted: Uptime) -> CreateAnswer {
        let Key { app_id, trade_system, .. } = key;
        let path = match trade_system {
            TradeSystem::General => trade_basic::CREATE_PATH,
        };
        let span = info_span!(
            "douyin",
            call = "settle_create",
            %app_id,
            log_id = field::Empty,
            outcome = field::Empty,
            elapsed_ms = field::Empty,
        );
        let call = async {
            let begun = self.0.clock.uptime();
            let body = Bytes::copy_from_slice(body.as_bytes());
            let called = self.call(app_id, *trade_system, path, body, permitted).await;
            let cause = called.as_ref().err().map(|failed| failed.cause.clone());
            let answer = created(called);
            Line::of_create(&answer).write(self.0.clock.uptime().since(begun), cause.as_deref());
            answer
        };
        call.instrument(span).await
    }

    /// Asks a trade system for settles.
    pub async fn query(
        &self,
        app_id: &AppId,
        trade_system: TradeSystem,
        by: QueryBy<'_>,
    ) -> Result<QueryAnswer, QueryFailure> {
        let (path, body) = match trade_system {
            TradeSystem::General => (trade_basic::QUERY_PATH, trade_basic::query_body(app_id, by)),
        };
        let span = info_span!(
            "douyin",
            call = "settle_query",
            %app_id,
            out_settle_no = by.out_settle_no().map(field::display),
            log_id = field::Empty,
            outcome = field::Empty,
            elapsed_ms = field::Empty,
        );
        let call = async {
            let begun = self.0.clock.uptime();
            let called = self.call(app_id, trade_system, path, body.into(), begun).await;
            let called = called.and_then(|said| found(said, by));
            let cause = called.as_ref().err().map(|failed| failed.cause.clone());
            let answer = called.map_err(|Failed { failure, log_id, .. }| QueryFailure {
                throttled: is_throttling(&failure),
                failure: *failure,
                log_id,
            });
            Line::of_query(&answer).write(self.0.clock.uptime().since(begun), cause.as_deref());
            answer
        };
        call.instrument(span).await
    }

    /// What Douyin said to a call, unless it turned its token away.
    async fn call(
        &self,
        app_id: &AppId,
        trade_system: TradeSystem,
        path: &'static str,
        body: Bytes,
        from: Uptime,
    ) -> Result<Said, Failed> {
        let Inner { config, clock, exchange, tokens, apps } = &*self.0;
        let access = apps.get(app_id).ok_or_else(|| {
            Failed::not_sent(Failure::own(Reason::AppNotConfigured), "the app is not configured")
        })?;
        if let Some(pause) = access.pauses.current() {
            return Err(Failed::paused(pause));
        }
        let deadline = Deadline { clock: clock.clone(), from, within: config.call_timeout };
        let send = async |token| {
            let heard = exchange.post(path, Some(&token), body.clone(), &deadline).await?;
            let said = Said::new(heard, trade_system, token)?;
            if said.is_unlisted() {
                // Which number it was is in the log: a label that Douyin chooses has no bound.
                let app_id = app_id.as_str().to_owned();
                metrics::counter!("settlement_unlisted_answers_total", "app_id" => app_id)
                    .increment(1);
            }
            Ok(said)
        };
        let mut said = send(tokens.current(access, &deadline).await?).await?;
        if said.handling() == Some(Handling::Reauthenticate) {
            let rejection = said.failure();
            said = send(tokens.replace(access, &said.token, &rejection, &deadline).await?).await?;
        }
        match said.handling() {
            Some(Handling::Reauthenticate) => {
                tokens.give_up(access, &said.failure(), &deadline).await;
                Err(said.turned_away())
            }
            Some(Handling::Throttled) => {
                access.pauses.begin(said.failure(), said.delay());
                Ok(said)
            }
            Some(Handling::Refused | Handling::Unknown | Handling::Exists) | None => {
                access.pauses.answered();
                Ok(said)
            }
        }
    }
}

/// The JSON of a create, as the settle's trade system wants it. It is stored and sent as the same
/// bytes every time, so a change of its form takes effect for new settles only. `ext` goes out as
/// it is: the caller's, or the mark.
pub fn create_body(
    key: &Key,
    content: &Content,
    ext: Option<&str>,
    notify_url_default: Option<&NotifyUrl>,
) -> String {
    match key.trade_system {
        TradeSystem::General => trade_basic::create_body(key, content, ext, notify_url_default),
    }
}
