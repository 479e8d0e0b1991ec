//! Floor 1: the only code that knows Douyin's wire.
//!
//! ```text
//!   client ──► token ──► exchange ──► transport ──► Douyin
//!     ├──────────┼──────────►│
//!     ▼          ▼           ▼
//!   outcome    pause       wire
//!     ▼          ▼           ▼
//!   codes (THE ERROR TABLE)
//! ```
//!
//! Callbacks take another way: `callback` ──► `signature`, then `wire`.
//!
//! All this is common to Douyin's platform. What is special to a trade system is in a module of its
//! own (`trade_basic` for the general one, `self_operated`, `industry`, `agency`, `guaranteed`),
//! which `system` has as one value; what several systems share is in `family`.
//!
//! Read in this order: [`client`] (what a call is), `outcome` (what its outcome means), [`codes`]
//! (what a number of Douyin's means), `system` and `trade_basic` (what a trade system has of its
//! own), `family` (what is sent and received), [`wire`] (how JSON is read), `token` (who fetches an
//! access token and when), [`transport`] (when a request has left this machine), [`way`] (by which
//! way), [`callback`] (what Douyin sends by itself).
//!
//! What it must not know: gRPC (except `tonic::Code` in the error table), when to call, and what
//! becomes of a settle because of an answer.

mod access;
mod agency;
pub mod callback;
pub(crate) mod client;
pub mod codes;
mod config;
mod exchange;
mod facts;
mod family;
mod guaranteed;
mod heard;
mod industry;
mod key_text;
mod limits;
mod outcome;
mod pause;
mod self_operated;
pub(crate) mod signature;
mod signing;
mod system;
#[cfg(test)]
mod tests;
mod token;
mod trade_basic;
pub mod transport;
pub mod way;
pub(crate) mod wire;

pub use access::Access;
pub use client::{Client, callbacks, can_ask, create_body, credentials, has_create, limits};
pub use config::{BuildError, ClientConfig};
pub use guaranteed::AmountLeft;
pub use limits::{Limits, settle_params_text};
pub(crate) use outcome::begin_counting;
pub use outcome::{CreateAnswer, QueryAnswer, QueryFailure};
pub use pause::Pause;
pub use signature::{PlatformKeys, Signed};
pub use signing::{BadPrivateKey, SigningKey};
pub use system::{Callbacks, Credentials};
pub use transport::{Call, HttpTransport, Reply, SendError, Site, Transport};
pub use way::Way;
pub use wire::{INFORMING_FIELDS, QueryBy};
