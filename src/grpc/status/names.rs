//! What a call names. Every error of the call has it in its metadata.

use std::collections::BTreeMap;

use crate::gateway::{Name, Question};
use crate::settle::{AppId, Content, Key, OutOrderNo, TradeSystem};

/// Names of the contract's fields, and what the call gave for them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Names(BTreeMap<&'static str, String>);

impl Names {
    pub(crate) fn of_app(app_id: &AppId) -> Self {
        Self::default().with("app_id", app_id.as_str())
    }

    pub(crate) fn of_create(key: &Key, content: &Content) -> Self {
        let names = Self::of_key(key).with("out_order_no", content.out_order_no.as_str());
        match &content.item_order_id {
            Some(item_order_id) => names.with("item_order_id", item_order_id.as_str()),
            None => names,
        }
    }

    pub(crate) fn of_key(key: &Key) -> Self {
        let names = Self::of_app(&key.app_id).with("out_settle_no", key.out_settle_no.as_str());
        names.in_system(key.trade_system)
    }

    pub(crate) fn of(name: &Name) -> Self {
        match name {
            Name::Key(key) => Self::of_key(key),
            Name::SettleId(app_id, trade_system, settle_id) => {
                let names = Self::of_app(app_id).with("settle_id", settle_id.as_str());
                names.in_system(*trade_system)
            }
        }
    }

    pub(crate) fn of_question(app_id: &AppId, question: &Question) -> Self {
        let (name, text) = match question {
            Question::SettleId(settle_id) => ("settle_id", settle_id.as_str()),
            Question::OrderId(order_id) => ("order_id", order_id.as_str()),
            Question::OutSettleNo(number) => ("out_settle_no", number.as_str()),
            Question::OutOrderNo(number) => ("out_order_no", number.as_str()),
        };
        Self::of_app(app_id).with(name, text)
    }

    pub(crate) fn of_order(app_id: &AppId, system: TradeSystem, order: &OutOrderNo) -> Self {
        Self::of_app(app_id).in_system(system).with("out_order_no", order.as_str())
    }

    /// What the call gave for a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, text)| (*name, text.as_str()))
    }

    /// The general system is the one of a call that names none.
    fn in_system(self, trade_system: TradeSystem) -> Self {
        match trade_system {
            TradeSystem::General => self,
            TradeSystem::SelfOperated
            | TradeSystem::Industry
            | TradeSystem::Agency
            | TradeSystem::Guaranteed => self.with("trade_system", trade_system.as_str()),
        }
    }

    fn with(mut self, name: &'static str, text: &str) -> Self {
        self.0.insert(name, text.to_owned());
        self
    }
}
