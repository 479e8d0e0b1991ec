//! How settles are found in the books: by their numbers, by their order, or all of them.
//!
//! It reads and changes nothing.

use super::{Books, Entry, Number};
use crate::answers::Refusal;
use crate::choices::NumberFate;
use crate::rules::Settled;
use crate::settles::{AppliedSettle, Key, Status};
use crate::system::Account;
use crate::systems::{Reading, Repeat};

impl Books {
    /// Whether this number is used up, so that a create is a repeat.
    pub(crate) fn number_taken(&self, account: Account<'_>, out_settle_no: &str) -> bool {
        self.first_answer(account, out_settle_no).is_some()
    }

    /// What used a number up: a settle, or a refusal.
    pub(crate) fn first_answer(
        &self,
        account: Account<'_>,
        out_settle_no: &str,
    ) -> Option<Result<&AppliedSettle, Refusal>> {
        let number = account.number(out_settle_no);
        let settle = self.under(&number).find(|settle| self.holds_its_number(settle));
        settle.map(Ok).or_else(|| self.burned.get(&number).cloned().map(Err))
    }

    /// A FAIL may free a number, except where a repeat is answered like the first (§6.3: a failed
    /// first settle needs a new number).
    fn holds_its_number(&self, settle: &AppliedSettle) -> bool {
        let form = &Reading::of(settle.system).create;
        let repeats = form.as_ref().is_some_and(|form| form.repeat == Repeat::AnsweredAgain);
        let frees = self.choices.number_after_fail == NumberFate::Free && !repeats;
        !(frees && settle.status == Status::Fail)
    }

    /// The settles of an app that a query by this key finds, oldest first.
    pub(crate) fn visible(&self, account: Account<'_>, key: &Key) -> Vec<&AppliedSettle> {
        let seen = |entry: &&Entry| entry.visible_at_ms <= self.now_ms;
        self.found(account, key).filter(seen).map(|entry| &entry.facts).collect()
    }

    /// Whether there is any settle for this key, visible or not.
    pub(crate) fn has(&self, account: Account<'_>, key: &Key) -> bool {
        self.found(account, key).next().is_some()
    }

    fn found(&self, account: Account<'_>, key: &Key) -> impl Iterator<Item = &Entry> {
        let order =
            |order_id: String| self.by_order_id.get(&(account.system, order_id)).map(Vec::as_slice);
        let indexes = match key {
            Key::SettleId(id) => self.by_settle_id.get(id).map(std::slice::from_ref),
            Key::OrderId(id) => order(id.clone()),
            Key::OutSettleNo(no) => self.by_number.get(&account.number(no)).map(Vec::as_slice),
            Key::OutOrderNo(no) => order(self.order_id(account.app_id, no)),
        };
        let entries = indexes.unwrap_or_default().iter().map(|&index| &self.settles[index]);
        entries.filter(move |entry| {
            entry.facts.app_id == account.app_id && entry.facts.system == account.system
        })
    }

    /// All settles, in order of acceptance.
    pub(crate) fn settles(
        &self,
    ) -> impl DoubleEndedIterator<Item = &AppliedSettle> + ExactSizeIterator {
        self.settles.iter().map(|entry| &entry.facts)
    }

    pub(crate) fn settle(&self, settle_id: &str) -> Option<&AppliedSettle> {
        self.by_settle_id.get(settle_id).map(|&index| &self.settles[index].facts)
    }

    /// The developer's number of a settle.
    pub(crate) fn number_of(&self, settle_id: &str) -> Option<&str> {
        let index = *self.by_settle_id.get(settle_id)?;
        Some(&self.settles[index].facts.out_settle_no)
    }

    /// The settles of an order that did not fail.
    pub(crate) fn settled(&self, account: Account<'_>, out_order_no: &str) -> Vec<Settled> {
        self.settles_of(account, out_order_no)
            .filter(|facts| facts.status != Status::Fail)
            .map(|facts| Settled {
                item_order_id: facts.item_order_id.clone(),
                amount_fen: facts.amount_fen,
            })
            .collect()
    }

    /// Every settle of an order in one system, oldest first.
    pub(crate) fn settles_of(
        &self,
        account: Account<'_>,
        out_order_no: &str,
    ) -> impl Iterator<Item = &AppliedSettle> {
        let order_id = self.order_id(account.app_id, out_order_no);
        let indexes = self.by_order_id.get(&(account.system, order_id));
        indexes.into_iter().flatten().map(|&index| &self.settles[index].facts)
    }

    pub(super) fn under(&self, number: &Number) -> impl Iterator<Item = &AppliedSettle> {
        let indexes = self.by_number.get(number);
        indexes.into_iter().flatten().map(|&index| &self.settles[index].facts)
    }
}
