//! The faults that the seed draws, for a configured part of all requests.
//!
//! A draw depends only on the seed, on the thing, and on how often it was drawn for that. So a
//! repeated run has the same weather in any interleaving.

use super::SimConfig;
use super::callbacks::CallbackScript;
use super::endpoint::{Endpoint, Route};
use super::faults::Script;
use super::ids;

/// The longest time that bad weather keeps an answer back.
const LATENCY_MS_MAX: u64 = 2_000;

/// How bad the weather is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    seed: u64,
    /// How many of 10 000 requests, settles, tokens and callbacks meet a fault.
    pub(super) faults_per_10_000: u32,
    /// The longest time that it keeps a settle invisible or a callback back.
    late_ms_max: u64,
}

impl Weather {
    pub(super) fn new(config: &SimConfig) -> Self {
        let (seed, faults_per_10_000) = (config.seed, config.faults_per_10_000);
        Self { seed, faults_per_10_000, late_ms_max: config.late_ms_max }
    }

    /// What the nth request with this key gets.
    pub(super) fn fault(self, route: Route, key: &str, nth: usize) -> Option<Script> {
        let mut rng = self.hit(&["weather", route.endpoint.name(), key, &nth.to_string()])?;
        let fault = match rng.u8(..9) {
            // Closed before a byte of the answer, and in its middle.
            0 => Script::Drop,
            1 => Script::CloseMidAnswer,
            // Answers that are not Douyin's, or not whole.
            2 => Script::Html,
            3 => Script::Empty,
            4 => Script::WrongTypes,
            5 => server_error(&mut rng),
            // Douyin's own way to say that it does not know.
            6 => Script::Refuse(match route.endpoint {
                Endpoint::Token => 28_001_005,
                Endpoint::Create
                | Endpoint::Query
                | Endpoint::AmountLeft
                | Endpoint::PlatformOrder => (route.reading().rule_number)(23_000),
            }),
            // No answer ever, though the connection stands.
            7 => Script::Hang,
            _ => Script::delay(rng.u64(50..=LATENCY_MS_MAX), Script::Normal),
        };
        // Half of all faults happen to the request, the other half to the answer.
        Some(if rng.bool() { Script::apply_then(fault) } else { fault })
    }

    /// What the nth attempt to announce this status of a settle gets.
    pub(super) fn callback_fault(
        self,
        settle_id: &str,
        status: &str,
        nth: usize,
    ) -> Option<CallbackScript> {
        let mut rng = self.hit(&["callback", settle_id, status, &nth.to_string()])?;
        let late_ms = rng.u64(..=self.late_ms_max);
        Some(match rng.u8(..9) {
            0 => CallbackScript::Lose,
            1 => CallbackScript::LoseAnswer,
            2 => CallbackScript::Twice,
            3 => CallbackScript::Wander(late_ms),
            4 => CallbackScript::Behind,
            5 => CallbackScript::delay(late_ms, CallbackScript::Normal),
            6 => CallbackScript::WrongSignature,
            7 => CallbackScript::Truncate,
            _ => CallbackScript::Cut,
        })
    }

    /// How long a settle stays invisible to queries for no reason.
    pub(super) fn late_ms(self, app_id: &str, settle_id: &str) -> u64 {
        let rng = self.hit(&["late settle", app_id, settle_id]);
        rng.map_or(0, |mut rng| rng.u64(..=self.late_ms_max))
    }

    /// How long the nth token of an app is really valid, if not as long as its answer says.
    pub(super) fn token_life_ms(self, app_id: &str, nth: u64, promised_ms: u64) -> u64 {
        let rng = self.hit(&["short token", app_id, &nth.to_string()]);
        rng.map_or(promised_ms, |mut rng| rng.u64(..=promised_ms))
    }

    /// What else to draw, if this is one of those that meet a fault.
    fn hit(self, what: &[&str]) -> Option<fastrand::Rng> {
        let mut rng = ids::draw(self.seed, what);
        (rng.u32(..10_000) < self.faults_per_10_000).then_some(rng)
    }
}

/// Of Douyin's machines or of one in front of them.
fn server_error(rng: &mut fastrand::Rng) -> Script {
    match rng.u8(..3) {
        0 => Script::json(500, r#"{"message":"internal error"}"#),
        1 => Script::json(503, r#"{"message":"no upstream"}"#),
        _ => Script::json(504, r#"{"message":"upstream timed out"}"#),
    }
}
