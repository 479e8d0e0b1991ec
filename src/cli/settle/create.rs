//! `settle create`: one payment, once.

use clap::{Args, ValueEnum};
use prost_types::Timestamp;

use super::call::{Caller, Failed, timed};
use super::table;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The number of the settle: one number for one payment. A repeat has the same one.
    #[arg(value_name = "NUMBER")]
    out_settle_no: String,
    /// The number of the order whose money is shared out.
    #[arg(long, value_name = "NUMBER")]
    out_order_no: String,
    /// What the settle is for.
    #[arg(long, value_name = "TEXT")]
    settle_desc: String,
    /// A receiver besides the seller, and its amount in fen; may be repeated.
    #[arg(long = "receiver", value_name = "MERCHANT_UID=FEN", value_parser = receiver)]
    receivers: Vec<v1::SettleParam>,
    /// One item of the order, to settle that item only.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    item_order_id: String,
    /// A text that Douyin shows again. Best left out: by default the gateway recognises its settle
    /// by a mark in this place.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    ext: String,
    /// Where Douyin shall send the callback. Best left out.
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    notify_url: String,
    /// The end of the submission window. Default: the longest that the gateway allows.
    #[arg(long, value_name = "TIME")]
    submit_before: Option<Timestamp>,
    /// What the gateway waits for before it answers.
    #[arg(long, value_enum, default_value_t = When::Accepted)]
    return_when: When,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum When {
    /// The settle is recorded.
    Recorded,
    /// Douyin accepted it.
    Accepted,
    /// It has ended, or the time is up.
    Final,
}

impl Create {
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        let return_when = match self.return_when {
            When::Recorded => v1::ReturnWhen::Recorded,
            When::Accepted => v1::ReturnWhen::Accepted,
            When::Final => v1::ReturnWhen::Final,
        };
        let request = v1::CreateSettleRequest {
            app_id: caller.app_id.clone(),
            trade_system: caller.trade_system.into(),
            out_order_no: self.out_order_no,
            out_settle_no: self.out_settle_no,
            settle_desc: self.settle_desc,
            settle_params: self.receivers,
            item_order_id: self.item_order_id,
            ext: self.ext,
            notify_url: self.notify_url,
            submit_before: self.submit_before,
            return_when: return_when.into(),
            ..Default::default()
        };
        let created = caller.settles().create_settle(timed(request)).await;
        let created = created.map_err(|status| Failed::Create(Box::new(status)))?.into_inner();
        caller.tell("CreateSettleResponse", &created, table::created);
        Ok(())
    }
}

fn receiver(text: &str) -> Result<v1::SettleParam, String> {
    let wrong = || "is not MERCHANT_UID=FEN, as in 7278924576854329635=120".to_owned();
    let (merchant_uid, amount) = text.split_once('=').ok_or_else(wrong)?;
    let amount_fen = amount.parse().map_err(|_| wrong())?;
    Ok(v1::SettleParam { merchant_uid: merchant_uid.to_owned(), amount_fen })
}
