//! The two calls to Douyin. Each trade system says where they go and what they send.
//!
//! A call takes a token, sends, and after a token error sends once more with another token; or it
//! is signed, and sends once. All its requests share one permission and one deadline.
//!
//! What it must not know: when to call, and what becomes of a settle because of the answer.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderName;
use secrecy::SecretString;
use tracing::Instrument as _;

use super::access::Access;
use super::codes::Handling;
use super::config::{BuildError, ClientConfig};
use super::exchange::{ACCESS_TOKEN, BYTE_AUTHORIZATION, Effect, Exchange, Failed};
use super::guaranteed::{self, AmountLeft};
use super::limits::Limits;
use super::outcome::{
    Called, CreateAnswer, Line, QueryAnswer, QueryFailure, Said, created, found, left,
};
use super::pause::is_throttling;
use super::signing::ToSign;
use super::system::{self, Callbacks, Credentials, Question};
use super::token::Tokens;
use super::transport::{Deadline, HttpTransport, Transport};
use super::way::Way;
use super::wire::{INFORMING_FIELDS, QueryBy};
use crate::clock::{Clock, Uptime};
use crate::metrics::{UNLISTED_ANSWERS, UNREADABLE_FIELDS};
use crate::settle::{AppId, Content, Failure, Key, NotifyUrl, OutOrderNo, Reason, TradeSystem};
use crate::store::Store;

/// Calls Douyin, for any app. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: ClientConfig,
    clock: Clock,
    exchange: Exchange,
    tokens: Tokens,
    /// Of nonces.
    chance: Mutex<fastrand::Rng>,
}

impl Client {
    /// `transport`: `None` means HTTP to the hosts of `config`.
    pub fn new(
        config: ClientConfig,
        transport: Option<Transport>,
        store: Store,
        clock: Clock,
    ) -> Result<Self, BuildError> {
        let transport = match transport {
            Some(transport) => transport,
            None => Transport::Http(HttpTransport::new(&config)?),
        };
        let exchange = Exchange { transport, attempt_timeout: config.attempt_timeout };
        let tokens = Tokens::new(exchange.clone(), store, clock.clone(), &config);
        INFORMING_FIELDS.iter().for_each(|field| UNREADABLE_FIELDS.begin([field]));
        let chance = Mutex::new(fastrand::Rng::with_seed(config.seed));
        Ok(Self(Arc::new(Inner { config, clock, exchange, tokens, chance })))
    }

    /// Every request that begins from now on goes over a connection that was made by this way; one
    /// that has begun finishes by the old way. If the way is the one that is in use, nothing
    /// changes; on an error the old one stays in use.
    pub fn go_by(&self, way: &Way) -> Result<(), BuildError> {
        self.0.exchange.transport.go_by(way)
    }

    /// The access of an app that was not called for yet in this process.
    pub fn access(&self, app_id: AppId, client_secret: Option<SecretString>) -> Access {
        Access::new(app_id, client_secret, self.0.clock.clone(), &self.0.config)
    }

    /// Sends the create of a settle, whose body is [`create_body`]. `permitted` is when the
    /// permission for it was made durable: nothing is sent once the call's total time has passed
    /// since then.
    pub async fn create(
        &self,
        access: &Access,
        trade_system: TradeSystem,
        body: &str,
        permitted: Uptime,
    ) -> CreateAnswer {
        let called_for = Called { app_id: &access.app_id, trade_system: Some(trade_system) };
        let span = called_for.span("settle_create", None);
        let call = async {
            let begun = self.0.clock.uptime();
            let body = Bytes::copy_from_slice(body.as_bytes());
            let called = match &system::of(trade_system).create {
                Some(create) => self.call(access, trade_system, create.path, body, permitted).await,
                None => {
                    let failure = Failure::own(Reason::SystemHasNoCreate);
                    Err(Failed::not_sent(failure, "the trade system has no create"))
                }
            };
            let cause = called.as_ref().err().map(|failed| failed.cause.clone());
            let answer = created(called);
            let took = self.0.clock.uptime().since(begun);
            Line::of_create(&answer).write(&called_for, took, cause.as_deref());
            answer
        };
        call.instrument(span).await
    }

