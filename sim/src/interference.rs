//! What a test may do to a [`Core`] that it drives itself, as with the handle of a running
//! simulator.
//!
//! Every `now_ms` is unix time in milliseconds. What is due by then happens first.

use super::callbacks::Forged;
use super::core::Core;
use super::endpoint::Endpoint;
use super::faults::Script;
use super::keys::AppKey;
use super::orders::OrderSetup;
use super::settles::{AppliedSettle, Status, StrangerSettle};
use super::system::{Account, System};

impl Core {
    /// Every settle in the books, in order of acceptance.
    pub fn settles(&self) -> impl ExactSizeIterator<Item = &AppliedSettle> {
        self.books.settles()
    }

    /// Whether a create under this number would find it used up in the general system.
    pub fn number_taken(&self, app_id: &str, out_settle_no: &str) -> bool {
        self.number_taken_in(System::General, app_id, out_settle_no)
    }

    /// The same in any system.
    pub fn number_taken_in(&self, system: System, app_id: &str, out_settle_no: &str) -> bool {
        self.books.number_taken(Account { system, app_id }, out_settle_no)
    }

    /// Makes an order what a test needs, from now on; what it was before keeps its time.
    pub fn set_order(&mut self, now_ms: u64, app_id: &str, out_order_no: &str, order: OrderSetup) {
        self.advance(now_ms);
        self.books.set_order(app_id, out_order_no, order);
    }

    /// Ends a settle now, as if its time had come. `false`: no such settle.
    pub fn finish(&mut self, now_ms: u64, settle_id: &str, status: Status) -> bool {
        self.advance(now_ms);
        self.books.finish(settle_id, status)
    }

    /// Puts another party's settle under a number and returns its `settle_id`.
    pub fn stranger_settle(
        &mut self,
        now_ms: u64,
        (app_id, out_settle_no): (&str, &str),
        settle: StrangerSettle,
    ) -> String {
        self.advance(now_ms);
        self.books.accept_stranger(app_id, Some(out_settle_no), settle)
    }

    /// Sends a callback without an event in the books. `None`: too many are under way.
    pub fn forge_callback(&mut self, now_ms: u64, forged: &Forged) -> Option<u64> {
        self.advance(now_ms);
        self.outbox.forge(now_ms, forged)
    }

    /// Another system fetches a token with the same key. `false`: it got none.
    pub fn steal_token(&mut self, now_ms: u64, app_id: &str) -> bool {
        self.tokens.steal(now_ms, app_id, &self.books.choices).is_some()
    }

    /// Ends every token of an app now.
    pub fn expire_tokens(&mut self, now_ms: u64, app_id: &str) {
        self.tokens.expire_all(now_ms, app_id);
    }

    /// Changes the secret of an app, or adds one.
    pub fn set_secret(&mut self, app_id: &str, client_secret: &str) {
        self.tokens.add_app(app_id, client_secret);
    }

    /// Replaces the public key that an app's console has for its requests.
    pub fn set_app_key(&mut self, app_id: &str, key: AppKey, key_version: &str) {
        self.signers.set_key(app_id, key, key_version);
    }

    /// Sets what the next create of this number gets.
    pub fn script_create(&mut self, out_settle_no: &str, script: Script) {
        self.scripts.queue(Endpoint::Create, out_settle_no, vec![script]);
    }

    /// Sets what every request without a script of its own gets; `None` ends that.
    pub fn always(&mut self, script: Option<&Script>) {
        for endpoint in [Endpoint::Create, Endpoint::Query] {
            self.scripts.set_always(endpoint, script.cloned());
        }
    }
}
