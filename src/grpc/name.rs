//! How a request names one settle: by its app, its trade system, and either of two keys.

use std::sync::Arc;

use tonic::Status;

use super::Service;
use super::admit::{in_system, name_span};
use super::identity::Identity;
use super::rpc::Rpc;
use super::status::Names;
use super::violations::Violations;
use crate::apps::App;
use crate::gateway::Name;
use crate::proto::v1;
use crate::settle::{AppId, Key, OutSettleNo, SettleId};

/// What a request says of the settle that it is about.
pub(super) struct Asked {
    pub(super) app_id: String,
    pub(super) trade_system: i32,
    pub(super) key: NameKey,
    pub(super) after_revision: i64,
}

/// Which settle a request names.
pub(super) enum NameKey {
    OutSettleNo(String),
    /// The number as the gateway shows it, which may be one of Douyin's.
    ShownNumber(String),
    SettleId(String),
    Missing,
}

/// The contract has the same two keys in each request that names a settle, each time as another
/// type.
macro_rules! name_keys {
    ($($request:ident)*) => {$(
        impl From<Option<v1::$request::Key>> for NameKey {
            fn from(key: Option<v1::$request::Key>) -> Self {
                match key {
                    Some(v1::$request::Key::OutSettleNo(text)) => NameKey::OutSettleNo(text),
                    Some(v1::$request::Key::SettleId(text)) => NameKey::SettleId(text),
                    None => NameKey::Missing,
                }
            }
        }
    )*};
}

name_keys!(get_settle_request wait_settle_request watch_settle_request);

impl From<Option<v1::show_settle_request::Key>> for NameKey {
    fn from(key: Option<v1::show_settle_request::Key>) -> Self {
        match key {
            Some(v1::show_settle_request::Key::OutSettleNo(text)) => NameKey::ShownNumber(text),
            Some(v1::show_settle_request::Key::SettleId(text)) => NameKey::SettleId(text),
            None => NameKey::Missing,
        }
    }
}

impl Service {
    /// The settle that a request names, and its app, if the caller may make such calls about it.
    pub(super) fn name(
        &self,
        identity: &mut Identity,
        asked: Asked,
        rpc: Rpc,
    ) -> Result<(&Arc<App>, Name, Names), Status> {
        let app_id = asked.app_id.clone();
        let name = parse(asked, self.config.default_app.as_ref());
        let name = name.map_err(|violations| self.unfit(identity, &app_id, violations, rpc))?;
        let (app_id, number) = match &name {
            Name::Key(key) => (&key.app_id, key.out_settle_no.as_str()),
            Name::SettleId(app_id, ..) => (app_id, ""),
        };
        name_span(app_id, number);
        let names = Names::of(&name);
        let app = self.admit(identity, app_id, &names, rpc)?;
        if Rpc::ASKING.contains(&rpc) {
            in_system(app, name.trade_system(), &names, rpc)?;
        }
        Ok((app, name, names))
    }
}

/// Parses the name of a settle and `after_revision`; every violation at once.
fn parse(asked: Asked, default_app: Option<&AppId>) -> Result<Name, Violations> {
    let Asked { app_id, trade_system, key, after_revision } = asked;
    let mut bad = Violations::default();
    let app_id = bad.app_id(app_id, default_app);
    let trade_system = bad.trade_system(trade_system);
    if after_revision < 0 {
        bad.add("after_revision", "must not be negative");
    }
    let by_number = |number: Option<OutSettleNo>| {
        let named = app_id.clone().zip(trade_system).zip(number);
        named.map(|((app_id, trade_system), out_settle_no)| {
            Name::Key(Key { app_id, trade_system, out_settle_no })
        })
    };
    let name = match key {
        NameKey::Missing => {
            bad.add("key", "one of out_settle_no and settle_id is required");
            None
        }
        NameKey::OutSettleNo(text) => {
            by_number(bad.text("out_settle_no", OutSettleNo::parse(text)))
        }
        NameKey::ShownNumber(text) => {
            by_number(bad.text("out_settle_no", OutSettleNo::reported(text)))
        }
        NameKey::SettleId(text) => {
            let settle_id = bad.text("settle_id", SettleId::parse(text));
            app_id.zip(trade_system).zip(settle_id).map(|((app_id, trade_system), settle_id)| {
                Name::SettleId(app_id, trade_system, settle_id)
            })
        }
    };
    match name {
        Some(name) if bad.is_empty() => Ok(name),
        Some(_) | None => Err(bad),
    }
}
