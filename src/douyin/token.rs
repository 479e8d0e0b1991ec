//! Access tokens (client_token): who fetches one, when, and what follows a rejected one.
//!
//! Douyin keeps only the newest two tokens of an app alive, and other systems of the same company
//! may fetch with the same key. So the token is kept in the store, which all processes share and
//! which outlives a restart. One call at a time fetches. After a rejected token the gateway fetches
//! only if no other call or process has replaced it, at most once per gap. If the new one is
//! rejected too, the app pauses.
//!
//! What it must not know: what a call is made for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::MutexGuard;
use tracing::{Instrument as _, debug, field, info, info_span, warn};

use super::codes::{Handling, Retry, row_for_reason};
use super::config::ClientConfig;
use super::exchange::{Effect, Exchange, Failed};
use super::outcome::counted;
use super::pause::{Pause, Pauses};
use super::transport::Deadline;
use super::wire::{self, Unreadable};
use crate::clock::{Clock, Timestamp, Uptime, duration_ms};
use crate::log_limit::limited;
use crate::metrics::{TOKEN_ENDS, TOKEN_FETCHED, TOKEN_REJECTIONS, UNLISTED_ANSWERS};
use crate::settle::{AppId, Failure, Reason};
use crate::store::{Store, StoredToken};

const TOKEN_PATH: &str = "/oauth/client_token/";

/// One app's access to Douyin: what all calls for it share.
pub struct Access {
    pub(super) app_id: AppId,
    /// The one of the configuration that was read last.
    client_secret: ArcSwap<SecretString>,
    pub(super) pauses: Pauses,
    /// The token in use. Never locked across an await.
    held: Mutex<Option<Held>>,
    /// A call that has the turn may fetch. A call that waited for it first looks at the result.
    turn: tokio::sync::Mutex<Attempts>,
}

#[derive(Clone)]
struct Held {
    token: StoredToken,
    origin: TokenOrigin,
}

/// Where a token came from. It decides whether another fetch may follow soon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenOrigin {
    /// Fetched here, because there was none or the last one was about to end.
    Fetched,
    /// Fetched here, because Douyin rejected the last one.
    Refetched,
    /// Found in the store: fetched by another process, or by this one before a restart.
    Stored,
}

/// When this process last fetched. Set before the request: if the caller vanishes meanwhile, Douyin
/// may still have made a token.
#[derive(Clone, Copy, Default)]
struct Attempts {
    fetched: Option<Uptime>,
    refetched: Option<Uptime>,
}

/// Gets tokens for calls.
pub(super) struct Tokens {
    exchange: Exchange,
    store: Store,
    clock: Clock,
    refresh_ahead: Duration,
    refetch_gap: Duration,
}

impl Access {
    pub(super) fn new(
        app_id: AppId,
        client_secret: SecretString,
        clock: Clock,
        config: &ClientConfig,
    ) -> Self {
        for begin in [&TOKEN_FETCHED, &TOKEN_ENDS] {
            begin.set([app_id.as_str()], 0);
        }
        TOKEN_REJECTIONS.begin([app_id.as_str()]);
        UNLISTED_ANSWERS.begin([app_id.as_str()]);
        let pauses = Pauses::new(app_id.clone(), clock, config);
        let client_secret = ArcSwap::from_pointee(client_secret);
        let (held, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { app_id, client_secret, pauses, held, turn }
    }

    /// Why and until when the app is not called: Douyin limits it, rejects its credentials, or
    /// gives it no token. `None`: it may call. A call during a pause ends unsent.
    pub fn pause(&self) -> Option<Pause> {
        self.pauses.current()
    }

    /// Whether Douyin gives this app no token that it takes itself, as far as the last call showed.
    pub(crate) fn is_locked_out(&self) -> bool {
        self.pauses.is_locked_out()
    }

    /// From now on tokens are fetched with this secret. If it is another one, the app does not
    /// wait any longer because Douyin gave it no token.
    pub(crate) fn renew(&self, client_secret: &SecretString) {
        if self.client_secret.load().expose_secret() != client_secret.expose_secret() {
            self.client_secret.store(Arc::new(client_secret.clone()));
            self.pauses.end_unless_throttled();
        }
    }

    fn held(&self) -> Option<Held> {
        // No code can panic while holding this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, token: StoredToken, origin: TokenOrigin) -> SecretString {
        let (secret, app_id) = (token.access_token.clone(), self.app_id.as_str());
        TOKEN_FETCHED.set_time([app_id], token.fetched_at.since_epoch());
        TOKEN_ENDS.set_time([app_id], token.expires_at.since_epoch());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Held { token, origin });
        secret
    }
}

