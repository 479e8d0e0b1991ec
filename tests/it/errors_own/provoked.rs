//! Requests with wrong content.

use std::time::Duration;

use douyin_sim::Script;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1::{self, SettleState};
use settlement_gateway::settle::TradeSystem;

use super::{
    Edge, Provoked, asking, end_request, get, left_request, list_request, query_request,
    resolve_request, show_request, stop_request, stuck_request, wait_request,
};
use crate::callers::{guarded, mistaken};
use crate::harness::{create_on, create_request, watch_request};
use crate::raw::Call;

pub async fn app_not_configured() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    let app_id = || "tt-not-served".to_owned();
    edge.each(Rpc::ALL, |rpc| match rpc {
        Rpc::CreateSettle => {
            Call::of(rpc, &v1::CreateSettleRequest { app_id: app_id(), ..create_request("n") })
        }
        Rpc::WatchSettle => {
            Call::of(rpc, &v1::WatchSettleRequest { app_id: app_id(), ..watch_request("n", 0) })
        }
        Rpc::WaitSettle => {
            Call::of(rpc, &v1::WaitSettleRequest { app_id: app_id(), ..wait_request("n", 0) })
        }
        Rpc::GetSettle => Call::of(rpc, &v1::GetSettleRequest { app_id: app_id(), ..get("n") }),
        Rpc::QuerySettles => {
            Call::of(rpc, &v1::QuerySettlesRequest { app_id: app_id(), ..query_request("n") })
        }
        Rpc::ListSettles => {
            Call::of(rpc, &v1::ListSettlesRequest { app_id: app_id(), ..list_request() })
        }
        Rpc::GetUnsettledAmount => {
            let elsewhere = v1::GetUnsettledAmountRequest { app_id: app_id(), ..left_request("n") };
            Call::of(rpc, &elsewhere)
        }
        Rpc::ShowSettle => {
            Call::of(rpc, &v1::ShowSettleRequest { app_id: app_id(), ..show_request("n") })
        }
        Rpc::ListStuckSettles => {
            Call::of(rpc, &v1::ListStuckSettlesRequest { app_id: app_id(), ..stuck_request() })
        }
        Rpc::ResolveContradiction => {
            let wrong =
                v1::ResolveContradictionRequest { app_id: app_id(), ..resolve_request("n", 1) };
            Call::of(rpc, &wrong)
        }
        Rpc::StopSending => {
            Call::of(rpc, &v1::StopSendingRequest { app_id: app_id(), ..stop_request("n", 1) })
        }
        Rpc::EndSettle => {
            Call::of(rpc, &v1::EndSettleRequest { app_id: app_id(), ..end_request("n", 1) })
        }
    })
    .await
}

/// A gateway whose app settles in two of the systems.
async fn without_self_operated() -> Edge {
    Edge::spawn(|config| {
        config.apps[0].trade_systems = vec![TradeSystem::General, TradeSystem::Agency];
    })
    .await
}

pub async fn trade_system_not_configured() -> Provoked {
    let edge = without_self_operated().await;
    let trade_system = v1::TradeSystem::SelfOperated.into();
    let provoked = edge.each(Rpc::ASKING, |rpc| match rpc {
        Rpc::CreateSettle => {
            Call::of(rpc, &v1::CreateSettleRequest { trade_system, ..create_request("n") })
        }
        Rpc::WatchSettle => {
            Call::of(rpc, &v1::WatchSettleRequest { trade_system, ..watch_request("n", 0) })
        }
        Rpc::WaitSettle => {
            Call::of(rpc, &v1::WaitSettleRequest { trade_system, ..wait_request("n", 0) })
        }
        Rpc::GetSettle => Call::of(rpc, &v1::GetSettleRequest { trade_system, ..get("n") }),
        Rpc::QuerySettles => {
            Call::of(rpc, &v1::QuerySettlesRequest { trade_system, ..query_request("n") })
        }
        Rpc::GetUnsettledAmount => {
            Call::of(rpc, &v1::GetUnsettledAmountRequest { trade_system, ..left_request("n") })
        }
        Rpc::EndSettle => {
            Call::of(rpc, &v1::EndSettleRequest { trade_system, ..end_request("n", 1) })
        }
        Rpc::ListSettles
        | Rpc::ShowSettle
        | Rpc::ListStuckSettles
        | Rpc::ResolveContradiction
        | Rpc::StopSending => panic!("{rpc:?} asks Douyin nothing"),
    });
    let provoked = provoked.await;
    for (rpc, told) in &provoked {
        let configured = told.metadata("configured_trade_systems");
        assert_eq!(configured, "general,agency", "{rpc:?}");
    }
    provoked
}

/// In every system but one, unless the operator wants it.
pub async fn no_unsettled_amount() -> Provoked {
    let edge = Edge::spawn(|config| config.grpc.unsettled_amount_elsewhere = false).await;
    let rpc = Rpc::GetUnsettledAmount;
    vec![edge.told(rpc, Call::of(rpc, &left_request("n"))).await]
}

