//! `settle list` and `settle query`: many settles.

use clap::{ArgGroup, Args, ValueEnum};
use prost_types::Timestamp;

use super::call::{Caller, Failed, timed};
use super::table;
use crate::grpc::enums;
use crate::proto::v1;
use crate::proto::v1::query_settles_request::Key;
use crate::settle::TradeSystem;

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only settles in this state; may be repeated.
    #[arg(long, value_enum)]
    state: Vec<State>,
    /// Only settles of this order.
    #[arg(long, value_name = "NUMBER", default_value = "", hide_default_value = true)]
    out_order_no: String,
    /// Only settles created at this time or later, as in 2026-11-28T05:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only settles created before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// The most settles that are listed.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("asked").required(true))]
pub(super) struct Query {
    /// The number of a settle (out_settle_no).
    #[arg(value_name = "NUMBER", group = "asked")]
    out_settle_no: Option<String>,
    /// Douyin's id of a settle.
    #[arg(long, value_name = "ID", group = "asked")]
    settle_id: Option<String>,
    /// The number of an order: all its settles.
    #[arg(long, value_name = "NUMBER", group = "asked")]
    out_order_no: Option<String>,
    /// Douyin's id of an order: all its settles.
    #[arg(long, value_name = "ID", group = "asked")]
    order_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum State {
    Submitting,
    Processing,
    Succeeded,
    Failed,
    Rejected,
}

/// As many as the gateway gives at once.
const PAGE_MAX: u32 = 500;

impl List {
    /// Reads page after page, and prints all of them as one.
    pub(super) async fn run(
        self,
        caller: &Caller,
        trade_system: Option<TradeSystem>,
    ) -> Result<(), Failed> {
        let trade_system = trade_system.map(enums::trade_system).unwrap_or_default();
        let states = self.state.iter().map(|state| state.of_the_contract().into()).collect();
        let mut request = v1::ListSettlesRequest {
            app_id: caller.app_id.clone(),
            out_order_no: self.out_order_no,
            trade_system: trade_system.into(),
            states,
            create_time_from: self.from,
            create_time_until: self.until,
            ..Default::default()
        };
        let mut left = self.limit;
        let mut listed = v1::ListSettlesResponse::default();
        while left > 0 {
            request.page_size = i32::try_from(left.min(PAGE_MAX)).unwrap_or(i32::MAX);
            let page = caller.settles().list_settles(timed(request.clone())).await?.into_inner();
            left = left.saturating_sub(u32::try_from(page.settles.len()).unwrap_or(u32::MAX));
            listed.settles.extend(page.settles);
            listed.next_page_token.clone_from(&page.next_page_token);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        caller.tell("ListSettlesResponse", &listed, |listed| {
            table::settles(&listed.settles, !listed.next_page_token.is_empty())
        });
        Ok(())
    }
}

impl Query {
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        let Self { out_settle_no, settle_id, out_order_no, order_id } = self;
        let key = out_settle_no.map(Key::OutSettleNo);
        let key = key.or(settle_id.map(Key::SettleId));
        let key = key.or(out_order_no.map(Key::OutOrderNo)).or(order_id.map(Key::OrderId));
        let (app_id, trade_system) = (caller.app_id.clone(), caller.trade_system.into());
        let request = v1::QuerySettlesRequest { app_id, trade_system, key };
        let found = caller.settles().query_settles(timed(request)).await?.into_inner();
        caller.tell("QuerySettlesResponse", &found, |found| table::settles(&found.settles, false));
        Ok(())
    }
}

impl State {
    fn of_the_contract(self) -> v1::SettleState {
        match self {
            State::Submitting => v1::SettleState::Submitting,
            State::Processing => v1::SettleState::Processing,
            State::Succeeded => v1::SettleState::Succeeded,
            State::Failed => v1::SettleState::Failed,
            State::Rejected => v1::SettleState::Rejected,
        }
    }
}