impl Tokens {
    pub(super) fn new(
        exchange: Exchange,
        store: Store,
        clock: Clock,
        config: &ClientConfig,
    ) -> Self {
        let (refresh_ahead, refetch_gap) = (config.refresh_ahead, config.refetch_gap);
        Self { exchange, store, clock, refresh_ahead, refetch_gap }
    }

    /// A token to call with: the one in use, unless it has ended or is about to.
    pub(super) async fn current(
        &self,
        access: &Access,
        deadline: &Deadline,
    ) -> Result<SecretString, Failed> {
        let now = self.clock.now();
        match access.held() {
            Some(held) if self.is_fresh(&held.token, now) => Ok(held.token.access_token),
            Some(held) if is_alive(&held.token, now) => {
                Ok(Box::pin(self.refresh(access, held.token, deadline)).await)
            }
            Some(_) | None => Box::pin(self.obtain(access, deadline)).await,
        }
    }

    /// Another token than the one that Douyin just rejected.
    pub(super) async fn replace(
        &self,
        access: &Access,
        failed: &SecretString,
        rejection: &Failure,
        deadline: &Deadline,
    ) -> Result<SecretString, Failed> {
        TOKEN_REJECTIONS.count([access.app_id.as_str()]);
        let mut turn = self.take_turn(access, deadline).await?;
        let now = self.clock.now();
        let is_other = |token: &StoredToken| {
            token.access_token.expose_secret() != failed.expose_secret() && is_alive(token, now)
        };
        let held = access.held();
        if let Some(held) = held.as_ref().filter(|held| is_other(&held.token)) {
            return Ok(held.token.access_token.clone());
        }
        if let Some(stored) = self.stored(access).await.filter(is_other) {
            debug!(app_id = %access.app_id, "using the token that another process stored");
            return Ok(access.hold(stored, TokenOrigin::Stored));
        }
        if let Some(pause) = access.pauses.current() {
            return Err(Failed::paused(pause));
        }
        if let Some(left) = self.gap_left(*turn, held.as_ref(), now) {
            access.pauses.begin(rejection.clone(), left);
            let cause = "a freshly fetched token is rejected";
            return Err(Failed::not_sent(rejection.clone(), cause));
        }
        warn!(app_id = %access.app_id, "Douyin rejects the access token: fetching another");
        let fetched = self.fetch(access, &mut turn, TokenOrigin::Refetched, deadline).await;
        fetched.map_err(|failed| self.pause(access, *turn, failed))
    }

    /// The token that replaced a rejected one was rejected too: the app pauses.
    pub(super) async fn give_up(&self, access: &Access, rejection: &Failure, deadline: &Deadline) {
        TOKEN_REJECTIONS.count([access.app_id.as_str()]);
        let turn = self.take_turn(access, deadline).await.map(|turn| *turn).unwrap_or_default();
        let left = self.gap_left(turn, access.held().as_ref(), self.clock.now());
        access.pauses.begin(rejection.clone(), left.unwrap_or_default());
    }

