//! Settles that were not created here, and callbacks that come before the number is known.

use std::time::Duration;

use douyin_sim::{Gate, Script, Snapshot, Status, StrangerSettle};
use settlement_gateway::apps::AppConfig;
use settlement_gateway::config::Config;
use settlement_gateway::proto::v1::{self, SettleOrigin, SettleState};
use tonic::Code;

use super::{Letter, patient, spawn, spawn_with, success};
use crate::harness::{APP_ID, Gateway, app, create_request, drain, number, within};

async fn by_settle_id(gateway: &Gateway, settle_id: &str) -> Result<v1::Settle, tonic::Status> {
    let request = v1::GetSettleRequest {
        key: Some(v1::get_settle_request::Key::SettleId(settle_id.to_owned())),
        ..Default::default()
    };
    let mut client = gateway.client.clone();
    let answer = within("GetSettle", client.get_settle(request)).await?;
    Ok(answer.into_inner().settle.unwrap())
}

async fn listed(gateway: &Gateway) -> Vec<v1::Settle> {
    let request = v1::ListSettlesRequest { app_id: APP_ID.to_owned(), ..Default::default() };
    let mut client = gateway.client.clone();
    within("ListSettles", client.list_settles(request)).await.unwrap().into_inner().settles
}

/// On its way; `finish` ends it.
fn elsewhere(order: &str) -> StrangerSettle {
    StrangerSettle {
        out_order_no: order.to_owned(),
        status: Status::Processing,
        ..StrangerSettle::default()
    }
}

