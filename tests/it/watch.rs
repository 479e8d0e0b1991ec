//! Watching: the current state first, every newer one, the final one last. Every other ending says
//! how to come back.

use std::time::{Duration, Instant};

use douyin_sim::{Script, Status, StrangerSettle};
use settlement_gateway::config::Config;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use settlement_gateway::proto::v1::{self, SettleOrigin, SettleState};
use tonic::Code;
use tonic::transport::Endpoint;

use crate::harness::{
    APP_ID, Gateway, create_on, create_request, details, drain, number, simulator, simulator_with,
    watch_request, within,
};

fn by_settle_id(settle_id: &str) -> v1::WatchSettleRequest {
    v1::WatchSettleRequest {
        key: Some(v1::watch_settle_request::Key::SettleId(settle_id.to_owned())),
        ..watch_request("", 0)
    }
}

#[tokio::test]
async fn an_idle_watch_hears_a_heartbeat_at_least_once_per_interval() {
    let gateway = Gateway::spawn().await;
    let number = number("heartbeat");
    gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let mut request = watch_request(&number, 0);
    // Clamped to the least interval, one second.
    request.heartbeat_interval = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    let mut stream = gateway.watch(request).await.unwrap();
    let (mut revision, mut heartbeats) = (0, 0);
    while heartbeats < 3 {
        let began = Instant::now();
        let message = within("a sign of life", stream.message()).await.unwrap().unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}");
        match message.event.unwrap() {
            // The state, and the facts that the first query brings.
            Event::Settle(settle) => {
                assert_eq!(heartbeats, 0, "nothing is new by then");
                revision = settle.revision;
            }
            Event::Heartbeat(heartbeat) => {
                assert!(took > Duration::from_millis(900), "{took:?}");
                heartbeats += 1;
                assert_eq!(heartbeat.revision, revision);
                assert!(heartbeat.server_time.is_some() && heartbeat.next_check_time.is_some());
                assert!(heartbeat.confirmed_time.is_some(), "the poller asked meanwhile");
            }
        }
    }
}

#[tokio::test]
async fn a_watch_that_names_no_interval_gets_the_one_of_the_server() {
    let often = |config: &mut Config| config.grpc.heartbeat = Duration::from_millis(100);
    let gateway = Gateway::spawn_with(simulator().await, often).await;
    let number = number("often");
    gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let mut stream = gateway.watch(watch_request(&number, 0)).await.unwrap();
    loop {
        let message = within("a sign of life", stream.message()).await.unwrap().unwrap();
        if matches!(message.event, Some(Event::Heartbeat(_))) {
            break;
        }
    }
}

#[tokio::test]
async fn a_watch_resumes_after_its_last_revision() {
    let gateway = Gateway::spawn().await;
    let number = number("resume");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    // The marker is the current revision: a heartbeat at once, in place of the settle.
    let mut stream = gateway.watch(watch_request(&number, settle.revision)).await.unwrap();
    let first = within("a sign of life", stream.message()).await.unwrap().unwrap();
    assert!(matches!(first.event, Some(Event::Heartbeat(_))), "{first:?}");
    assert!(gateway.sim.finish(settle.settle_id(), Status::Success));
    let news = drain(stream).await.unwrap();
    assert!(news.iter().all(|settle_| settle_.revision > settle.revision));
    assert_eq!(news.last().unwrap().state(), SettleState::Succeeded);
}

#[tokio::test]
async fn a_finished_settle_is_told_even_to_who_knows_its_last_revision() {
    let gateway = Gateway::spawn().await;
    let number = number("finished");
    gateway.create(create_request(&number)).await.unwrap();
    let end = gateway.end(&number).await;
    let stream = gateway.watch(watch_request(&number, end.revision)).await.unwrap();
    assert_eq!(drain(stream).await.unwrap(), std::slice::from_ref(&end));
    let rejected = format!("{number}-rejected");
    gateway.create(create_on(&rejected, "sim-err-23101-1")).await.unwrap_err();
    assert_eq!(gateway.end(&rejected).await.state(), SettleState::Rejected);
    // By Douyin's number too.
    let stream = gateway.watch(by_settle_id(end.settle_id())).await.unwrap();
    assert_eq!(drain(stream).await.unwrap(), [end]);
}

