//! WaitSettle: a watch with one answer.

use std::time::{Duration, Instant};

use douyin_sim::{Gate, Script, Status, StrangerSettle};
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use settlement_gateway::proto::v1::{self, SettleState};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, create_on, create_request, details, number, simulator, simulator_with,
    wait_for_answers, within,
};

fn wait_request(out_settle_no: &str, after_revision: i64) -> v1::WaitSettleRequest {
    v1::WaitSettleRequest {
        app_id: APP_ID.to_owned(),
        key: Some(v1::wait_settle_request::Key::OutSettleNo(out_settle_no.to_owned())),
        after_revision,
        ..Default::default()
    }
}

async fn wait(
    gateway: &Gateway,
    request: v1::WaitSettleRequest,
    limit: Duration,
) -> Result<v1::Settle, tonic::Status> {
    let mut request = tonic::Request::new(request);
    request.set_timeout(limit);
    let mut client = gateway.client.clone();
    let answer = within("WaitSettle", client.wait_settle(request)).await?;
    Ok(answer.into_inner().settle.unwrap())
}

const LONG: Duration = Duration::from_secs(15);

/// A settle that Douyin holds, once nothing changes any more: its first word is INIT, if a query
/// comes early enough to hear it.
async fn held(gateway: &Gateway, number: &str) -> v1::Settle {
    let mut settle = gateway.create(create_on(number, "sim-hold-1")).await.unwrap();
    while settle.settle_status() != "PROCESSING" {
        settle = wait(gateway, wait_request(number, settle.revision), LONG).await.unwrap();
    }
    settle
}

#[tokio::test]
async fn a_loop_of_waits_sees_the_settle_to_its_end() {
    let gateway = Gateway::spawn().await;
    let number = number("loop");
    gateway.create(create_request(&number)).await.unwrap();
    let (mut revision, mut state) = (0, SettleState::Unspecified);
    while state != SettleState::Succeeded {
        let settle = wait(&gateway, wait_request(&number, revision), LONG).await.unwrap();
        assert!(settle.revision > revision);
        (revision, state) = (settle.revision, settle.state());
    }
    // A final settle is answered at once, whatever the caller knows.
    let settle = wait(&gateway, wait_request(&number, revision), LONG).await.unwrap();
    assert_eq!(settle.revision, revision);
}

#[tokio::test]
async fn a_wait_without_news_answers_the_current_state_just_before_the_deadline() {
    let gateway = Gateway::spawn().await;
    let number = number("no-news");
    let settle = held(&gateway, &number).await;
    let limit = Duration::from_secs(5);
    let began = Instant::now();
    let same = wait(&gateway, wait_request(&number, settle.revision), limit).await.unwrap();
    let took = began.elapsed();
    assert_eq!((same.revision, same.state()), (settle.revision, SettleState::Processing));
    assert!(took < limit && took > limit / 2, "{took:?}");
}

#[tokio::test]
async fn the_gateways_own_limit_ends_a_wait_too() {
    let gateway = Gateway::spawn_with(crate::harness::simulator().await, |config| {
        config.grpc.unary_limit = Duration::from_millis(300);
    })
    .await;
    let number = number("limit");
    let settle = held(&gateway, &number).await;
    let same = wait(&gateway, wait_request(&number, settle.revision), LONG).await.unwrap();
    assert_eq!(same.revision, settle.revision);
}

#[tokio::test]
async fn a_wait_says_what_is_wrong_as_a_watch_does() {
    let gateway = Gateway::spawn().await;
    let status = wait(&gateway, wait_request("nowhere", 0), LONG).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let status = wait(&gateway, wait_request("x", -1), LONG).await.unwrap_err();
    assert_eq!(details(&status).fields, ["after_revision"]);
    let number = number("future");
    gateway.create(create_request(&number)).await.unwrap();
    let status = wait(&gateway, wait_request(&number, 99), LONG).await.unwrap_err();
    assert_eq!(details(&status).info.reason, "REVISION_FROM_FUTURE");
}

