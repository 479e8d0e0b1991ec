//! Access tokens (client_token): who fetches one, when, and what follows a rejected one.
//!
//! Douyin keeps only the newest two tokens of an app alive, and other systems of the same company
//! may fetch with the same key. So the token is kept in the store, which all processes share and
//! which outlives a restart. One call of one process at a time fetches: it has the process's turn
//! and the store's. After a rejected token the gateway fetches only if no other call or process has
//! replaced it, at most once per gap. If the new one is rejected too, the app pauses. While the
//! store is away a process goes on with the token that it has, and fetches if it has none.
//!
//! What it must not know: what a call is made for.

mod turn;

use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::MutexGuard;
use tracing::{Instrument as _, debug, field, info, info_span, warn};

use super::access::{Access, Attempts, Held, TokenOrigin};
use super::codes::{Handling, Retry, row_for_reason};
use super::config::ClientConfig;
use super::exchange::{Effect, Exchange, Failed};
use super::outcome::{Called, FAILED, FETCHED};
use super::transport::{Deadline, Site};
use super::wire::{self, Unreadable};
use crate::clock::{Clock, Uptime, duration_ms};
use crate::log_limit::limited;
use crate::metrics::{TOKEN_ENDS, TOKEN_FETCHED, TOKEN_REJECTIONS};
use crate::settle::{Failure, Reason};
use crate::store::{Fence, Store, StoredToken};
use turn::Found;

const TOKEN_PATH: &str = "/oauth/client_token/";

/// Gets tokens for calls.
pub(super) struct Tokens {
    exchange: Exchange,
    store: Store,
    clock: Clock,
    refresh_ahead: Duration,
    refetch_gap: Duration,
    /// How long a turn to fetch lasts if its process dies.
    turn_lease: Duration,
}

impl Tokens {
    pub(super) fn new(
        exchange: Exchange,
        store: Store,
        clock: Clock,
        config: &ClientConfig,
    ) -> Self {
        Self {
            exchange,
            store,
            clock,
            refresh_ahead: config.refresh_ahead,
            refetch_gap: config.refetch_gap,
            turn_lease: config.attempt_timeout + TURN_MARGIN,
        }
    }