#[tokio::test]
async fn a_revision_from_the_future_is_refused() {
    let gateway = Gateway::spawn().await;
    let number = number("future");
    gateway.create(create_request(&number)).await.unwrap();
    let mut stream = gateway.watch(watch_request(&number, 1_000)).await.unwrap();
    let status = within("the status", stream.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(details(&status).info.reason, "REVISION_FROM_FUTURE");
}

#[tokio::test]
async fn an_unknown_settle_is_looked_up_once_and_adopted() {
    let gateway = Gateway::spawn().await;
    let number = number("made-elsewhere");
    let settle = StrangerSettle {
        out_order_no: "their-order".to_owned(),
        cp_extra: "theirs".to_owned(),
        status: Status::Success,
        ..StrangerSettle::default()
    };
    let settle_id = gateway.sim.stranger_settle(APP_ID, &number, settle.clone());
    let end = gateway.end(&number).await;
    assert_eq!((end.state(), end.settle_id()), (SettleState::Succeeded, settle_id.as_str()));
    assert_eq!((end.origin(), end.out_order_no()), (SettleOrigin::Platform, "their-order"));
    assert_eq!(end.ext(), "theirs");
    // Automatic settlement: no developer's number, found by Douyin's.
    let settle_id = gateway.sim.platform_settle(APP_ID, settle);
    let stream = gateway.watch(by_settle_id(&settle_id)).await.unwrap();
    let end = drain(stream).await.unwrap().pop().unwrap();
    assert_eq!((end.out_settle_no.as_str(), end.settle_id()), (&*settle_id, &*settle_id));
}

#[tokio::test]
async fn an_unknown_settle_is_asked_for_once() {
    let gateway = Gateway::spawn().await;
    let number = number("nowhere");
    for _ in 0..20 {
        let status = gateway.watch(watch_request(&number, 0)).await.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(details(&status).info.reason, "SETTLE_NOT_FOUND");
    }
    assert_eq!(gateway.sim.books().queries(&number), 1);
}

#[tokio::test]
async fn a_lookup_that_douyin_cannot_answer_is_not_told_as_not_found() {
    let gateway = Gateway::spawn().await;
    gateway.sim.always_query(Some(Script::Html));
    let status = gateway.watch(watch_request(&number("dark"), 0)).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(details(&status).info.reason, "UPSTREAM_UNAVAILABLE");
}

#[tokio::test]
async fn a_watch_of_a_draining_gateway_comes_back_after_the_restart_and_misses_nothing() {
    let mut gateway = Gateway::spawn().await;
    let number = number("restart");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let mut stream = gateway.watch(watch_request(&number, settle.revision)).await.unwrap();
    within("the heartbeat", stream.message()).await.unwrap().unwrap();
    let reading = tokio::spawn(drain(stream));
    gateway.stop().await;
    let status = reading.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let told = details(&status);
    assert_eq!(told.info.reason, "SERVER_DRAINING");
    assert!(told.retry_after.is_some());

    assert!(gateway.sim.finish(settle.settle_id(), Status::Success));
    let gateway = gateway.started_again().await;
    let stream = gateway.watch(watch_request(&number, settle.revision)).await.unwrap();
    let end = drain(stream).await.unwrap().pop().unwrap();
    assert_eq!(end.state(), SettleState::Succeeded);
}

#[tokio::test]
async fn a_watch_rotates_at_its_greatest_age() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.gateway.watch_age_max = Duration::from_millis(300);
    })
    .await;
    let number = number("rotated");
    gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let stream = gateway.watch(watch_request(&number, 0)).await.unwrap();
    let status = drain(stream).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let told = details(&status);
    assert_eq!(told.info.reason, "STREAM_ROTATED");
    assert!(told.retry_after.is_some());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_so_and_disturbs_no_other() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.grpc.slow_consumer = Duration::from_millis(300);
    })
    .await;
    let number = number("slow-reader");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    // A window of one byte: nothing flows until the client reads.
    let endpoint = Endpoint::from_shared(gateway.url.clone()).unwrap();
    let endpoint = endpoint.initial_stream_window_size(1).initial_connection_window_size(65_535);
    let mut client = SettlementServiceClient::new(endpoint.connect().await.unwrap());
    let mut request = watch_request(&number, 0);
    request.heartbeat_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let slow = client.watch_settle(request).await.unwrap().into_inner();
    // Long enough for a heartbeat that is ready and not taken.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // Others get every message meanwhile.
    let other = gateway.watch(watch_request(&number, 0)).await.unwrap();
    assert!(gateway.sim.finish(settle.settle_id(), Status::Success));
    assert_eq!(drain(other).await.unwrap().pop().unwrap().state(), SettleState::Succeeded);
    // When it reads at last, it learns that it was too slow.
    let status = drain(slow).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let told = details(&status);
    assert_eq!(told.info.reason, "SLOW_CONSUMER");
    assert!(told.retry_after.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_watchers_of_one_settle_cost_what_one_costs() {
    let sim = simulator_with(|config| config.processing_ms = 1_000).await;
    let gateway = Gateway::spawn_with(sim, |config| {
        config.gateway.schedule.first = Duration::from_millis(250);
        config.gateway.schedule.watched_cap = Duration::from_millis(250);
    })
    .await;
    let number = number("crowd");
    gateway.create(create_request(&number)).await.unwrap();
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let stream = gateway.watch(watch_request(&number, 0)).await.unwrap();
        crowd.spawn(drain(stream));
    }
    for told in within("all to hear the end", crowd.join_all()).await {
        assert_eq!(told.unwrap().last().unwrap().state(), SettleState::Succeeded);
    }
    // A second of waiting, a look each 250 ms (less 20 % jitter), and the first ones.
    let queries = gateway.sim.books().queries_total();
    assert!(queries <= 8, "{queries} queries");
}

