//! The hub and the work in flight under every interleaving that matters.
//!
//! The files of the product are compiled here once more, over another `crate::sync`: one in which
//! every operation on a lock, a channel or a counted pointer is a place where another task may run.
//! shuttle plays the tasks. Small worlds are played in every order there is; larger ones in orders
//! drawn from seeds, and in those that need few switches at unlikely places. A failure prints the
//! schedule that led to it; `shuttle::replay` plays it again.
//!
//! Not loom: it models its own primitives only, and both structures stand on channels of tokio's.

#![cfg(test)]

mod plays;
mod settles;
mod store;
mod sync;

#[path = "../../src/gateway/hub.rs"]
mod hub;

#[path = "../../src/gateway/in_flight.rs"]
mod in_flight;

mod hub_tests;
mod in_flight_tests;

// What the two files know as `crate::…`.
use settlement_gateway::{clock, settle};
