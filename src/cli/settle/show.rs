//! `settle show`: one settle, and why it is where it is.

use super::call::{Caller, Failed, timed};
use super::name::Which;
use super::table;
use crate::proto::v1;
use crate::proto::v1::show_settle_request::Key;

pub(super) async fn run(caller: &Caller, which: Which) -> Result<(), Failed> {
    let request = v1::ShowSettleRequest {
        app_id: caller.app_id.clone(),
        trade_system: caller.trade_system.into(),
        key: which.key(Key::OutSettleNo, Key::SettleId),
    };
    let shown = caller.operator().show_settle(timed(request)).await?.into_inner();
    caller.tell("ShowSettleResponse", &shown, table::shown);
    Ok(())
}