/// Whatever Douyin does, the caller gets an answer before its time is up. Without a deadline it
/// gets one when the gateway's own limit has passed.
#[tokio::test]
async fn a_wait_for_a_settle_that_must_be_looked_up_answers_in_time_too() {
    let tune: fn(&mut settlement_gateway::config::Config) = |config| {
        wait_for_answers(config);
        config.grpc.unary_limit = Duration::from_secs(3);
    };
    let gateway = Gateway::spawn_with(simulator().await, tune).await;
    for (limit, code, reason) in [
        (Duration::from_secs(2), Code::DeadlineExceeded, "DEADLINE_REACHED"),
        (LONG, Code::Unavailable, "TIME_LIMIT_REACHED"),
    ] {
        let (number, gate) = (number("looked-up"), Gate::new());
        gateway.sim.script_query(&number, vec![Script::Hold(gate.clone())]);
        let began = Instant::now();
        let status = wait(&gateway, wait_request(&number, 0), limit).await.unwrap_err();
        let took = began.elapsed();
        assert_eq!(status.code(), code, "{status:?}");
        assert_eq!(details(&status).info.reason, reason);
        assert!(took < limit && took < Duration::from_secs(4), "{took:?}");
        gate.open();
    }
}

#[tokio::test]
async fn a_wait_looks_a_settle_that_is_not_recorded_here_up_by_either_number() {
    let gateway = Gateway::spawn().await;
    let theirs = StrangerSettle { status: Status::Success, ..StrangerSettle::default() };
    let number = number("elsewhere");
    gateway.sim.stranger_settle(APP_ID, &number, theirs.clone());
    let settle = wait(&gateway, wait_request(&number, 0), LONG).await.unwrap();
    assert_eq!((settle.state(), settle.revision), (SettleState::Succeeded, 1));
    let settle_id = gateway.sim.platform_settle(APP_ID, theirs);
    let by_id = v1::WaitSettleRequest {
        key: Some(v1::wait_settle_request::Key::SettleId(settle_id.clone())),
        ..wait_request("", 0)
    };
    assert_eq!(wait(&gateway, by_id, LONG).await.unwrap().settle_id(), settle_id);
}

/// Rotation is for streams: a wait has its deadline.
#[tokio::test]
async fn a_wait_longer_than_a_stream_may_live_answers_at_its_deadline() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.gateway.watch_age_max = Duration::from_millis(100);
    })
    .await;
    let number = number("rotation");
    let settle = held(&gateway, &number).await;
    let limit = Duration::from_secs(1);
    let same = wait(&gateway, wait_request(&number, settle.revision), limit).await.unwrap();
    assert_eq!(same.revision, settle.revision);
}

#[tokio::test]
async fn waits_shorter_than_the_time_between_two_looks_hear_the_end_all_the_same() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.gateway.schedule.first = Duration::from_secs(1);
        config.gateway.schedule.watched_cap = Duration::from_secs(1);
        config.gateway.schedule.cap = Duration::from_secs(1);
    })
    .await;
    let number = number("short");
    gateway.create(create_request(&number)).await.unwrap();
    let (mut revision, mut state, mut waits) = (0, SettleState::Unspecified, 0);
    while state != SettleState::Succeeded {
        let limit = Duration::from_millis(60);
        match wait(&gateway, wait_request(&number, revision), limit).await {
            Ok(settle) => {
                assert!(settle.revision >= revision);
                (revision, state) = (settle.revision, settle.state());
            }
            // A busy machine: the time was up before the settle was read, here or at the client.
            Err(status) => {
                let late = [Code::DeadlineExceeded, Code::Cancelled];
                assert!(late.contains(&status.code()), "{status:?}");
            }
        }
        waits += 1;
    }
    assert!(waits > 5, "{waits}");
    let queries = gateway.sim.books().queries_total();
    assert!(queries <= 4, "{queries} queries for {waits} waits");
}

#[tokio::test]
async fn a_wait_takes_a_place_among_the_watchers_and_gives_it_back() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.grpc.watches_max = 1;
    })
    .await;
    let number = number("places");
    gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let watching = gateway.watch(crate::harness::watch_request(&number, 0)).await.unwrap();
    let status = wait(&gateway, wait_request(&number, 0), LONG).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let told = details(&status);
    assert_eq!(told.info.reason, "WATCH_LIMIT_REACHED");
    assert!(told.retry_after.is_some());
    drop(watching);
    let again = async {
        while wait(&gateway, wait_request(&number, 0), LONG).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the place to be free again", again).await;
    wait(&gateway, wait_request(&number, 0), LONG).await.unwrap();
}

