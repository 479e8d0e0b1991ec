//! `settle stuck`: which settles need a person.

use clap::Args;

use super::call::{Caller, Failed, timed};
use super::table;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(super) struct Stuck {
    /// The most settles that are listed, those first that have been stuck longest; all are counted.
    /// At most 1000.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u16,
}

impl Stuck {
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        let (app_id, limit) = (caller.app_id.clone(), self.limit.into());
        let request = v1::ListStuckSettlesRequest { app_id, limit };
        let told = caller.operator().list_stuck_settles(timed(request)).await?.into_inner();
        caller.tell("ListStuckSettlesResponse", &told, table::stuck);
        Ok(())
    }
}
