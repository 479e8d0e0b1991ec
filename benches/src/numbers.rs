//! The numbers of settles: a tag that names the server they went to, and an index.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use settlement_gateway::proto::v1::{CreateSettleRequest, SettleParam};

/// Settles are spread over this many apps, because each app's rate of calls is limited: to 7,500
/// creates per second.
pub const APPS: u64 = 2;

/// `TAG-INDEX`.
pub struct Number<'a> {
    pub tag: &'a str,
    pub index: u64,
}

impl<'a> Number<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
        let (tag, index) = text.rsplit_once('-')?;
        Some(Self { tag, index: index.parse().ok()? })
    }
}

/// Fresh numbers with one tag. Clones share the counter.
#[derive(Clone)]
pub struct Numbers {
    pub tag: &'static str,
    issued: Arc<AtomicU64>,
}

impl Numbers {
    pub fn new(tag: &'static str) -> Self {
        Self { tag, issued: Arc::default() }
    }

    pub fn next(&self) -> u64 {
        self.issued.fetch_add(1, Ordering::Relaxed)
    }

    /// How many numbers were issued. All of them are below this.
    pub fn count(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }
}

pub fn app_id(number: u64) -> String {
    format!("ttbench{:09}", number % APPS)
}

pub fn create(tag: &str, number: u64) -> CreateSettleRequest {
    CreateSettleRequest {
        app_id: app_id(number),
        out_order_no: format!("order-{tag}-{number}"),
        out_settle_no: format!("{tag}-{number:010}"),
        settle_desc: "store share".to_owned(),
        settle_params: vec![SettleParam {
            merchant_uid: "7278924576854329635".to_owned(),
            amount_fen: 120,
        }],
        ..CreateSettleRequest::default()
    }
}