    /// Asks a trade system for settles.
    pub async fn query(
        &self,
        access: &Access,
        trade_system: TradeSystem,
        by: QueryBy<'_>,
    ) -> Result<QueryAnswer, QueryFailure> {
        let question = (system::of(trade_system).question)(&access.app_id, by);
        let called_for = Called { app_id: &access.app_id, trade_system: Some(trade_system) };
        let span = called_for.span("settle_query", by.out_settle_no());
        let call = async {
            let begun = self.0.clock.uptime();
            let called = match question {
                Some(Question { path, body }) => {
                    self.call(access, trade_system, path, body.into(), begun).await
                }
                None => {
                    let failure = Failure::own(Reason::InvalidRequest);
                    Err(Failed::not_sent(failure, "the trade system has no query by this key"))
                }
            };
            let called = called.and_then(|said| found(said, by));
            let cause = called.as_ref().err().map(|failed| failed.cause.clone());
            let answer = called.map_err(unanswered);
            let took = self.0.clock.uptime().since(begun);
            Line::of_query(&answer).write(&called_for, took, cause.as_deref());
            answer
        };
        call.instrument(span).await
    }

    /// Asks what of an order can still be settled. All systems ask as guaranteed payment does.
    pub async fn amount_left(
        &self,
        access: &Access,
        out_order_no: &OutOrderNo,
    ) -> Result<AmountLeft, QueryFailure> {
        let trade_system = TradeSystem::Guaranteed;
        let called_for = Called { app_id: &access.app_id, trade_system: Some(trade_system) };
        let span = called_for.span("unsettle_amount", None);
        let call = async {
            let begun = self.0.clock.uptime();
            let Question { path, body } = guaranteed::about_order(&access.app_id, out_order_no);
            let called = self.call(access, trade_system, path, body.into(), begun).await;
            let log_id = called.as_ref().ok().and_then(Said::log_id);
            let called = called.and_then(|said| left(said, out_order_no));
            let cause = called.as_ref().err().map(|failed| failed.cause.clone());
            let answer = called.map_err(unanswered);
            let took = self.0.clock.uptime().since(begun);
            Line::of_amount(&answer, log_id.as_deref()).write(&called_for, took, cause.as_deref());
            answer
        };
        call.instrument(span).await
    }

    /// Douyin's answer to a call, unless it turned the credentials away.
    async fn call(
        &self,
        access: &Access,
        trade_system: TradeSystem,
        path: &'static str,
        body: Bytes,
        from: Uptime,
    ) -> Result<Said, Failed> {
        let Inner { config, clock, .. } = &*self.0;
        if let Some(pause) = access.pauses.current() {
            return Err(Failed::paused(pause));
        }
        let deadline = Deadline { clock: clock.clone(), from, within: config.call_timeout };
        let asked = Asked { access, trade_system, path, body, deadline };
        let said = match system::of(trade_system).credentials {
            Credentials::Token => self.call_with_token(&asked).await?,
            Credentials::Signature => self.call_signed(&asked).await?,
            Credentials::Salt => self.call_salted(&asked).await?,
        };
        if said.handling() == Some(Handling::Throttled) {
            access.pauses.begin(said.failure(), said.delay());
        } else {
            access.pauses.answered();
        }
        Ok(said)
    }

    async fn call_with_token(&self, asked: &Asked<'_>) -> Result<Said, Failed> {
        let (tokens, Asked { access, deadline, .. }) = (&self.0.tokens, asked);
        // Also while a token is alive that was fetched when the app had one.
        access.client_secret().map(drop)?;
        let token = tokens.current(access, deadline).await?;
        let mut said = self.send(asked, asked.body.clone(), Some(ACCESS_TOKEN), token).await?;
        if said.handling() == Some(Handling::Reauthenticate) {
            let rejection = said.failure();
            let replaced = tokens.replace(access, &said.sent, &rejection, deadline);
            let token = Box::pin(replaced).await?;
            said = self.send(asked, asked.body.clone(), Some(ACCESS_TOKEN), token).await?;
        }
        if said.handling() == Some(Handling::Reauthenticate) {
            tokens.give_up(access, &said.failure(), deadline).await;
            return Err(said.turned_away("the token that replaced a rejected one is rejected, too"));
        }
        Ok(said)
    }

