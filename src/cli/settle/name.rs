//! How a command names one settle.

use clap::Args;

/// One settle, by its number or by Douyin's id.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The number of the settle (out_settle_no).
    #[arg(value_name = "NUMBER")]
    out_settle_no: Option<String>,
    /// Douyin's id of the settle, in place of its number.
    #[arg(long, value_name = "ID")]
    settle_id: Option<String>,
}

impl Which {
    /// The key of a request: it has the same two, each time as another type.
    pub(super) fn key<K>(
        &self,
        by_number: impl FnOnce(String) -> K,
        by_id: impl FnOnce(String) -> K,
    ) -> Option<K> {
        match (&self.out_settle_no, &self.settle_id) {
            (Some(number), _) => Some(by_number(number.clone())),
            (None, Some(id)) => Some(by_id(id.clone())),
            (None, None) => None,
        }
    }
}
