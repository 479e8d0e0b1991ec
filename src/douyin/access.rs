//! One app's access to Douyin: its credentials, the token in use, and its pauses. All calls for the
//! app share it.
//!
//! What it must not know: how a token is fetched, and what a call is made for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret as _, SecretString};

use super::config::ClientConfig;
use super::exchange::Failed;
use super::pause::{Pause, Pauses};
use super::signing::SigningKey;
use crate::clock::{Clock, Uptime};
use crate::metrics::{TOKEN_ENDS, TOKEN_FETCHED, TOKEN_REJECTIONS, UNLISTED_ANSWERS};
use crate::settle::{AppId, Failure, Reason};
use crate::store::{Fence, SharedPause, StoredToken};

/// One app's access to Douyin: what all calls for it share.
pub struct Access {
    pub(super) app_id: AppId,
    /// The one of the configuration that was read last; `None`: no system of the app needs one.
    client_secret: ArcSwapOption<SecretString>,
    /// The same for the key that signs.
    signing_key: ArcSwapOption<SigningKey>,
    /// The same for the salt.
    salt: ArcSwapOption<SecretString>,
    pub(super) pauses: Pauses,
    /// The token in use. Never locked across an await.
    held: Mutex<Option<Held>>,
    /// A call that has the turn may fetch. A call that waited for it first looks at the result.
    pub(super) turn: tokio::sync::Mutex<Attempts>,
}

#[derive(Clone)]
pub(super) struct Held {
    pub(super) access_token: SecretString,
    /// When this process fetched it or read it from the store.
    pub(super) since: Uptime,
    /// How old it was then, if that is known.
    pub(super) age: Option<Duration>,
    pub(super) ends: Uptime,
    pub(super) origin: TokenOrigin,
}

/// Where a token came from. It decides whether another fetch may follow soon.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenOrigin {
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
pub(super) struct Attempts {
    pub(super) fetched: Option<Uptime>,
    pub(super) refetched: Option<Uptime>,
    /// The turn that this process took last. If the caller vanished, the process still has it.
    pub(super) turn: Option<Fence>,
}

impl Access {
    pub(super) fn new(
        app_id: AppId,
        client_secret: Option<SecretString>,
        clock: Clock,
        config: &ClientConfig,
    ) -> Self {
        for begin in [&TOKEN_FETCHED, &TOKEN_ENDS] {
            begin.set([app_id.as_str()], 0);
        }
        TOKEN_REJECTIONS.begin([app_id.as_str()]);
        UNLISTED_ANSWERS.begin([app_id.as_str()]);
        let pauses = Pauses::new(app_id.clone(), clock, config);
        let client_secret = ArcSwapOption::from_pointee(client_secret);
        let (held, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        let (signing_key, salt) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        Self { app_id, client_secret, signing_key, salt, pauses, held, turn }
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
    pub(crate) fn renew(&self, client_secret: Option<&SecretString>) {
        let before = self.client_secret.swap(client_secret.cloned().map(Arc::new));
        let before = before.as_deref().map(SecretString::expose_secret);
        if before != client_secret.map(SecretString::expose_secret) {
            self.pauses.end_unless_throttled();
        }
    }

    /// The secret with which tokens are fetched.
    pub(super) fn client_secret(&self) -> Result<Arc<SecretString>, Failed> {
        self.client_secret.load_full().ok_or_else(|| {
            let failure = Failure::own(Reason::TradeSystemNotConfigured);
            Failed::not_sent(failure, "the app has no client secret to fetch a token with")
        })
    }

    /// From now on requests are signed with these, in the systems that want it.
    pub fn sign_with(&self, key: Option<&SigningKey>, salt: Option<&SecretString>) {
        self.signing_key.store(key.cloned().map(Arc::new));
        self.salt.store(salt.cloned().map(Arc::new));
    }

    pub(super) fn salt(&self) -> Option<Arc<SecretString>> {
        self.salt.load_full()
    }

    pub(super) fn signing_key(&self) -> Option<Arc<SigningKey>> {
        self.signing_key.load_full()
    }

    pub(super) fn held(&self) -> Option<Held> {
        // No code can panic while holding this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `now`: a moment before the token was fetched or read.
    pub(super) fn hold(
        &self,
        token: &StoredToken,
        origin: TokenOrigin,
        now: Uptime,
    ) -> SecretString {
        let StoredToken { access_token, age, left } = token.clone();
        let secret = access_token.clone();
        let ends = now.plus(left);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Held { access_token, since: now, age, ends, origin });
        secret
    }

    /// The pause that the other replicas do not know of yet, and what is left of it.
    pub(crate) fn untold_pause(&self) -> Option<(Failure, Duration)> {
        self.pauses.untold()
    }

    /// That pause was told, with this number if it counts.
    pub(crate) fn told_pause(&self, failure: &Failure, number: Option<i64>) {
        self.pauses.told(failure, number);
    }

    /// Keeps a pause that another replica told of.
    pub(crate) fn hear_pause(&self, pause: &SharedPause) {
        self.pauses.hear(pause.number, &pause.failure, pause.left);
    }
}

impl Held {
    pub(super) fn is_alive(&self, now: Uptime) -> bool {
        self.ends > now
    }
}
