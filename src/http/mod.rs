//! Floor 3: the edges that are not gRPC: Douyin's callbacks, and the admin edge for operators,
//! scrapers and orchestrators.
//!
//! `listener` is the small HTTP server below both, `seats` are the places for connections of any
//! listener, `tls` is how any of them speaks TLS, `sidecar` is a socket of this machine, `peer` is
//! who is at the other end, `health` says whether the gateway serves.
//!
//! What it must not know: SQL, how a settle changes.

pub mod admin;
pub mod callbacks;
pub(crate) mod health;
pub(crate) mod listener;
pub mod peer;
pub(crate) mod seats;
pub(crate) mod sidecar;
pub(crate) mod tls;
