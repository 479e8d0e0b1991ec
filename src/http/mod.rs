//! Floor 3: the edges that are not gRPC: Douyin's callbacks, and what the people and the systems
//! around the gateway ask it.
//!
//! `listener` is the small HTTP server below both, `seats` are the places of any listener for
//! connections, `health` says whether the gateway serves.
//!
//! What it must not know: SQL, how a settle changes.

pub mod admin;
pub mod callbacks;
pub(crate) mod health;
pub(crate) mod listener;
pub(crate) mod seats;