/// One connection carries so many streams: a caller that watches a thousand settles on it can still
/// create.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_full_of_watchers_is_told_so_and_has_room_for_other_calls() {
    let gateway = Gateway::spawn().await;
    let number = number("full");
    gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..1_000 {
        watches.push(gateway.watch(watch_request(&number, 0)).await.unwrap());
    }
    let status = gateway.watch(watch_request(&number, 0)).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let told = details(&status);
    assert_eq!(told.info.reason, "WATCH_LIMIT_REACHED");
    assert!(told.retry_after.is_some());
    gateway.create(create_request(&format!("{number}-more"))).await.unwrap();
    // Another connection has places of its own.
    let endpoint = Endpoint::from_shared(gateway.url.clone()).unwrap();
    let mut other = SettlementServiceClient::new(endpoint.connect().await.unwrap());
    within("WatchSettle", other.watch_settle(watch_request(&number, 0))).await.unwrap();
    watches.pop();
    let again = async {
        while gateway.watch(watch_request(&number, 0)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the place to be free again", again).await;
}

#[tokio::test]
async fn a_watch_limit_is_told() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.grpc.watches_max = 1;
    })
    .await;
    let number = number("limit");
    gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let first = gateway.watch(watch_request(&number, 0)).await.unwrap();
    let status = gateway.watch(watch_request(&number, 0)).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(details(&status).info.reason, "WATCH_LIMIT_REACHED");
    // A watcher that leaves gives its place back.
    drop(first);
    let again = async {
        while gateway.watch(watch_request(&number, 0)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the place to be free again", again).await;
}
