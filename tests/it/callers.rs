//! Who may call: tokens, rights, apps, and streams whose caller loses its right.

use std::time::{Duration, Instant};

use douyin_sim::{SimApp, Status, StrangerSettle};
use http::HeaderMap;
use hyper::body::Incoming;
use settlement_gateway::callers::{Allowed, Caller, Credentials, Fingerprint, Known, Right};
use settlement_gateway::config::Config;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;
use settlement_gateway::settle::{AppId, CallerName};

use crate::errors_own::{Edge, asking, end_request, resolve_request, stop_request};
use crate::harness::{
    APP_ID, Gateway, app, create_on, create_request, simulator_with, watch_request, within,
};
use crate::raw::{Call, Raw, Wire, frame};
use crate::trailers::told_raw;

const OURS: &str = "of-the-shop-0123456789abcdef0123456789";
const THEIRS: &str = "of-another-0123456789abcdef0123456789";
const OTHER: &str = "tt-other";
const UNKNOWN: &str = "tt-unknown";
const PERMISSION_DENIED: &str = "7";

/// A caller with one token.
pub fn caller(name: &str, apps: &[&str], rights: &[Right], token: &str) -> (Caller, Credentials) {
    let apps = match apps {
        ["*"] => Allowed::All,
        apps => Allowed::Only(apps.iter().map(|id| AppId::parse(*id).unwrap()).collect()),
    };
    let name = CallerName::parse(name).unwrap();
    let caller = Caller { name, apps, rights: rights.iter().copied().collect() };
    (caller, Credentials { tokens: vec![Fingerprint::of(token)], ..Credentials::default() })
}

/// A caller of the tests' app, and one of another app.
pub fn guarded(config: &mut Config) {
    let callers = [
        caller("shop", &[APP_ID], &Right::ALL, OURS),
        caller("another", &[OTHER], &Right::ALL, THEIRS),
    ];
    config.callers = Known::new(callers, []);
    config.apps.push(app(OTHER, "not-asked-for"));
}

const DECISIONS: [Rpc; 3] = [Rpc::ResolveContradiction, Rpc::StopSending, Rpc::EndSettle];

pub fn bearing(call: Call, token: &str) -> Call {
    call.with("authorization", &format!("Bearer {token}"))
}