    /// The token in use is good for a little longer, so a failure here is harmless.
    async fn refresh(
        &self,
        access: &Access,
        held: StoredToken,
        deadline: &Deadline,
    ) -> SecretString {
        // Another call is refreshing it.
        let Ok(mut turn) = access.turn.try_lock() else {
            return held.access_token;
        };
        let now = self.clock.now();
        if let Some(newer) = access.held().filter(|held| self.is_fresh(&held.token, now)) {
            return newer.token.access_token;
        }
        if let Some(stored) = self.stored(access).await.filter(|token| self.is_fresh(token, now)) {
            return access.hold(stored, TokenOrigin::Stored);
        }
        if self.within_gap(turn.fetched).is_some() {
            return held.access_token;
        }
        let fetched = self.fetch(access, &mut turn, TokenOrigin::Fetched, deadline).await;
        fetched.unwrap_or(held.access_token)
    }

    /// There is no token in use.
    async fn obtain(&self, access: &Access, deadline: &Deadline) -> Result<SecretString, Failed> {
        let mut turn = self.take_turn(access, deadline).await?;
        let now = self.clock.now();
        if let Some(held) = access.held().filter(|held| is_alive(&held.token, now)) {
            return Ok(held.token.access_token);
        }
        if let Some(stored) = self.stored(access).await.filter(|token| is_alive(token, now)) {
            return Ok(access.hold(stored, TokenOrigin::Stored));
        }
        // If the call before failed to fetch, that holds for all calls that waited.
        if let Some(pause) = access.pauses.current() {
            return Err(Failed::paused(pause));
        }
        let fetched = self.fetch(access, &mut turn, TokenOrigin::Fetched, deadline).await;
        fetched.map_err(|failed| self.pause(access, *turn, failed))
    }