#[tokio::test]
async fn a_wait_of_a_draining_gateway_is_told_to_come_back() {
    let mut gateway = Gateway::spawn().await;
    let number = number("draining");
    let settle = held(&gateway, &number).await;
    let (mut client, request) = (gateway.client.clone(), wait_request(&number, settle.revision));
    let waiting = tokio::spawn(async move { client.wait_settle(request).await });
    // It waits by now, or else it finds a gateway that drains: the answer is the same.
    tokio::time::sleep(Duration::from_millis(100)).await;
    gateway.stop().await;
    let status = within("the answer", waiting).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let told = details(&status);
    assert_eq!(told.info.reason, "SERVER_DRAINING");
    assert!(told.retry_after.is_some());
}

/// OK promises a state that was read during the call, even if callers share a read.
#[tokio::test]
async fn a_wait_never_answers_with_a_read_from_before_it_began() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.gateway.schedule.first = Duration::from_secs(600);
        config.gateway.schedule.watched_cap = Duration::from_secs(600);
        config.gateway.schedule.cap = Duration::from_secs(600);
    })
    .await;
    let number = number("fresh");
    gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let mut watch = gateway.watch(crate::harness::watch_request(&number, 0)).await.unwrap();
    within("the current state", watch.message()).await.unwrap().unwrap();
    // A change that no hint of this process tells, as another replica makes it.
    let other = rusqlite::Connection::open(gateway.database()).unwrap();
    other.execute("UPDATE settle SET revision = 9, version = 9", []).unwrap();
    let settle = wait(&gateway, wait_request(&number, 0), LONG).await.unwrap();
    assert_eq!(settle.revision, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watchers_and_waiters_of_one_settle_cost_one_query_per_interval() {
    let sim = simulator_with(|config| config.processing_ms = 60_000).await;
    let gateway = Gateway::spawn_with(sim, |config| {
        config.gateway.schedule.first = Duration::from_millis(500);
        config.gateway.schedule.watched_cap = Duration::from_millis(500);
    })
    .await;
    let number = number("crowd");
    let settle = gateway.create(create_request(&number)).await.unwrap();
    // One connection carries at most 1,024 streams.
    let connect = || {
        let endpoint = tonic::transport::Endpoint::from_shared(gateway.url.clone()).unwrap();
        SettlementServiceClient::new(endpoint.connect_lazy())
    };
    let clients: Vec<_> = (0..10).map(|_| connect()).collect();
    let mut crowd = JoinSet::new();
    for i in 0..2_000 {
        let (gateway_client, number) = (clients[i % clients.len()].clone(), number.clone());
        if i < 1_000 {
            let request = crate::harness::watch_request(&number, 0);
            let stream = { gateway_client }.watch_settle(request).await.unwrap().into_inner();
            crowd.spawn(async move {
                crate::harness::drain(stream).await.unwrap().pop().unwrap().state()
            });
        } else {
            crowd.spawn(async move {
                let mut revision = 0;
                loop {
                    let request = wait_request(&number, revision);
                    let answer = gateway_client.clone().wait_settle(request).await.unwrap();
                    let settle = answer.into_inner().settle.unwrap();
                    revision = settle.revision;
                    if settle.state() == SettleState::Succeeded {
                        return settle.state();
                    }
                }
            });
        }
    }
    let (began, before) = (Instant::now(), gateway.sim.books().queries_total());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (took, after) = (began.elapsed(), gateway.sim.books().queries_total());
    // An interval is 500 ms, less 20 % jitter.
    let intervals = took.as_millis() / 400 + 1;
    let queries = after - before;
    println!("{queries} queries for 2,000 followers in {took:?}");
    assert!(queries >= 4 && u128::try_from(queries).unwrap() <= intervals, "{queries}");
    assert!(gateway.sim.finish(settle.settle_id(), Status::Success));
    for state in within("all to hear the end", crowd.join_all()).await {
        assert_eq!(state, SettleState::Succeeded);
    }
}
