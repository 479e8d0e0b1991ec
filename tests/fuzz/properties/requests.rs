//! Requests: the first byte chooses the RPC, the rest is its message as it comes on the wire.
//!
//! The inputs of the corpus are older than OperatorService, so its RPCs have numbers that none of
//! them begins with.

use std::cell::RefCell;

use prost::Message;
use serde_json::Value;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::operator_service_server::OperatorService as _;
use settlement_gateway::proto::v1::settlement_service_server::SettlementService as _;
use settlement_gateway::settle::TradeSystem;
use tonic::{Code, Request, Status};

use super::told::told_status;
use super::world::{APP, Douyin, Site, World};

/// The RPCs of SettlementService come first.
const CALLERS: usize = 6;
/// The byte that chooses the first RPC of OperatorService.
const OPERATORS_FROM: u8 = 16;

thread_local! {
    static PLACE: RefCell<Option<(World, Site)>> = const { RefCell::new(None) };
}

pub fn hold(data: &[u8]) {
    let Some((first, message)) = data.split_first() else { return };
    let (callers, operators) = Rpc::ALL.split_at(CALLERS);
    let operators_rpc = first.checked_sub(OPERATORS_FROM).map(usize::from);
    let rpc = operators_rpc.and_then(|nth| operators.get(nth));
    let rpc = *rpc.unwrap_or(&callers[usize::from(*first) % callers.len()]);
    PLACE.with_borrow_mut(|place| {
        if place.as_mut().is_none_or(|(world, _)| world.is_worn()) {
            let world = World::new();
            let site = world.site(Douyin::default(), &TradeSystem::ALL);
            *place = Some((world, site));
        }
        let Some((world, site)) = place.as_mut() else { return };
        call(world, site, rpc, message);
    });
}

fn call(world: &mut World, site: &Site, rpc: Rpc, message: &[u8]) {
    let before = site.douyin.creates().len();
    let service = &site.core.service;
    let failed = match rpc {
        Rpc::CreateSettle => decoded(message).and_then(|request: v1::CreateSettleRequest| {
            let asked = Request::new(request.clone());
            let answered = world.run(service.create_settle(asked));
            let created = answered.map(tonic::Response::into_inner);
            created.map(|created| recorded(site, before, &request, created)).err()
        }),
        Rpc::WatchSettle => decoded(message)
            .and_then(|request| world.run(service.watch_settle(Request::new(request))).err()),
        Rpc::WaitSettle => decoded(message)
            .and_then(|request| world.run(service.wait_settle(Request::new(request))).err()),
        Rpc::GetSettle => decoded(message)
            .and_then(|request| world.run(service.get_settle(Request::new(request))).err()),
        Rpc::QuerySettles => decoded(message)
            .and_then(|request| world.run(service.query_settles(Request::new(request))).err()),
        Rpc::ListSettles => decoded(message).and_then(|request: v1::ListSettlesRequest| {
            let answered = world.run(service.list_settles(Request::new(request.clone())));
            let listed = answered.map(tonic::Response::into_inner);
            listed.map(|listed| next_page(world, site, request, &listed.next_page_token)).err()
        }),
        Rpc::GetUnsettledAmount => decoded(message).and_then(|request| {
            world.run(service.get_unsettled_amount(Request::new(request))).err()
        }),
        Rpc::ShowSettle => decoded(message)
            .and_then(|request| world.run(service.show_settle(Request::new(request))).err()),
        Rpc::ListStuckSettles => decoded(message)
            .and_then(|request| world.run(service.list_stuck_settles(Request::new(request))).err()),
        Rpc::ResolveContradiction => decoded(message).and_then(|request| {
            world.run(service.resolve_contradiction(Request::new(request))).err()
        }),
        Rpc::StopSending => decoded(message)
            .and_then(|request| world.run(service.stop_sending(Request::new(request))).err()),
        Rpc::EndSettle => decoded(message)
            .and_then(|request| world.run(service.end_settle(Request::new(request))).err()),
    };
    if let Some(status) = failed {
        refused(&status, rpc, site.douyin.creates().len() - before);
    }
}

/// The message, if it is one; encoded and decoded again it is the same.
fn decoded<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let again = M::decode(&message.encode_to_vec()[..]);
    assert!(again.as_ref() == Ok(&message), "{message:?}");
    Some(message)
}

fn refused(status: &Status, rpc: Rpc, sent: usize) {
    let told = told_status(status, rpc);
    if told.code == Code::InvalidArgument && told.douyin.is_none() {
        assert_eq!(sent, 0, "sent, and refused as invalid: {told:?}");
        assert!(!told.fields().is_empty(), "nothing is wrong with it: {told:?}");
    }
    if told.outcome() == "not_sent" {
        assert_eq!(sent, 0, "{told:?}");
    }
}

/// What was asked for is what is recorded, and what Douyin got.
fn recorded(
    site: &Site,
    before: usize,
    request: &v1::CreateSettleRequest,
    created: v1::CreateSettleResponse,
) {
    let settle = created.settle.expect("an answer has its settle");
    assert_eq!(settle.out_settle_no, request.out_settle_no);
    assert_eq!(settle.settle_desc(), request.settle_desc);
    assert_eq!(settle.settle_params, request.settle_params);
    assert!(request.app_id.is_empty() || request.app_id == APP);
    let sent = site.douyin.creates();
    assert!(sent.len() <= before + 1, "one create, one send");
    let Some(sent) = sent.get(before) else { return };
    assert!(!created.replayed, "a repeat sends nothing");
    let sent: Value = serde_json::from_slice(sent).expect("JSON is sent");
    let text = |name: &str| sent.get(name).and_then(Value::as_str).unwrap_or_default();
    assert_eq!(text("out_settle_no"), request.out_settle_no);
    assert_eq!(text("out_order_no"), request.out_order_no);
    assert_eq!(text("settle_desc"), request.settle_desc);
    assert_eq!(text("item_order_id"), request.item_order_id);
    assert_eq!(text("notify_url"), request.notify_url);
    let (ext, params_max) = match settle.trade_system() {
        v1::TradeSystem::Unspecified | v1::TradeSystem::General => ("ext", 512),
        v1::TradeSystem::Guaranteed => ("cp_extra", 2_048),
        v1::TradeSystem::SelfOperated | v1::TradeSystem::Industry | v1::TradeSystem::Agency => {
            ("cp_extra", 512)
        }
    };
    assert!(request.ext.is_empty() || text(ext) == request.ext);
    assert!(text("settle_params").len() <= params_max, "Douyin takes no more");
    let params: Value = serde_json::from_str(text("settle_params")).unwrap_or_default();
    let params = params.as_array().map_or(&[][..], |params| params);
    assert_eq!(params.len(), request.settle_params.len());
    for (sent, asked) in params.iter().zip(&request.settle_params) {
        let (uid, amount) = (sent.get("merchant_uid"), sent.get("amount"));
        assert_eq!(uid.and_then(Value::as_str), Some(&*asked.merchant_uid));
        assert_eq!(amount.and_then(Value::as_i64), Some(asked.amount_fen));
        assert!(asked.amount_fen > 0, "money goes one way");
    }
}

/// The token of a page leads on, for the same list.
fn next_page(world: &mut World, site: &Site, request: v1::ListSettlesRequest, token: &str) {
    if token.is_empty() {
        return;
    }
    let next = v1::ListSettlesRequest { page_token: token.to_owned(), ..request };
    let listed = world.run(site.core.service.list_settles(Request::new(next)));
    assert!(listed.is_ok(), "{listed:?}");
}