/// The token of another app's caller.
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
    // A decision is taken only where one is needed.
    for rpc in Rpc::ALL.iter().filter(|rpc| !DECISIONS.contains(rpc)) {
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
async fn health_and_reflection_ask_for_no_identity_and_reflection_can_be_off() {
    // `list_services`, the seventh field, with an empty text.
    let list_services: &[u8] = &[7 << 3 | 2, 0];
    let health = || Call::to("/grpc.health.v1.Health/Check", frame(0, &[]));
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let reflection = || Call::to(reflection, frame(0, list_services));
    let edge = Edge::spawn(guarded).await;
    succeeds(&edge.wire, health(), "health").await;
    succeeds(&edge.wire, reflection(), "reflection").await;
    let edge = Edge::spawn(|config| config.grpc.reflection = false).await;
    succeeds(&edge.wire, health(), "health").await;
    let raw = edge.wire.call(reflection()).await.unwrap();
    assert_eq!(told_raw(&raw, None).reason(), "RPC_NOT_FOUND");
}

/// A call that never sends its body is turned away all the same.
#[tokio::test]
async fn identity_and_rights_are_judged_before_a_body_is_read() {
    let edge = Edge::spawn(|config| {
        let shop = caller("shop", &["*"], &[Right::Read], OURS);
        config.callers = Known::new([shop], []);
    })
    .await;
    for rpc in Rpc::ALL {
        let stranger = Call::bytes(*rpc, frame(0, &[])).without_body();
        let (_, told) = edge.told(*rpc, stranger).await;
        assert_eq!(told.reason(), "UNAUTHENTICATED");
    }
    let create = bearing(Call::bytes(Rpc::CreateSettle, frame(0, &[])).without_body(), OURS);
    let (_, told) = edge.told(Rpc::CreateSettle, create).await;
    assert_eq!((told.reason(), told.outcome()), ("FORBIDDEN", "not_sent"));
}

/// Each way to name something in a request, for an app.
fn ways(app_id: &str, settle_id: &str, page_token: &str) -> Vec<(Rpc, &'static str, Call)> {
    use v1::show_settle_request as show;
    use v1::{get_settle_request as get, query_settles_request as query};
    use v1::{wait_settle_request as wait, watch_settle_request as watch};
    let (app, number, id) = (|| app_id.to_owned(), || "held".to_owned(), || settle_id.to_owned());
    let create = v1::CreateSettleRequest { app_id: app(), ..create_request("held") };
    let mut ways = vec![(Rpc::CreateSettle, "number", Call::of(Rpc::CreateSettle, &create))];
    for (what, key) in
        [("number", watch::Key::OutSettleNo(number())), ("settle_id", watch::Key::SettleId(id()))]
    {
        let request =
            v1::WatchSettleRequest { app_id: app(), key: Some(key), ..watch_request("", 0) };
        ways.push((Rpc::WatchSettle, what, Call::of(Rpc::WatchSettle, &request)));
    }
    for (what, key) in
        [("number", wait::Key::OutSettleNo(number())), ("settle_id", wait::Key::SettleId(id()))]
    {
        let request = v1::WaitSettleRequest { app_id: app(), key: Some(key), ..Default::default() };
        ways.push((Rpc::WaitSettle, what, Call::of(Rpc::WaitSettle, &request)));
    }
    for (what, key, refresh) in [
        ("number", get::Key::OutSettleNo(number()), false),
        ("settle_id", get::Key::SettleId(id()), false),
        ("number, asking", get::Key::OutSettleNo(number()), true),
    ] {
        let key = Some(key);
        let request = v1::GetSettleRequest { app_id: app(), key, refresh, ..Default::default() };
        ways.push((Rpc::GetSettle, what, Call::of(Rpc::GetSettle, &request)));
    }
    for (what, key) in [
        ("number", query::Key::OutSettleNo(number())),
        ("settle_id", query::Key::SettleId(id())),
        ("order", query::Key::OutOrderNo("order-of-held".to_owned())),
        ("Douyin's order", query::Key::OrderId("mot1".to_owned())),
    ] {
        let request =
            v1::QuerySettlesRequest { app_id: app(), key: Some(key), ..Default::default() };
        ways.push((Rpc::QuerySettles, what, Call::of(Rpc::QuerySettles, &request)));
    }
    for (what, page_token) in [("first page", ""), ("page token", page_token)] {
        let (page_token, page_size) = (page_token.to_owned(), 1);
        let request =
            v1::ListSettlesRequest { app_id: app(), page_size, page_token, ..Default::default() };
        ways.push((Rpc::ListSettles, what, Call::of(Rpc::ListSettles, &request)));
    }
    for (what, key) in
        [("number", show::Key::OutSettleNo(number())), ("settle_id", show::Key::SettleId(id()))]
    {
        let request = v1::ShowSettleRequest { app_id: app(), key: Some(key), ..Default::default() };
        ways.push((Rpc::ShowSettle, what, Call::of(Rpc::ShowSettle, &request)));
    }
    let out_order_no = "order-of-held".to_owned();
    let request =
        v1::GetUnsettledAmountRequest { app_id: app(), out_order_no, ..Default::default() };
    ways.push((Rpc::GetUnsettledAmount, "order", Call::of(Rpc::GetUnsettledAmount, &request)));
    let request = v1::ListStuckSettlesRequest { app_id: app(), limit: 0 };
    ways.push((Rpc::ListStuckSettles, "app", Call::of(Rpc::ListStuckSettles, &request)));
    let request = v1::ResolveContradictionRequest { app_id: app(), ..resolve_request("held", 99) };
    ways.push((Rpc::ResolveContradiction, "number", Call::of(Rpc::ResolveContradiction, &request)));
    let request = v1::StopSendingRequest { app_id: app(), ..stop_request("held", 99) };
    ways.push((Rpc::StopSending, "number", Call::of(Rpc::StopSending, &request)));
    let request = v1::EndSettleRequest { app_id: app(), ..end_request("held", 99) };
    ways.push((Rpc::EndSettle, "number", Call::of(Rpc::EndSettle, &request)));
    ways
}

/// Right × RPC × key × app: what a caller may not do is PERMISSION_DENIED, whatever there is.
#[tokio::test(flavor = "multi_thread")]
async fn each_right_opens_its_own_rpcs_for_its_own_apps_by_every_key() {
    let sim = simulator_with(|config| config.apps.push(SimApp::new(OTHER, "other"))).await;
    let gateway = Gateway::spawn_with(sim, |config| {
        config.apps.push(app(OTHER, "other"));
        let mut callers = vec![caller("maker", &["*"], &[Right::Create, Right::Read], OURS)];
        for right in Right::ALL {
            for (whose, apps) in [("own", &[OTHER][..]), ("all", &["*"])] {
                let name = format!("{whose}-{}", right.as_str());
                callers.push(caller(&name, apps, &[right], &name));
            }
        }
        config.callers = Known::new(callers, []);
    })
    .await;
    let wire = Wire::connect(&gateway.url).await;
    // Each app has two settles with an end, so that a page token and an end of a watch exist.
    let mut page_tokens = std::collections::BTreeMap::new();
    let mut settle_ids = std::collections::BTreeMap::new();
    for app_id in [APP_ID, OTHER] {
        for number in ["first", "held"] {
            let app_id = app_id.to_owned();
            let request = v1::CreateSettleRequest { app_id, ..create_request(number) };
            let create = Call::of(Rpc::CreateSettle, &request);
            let raw = wire.call(bearing(create, OURS)).await.unwrap();
            let answer: v1::CreateSettleResponse = message(&raw);
            settle_ids.insert(request.app_id, answer.settle.unwrap().settle_id().to_owned());
        }
        let list = v1::ListSettlesRequest {
            app_id: app_id.to_owned(),
            page_size: 1,
            ..Default::default()
        };
        let raw = wire.call(bearing(Call::of(Rpc::ListSettles, &list), OURS)).await.unwrap();
        let answer: v1::ListSettlesResponse = message(&raw);
        page_tokens.insert(app_id, answer.next_page_token);
    }
    let mut denied = 0;
    for right in Right::ALL {
        for whose in ["own", "all"] {
            for app_id in [APP_ID, OTHER, UNKNOWN] {
                // What exists, under the name of an app where it does not exist.
                let of = if app_id == UNKNOWN { APP_ID } else { app_id };
                let ways = ways(app_id, &settle_ids[of], &page_tokens[of]);
                for (rpc, key, call) in ways {
                    let token = format!("{whose}-{}", right.as_str());
                    let case = format!("{token}: {} by {key} in {app_id}", rpc.name());
                    let raw = wire.call(bearing(call, &token)).await.unwrap();
                    let code = raw.end["grpc-status"].to_str().unwrap();
                    let may = rpc.right() == right && (whose == "all" || app_id == OTHER);
                    match (may, app_id) {
                        (true, UNKNOWN) => {
                            let told = told_raw(&raw, Some(rpc));
                            // A page token is good for its own app only.
                            let other = ["APP_NOT_CONFIGURED", "INVALID_REQUEST"];
                            let reason = other[usize::from(key == "page token")];
                            assert_eq!(told.reason(), reason, "{case}");
                        }
                        (true, _) if DECISIONS.contains(&rpc) => {
                            let reason = told_raw(&raw, Some(rpc)).reason().to_owned();
                            let no_need = if rpc == Rpc::ResolveContradiction {
                                &["CONTRADICTION_NOT_OPEN"][..]
                            } else {
                                &["REVISION_CHANGED", "SETTLE_FINAL"]
                            };
                            assert!(no_need.contains(&&*reason), "{case}: {reason}");
                        }
                        (true, _) => assert_eq!(code, "0", "{case}: {raw:?}"),
                        (false, _) => {
                            assert_eq!(code, PERMISSION_DENIED, "{case}: {raw:?}");
                            let told = told_raw(&raw, Some(rpc));
                            assert_eq!(told.reason(), "FORBIDDEN", "{case}");
                            assert!(raw.body.is_empty(), "{case}");
                            denied += 1;
                        }
                    }
                }
            }
        }
    }
    // 21 ways in 3 apps for 6 callers, less what is allowed in one app or three: to create in one
    // way, to read in 14, to operate in 6.
    assert_eq!(denied, 21 * 3 * 6 - (1 + 14 + 6) * (1 + 3));
    let total = gateway.sim.books().creates_total();
    assert_eq!(total, 4, "no call of another caller's sent anything");
}

/// The one message of an answer.
fn message<M: prost::Message + Default>(raw: &Raw) -> M {
    assert_eq!(raw.end["grpc-status"], "0", "{raw:?}");
    M::decode(&raw.body[5..]).expect("a message of the RPC")
}

type Stream = (http::StatusCode, HeaderMap, Incoming);

async fn ending(what: &str, (http, headers, body): Stream) -> String {
    let raw = within(what, Raw::read(http, headers, body)).await.unwrap();
    told_raw(&raw, Some(Rpc::WatchSettle)).reason().to_owned()
}

/// Every stream looks again when callers change: those of a caller that is gone or may not read any
/// more end at once, the others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn streams_and_waits_end_when_their_caller_loses_its_right() {
    const GOES: &str = "goes";
    const SINKS: &str = "sinks";
    const STAYS: &str = "stays";
    let known = |callers: &[(&str, &[Right])]| {
        let callers = callers.iter().map(|(name, rights)| caller(name, &[APP_ID], rights, name));
        Known::new(callers, [])
    };
    let edge = Edge::spawn(|config| {
        config.grpc.unary_limit = Duration::from_secs(60);
    })
    .await;
    edge.gateway.create(create_on("held", "sim-hold-1")).await.unwrap();
    // What Douyin's first answers add are news too; later ones are not.
    let newest = async {
        let mut revision = 0;
        loop {
            let get = asking(Rpc::GetSettle, "held");
            let read: v1::GetSettleResponse = message(&edge.wire.call(get).await.unwrap());
            let read = read.settle.unwrap().revision;
            if std::mem::replace(&mut revision, read) == read {
                return read;
            }
        }
    };
    let newest = newest.await;
    let both: &[Right] = &[Right::Create, Right::Read];
    edge.gateway.callers.replace(known(&[(GOES, both), (SINKS, both), (STAYS, both)]));
    let mut watches = Vec::new();
    for token in [GOES, SINKS, STAYS] {
        let call = bearing(asking(Rpc::WatchSettle, "held"), token);
        watches.push(edge.wire.open(call).await.unwrap());
    }
    let waits = [GOES, SINKS, STAYS].map(|token| {
        let request = v1::WaitSettleRequest {
            app_id: APP_ID.to_owned(),
            key: Some(v1::wait_settle_request::Key::OutSettleNo("held".to_owned())),
            after_revision: newest,
            ..Default::default()
        };
        let wire = edge.wire.clone();
        let call = bearing(Call::of(Rpc::WaitSettle, &request), token);
        tokio::spawn(async move { wire.call(call).await.unwrap() })
    });
    // It comes after the waits on the same connection. None of them has an answer yet.
    succeeds(&edge.wire, bearing(asking(Rpc::ListSettles, ""), STAYS), "a list").await;
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    edge.gateway.callers.replace(known(&[(SINKS, &[Right::Create]), (STAYS, &[Right::Read])]));
    let began = Instant::now();
    let [goes, sinks, stays] = watches.try_into().ok().unwrap();
    assert_eq!(ending("the end of a stranger's stream", goes).await, "UNAUTHENTICATED");
    assert_eq!(ending("the end of a stream without a right", sinks).await, "FORBIDDEN");
    let [goes, sinks, waits_on] = waits;
    for (wait, reason) in [(goes, "UNAUTHENTICATED"), (sinks, "FORBIDDEN")] {
        let raw = within("the end of a wait", wait).await.unwrap();
        assert_eq!(told_raw(&raw, Some(Rpc::WaitSettle)).reason(), reason);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // Twice more, with nothing that concerns it.
    for others in [&[(STAYS, both)][..], &[(GOES, both), (STAYS, &[Right::Read])]] {
        edge.gateway.callers.replace(known(others));
    }
    let settle_id = edge.gateway.sim.books().only("held").unwrap().settle_id.clone();
    assert!(edge.gateway.sim.finish(&settle_id, douyin_sim::Status::Success));
    let (http, headers, body) = stays;
    let raw = within("the end", Raw::read(http, headers, body)).await.unwrap();
    assert_eq!(raw.end["grpc-status"], "0", "{raw:?}");
    let raw = within("the end of a wait", waits_on).await.unwrap();
    assert_eq!(raw.end["grpc-status"], "0", "{raw:?}");
}

/// A caller that may read sees the names of the callers that created and asked.
#[tokio::test]
async fn who_created_and_who_asked_stands_in_the_settle_and_its_history() {
    let sim = simulator_with(|_| {}).await;
    let gateway = Gateway::spawn_with(sim, |config| {
        let shop = caller("shop", &[APP_ID], &[Right::Create, Right::Read], OURS);
        let clerk = caller("clerk", &[APP_ID], &[Right::Read], THEIRS);
        config.callers = Known::new([shop, clerk], []);
    })
    .await;
    let wire = Wire::connect(&gateway.url).await;
    let create = Call::of(Rpc::CreateSettle, &create_request("named"));
    succeeds(&wire, bearing(create, OURS), "CreateSettle").await;
    let stranger = StrangerSettle {
        out_order_no: "order".to_owned(),
        status: Status::Success,
        ..StrangerSettle::default()
    };
    gateway.sim.stranger_settle(APP_ID, "found", stranger);
    for (number, created_by, first_by) in
        [("named", Some("shop"), "shop"), ("found", None, "clerk")]
    {
        let key = v1::get_settle_request::Key::OutSettleNo(number.to_owned());
        let get = v1::GetSettleRequest {
            key: Some(key),
            refresh: true,
            include_history: true,
            ..Default::default()
        };
        let answer = wire.call(bearing(Call::of(Rpc::GetSettle, &get), THEIRS)).await.unwrap();
        let answer: v1::GetSettleResponse = message(&answer);
        assert_eq!(answer.settle.unwrap().created_by.as_deref(), created_by, "{number}");
        assert_eq!(answer.history[0].by.as_deref(), Some(first_by), "{number}");
        assert_eq!(answer.history[0].why, None);
    }
}