/// Waits until the settle shows the order, which only a query tells.
async fn completed(gateway: &Gateway, settle_id: &str) -> v1::Settle {
    let complete = async {
        loop {
            match by_settle_id(gateway, settle_id).await {
                Ok(settle) if settle.out_order_no.is_some() => return settle,
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    within("the completing query", complete).await
}

/// About how many settles the gateway will ask.
fn scheduled(gateway: &Gateway) -> i64 {
    let database = rusqlite::Connection::open(gateway.database()).unwrap();
    database.query_row("SELECT count(due_at_ms) FROM settle", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn an_automatic_settlement_is_adopted_completed_and_seen_everywhere() {
    let gateway = spawn().await;
    let order = number("order");
    let settle_id = gateway.sim.platform_settle(APP_ID, elsewhere(&order));
    gateway.sim.finish(&settle_id, Status::Success);
    let settle = completed(&gateway, &settle_id).await;
    assert_eq!(settle.origin(), SettleOrigin::Platform);
    assert_eq!(settle.state(), SettleState::Succeeded);
    assert_eq!(settle.out_order_no(), order);
    assert_eq!(settle.out_settle_no, settle_id, "Douyin's own number is its key");
    assert_eq!(settle.result.as_ref().unwrap().auto_settle, Some(true));
    assert_eq!(listed(&gateway).await, std::slice::from_ref(&settle));
    assert_eq!(gateway.watch_to_end(&settle_id).await.unwrap(), [settle]);
    // One query completed it, and Douyin is not asked again.
    assert_eq!(gateway.sim.books().queries_total(), 1);
}

/// Empty for up to ten minutes: the query that completes a settle is repeated until it finds it.
#[tokio::test]
async fn a_query_that_does_not_show_the_settle_yet_is_made_again() {
    let gateway = spawn_with(|config| {
        config.gateway.policy.grace = Duration::from_secs(30);
    })
    .await;
    let (order, theirs) = (number("order"), number("theirs"));
    gateway.sim.always_query(Some(Script::FindNothing));
    let settle_id = gateway.sim.stranger_settle(APP_ID, &theirs, elsewhere(&order));
    gateway.sim.finish(&settle_id, Status::Success);
    let asked = |books: &Snapshot| books.queries_total() >= 3;
    within("three queries", gateway.sim.until(asked)).await;
    gateway.sim.always_query(None);
    assert_eq!(completed(&gateway, &settle_id).await.out_settle_no, theirs);
}

/// For example an app that may not ask: its ended settles would fill the poller's budget for ever.
#[tokio::test]
async fn a_completing_query_that_douyin_never_answers_is_given_up_in_the_end() {
    let gateway = spawn_with(|config| {
        config.gateway.submit_window_max = Duration::from_secs(2);
    })
    .await;
    gateway.sim.always_query(Some(Script::Html));
    let (order, theirs) = (number("order"), number("theirs"));
    let settle_id = gateway.sim.stranger_settle(APP_ID, &theirs, elsewhere(&order));
    gateway.sim.finish(&settle_id, Status::Success);
    let asked = |books: &Snapshot| books.queries_total() >= 3;
    within("three queries", gateway.sim.until(asked)).await;
    let given_up = async {
        while scheduled(&gateway) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the schedule to be empty", given_up).await;
    assert_eq!(by_settle_id(&gateway, &settle_id).await.unwrap().state(), SettleState::Succeeded);
}

/// The simulation found this: the due row stayed, and the sweep reported it.
#[tokio::test]
async fn a_callers_question_can_pay_the_query_that_a_settle_owes() {
    let gateway = spawn_with(|config| {
        let schedule = &mut config.gateway.schedule;
        (schedule.first, schedule.cap) = (Duration::from_secs(3_600), Duration::from_secs(3_600));
    })
    .await;
    let (order, theirs) = (number("order"), number("theirs"));
    gateway.sim.always_query(Some(Script::FindNothing));
    let settle_id = gateway.sim.stranger_settle(APP_ID, &theirs, elsewhere(&order));
    gateway.sim.finish(&settle_id, Status::Success);
    within("a query", gateway.sim.until(|books: &Snapshot| books.queries_total() == 1)).await;
    assert_eq!(scheduled(&gateway), 1);
    gateway.sim.always_query(None);
    let key = Some(v1::query_settles_request::Key::OutOrderNo(order.clone()));
    let request = v1::QuerySettlesRequest { key, ..Default::default() };
    let mut client = gateway.client.clone();
    let found = within("QuerySettles", client.query_settles(request)).await.unwrap().into_inner();
    assert_eq!(found.settles[0].out_order_no(), order);
    assert_eq!(scheduled(&gateway), 0);
}

#[tokio::test]
async fn a_settle_made_elsewhere_under_a_number_is_found_by_that_number() {
    let gateway = spawn().await;
    let (order, theirs) = (number("order"), number("theirs"));
    let settle_id = gateway.sim.stranger_settle(APP_ID, &theirs, elsewhere(&order));
    gateway.sim.finish(&settle_id, Status::Fail);
    let settle = completed(&gateway, &settle_id).await;
    assert_eq!((settle.out_settle_no.as_str(), settle.state()), (&*theirs, SettleState::Failed));
    assert_eq!(gateway.get(&theirs).await.unwrap(), settle);
}

/// A settle told by callback while our own create of it is on its way, in both orders.
#[tokio::test]
async fn adoption_and_create_of_one_number_race_to_one_settle() {
    let gateway = spawn_with(|config: &mut Config| {
        patient(config);
        crate::harness::wait_for_answers(config);
    })
    .await;
    let mut rounds = tokio::task::JoinSet::new();
    for round in 0..20 {
        let (sim, mut client) = (gateway.sim.clone(), gateway.client.clone());
        let number = number("race");
        let url = gateway.callback_url(APP_ID);
        rounds.spawn(async move {
            let request = create_request(&number);
            let create = async { client.create_settle(request).await.unwrap().into_inner() };
            let told = async {
                // As soon as Douyin has it, or a moment later.
                let taken = sim.until(|books| books.only(&number).is_some()).await;
                let settle_id = taken.only(&number).unwrap().settle_id.clone();
                for _ in 0..round % 4 {
                    tokio::task::yield_now().await;
                }
                let letter = Letter::about(&sim, &settle_id, Status::Success);
                let client = reqwest::Client::new();
                let sent = client
                    .post(url)
                    .header("Byte-Timestamp", &letter.timestamp)
                    .header("Byte-Nonce-Str", &letter.nonce)
                    .header("Byte-Signature", &letter.signature)
                    .body(letter.body.clone());
                assert_eq!(sent.send().await.unwrap().status().as_u16(), 200);
            };
            let (created, ()) = tokio::join!(create, told);
            (number, created)
        });
    }
    for (number, created) in rounds.join_all().await {
        assert!(!created.settle.unwrap().settle_id().is_empty());
        assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
        assert_eq!(gateway.sim.books().sends(&number), 1);
    }
    assert_eq!(listed(&gateway).await.len(), 20);
}

/// The callback has no out_settle_no and comes first. The settle is recorded under Douyin's own
/// number, and is merged into ours when the answer to our create names it.
#[tokio::test]
async fn a_callback_without_a_number_before_our_answer_becomes_one_with_ours() {
    let gateway = spawn_with(|config| {
        patient(config);
        crate::harness::wait_for_answers(config);
    })
    .await;
    // Only what this test delivers arrives.
    gateway.sim.set_callback_url(APP_ID, None);
    let (ours, gate) = (number("nameless"), Gate::new());
    gateway.sim.script(&ours, vec![Script::apply_then(Script::Hold(gate.clone()))]);
    let (mut client, request) = (gateway.client.clone(), create_request(&ours));
    let call = tokio::spawn(async move { client.create_settle(request).await });
    within("the send to arrive", gate.arrived()).await;
    let settle_id = gateway.sim.books().only(&ours).unwrap().settle_id.clone();

    let nameless = Letter::about(&gateway.sim, &settle_id, Status::Success)
        .changed(&gateway.sim, |msg| msg["out_settle_no"] = "".into());
    assert_eq!(nameless.deliver(&gateway).await, success());
    let adopted = by_settle_id(&gateway, &settle_id).await.unwrap();
    assert_eq!(adopted.origin(), SettleOrigin::Platform);
    assert_eq!(adopted.state(), SettleState::Succeeded);
    assert_eq!(gateway.get(&ours).await.unwrap().state(), SettleState::Submitting);

    gate.open();
    let created = within("the create", call).await.unwrap().unwrap().into_inner().settle.unwrap();
    assert_eq!(created.out_settle_no, ours);
    assert_eq!(created.state(), SettleState::Succeeded);
    assert_eq!(created.origin(), SettleOrigin::Gateway);
    assert_eq!(created.settle_id(), settle_id);
    assert!(created.revision > adopted.revision, "by its settle_id it only ever grew");
    assert_eq!(created.result.unwrap().message(), "SUCCESS");
    assert_eq!(by_settle_id(&gateway, &settle_id).await.unwrap().out_settle_no, ours);
    assert_eq!(listed(&gateway).await.len(), 1);
}

/// A watcher of a record that is merged into another one comes back, and gets that one.
#[tokio::test]
async fn a_watch_by_settle_id_outlives_the_record_that_went_up_in_another() {
    let gateway = spawn_with(|config| {
        patient(config);
        // So far away that no resync brings the news.
        config.gateway.resync = Duration::from_secs(600);
        crate::harness::wait_for_answers(config);
    })
    .await;
    gateway.sim.set_callback_url(APP_ID, None);
    let (ours, gate) = (number("moved"), Gate::new());
    gateway.sim.script(&ours, vec![Script::apply_then(Script::Hold(gate.clone()))]);
    let (mut client, request) = (gateway.client.clone(), create_request(&ours));
    let call = tokio::spawn(async move { client.create_settle(request).await });
    within("the send to arrive", gate.arrived()).await;
    let settle_id = gateway.sim.books().only(&ours).unwrap().settle_id.clone();
    let words = Letter::about(&gateway.sim, &settle_id, Status::Success);
    let processing = words.changed(&gateway.sim, |msg| {
        msg["out_settle_no"] = "".into();
        msg["status"] = "PROCESSING".into();
    });
    gateway.sim.always_query(Some(Script::FindNothing));
    assert_eq!(processing.deliver(&gateway).await, success());

    let watch = |after_revision| v1::WatchSettleRequest {
        key: Some(v1::watch_settle_request::Key::SettleId(settle_id.clone())),
        after_revision,
        ..Default::default()
    };
    let mut stream = gateway.watch(watch(0)).await.unwrap();
    let first = within("the first message", stream.message()).await.unwrap().unwrap();
    let Some(v1::watch_settle_response::Event::Settle(first)) = first.event else {
        panic!("{first:?}");
    };
    assert_eq!(first.out_settle_no, settle_id);
    gate.open();
    within("the create", call).await.unwrap().unwrap();
    let status = drain(stream).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "come back: {status:?}");
    let stream = gateway.watch(watch(first.revision)).await.unwrap();
    assert_eq!(words.deliver(&gateway).await, success());
    let seen = drain(stream).await.unwrap();
    assert!(seen.iter().all(|settle| settle.out_settle_no == ours), "{seen:?}");
    assert!(seen.iter().all(|settle| settle.revision > first.revision), "{seen:?}");
    assert_eq!(seen.last().unwrap().state(), SettleState::Succeeded);
}

/// Signed for one app and about another app's settle: each app has its own settles and its own
/// keys.
#[tokio::test]
async fn a_valid_callback_changes_nothing_in_another_app() {
    let gateway = spawn_with(|config| {
        patient(config);
        let platform_keys = config.apps[0].platform_keys.clone();
        config.apps.push(AppConfig { platform_keys, ..app("ttother", "other-secret") });
    })
    .await;
    gateway.sim.set_callback_url(APP_ID, None);
    let ours = number("ours");
    let mut request = crate::harness::create_on(&ours, "sim-hold-1");
    request.out_settle_no.clone_from(&ours);
    let settle = gateway.create(request).await.unwrap();
    let letter = Letter::about(&gateway.sim, settle.settle_id(), Status::Success);

    // Names this app and comes to the other one.
    let elsewhere = Letter { to: "ttother".to_owned(), ..letter.clone() };
    assert_eq!(elsewhere.deliver(&gateway).await.0, 400);
    // Names the other app, too: it is that app's own, unknown settle.
    let theirs = letter.changed(&gateway.sim, |msg| msg["app_id"] = "ttother".into());
    let theirs = Letter { to: "ttother".to_owned(), ..theirs };
    assert_eq!(theirs.deliver(&gateway).await, success());
    assert_eq!(gateway.get(&ours).await.unwrap(), settle);
}
