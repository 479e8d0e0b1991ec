//! A double of Douyin's open platform, for tests, sandboxes and demonstrations.
//!
//! It is its own reading of Douyin's documents and shares no code with the gateway's client, so
//! that a misreading on either side shows up as a failing test. Real money never passes here.
//!
//! ```text
//!   http ──► core ──► create ──► rules ◄── calendar          systems: how each trade system
//!    │        │         └──────► books (settles, orders) ◄── query     speaks, for all of these
//!    │        ├──► token, signed      │ news
//!    │        ├──► faults             ▼
//!    │        └──► callbacks (outbox, ladder, message) ◄── keys
//!    │                 │ deliveries, answers
//!    │             deliver ──► the developer's address
//!  control: the page at / and JSON under /sim/, for people and tests elsewhere
//! ```
//!
//! Read `core.rs` first: there a request becomes a [`Reply`], and the end of a settle becomes a
//! [`Delivery`]. Below it everything is pure state over `now_ms`; above it `http.rs` and
//! `deliver.rs` are the only I/O. Each trade system is a [`System`] with books of its own over the
//! same orders; how it speaks is in `systems/`. What the documents leave open is a field of
//! [`Choices`]; what a test wants to go wrong is a [`Script`], or for callbacks a
//! [`CallbackScript`]; what happened is a [`Snapshot`].

// So that the compiler finds what is not used any more.
#![warn(unreachable_pub)]

mod answers;
mod books;
mod calendar;
mod callbacks;
mod choice_names;
mod choices;
mod clock;
mod control;
mod core;
mod create;
mod deliver;
mod endpoint;
mod faults;
mod fields;
mod forged;
mod http;
mod ids;
mod interference;
mod keys;
mod odd;
mod orders;
mod query;
mod received;
mod rules;
mod settles;
mod signed;
mod simulator;
mod standalone;
mod system;
mod systems;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod weather;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

pub use self::answers::Answer;
pub use self::callbacks::{
    Attempt, Callback, CallbackAnswer, CallbackScript, CallbackState, Delivery, Forged,
    ForgedSignature, Ladder, Outcome, Sent, check_callback_url,
};
pub use self::choices::{
    AmountForm, AutoNumber, CallbackFields, CallbackVersion, Choices, Envelope, GuaranteedNames,
    Informing, LogIdPlace, NumberCheck, NumberFate, QueryNames,
};
pub use self::core::{Core, Pending, Reply, Request};
pub use self::faults::{Gate, Script};
pub use self::keys::{AppKey, PlatformKey, SANDBOX_APP_PRIVATE_KEY_PEM};
pub use self::orders::{ItemSetup, OrderSetup, OrderStage, Promotion};
pub use self::received::Snapshot;
pub use self::rules::{AppRules, Timing};
pub use self::settles::{AppliedSettle, Receiver, Status, StrangerSettle};
pub use self::simulator::Simulator;
pub use self::standalone::{banner, run};
pub use self::system::System;
pub use self::tls::{Authorities, Certificate};

/// How to run a simulator.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// With it the simulator speaks https; `None`: http.
    pub certificate: Option<Certificate>,
    /// Whom callbacks to https addresses believe. `None`: they reach no such address.
    pub callback_authorities: Option<Authorities>,
    /// All made-up numbers and drawn faults come from it.
    pub seed: u64,
    pub apps: Vec<SimApp>,
    /// The rules of every app that is not configured otherwise while it runs.
    pub rules: AppRules,
    pub choices: Choices,
    /// From acceptance to the end of a settle, in milliseconds.
    pub processing_ms: u64,
    /// How long the answer for a `sim-slow-…` order takes, in milliseconds.
    pub slow_ms: u64,
    /// Lifetime of a token, in seconds.
    pub token_expires_in_s: u64,
    /// How many of 10 000 requests, settles, tokens and callbacks meet a fault drawn from the seed.
    /// Default 0.
    pub faults_per_10_000: u32,
    /// The longest time that such a fault hides an accepted settle from queries or makes a callback
    /// late, in milliseconds.
    pub late_ms_max: u64,
}

impl SimConfig {
    /// A free loopback port, and the documented or a harmless value of everything else.
    #[must_use]
    pub fn loopback(seed: u64, apps: Vec<SimApp>) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), seed, apps)
    }

    /// The documented or a harmless value of everything.
    #[must_use]
    pub fn at(listen: SocketAddr, seed: u64, apps: Vec<SimApp>) -> Self {
        Self {
            listen,
            certificate: None,
            callback_authorities: None,
            seed,
            apps,
            rules: AppRules::default(),
            choices: Choices::default(),
            processing_ms: 1_500,
            slow_ms: 3_000,
            token_expires_in_s: 7_200,
            faults_per_10_000: 0,
            late_ms_max: 600_000,
        }
    }
}

/// The salt of every app without one of its own. It is not secret.
pub const SANDBOX_SALT: &str = "sandbox-salt";
/// The token of every app without one of its own. It is not secret.
pub const SANDBOX_CALLBACK_TOKEN: &str = "sandbox-token";

/// An app of the platform. As text, `APP_ID=SECRET`.
#[derive(Clone)]
pub struct SimApp {
    pub app_id: String,
    pub client_secret: String,
    /// Where the console sends its messages: an http or https address. `None`: only creates that
    /// name a `notify_url` have callbacks.
    pub callback_url: Option<String>,
    /// What callbacks are signed with.
    pub platform_key: PlatformKey,
    /// What its signed requests are verified with, in the industry system.
    pub app_key: AppKey,
    /// The version that the console shows for this key.
    pub key_version: String,
    /// What its requests in guaranteed payment are signed with.
    pub salt: String,
    /// What the callbacks of guaranteed payment are signed with.
    pub callback_token: String,
}

impl SimApp {
    /// An app without an address for callbacks and with the simulator's own keys.
    #[must_use]
    pub fn new(app_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self {
            app_id: app_id.into(),
            client_secret: client_secret.into(),
            callback_url: None,
            platform_key: PlatformKey::sandbox(),
            app_key: AppKey::sandbox(),
            key_version: "1".to_owned(),
            salt: SANDBOX_SALT.to_owned(),
            callback_token: SANDBOX_CALLBACK_TOKEN.to_owned(),
        }
    }
}

impl fmt::Debug for SimApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimApp").field("app_id", &self.app_id).finish_non_exhaustive()
    }
}
