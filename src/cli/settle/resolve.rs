//! `settle resolve`: an operator's decision about a contradiction.

use clap::{Args, ValueEnum};

use super::call::{Caller, Failed, timed};
use super::sight::Sight;
use super::table;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(super) struct Resolve {
    #[command(flatten)]
    sight: Sight,
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

impl Keep {
    fn of_the_contract(self) -> v1::KeptWord {
        match self {
            Keep::Recorded => v1::KeptWord::Recorded,
            Keep::Claimed => v1::KeptWord::Claimed,
        }
    }

    fn does(self) -> &'static str {
        match self {
            Keep::Recorded => {
                "The recorded state stands. If it is FAILED, its caller may pay again under \
                 another number."
            }
            Keep::Claimed => {
                "The settle takes the state that the contradiction claims. If that is FAILED, its \
                 caller may pay again under another number."
            }
        }
    }
}

impl Resolve {
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        let seen = self.sight.agree(caller, self.keep.does()).await?;
        let request = v1::ResolveContradictionRequest {
            app_id: caller.app_id.clone(),
            trade_system: caller.trade_system.into(),
            out_settle_no: self.sight.out_settle_no,
            revision: seen.revision,
            keep: self.keep.of_the_contract().into(),
            why: self.why,
        };
        let resolved = caller.operator().resolve_contradiction(timed(request)).await?.into_inner();
        caller.tell("ResolveContradictionResponse", &resolved, |resolved| {
            resolved.settle.as_ref().map(table::settle).unwrap_or_default()
        });
        Ok(())
    }
}