    async fn take_turn<'a>(
        &self,
        access: &'a Access,
        deadline: &Deadline,
    ) -> Result<MutexGuard<'a, Attempts>, Failed> {
        let turn = tokio::time::timeout(deadline.left(), access.turn.lock()).await;
        turn.map_err(|_| {
            let failure = Failure::own(Reason::UpstreamTimeout);
            Failed::not_sent(failure, "another call is still fetching the token")
        })
    }

    async fn fetch(
        &self,
        access: &Access,
        turn: &mut Attempts,
        origin: TokenOrigin,
        deadline: &Deadline,
    ) -> Result<SecretString, Failed> {
        let (before, begun) = (*turn, self.clock.uptime());
        turn.fetched = Some(begun);
        match origin {
            TokenOrigin::Refetched => turn.refetched = Some(begun),
            TokenOrigin::Fetched | TokenOrigin::Stored => {}
        }
        let span = info_span!("client_token", app_id = %access.app_id, log_id = field::Empty);
        let token = async {
            let requested = self.request(access, deadline).await;
            let took = self.clock.uptime().since(begun);
            let elapsed_ms = duration_ms(took);
            let failure = requested.as_ref().err().map(|failed| &*failed.failure);
            let outcome = if failure.is_none() { "fetched" } else { "failed" };
            counted(&access.app_id, "client_token", outcome, failure, took);
            match &requested {
                Ok(_) => info!(elapsed_ms, "fetched an access token"),
                Err(Failed { failure, cause, .. }) => {
                    let reason = failure.reason.as_str();
                    warn!(elapsed_ms, reason, cause, "could not fetch an access token");
                }
            }
            requested
        };
        let token = token.instrument(span).await.inspect_err(|failed| {
            if failed.effect == Effect::None {
                *turn = before;
            }
        })?;
        // Kept in memory before it is stored: a caller that vanishes in between must not cause
        // another fetch.
        let secret = access.hold(token.clone(), origin);
        if let Err(error) = self.store.save_token(&access.app_id, token).await {
            limited!(Peer, WARN, { app_id = %access.app_id, %error },
                "could not store the access token");
        }
        Ok(secret)
    }

    async fn request(&self, access: &Access, deadline: &Deadline) -> Result<StoredToken, Failed> {
        let client_secret = access.client_secret.load_full();
        let body = wire::token_body(&access.app_id, &client_secret);
        let body = Bytes::copy_from_slice(body.expose_secret().as_bytes());
        // Taken before the request, because the life of the token begins after this moment.
        let fetched_at = self.clock.now();
        let heard = self.exchange.post(TOKEN_PATH, None, body, deadline).await?;
        tracing::Span::current().record("log_id", heard.log_id.as_deref());
        match heard.answer.err_no {
            None | Some(0) => {
                let token = wire::token(&heard.answer.data).map_err(|why| heard.unusable(why))?;
                let (access_token, life) = token;
                if http::HeaderValue::from_str(access_token.expose_secret()).is_err() {
                    return Err(heard.unusable(Unreadable("access_token")));
                }
                Ok(StoredToken { access_token, fetched_at, expires_at: fetched_at.plus(life) })
            }
            Some(err_no) => {
                let reason = match heard.answer.row(None) {
                    None => Reason::DouyinError,
                    Some(row) => match row.handling {
                        Handling::Unknown | Handling::Throttled => row.reason,
                        // A refusal of this request is about the key and the secret, unless it says
                        // that the app may not have a token at all.
                        Handling::Refused if row.reason.as_str().starts_with("UPSTREAM_") => {
                            row.reason
                        }
                        Handling::Refused | Handling::Exists | Handling::Reauthenticate => {
                            Reason::UpstreamCredentialsRejected
                        }
                    },
                };
                let failure = Box::new(heard.failure(reason, &client_secret));
                let cause = format!("Douyin answers {err_no}");
                Err(Failed { effect: Effect::Possible, failure, log_id: heard.log_id, cause })
            }
        }
    }

    /// No call of this app can be sent now.
    fn pause(&self, access: &Access, turn: Attempts, failed: Failed) -> Failed {
        if failed.failure.reason == Reason::SendTooLate {
            // Only this call ran out of time.
            return failed;
        }
        let row = failed.failure.reason.known().and_then(row_for_reason);
        let delay = match row.map(|row| row.retry) {
            Some(Retry::Now(delay)) => delay,
            Some(Retry::AfterChange | Retry::Never) | None => Duration::ZERO,
        };
        let gap = self.within_gap(turn.refetched).unwrap_or_default();
        access.pauses.begin((*failed.failure).clone(), delay.max(gap));
        // Whatever the token request did, the call that needed the token was not sent.
        Failed { effect: Effect::None, ..failed }
    }

    /// If the store fails, the token is fetched.
    async fn stored(&self, access: &Access) -> Option<StoredToken> {
        let stored = self.store.token(&access.app_id).await;
        stored.unwrap_or_else(|error| {
            limited!(Peer, WARN, { app_id = %access.app_id, %error },
                "could not read the stored access token");
            None
        })
    }

    /// What is left of the time in which a rejected token may not be replaced by a fetch.
    fn gap_left(&self, turn: Attempts, held: Option<&Held>, now: Timestamp) -> Option<Duration> {
        let own = self.within_gap(turn.refetched);
        let others = held.filter(|held| held.origin == TokenOrigin::Stored).and_then(|held| {
            let fetched_at = held.token.fetched_at;
            let left = self.refetch_gap.checked_sub(now.since(fetched_at))?;
            // A time in the future: a clock jumped, and the age is not known.
            (!left.is_zero() && fetched_at <= now.plus(self.refetch_gap)).then_some(left)
        });
        own.max(others)
    }

    fn within_gap(&self, last: Option<Uptime>) -> Option<Duration> {
        let since = self.clock.uptime().since(last?);
        self.refetch_gap.checked_sub(since).filter(|left| !left.is_zero())
    }

    fn is_fresh(&self, token: &StoredToken, now: Timestamp) -> bool {
        token.expires_at.minus(self.refresh_ahead) > now
    }
}

fn is_alive(token: &StoredToken, now: Timestamp) -> bool {
    token.expires_at > now
}
