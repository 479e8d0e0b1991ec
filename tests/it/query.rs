//! Asking Douyin on request: GetSettle with `refresh`, and QuerySettles by each of its keys.

use settlement_gateway::proto::v1::query_settles_request::Key;
use settlement_gateway::proto::v1::{self, SettleOrigin, SettleState};
use settlement_gateway::sim::{Script, Status, StrangerSettle};
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, create_on, create_request, details, number, simulator, within,
};

fn query_request(key: Option<Key>) -> v1::QuerySettlesRequest {
    v1::QuerySettlesRequest { app_id: APP_ID.to_owned(), key, ..Default::default() }
}

async fn query(gateway: &Gateway, key: Key) -> Result<Vec<v1::Settle>, tonic::Status> {
    let mut client = gateway.client.clone();
    let answer = within("QuerySettles", client.query_settles(query_request(Some(key)))).await?;
    Ok(answer.into_inner().settles)
}

async fn refresh(gateway: &Gateway, out_settle_no: &str) -> Result<v1::Settle, tonic::Status> {
    let request = v1::GetSettleRequest {
        key: Some(v1::get_settle_request::Key::OutSettleNo(out_settle_no.to_owned())),
        refresh: true,
        ..Default::default()
    };
    let mut client = gateway.client.clone();
    let answer = within("GetSettle", client.get_settle(request)).await?;
    Ok(answer.into_inner().settle.unwrap())
}

/// A gateway whose poller does not look by itself within a test.
async fn patient() -> Gateway {
    Gateway::spawn_with(simulator().await, |config| {
        config.gateway.schedule.first = std::time::Duration::from_secs(600);
    })
    .await
}

#[tokio::test]
async fn a_refresh_records_what_douyin_says_now() {
    let gateway = patient().await;
    let number = number("refresh");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    assert!(gateway.sim.finish(settle.settle_id(), Status::Success));
    assert_eq!(gateway.get(&number).await.unwrap().state(), SettleState::Processing);
    assert_eq!(refresh(&gateway, &number).await.unwrap().state(), SettleState::Succeeded);
    assert_eq!(gateway.get(&number).await.unwrap().state(), SettleState::Succeeded);
}

#[tokio::test]
async fn a_refresh_that_cannot_ask_is_an_error_and_never_an_old_state() {
    let gateway = patient().await;
    let number = number("dark");
    gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    gateway.sim.always_query(Some(Script::Html));
    let status = refresh(&gateway, &number).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(details(&status).info.reason, "UPSTREAM_UNAVAILABLE");
}

#[tokio::test]
async fn a_refresh_of_a_settle_that_nobody_knows_is_not_found() {
    let gateway = patient().await;
    let status = refresh(&gateway, "nowhere").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(details(&status).info.reason, "SETTLE_NOT_FOUND");
}

#[tokio::test]
async fn settles_are_found_by_each_of_douyins_keys_and_recorded() {
    let gateway = patient().await;
    let (first, second) = (number("keys"), number("keys"));
    for (number, item) in [(&first, "motb1"), (&second, "motb2")] {
        let mut request = create_on(number, "order-with-two-items");
        request.item_order_id = item.to_owned();
        gateway.create(request).await.unwrap();
    }
    let by_number = query(&gateway, Key::OutSettleNo(first.clone())).await.unwrap();
    let [settle] = &by_number[..] else { panic!("{by_number:?}") };
    assert_eq!(settle.out_settle_no, first);
    let order_id = settle.order_id().to_owned();
    assert!(!order_id.is_empty(), "what the query told is recorded");
    let by_id = query(&gateway, Key::SettleId(settle.settle_id().to_owned())).await.unwrap();
    assert_eq!(by_id.len(), 1);
    let of_order = [Key::OrderId(order_id), Key::OutOrderNo("order-with-two-items".to_owned())];
    for key in of_order {
        let settles = query(&gateway, key).await.unwrap();
        let mut numbers: Vec<_> = settles.iter().map(|settle| &settle.out_settle_no).collect();
        numbers.sort();
        let mut expected = [&first, &second];
        expected.sort();
        assert_eq!(numbers, expected);
    }
    assert_eq!(query(&gateway, Key::OutSettleNo("nowhere".to_owned())).await.unwrap(), []);
}

#[tokio::test]
async fn settles_made_elsewhere_are_adopted_and_followed_to_their_end() {
    let gateway = Gateway::spawn().await;
    let theirs = StrangerSettle {
        out_order_no: "shared-order".to_owned(),
        status: Status::Processing,
        ..StrangerSettle::default()
    };
    let number = number("elsewhere");
    gateway.sim.stranger_settle(APP_ID, &number, theirs.clone());
    let automatic = gateway.sim.platform_settle(APP_ID, theirs);
    let settles = query(&gateway, Key::OutOrderNo("shared-order".to_owned())).await.unwrap();
    assert_eq!(settles.len(), 2);
    assert!(settles.iter().all(|settle| settle.origin() == SettleOrigin::Platform));
    assert!(gateway.sim.finish(&automatic, Status::Success));
    assert_eq!(gateway.end(&automatic).await.state(), SettleState::Succeeded);
}

#[tokio::test]
async fn a_question_without_a_key_or_with_a_bad_one_is_refused() {
    let gateway = patient().await;
    let mut client = gateway.client.clone();
    let status = client.query_settles(query_request(None)).await.map(drop).unwrap_err();
    assert_eq!(details(&status).fields, ["key"]);
    let status = query(&gateway, Key::OrderId("x".repeat(200))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(details(&status).fields, ["order_id"]);
}

#[tokio::test]
async fn a_create_after_the_database_was_lost_finds_its_own_settle_by_the_mark() {
    let number = number("lost-database");
    let first = Gateway::spawn().await;
    let settle = first.create(create_request(&number)).await.unwrap();
    // Another gateway, another database, the same Douyin; somebody watches before the create.
    let second = Gateway::spawn_with(first.sim.clone(), |_| {}).await;
    assert_eq!(second.end(&number).await.origin(), SettleOrigin::Platform);
    let again = second.create_full(create_request(&number)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.settle.unwrap().settle_id, settle.settle_id);
    assert_eq!(first.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn without_a_mark_nobody_is_told_that_the_number_is_free_of_their_settle() {
    let number = number("unmarked");
    let no_mark: fn(&mut settlement_gateway::config::Config) = |config| {
        config.gateway.mark = settlement_gateway::settle::Mark::Off;
    };
    let first = Gateway::spawn_with(simulator().await, no_mark).await;
    first.create(create_request(&number)).await.unwrap();
    let second = Gateway::spawn_with(first.sim.clone(), no_mark).await;
    second.end(&number).await;
    // It is the caller's own settle, and nothing proves it.
    let status = second.create(create_request(&number)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let told = details(&status).info;
    assert_eq!(
        (told.reason.as_str(), &*told.metadata["outcome"]),
        ("OUT_SETTLE_NO_EXISTS", "unknown")
    );
}
