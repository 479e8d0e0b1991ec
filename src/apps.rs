//! The mini-programs that the gateway serves. All that is known of one is one [`App`]. Having that
//! value proves that the app is served, so no code checks it again.
//!
//! What it must not know: what is done for an app, and when.

mod budget;
mod portion;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use secrecy::SecretString;
use tokio::sync::Semaphore;

use crate::douyin::callback::Verifiers;
use crate::douyin::{Access, Client, PlatformKeys, SigningKey, begin_counting};
use crate::settle::{AppId, NotifyUrl, TradeSystem};

pub use budget::Budget;

pub(crate) use budget::{AppBudget, Exhausted, Grant};
pub(crate) use portion::Portion;

/// What the configuration says of one mini-program.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// Also the `client_key` with which tokens are fetched.
    pub app_id: AppId,
    /// With what its access tokens are fetched; `None`: it has no system that needs one.
    pub client_secret: Option<SecretString>,
    pub budget: Budget,
    /// Those that it settles in, each once, in the order of the configuration.
    pub trade_systems: Vec<TradeSystem>,
    /// The callback address that is sent when a create names none.
    pub notify_url: Option<NotifyUrl>,
    /// What callbacks are signed with; `None`: they are refused.
    pub platform_keys: Option<PlatformKeys>,
    /// With what the requests of some systems are signed; `None`: it has no such system.
    pub signing_key: Option<SigningKey>,
    /// The salt with which those of guaranteed payment are signed; `None`: it does not have that.
    pub salt: Option<SecretString>,
    /// With what callbacks of guaranteed payment are signed; `None`: they are refused.
    pub callback_token: Option<SecretString>,
}

/// One mini-program that is served, with what its calls share.
pub struct App {
    pub(crate) config: AppConfig,
    /// Those of the configuration that was read last.
    platform_keys: ArcSwapOption<PlatformKeys>,
    callback_token: ArcSwapOption<SecretString>,
    /// Its token, and its pauses.
    pub(crate) access: Access,
    pub(crate) budget: AppBudget,
    /// Bounds the creates that are being recorded or submitted.
    pub(crate) creates: Arc<Semaphore>,
}

/// All apps that are served; cheap to clone.
#[derive(Clone, Debug)]
pub struct Apps {
    apps: Arc<BTreeMap<AppId, Arc<App>>>,
    portion: Portion,
}

/// An app is there twice.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the app {0} is configured twice")]
pub struct Twice(pub AppId);

impl AppConfig {
    /// An app of the general trading system with the default budget and nothing optional.
    pub fn new(app_id: AppId, client_secret: SecretString) -> Self {
        Self {
            app_id,
            client_secret: Some(client_secret),
            budget: Budget::default(),
            trade_systems: vec![TradeSystem::General],
            notify_url: None,
            platform_keys: None,
            signing_key: None,
            salt: None,
            callback_token: None,
        }
    }
}

impl App {
    pub(crate) fn id(&self) -> &AppId {
        &self.config.app_id
    }

    pub(crate) fn has(&self, trade_system: TradeSystem) -> bool {
        self.config.trade_systems.contains(&trade_system)
    }

    /// What callbacks are signed with now.
    pub(crate) fn verifiers(&self) -> Verifiers {
        Verifiers { keys: self.platform_keys.load_full(), token: self.callback_token.load_full() }
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("App").field(self.id()).finish()
    }
}

#[cfg(test)]
impl Default for Apps {
    fn default() -> Self {
        let portion = Portion::whole(crate::clock::Clock::system());
        Self { apps: Arc::default(), portion }
    }
}

impl Apps {
    /// `creates_max`: creates of one app that are recorded or submitted at once. `portion`: of
    /// their budgets.
    pub(crate) fn new(
        configs: Vec<AppConfig>,
        creates_max: usize,
        portion: Portion,
        douyin: &Client,
    ) -> Result<Self, Twice> {
        let mut apps = BTreeMap::new();
        for mut config in configs {
            let access = douyin.access(config.app_id.clone(), config.client_secret.clone());
            access.sign_with(config.signing_key.as_ref(), config.salt.as_ref());
            begin_counting(&config.app_id, &config.trade_systems);
            let app = App {
                platform_keys: ArcSwapOption::from_pointee(config.platform_keys.take()),
                callback_token: ArcSwapOption::from_pointee(config.callback_token.take()),
                access,
                budget: AppBudget::new(config.app_id.clone(), config.budget, &portion),
                creates: Arc::new(Semaphore::new(creates_max)),
                config,
            };
            if let Some(twice) = apps.insert(app.id().clone(), Arc::new(app)) {
                return Err(Twice(twice.id().clone()));
            }
        }
        Ok(Self { apps: Arc::new(apps), portion })
    }

    /// From now on the apps that are served have these secrets and keys.
    pub(crate) fn renew(&self, configs: &[AppConfig]) {
        for config in configs {
            if let Some(app) = self.get(&config.app_id) {
                app.access.renew(config.client_secret.as_ref());
                app.access.sign_with(config.signing_key.as_ref(), config.salt.as_ref());
                app.platform_keys.store(config.platform_keys.clone().map(Arc::new));
                app.callback_token.store(config.callback_token.clone().map(Arc::new));
            }
        }
    }

    /// The app, if it is served.
    pub fn get(&self, app_id: &AppId) -> Option<&Arc<App>> {
        self.apps.get(app_id)
    }

    /// The portion of their budgets that is this process's.
    pub(crate) fn portion(&self) -> &Portion {
        &self.portion
    }

    /// In the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values()
    }
}