    /// A token to call with: the one in use, unless it has ended or is about to.
    pub(super) async fn current(
        &self,
        access: &Access,
        deadline: &Deadline,
    ) -> Result<SecretString, Failed> {
        let now = self.clock.uptime();
        match access.held() {
            Some(held) if self.is_fresh(&held, now) => Ok(held.access_token),
            Some(held) if held.is_alive(now) => {
                Ok(Box::pin(self.refresh(access, held.access_token, deadline)).await)
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
        let now = self.clock.uptime();
        let is_other = |token: &SecretString| token.expose_secret() != failed.expose_secret();
        let held = access.held();
        let other = held.as_ref().filter(|held| is_other(&held.access_token) && held.is_alive(now));
        if let Some(held) = other {
            return Ok(held.access_token.clone());
        }
        let is_usable = |token: &StoredToken| is_other(&token.access_token) && is_alive(token);
        if let Some(stored) = self.stored(access, is_usable).await {
            debug!(app_id = %access.app_id, "using the token that another process stored");
            return Ok(stored);
        }
        if let Some(pause) = access.pauses.current() {
            return Err(Failed::paused(pause));
        }
        if let Some(left) = self.gap_left(*turn, held.as_ref()) {
            access.pauses.begin(rejection.clone(), left);
            let cause = "a freshly fetched token is rejected";
            return Err(Failed::not_sent(rejection.clone(), cause));
        }
        match self.turn_or_token(access, &mut turn, is_usable, deadline).await? {
            Found::Stored(token) => Ok(token),
            Found::Turn(fence) => {
                warn!(app_id = %access.app_id, "Douyin rejects the access token: fetching another");
                let origin = TokenOrigin::Refetched;
                let fetched = self.fetch(access, &mut turn, origin, fence, deadline).await;
                fetched.map_err(|failed| self.pause(access, *turn, failed))
            }
        }
    }

    /// The token that replaced a rejected one was rejected too: the app pauses.
    pub(super) async fn give_up(&self, access: &Access, rejection: &Failure, deadline: &Deadline) {
        TOKEN_REJECTIONS.count([access.app_id.as_str()]);
        let turn = self.take_turn(access, deadline).await.map(|turn| *turn).unwrap_or_default();
        let left = self.gap_left(turn, access.held().as_ref());
        access.pauses.begin(rejection.clone(), left.unwrap_or_default());
    }

    /// The token in use is good for a little longer, so a failure here is harmless.
    async fn refresh(
        &self,
        access: &Access,
        in_use: SecretString,
        deadline: &Deadline,
    ) -> SecretString {
        // Another call is refreshing it.
        let Ok(mut turn) = access.turn.try_lock() else {
            return in_use;
        };
        let now = self.clock.uptime();
        if let Some(newer) = access.held().filter(|held| self.is_fresh(held, now)) {
            return newer.access_token;
        }
        let is_fresh = |token: &StoredToken| token.left > self.refresh_ahead;
        if let Some(stored) = self.stored(access, is_fresh).await {
            return stored;
        }
        if self.within_gap(turn.fetched).is_some() {
            return in_use;
        }
        // If another process is refreshing it, or the store is away, the one in use will do.
        let fetched = match self.fleet_turn(access, &mut turn).await {
            Ok(Some(fence)) => {
                let origin = TokenOrigin::Fetched;
                self.fetch(access, &mut turn, origin, Some(fence), deadline).await.ok()
            }
            Ok(None) | Err(_) => None,
        };
        fetched.unwrap_or(in_use)
    }

    /// There is no token in use.
    async fn obtain(&self, access: &Access, deadline: &Deadline) -> Result<SecretString, Failed> {
        let mut turn = self.take_turn(access, deadline).await?;
        let now = self.clock.uptime();
        if let Some(held) = access.held().filter(|held| held.is_alive(now)) {
            return Ok(held.access_token);
        }
        if let Some(stored) = self.stored(access, is_alive).await {
            return Ok(stored);
        }
        // If the call before failed to fetch, that holds for all calls that waited.
        if let Some(pause) = access.pauses.current() {
            return Err(Failed::paused(pause));
        }
        match self.turn_or_token(access, &mut turn, is_alive, deadline).await? {
            Found::Stored(token) => Ok(token),
            Found::Turn(fence) => {
                let origin = TokenOrigin::Fetched;
                let fetched = self.fetch(access, &mut turn, origin, fence, deadline).await;
                fetched.map_err(|failed| self.pause(access, *turn, failed))
            }
        }
    }

    /// `since`: a moment before the token was fetched or read.
    fn hold(
        &self,
        access: &Access,
        token: &StoredToken,
        origin: TokenOrigin,
        since: Uptime,
    ) -> SecretString {
        let (app_id, now) = (access.app_id.as_str(), self.clock.now());
        TOKEN_FETCHED.set_time([app_id], now.minus(token.age.unwrap_or_default()).since_epoch());
        TOKEN_ENDS.set_time([app_id], now.plus(token.left).since_epoch());
        access.hold(token, origin, since)
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
        fence: Option<Fence>,
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
            let outcome = if failure.is_none() { FETCHED } else { FAILED };
            let called = Called { app_id: &access.app_id, trade_system: None };
            called.count("client_token", outcome, failure, took);
            match &requested {
                Ok(_) => info!(elapsed_ms, "fetched an access token"),
                Err(Failed { failure, cause, .. }) => {
                    let reason = failure.reason.as_str();
                    warn!(elapsed_ms, reason, cause, "could not fetch an access token");
                }
            }
            requested
        };
        let token = match token.instrument(span).await {
            Ok(token) => token,
            Err(failed) => {
                if failed.effect == Effect::None {
                    *turn = before;
                }
                if let Some(fence) = fence {
                    self.end_fleet_turn(access, fence).await;
                }
                return Err(failed);
            }
        };
        // Kept in memory before it is stored: a caller that vanishes in between must not cause
        // another fetch.
        let secret = self.hold(access, &token, origin, begun);
        let Some(fence) = fence else { return Ok(secret) };
        let elapsed = self.clock.uptime().since(begun);
        let age = token.age.map(|age| age + elapsed);
        let left = token.left.saturating_sub(elapsed);
        let token = StoredToken { age, left, ..token };
        match self.store.save_token(&access.app_id, token, fence).await {
            Ok(true) => {}
            // This fetch took longer than its turn, and another process fetched meanwhile.
            Ok(false) => return Ok(self.stored(access, is_alive).await.unwrap_or(secret)),
            Err(error) => limited!(Peer, WARN, { app_id = %access.app_id, %error },
                "could not store the access token"),
        }
        Ok(secret)
    }

    /// A token whose age and life count from the beginning of the request.
    async fn request(&self, access: &Access, deadline: &Deadline) -> Result<StoredToken, Failed> {
        let client_secret = access.client_secret()?;
        let body = wire::token_body(&access.app_id, &client_secret);
        let body = Bytes::copy_from_slice(body.expose_secret().as_bytes());
        let to = (Site::Open, TOKEN_PATH);
        let heard = self.exchange.post(to, None, body, deadline).await?;
        tracing::Span::current().record("log_id", heard.log_id.as_deref());
        match heard.answer.err_no {
            None | Some(0) => {
                let token = wire::token(&heard.answer.data).map_err(|why| heard.unusable(why))?;
                let (access_token, life) = token;
                if http::HeaderValue::from_str(access_token.expose_secret()).is_err() {
                    return Err(heard.unusable(Unreadable("access_token")));
                }
                Ok(StoredToken { access_token, age: Some(Duration::ZERO), left: life })
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

    /// The stored token, if it is usable: from now on it is the one in use. If the store fails,
    /// there is none.
    async fn stored(
        &self,
        access: &Access,
        is_usable: impl Fn(&StoredToken) -> bool,
    ) -> Option<SecretString> {
        let now = self.clock.uptime();
        let stored = self.store.token(&access.app_id).await.unwrap_or_else(|error| {
            limited!(Peer, WARN, { app_id = %access.app_id, %error },
                "could not read the stored access token");
            None
        });
        let stored = stored.filter(is_usable)?;
        Some(self.hold(access, &stored, TokenOrigin::Stored, now))
    }

    /// What is left of the time in which a rejected token may not be replaced by a fetch.
    fn gap_left(&self, turn: Attempts, held: Option<&Held>) -> Option<Duration> {
        let own = self.within_gap(turn.refetched);
        let others = held.filter(|held| held.origin == TokenOrigin::Stored).and_then(|held| {
            let age = held.age? + self.clock.uptime().since(held.since);
            self.refetch_gap.checked_sub(age).filter(|left| !left.is_zero())
        });
        own.max(others)
    }

    fn within_gap(&self, last: Option<Uptime>) -> Option<Duration> {
        let since = self.clock.uptime().since(last?);
        self.refetch_gap.checked_sub(since).filter(|left| !left.is_zero())
    }

    fn is_fresh(&self, held: &Held, now: Uptime) -> bool {
        held.ends > now.plus(self.refresh_ahead)
    }
}

fn is_alive(token: &StoredToken) -> bool {
    !token.left.is_zero()
}

/// What the turn to fetch lasts longer than the request, so that its answer can be saved.
const TURN_MARGIN: Duration = Duration::from_secs(2);
