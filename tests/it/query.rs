//! Asking Douyin on request: GetSettle with `refresh`, and QuerySettles by each of its keys.

use std::time::Duration;

use douyin_sim::{Script, Status, StrangerSettle};
use settlement_gateway::proto::v1::query_settles_request::Key;
use settlement_gateway::proto::v1::{self, SettleOrigin, SettleState};
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, create_on, create_request, details, number, simulator, wait_for_answers,
    within,
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
        let schedule = &mut config.gateway.schedule;
        for wait in [&mut schedule.first, &mut schedule.cap, &mut schedule.watched_cap] {
            *wait = Duration::from_secs(600);
        }
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
async fn a_refresh_finds_a_settle_that_was_made_elsewhere_by_either_number() {
    let gateway = patient().await;
    let number = number("theirs");
    let theirs = StrangerSettle { status: Status::Success, ..StrangerSettle::default() };
    gateway.sim.stranger_settle(APP_ID, &number, theirs.clone());
    let settle = refresh(&gateway, &number).await.unwrap();
    assert_eq!((settle.state(), settle.origin()), (SettleState::Succeeded, SettleOrigin::Platform));
    let settle_id = gateway.sim.platform_settle(APP_ID, theirs);
    let by_id = v1::GetSettleRequest {
        key: Some(v1::get_settle_request::Key::SettleId(settle_id.clone())),
        ..Default::default()
    };
    let mut client = gateway.client.clone();
    let status = client.get_settle(by_id.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "not asked for, not known");
    let by_id = v1::GetSettleRequest { refresh: true, ..by_id };
    let answer = client.get_settle(by_id).await.unwrap().into_inner();
    assert_eq!(answer.settle.unwrap().settle_id(), settle_id);
    assert_eq!(answer.history, [], "the caller did not ask for it");
}

/// In doubt a query by Douyin's number could show one settle of two.
#[tokio::test]
async fn a_refresh_asks_by_douyins_number_unless_a_send_is_in_doubt() {
    let gateway = patient().await;
    let (sure, doubt) = (number("sure"), number("doubt"));
    let settle = gateway.create(create_on(&sure, "sim-hold-1")).await.unwrap();
    refresh(&gateway, &sure).await.unwrap();
    // The poller may ask once more, because the answer was news; it asks in the same way.
    let books = gateway.sim.books();
    assert!((1..=2).contains(&books.queries(settle.settle_id())));
    assert_eq!(books.queries(&sure), 0);
    // The first send was taken and its answer lost. The answer to the second one shows that.
    gateway.sim.script(&doubt, vec![Script::apply_then(Script::Drop)]);
    let settle = gateway.create(create_on(&doubt, "sim-hold-2")).await.unwrap();
    let before = gateway.sim.books().queries(&doubt);
    refresh(&gateway, &doubt).await.unwrap();
    let by_id = v1::GetSettleRequest {
        key: Some(v1::get_settle_request::Key::SettleId(settle.settle_id().to_owned())),
        refresh: true,
        ..Default::default()
    };
    gateway.client.clone().get_settle(by_id).await.unwrap();
    let books = gateway.sim.books();
    assert!((2..=3).contains(&(books.queries(&doubt) - before)));
    assert_eq!(books.queries(settle.settle_id()), 0);
}

#[tokio::test]
async fn a_question_that_douyin_does_not_answer_ends_before_the_callers_deadline() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        wait_for_answers(config);
        config.grpc.unary_limit = Duration::from_secs(4);
    })
    .await;
    let number = number("silent");
    gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    gateway.sim.always_query(Some(Script::Hang));
    let limits = [
        (Duration::from_secs(3), Code::DeadlineExceeded, "DEADLINE_REACHED"),
        (Duration::from_secs(15), Code::Unavailable, "TIME_LIMIT_REACHED"),
    ];
    for (limit, code, reason) in limits {
        let get = v1::GetSettleRequest {
            key: Some(v1::get_settle_request::Key::OutSettleNo(number.clone())),
            refresh: true,
            ..Default::default()
        };
        let (mut get, mut query) = (
            tonic::Request::new(get),
            tonic::Request::new(query_request(Some(Key::OutSettleNo(number.clone())))),
        );
        get.set_timeout(limit);
        query.set_timeout(limit);
        let (mut one, mut other) = (gateway.client.clone(), gateway.client.clone());
        let (get, query) = tokio::join!(
            within("GetSettle", one.get_settle(get)),
            within("QuerySettles", other.query_settles(query)),
        );
        let statuses = [get.map(drop).unwrap_err(), query.map(drop).unwrap_err()];
        for status in statuses {
            assert_eq!(status.code(), code, "{status:?}");
            let told = details(&status);
            assert_eq!(told.info.reason, reason);
            assert_eq!(told.info.metadata.get("outcome"), None, "it sends nothing");
        }
    }
}

#[tokio::test]
async fn a_key_that_douyin_finds_wrong_is_told_as_such() {
    let gateway = patient().await;
    gateway.sim.always_query(Some(Script::Refuse(10000)));
    let status = query(&gateway, Key::OrderId("x".to_owned())).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(details(&status).info.reason, "PARAM_ERROR");
}

/// Nothing of it may wait for the end of a pause that Douyin asked for.
#[tokio::test]
async fn questions_of_a_throttled_app_are_told_at_once_when_to_come_back() {
    let gateway = patient().await;
    gateway.sim.always_query(Some(Script::Refuse(12001)));
    for asked in [1, 1] {
        let status = query(&gateway, Key::OrderId("x".to_owned())).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let told = details(&status);
        assert_eq!(told.info.reason, "UPSTREAM_RATE_LIMITED");
        assert!(told.retry_after.is_some());
        assert_eq!(gateway.sim.books().queries_total(), asked);
    }
}

#[tokio::test]
async fn a_refresh_of_an_unknown_settle_is_not_found() {
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
        let numbers: Vec<_> = settles.iter().map(|settle| &settle.out_settle_no).collect();
        assert_eq!(numbers, [&first, &second], "in Douyin's order");
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
    // Another gateway with another database, on the same Douyin. A watch comes before the create.
    let second = Gateway::spawn_with(first.sim.clone(), |_| {}).await;
    assert_eq!(second.end(&number).await.origin(), SettleOrigin::Platform);
    let again = second.create_full(create_request(&number)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.settle.unwrap().settle_id, settle.settle_id);
    assert_eq!(first.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn without_a_mark_no_caller_is_told_that_the_number_is_free_of_its_settle() {
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
