//! Settles that were not made here: Douyin is asked once, however many callers want to know.

use std::time::Duration;

use douyin_sim::{Script, Status, StrangerSettle};
use prost_types::Duration as Interval;
use settlement_gateway::grpc::settlement::watch::heartbeat_interval;
use settlement_gateway::proto::v1::{self, SettleOrigin, SettleState};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, create_request, details, drain, number, simulator, watch_request, within,
};

fn stranger() -> StrangerSettle {
    StrangerSettle {
        out_order_no: "their-order".to_owned(),
        cp_extra: "theirs".to_owned(),
        status: Status::Success,
        ..StrangerSettle::default()
    }
}

/// Fifty watches of one settle at once; what each of them heard.
async fn fifty(
    gateway: &Gateway,
    request: v1::WatchSettleRequest,
) -> Vec<Result<Vec<v1::Settle>, tonic::Status>> {
    let mut watchers = JoinSet::new();
    for _ in 0..50 {
        let (mut client, request) = (gateway.client.clone(), request.clone());
        watchers.spawn(async move {
            let stream = client.watch_settle(request).await?.into_inner();
            drain(stream).await
        });
    }
    within("fifty watches", watchers.join_all()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_watchers_of_an_unknown_settle_cost_one_query() {
    let gateway = Gateway::spawn().await;
    let number = number("nowhere");
    // Long enough for all of them to come meanwhile.
    gateway.sim.script_query(&number, vec![Script::delay(300, Script::Normal)]);
    for told in fifty(&gateway, watch_request(&number, 0)).await {
        let status = told.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(details(&status).info.reason, "SETTLE_NOT_FOUND");
    }
    assert_eq!(gateway.sim.books().queries(&number), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_watchers_of_a_settle_that_douyin_knows_cost_one_query() {
    let gateway = Gateway::spawn().await;
    let number = number("elsewhere");
    let settle_id = gateway.sim.stranger_settle(APP_ID, &number, stranger());
    let by_id = v1::WatchSettleRequest {
        key: Some(v1::watch_settle_request::Key::SettleId(settle_id.clone())),
        ..watch_request("", 0)
    };
    gateway.sim.script_query(&number, vec![Script::delay(300, Script::Normal)]);
    for told in fifty(&gateway, by_id).await {
        let end = told.unwrap().pop().unwrap();
        assert_eq!((end.state(), &end.out_settle_no), (SettleState::Succeeded, &number));
        assert_eq!(end.origin(), SettleOrigin::Platform);
    }
    // And under the other number that it has by now.
    assert_eq!(gateway.end(&number).await.settle_id(), settle_id);
    assert_eq!(gateway.sim.books().queries_total(), 1);
}

#[tokio::test]
async fn that_a_settle_is_unknown_is_believed_for_a_while_only() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.gateway.absent_ttl = Duration::from_millis(200);
    })
    .await;
    let number = number("later");
    let unknown = gateway.watch(watch_request(&number, 0)).await.map(drop).unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    gateway.sim.stranger_settle(APP_ID, &number, stranger());
    let found = async {
        while gateway.watch(watch_request(&number, 0)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("it to be looked up again", found).await;
    assert_eq!(gateway.sim.books().queries(&number), 2);
}

#[tokio::test]
async fn a_settle_made_here_is_watched_although_it_was_unknown_a_moment_before() {
    let gateway = Gateway::spawn().await;
    let number = number("soon");
    gateway.watch(watch_request(&number, 0)).await.map(drop).unwrap_err();
    gateway.create(create_request(&number)).await.unwrap();
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
}

#[tokio::test]
async fn reading_a_recorded_settle_does_not_ask_douyin() {
    let gateway = Gateway::spawn().await;
    let number = number("read");
    gateway.sim.stranger_settle(APP_ID, &number, stranger());
    assert_eq!(gateway.get(&number).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(gateway.sim.books().queries_total(), 0);
}

/// A test cannot wait for an hour, so the limit itself is checked.
#[test]
fn the_heartbeat_interval_is_kept_between_a_second_and_ten_minutes() {
    let asked = |seconds, nanos| heartbeat_interval(Some(Interval { seconds, nanos }));
    let seconds = Duration::from_secs;
    assert_eq!(heartbeat_interval(None), None);
    for (wanted, got) in [
        (1, asked(i64::MIN + 1, 0)),
        (1, asked(-5, 0)),
        (1, asked(0, 0)),
        (1, asked(0, 999_999_999)),
        (1, asked(1, 0)),
        (7, asked(7, 0)),
        (600, asked(600, 0)),
        (600, asked(600, 1)),
        (600, asked(3_600, 0)),
        (600, asked(i64::MAX, 0)),
    ] {
        assert_eq!(got, Some(seconds(wanted)));
    }
}
