//! Apps that ask their callers for a token.

use settlement_gateway::apps::{AppConfig, CallerTokens};
use settlement_gateway::config::Config;
use settlement_gateway::grpc::rpc::Rpc;

use crate::errors_own::{Edge, asking};
use crate::harness::app;
use crate::raw::{Call, Wire, frame};

const OURS: &str = "of-the-shop-0123456789abcdef0123456789";
const THEIRS: &str = "of-another-0123456789abcdef0123456789";

/// The app of the tests asks for a token, and another app for another one.
pub fn guarded(config: &mut Config) {
    let callers = |token| Some(CallerTokens::parse(token).unwrap());
    config.apps[0].callers = callers(OURS);
    config.apps.push(AppConfig { callers: callers(THEIRS), ..app("tt-other", "not-asked-for") });
}

fn bearing(call: Call, token: &str) -> Call {
    call.with("authorization", &format!("Bearer {token}"))
}

/// The token of another app.
pub fn mistaken(call: Call) -> Call {
    bearing(call, THEIRS)
}

async fn succeeds(wire: &Wire, call: Call, what: &str) {
    let raw = wire.call(call).await.expect("the server answers");
    assert_eq!(raw.end["grpc-status"], "0", "{what}: {raw:?}");
}

#[tokio::test]
async fn a_caller_with_a_token_of_the_app_may_call_everything() {
    let edge = Edge::spawn(guarded).await;
    for rpc in Rpc::ALL {
        succeeds(&edge.wire, bearing(asking(*rpc, "ours"), OURS), rpc.name()).await;
    }
}

#[tokio::test]
async fn no_other_caller_records_or_moves_anything() {
    let edge = Edge::spawn(guarded).await;
    let calls = [
        asking(Rpc::CreateSettle, "theirs"),
        mistaken(asking(Rpc::CreateSettle, "theirs")),
        bearing(asking(Rpc::CreateSettle, "theirs"), &OURS.replace("shop", "fake")),
    ];
    for (call, reason) in calls.into_iter().zip(["UNAUTHENTICATED", "FORBIDDEN", "UNAUTHENTICATED"])
    {
        let (_, told) = edge.told(Rpc::CreateSettle, call).await;
        assert_eq!((told.reason(), told.outcome()), (reason, "not_sent"));
    }
    let get = bearing(asking(Rpc::GetSettle, "theirs"), OURS);
    let (_, told) = edge.told(Rpc::GetSettle, get).await;
    assert_eq!(told.reason(), "SETTLE_NOT_FOUND");
    assert_eq!(edge.gateway.sim.books().creates_total(), 0);
}

/// Balancers and curious people have no token, and cannot move money.
#[tokio::test]
async fn health_and_reflection_ask_for_no_token() {
    let edge = Edge::spawn(guarded).await;
    // `list_services`, the seventh field, with an empty text.
    let list_services: &[u8] = &[7 << 3 | 2, 0];
    for (path, message) in [
        ("/grpc.health.v1.Health/Check", &[][..]),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", list_services),
    ] {
        let call = Call::to(path, frame(0, message));
        succeeds(&edge.wire, call, path).await;
    }
}