/// Neither the create nor its check records anything.
pub async fn system_has_no_create() -> Provoked {
    let edge = without_self_operated().await;
    let trade_system = v1::TradeSystem::Agency.into();
    let mut provoked = Vec::new();
    for validate_only in [true, false] {
        let asked = v1::CreateSettleRequest { trade_system, validate_only, ..create_request("n") };
        provoked.push(edge.told(Rpc::CreateSettle, Call::of(Rpc::CreateSettle, &asked)).await);
    }
    let listed = edge.gateway.client.clone().list_settles(list_request()).await.unwrap();
    assert_eq!(listed.into_inner().settles, []);
    provoked
}

pub async fn unauthenticated() -> Provoked {
    Edge::spawn(guarded).await.each(Rpc::ALL, |rpc| asking(rpc, "n")).await
}

pub async fn forbidden() -> Provoked {
    Edge::spawn(guarded).await.each(Rpc::ALL, |rpc| mistaken(asking(rpc, "n"))).await
}

pub async fn invalid_request() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    let mut provoked = edge
        .each(Rpc::ALL, |rpc| match rpc {
            Rpc::CreateSettle => {
                let settle_desc = String::new();
                let wrong =
                    v1::CreateSettleRequest { settle_desc, return_when: 9, ..create_request("n") };
                Call::of(rpc, &wrong)
            }
            Rpc::WatchSettle => Call::of(rpc, &watch_request("", -1)),
            Rpc::WaitSettle => {
                Call::of(rpc, &v1::WaitSettleRequest { key: None, ..wait_request("n", 0) })
            }
            Rpc::GetSettle => Call::of(rpc, &v1::GetSettleRequest { trade_system: 9, ..get("n") }),
            Rpc::QuerySettles => Call::of(rpc, &query_request(&"号".repeat(22))),
            Rpc::ListSettles => {
                let page_token = "00".to_owned();
                let wrong = v1::ListSettlesRequest { page_size: -1, page_token, ..list_request() };
                Call::of(rpc, &wrong)
            }
            Rpc::GetUnsettledAmount => Call::of(rpc, &left_request("")),
            Rpc::ShowSettle => Call::of(rpc, &show_request(&"x".repeat(129))),
            Rpc::ListStuckSettles => {
                Call::of(rpc, &v1::ListStuckSettlesRequest { limit: -1, ..stuck_request() })
            }
            Rpc::ResolveContradiction => {
                let why = "two\nlines".to_owned();
                let wrong =
                    v1::ResolveContradictionRequest { keep: 0, why, ..resolve_request("", 0) };
                Call::of(rpc, &wrong)
            }
            Rpc::StopSending => {
                let why = String::new();
                Call::of(rpc, &v1::StopSendingRequest { why, ..stop_request("n", 0) })
            }
            Rpc::EndSettle => {
                let (confirm_out_settle_no, settle_id) = ("N".to_owned(), "ots1".to_owned());
                let wrong = v1::EndSettleRequest {
                    confirm_out_settle_no,
                    settle_id,
                    ..end_request("n", 1)
                };
                Call::of(rpc, &wrong)
            }
        })
        .await;
    // As many as fit into a request: each of these has two.
    let mut endless = create_request("n");
    endless.settle_params = vec![v1::SettleParam::default(); 10_000];
    let call = Call::of(Rpc::CreateSettle, &endless);
    let (rpc, told) = edge.told(Rpc::CreateSettle, call).await;
    let fields = told.fields();
    assert_eq!((fields.len(), fields[20]), (21, ""), "twenty, and how many more");
    let more = &told.bad_request.as_ref().unwrap().field_violations[20].description;
    assert_eq!(more, "and 19980 more");
    provoked.push((rpc, told));
    provoked
}

pub async fn out_settle_no_conflict() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    let mut provoked = Vec::new();
    for (number, order) in [("accepted", "sim-hold-1"), ("refused", "sim-err-23102-1")] {
        let _ = edge.gateway.create(create_on(number, order)).await;
        let mut other = create_on(number, order);
        other.settle_desc = "something else".to_owned();
        other.ext = "another".to_owned();
        let told = edge.told(Rpc::CreateSettle, Call::of(Rpc::CreateSettle, &other)).await;
        assert_eq!(told.1.metadata("differing_fields"), "settle_desc,ext");
        provoked.push(told);
    }
    // In another trade system.
    let edge = Edge::spawn(|config| {
        config.apps[0].trade_systems.push(TradeSystem::SelfOperated);
    })
    .await;
    edge.gateway.create(create_on("accepted", "sim-hold-1")).await.unwrap();
    let trade_system = v1::TradeSystem::SelfOperated.into();
    let other = v1::CreateSettleRequest { trade_system, ..create_on("accepted", "sim-hold-1") };
    provoked.push(edge.told(Rpc::CreateSettle, Call::of(Rpc::CreateSettle, &other)).await);
    provoked
}

pub async fn submission_expired() -> Provoked {
    let edge = Edge::spawn(|config| {
        let short = Duration::from_millis(300);
        config.gateway.policy.grace = short;
        config.gateway.policy.call_timeout = short;
        config.douyin.call_timeout = short;
        config.gateway.submit_window_max = Duration::from_millis(1_200);
    })
    .await;
    edge.gateway.sim.always_create(Some(Script::Refuse(23000)));
    edge.gateway.create(create_request("expired")).await.unwrap_err();
    assert_eq!(edge.gateway.end("expired").await.state(), SettleState::Rejected);
    let again = asking(Rpc::CreateSettle, "expired");
    vec![edge.told(Rpc::CreateSettle, again).await]
}
