//! The knobs of the gRPC edge.
//!
//! What it must not know: where their values come from.

use std::time::Duration;

use crate::settle::AppId;

/// Whether a receiver may be named twice. Douyin documents nothing about it, so it is a knob: a
/// change at Douyin needs no release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DuplicateReceivers {
    Refuse,
    Allow,
}

/// The knobs of the gRPC edge.
#[derive(Clone, Debug)]
pub struct GrpcConfig {
    /// The app of requests that name none.
    pub default_app: Option<AppId>,
    /// The gateway's own limit of a unary call.
    pub unary_limit: Duration,
    /// How long a ready message of a stream may wait to be taken.
    pub slow_consumer: Duration,
    /// Watch streams and waits open at once on this replica.
    pub watches_max: usize,
    /// The longest time between two messages of a watch that asks for none.
    pub heartbeat: Duration,
    /// Calls that wait for the beginning of their answer, on this replica.
    pub calls_max: usize,
    /// Connections open at once; one more is turned away.
    pub connections_max: usize,
    /// Connections from one address; 0: no limit.
    pub connections_per_peer_max: usize,
    /// Bytes of answers that wait to be taken by their peers.
    pub unread_bytes_max: usize,
    pub duplicate_receivers: DuplicateReceivers,
    /// Whether Douyin is asked what is left of an order in every trade system. Its page is that of
    /// guaranteed payment.
    pub unsettled_amount_elsewhere: bool,
    /// Whether reflection answers.
    pub reflection: bool,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            default_app: None,
            unary_limit: Duration::from_secs(20),
            slow_consumer: Duration::from_secs(30),
            watches_max: 20_000,
            heartbeat: Duration::from_secs(10),
            calls_max: 32_768,
            connections_max: 2_048,
            connections_per_peer_max: 0,
            unread_bytes_max: 128 * 1024 * 1024,
            duplicate_receivers: DuplicateReceivers::Refuse,
            unsettled_amount_elsewhere: false,
            reflection: true,
        }
    }
}
