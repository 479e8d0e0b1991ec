//! `settle resolve`: an operator's decision about a contradiction.

use clap::{Args, ValueEnum};

use super::call::{Caller, Failed, timed};
use super::table;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// The number of the settle.
    #[arg(value_name = "NUMBER")]
    out_settle_no: String,
    /// Which word stands.
    #[arg(long, value_enum)]
    keep: Keep,
    /// Why: what a person learned from Douyin. It is kept with the settle, and callers see it.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Keep {
    /// The recorded state.
    Recorded,
    /// The state that the contradiction claims.
    Claimed,
}

impl Resolve {
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        let keep = match self.keep {
            Keep::Recorded => v1::KeptWord::Recorded,
            Keep::Claimed => v1::KeptWord::Claimed,
        };
        let request = v1::ResolveContradictionRequest {
            app_id: caller.app_id.clone(),
            out_settle_no: self.out_settle_no,
            keep: keep.into(),
            why: self.why,
            ..Default::default()
        };
        let resolved = caller.operator().resolve_contradiction(timed(request)).await?.into_inner();
        caller.tell("ResolveContradictionResponse", &resolved, |resolved| {
            resolved.settle.as_ref().map(table::settle).unwrap_or_default()
        });
        Ok(())
    }
}