    /// Signed with the machine's time of day, read now: Douyin refuses one that is an hour away,
    /// and the clock of the process does not follow the machine's.
    async fn call_signed(&self, asked: &Asked<'_>) -> Result<Said, Failed> {
        let Some(key) = asked.access.signing_key() else {
            let failure = Failure::own(Reason::TradeSystemNotConfigured);
            return Err(Failed::not_sent(failure, "the app has no key to sign its requests with"));
        };
        let (time, nonce) = (self.0.clock.time_of_day(), self.nonce());
        let request = ToSign { path: asked.path, time, nonce: &nonce, body: &asked.body };
        let authorization = key.authorization(&asked.access.app_id, &request);
        let header = Some(BYTE_AUTHORIZATION);
        let said = self.send(asked, asked.body.clone(), header, authorization).await?;
        // No pause: the app's other systems may need no key. A nonce counts once, so a proxy that
        // sent the request twice gets this answer for a request that has taken effect.
        match said.handling() == Some(Handling::Reauthenticate) {
            true => Err(Failed { effect: Effect::Possible, ..said.turned_away(REJECTED) }),
            false => Ok(said),
        }
    }

    /// With the salt that the app has now: the recorded body holds no signature.
    async fn call_salted(&self, asked: &Asked<'_>) -> Result<Said, Failed> {
        let Some(salt) = asked.access.salt() else {
            let failure = Failure::own(Reason::TradeSystemNotConfigured);
            return Err(Failed::not_sent(failure, "the app has no salt to sign its requests with"));
        };
        let (body, sign) = guaranteed::signed(&asked.body, &salt);
        let said = self.send(asked, body, None, sign).await?;
        // No pause, as above. The salt may have changed between two copies of the request.
        match said.handling() == Some(Handling::Reauthenticate) {
            true => Err(Failed { effect: Effect::Possible, ..said.turned_away(REJECTED) }),
            false => Ok(said),
        }
    }

    /// `credentials` stand in the header, or in the body.
    async fn send(
        &self,
        Asked { access, trade_system, path, deadline, .. }: &Asked<'_>,
        body: Bytes,
        header: Option<HeaderName>,
        credentials: SecretString,
    ) -> Result<Said, Failed> {
        let to = (system::of(*trade_system).site, *path);
        let shown = header.map(|header| (header, &credentials));
        let heard = self.0.exchange.post(to, shown, body, deadline).await?;
        let said = Said::new(heard, *trade_system, credentials)?;
        if said.is_unlisted() {
            UNLISTED_ANSWERS.count([access.app_id.as_str()]);
        }
        Ok(said)
    }

    /// 32 letters and digits, another one for each request.
    fn nonce(&self) -> String {
        // No code can panic while holding this lock.
        let mut chance = self.0.chance.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{:032X}", chance.u128(..))
    }
}

/// One call, of one request or of two.
struct Asked<'a> {
    access: &'a Access,
    trade_system: TradeSystem,
    path: &'static str,
    body: Bytes,
    deadline: Deadline,
}

fn unanswered(Failed { failure, log_id, .. }: Failed) -> QueryFailure {
    QueryFailure { throttled: is_throttling(&failure), failure: *failure, log_id }
}

/// Whether callers can settle in this system. If not, Douyin settles there by itself.
pub fn has_create(trade_system: TradeSystem) -> bool {
    system::of(trade_system).create.is_some()
}

/// How its calls show which app they are of.
pub fn credentials(trade_system: TradeSystem) -> Credentials {
    system::of(trade_system).credentials
}

/// By what its callbacks are known; `None`: it has none.
pub fn callbacks(trade_system: TradeSystem) -> Option<Callbacks> {
    system::of(trade_system).callbacks
}

/// Of a signature, for the log.
const REJECTED: &str = "the signature is rejected";

/// What a create may say there, beside what holds in every system. Where callers cannot settle, it
/// means nothing.
pub fn limits(trade_system: TradeSystem) -> &'static Limits {
    &system::of(trade_system).limits
}

/// Whether Douyin can be asked by this key there.
pub fn can_ask(trade_system: TradeSystem, app_id: &AppId, by: QueryBy<'_>) -> bool {
    (system::of(trade_system).question)(app_id, by).is_some()
}

/// The JSON of a create, as the settle's trade system wants it. It is stored, and sent as the same
/// bytes every time, so a change of its form takes effect for new settles only. `ext` is the
/// caller's or the mark. `None`: the system has no create.
pub fn create_body(
    key: &Key,
    content: &Content,
    ext: Option<&str>,
    notify_url_default: Option<&NotifyUrl>,
) -> Option<String> {
    let create = system::of(key.trade_system).create.as_ref()?;
    Some((create.body)(key, content, ext, notify_url_default))
}
