//! `settle left`: what of an order can still be settled.

use clap::Args;

use super::call::{Caller, Failed, timed};
use super::table;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(super) struct Left {
    /// The number of the order (out_order_no).
    #[arg(value_name = "NUMBER")]
    out_order_no: String,
}

impl Left {
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        let (app_id, trade_system) = (caller.app_id.clone(), caller.trade_system.into());
        let out_order_no = self.out_order_no;
        let request = v1::GetUnsettledAmountRequest { app_id, trade_system, out_order_no };
        let left = caller.settles().get_unsettled_amount(timed(request)).await?.into_inner();
        caller.tell("GetUnsettledAmountResponse", &left, table::left);
        Ok(())
    }
}
