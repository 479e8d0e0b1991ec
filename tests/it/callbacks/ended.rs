//! Settles that end by callback, and what copies, delays and losses of callbacks do to them.

use douyin_sim::{CallbackScript, Gate, Script, Snapshot, Status};
use settlement_gateway::proto::v1::{self, ObservationSource, SettleState};
use settlement_gateway::settle::{Mark, NotifyUrl};

use super::{Letter, patient, spawn, spawn_with, success};
use crate::harness::{APP_ID, Gateway, create_on, create_request, number, within};

/// What each revision was learned from.
async fn sources(gateway: &Gateway, number: &str) -> Vec<ObservationSource> {
    let full = gateway.get_full(number).await.unwrap();
    full.history.iter().map(v1::HistoryEntry::source).collect()
}

/// Waits until Douyin counts a callback about the settle as acknowledged.
async fn acknowledged(gateway: &Gateway, number: &str, callbacks: usize) {
    let done = |books: &Snapshot| {
        let told = books.callbacks_of(number);
        told.iter().filter(|told| told.is_acknowledged()).count() >= callbacks
    };
    within("the acknowledgement", gateway.sim.until(done)).await;
}

#[tokio::test]
async fn a_settle_ends_by_callback_without_a_single_query() {
    let gateway = spawn().await;
    for (order, state) in [("", SettleState::Succeeded), ("sim-fail-1", SettleState::Failed)] {
        let number = number("told");
        let order = if order.is_empty() { format!("order-of-{number}") } else { order.to_owned() };
        gateway.create(create_on(&number, &order)).await.unwrap();
        let end = gateway.end(&number).await;
        assert_eq!(end.state(), state);
        assert_eq!(gateway.sim.books().queries_total(), 0);
        assert_eq!(sources(&gateway, &number).await.last(), Some(&ObservationSource::Callback));
        let history = gateway.get_full(&number).await.unwrap().history;
        assert!(!history.last().unwrap().log_id().is_empty());
        acknowledged(&gateway, &number, 1).await;
        let result = end.result.unwrap();
        assert!(result.settle_amount_fen.is_some() && result.settle_time.is_some());
        assert_eq!(result.auto_settle, Some(false));
    }
}

#[tokio::test]
async fn a_callback_for_one_item_ends_the_settle_of_that_item() {
    let gateway = spawn().await;
    let number = number("item");
    let request =
        v1::CreateSettleRequest { item_order_id: "motb-1".to_owned(), ..create_request(&number) };
    gateway.create(request).await.unwrap();
    let end = gateway.end(&number).await;
    assert_eq!((end.state(), end.item_order_id()), (SettleState::Succeeded, "motb-1"));
    assert_eq!(sources(&gateway, &number).await.last(), Some(&ObservationSource::Callback));
}

#[tokio::test]
async fn copies_and_repeated_deliveries_change_nothing_and_are_acknowledged() {
    let gateway = spawn().await;
    let number = number("copies");
    gateway.sim.script_callback(&number, vec![CallbackScript::Twice]);
    let settle = gateway.create(create_request(&number)).await.unwrap();
    let end = gateway.end(&number).await;
    acknowledged(&gateway, &number, 1).await;
    let letter = Letter::about(&gateway.sim, settle.settle_id(), Status::Success);
    for _ in 0..20 {
        assert_eq!(letter.deliver(&gateway).await, success());
    }
    assert_eq!(gateway.get(&number).await.unwrap(), end);
}

/// An old delivery, taken from the wire and sent again byte for byte, long after the end.
#[tokio::test]
async fn a_replayed_delivery_is_harmless() {
    let gateway = spawn().await;
    let number = number("replay");
    gateway.create(create_request(&number)).await.unwrap();
    let end = gateway.end(&number).await;
    acknowledged(&gateway, &number, 1).await;
    let books = gateway.sim.books();
    let copy = gateway.sim.replay_callback(books.callbacks_of(&number)[0].id).unwrap();
    let gone = |books: &Snapshot| {
        books.callbacks.iter().any(|told| told.id == copy && told.is_acknowledged())
    };
    within("the copy to be taken", gateway.sim.until(gone)).await;
    assert_eq!(gateway.get(&number).await.unwrap(), end);
}

/// What Douyin said before the end comes after it.
#[tokio::test]
async fn reordered_deliveries_lead_to_the_same_end() {
    let gateway = spawn().await;
    let number = number("order");
    let settle = gateway.create(create_request(&number)).await.unwrap();
    let end = gateway.end(&number).await;
    acknowledged(&gateway, &number, 1).await;
    let success_letter = Letter::about(&gateway.sim, settle.settle_id(), Status::Success);
    for word in ["PROCESSING", "INIT", "SUCCESS"] {
        let late = success_letter.changed(&gateway.sim, |msg| msg["status"] = word.into());
        assert_eq!(late.deliver(&gateway).await, success(), "{word}");
        assert_eq!(gateway.get(&number).await.unwrap(), end, "{word}");
    }
}

/// Douyin gets no answer and delivers again: the second one is a copy.
#[tokio::test]
async fn a_delivery_whose_answer_is_lost_comes_again_and_is_acknowledged_then() {
    let gateway = spawn().await;
    let number = number("unheard");
    gateway.sim.script_callback(&number, vec![CallbackScript::LoseAnswer]);
    gateway.create(create_request(&number)).await.unwrap();
    let end = gateway.end(&number).await;
    assert_eq!(end.state(), SettleState::Succeeded);
    let tried =
        |books: &Snapshot| books.callbacks_of(&number).iter().any(|told| !told.attempts.is_empty());
    within("the first attempt", gateway.sim.until(tried)).await;
    gateway.sim.advance(std::time::Duration::from_secs(30));
    acknowledged(&gateway, &number, 1).await;
    assert_eq!(gateway.get(&number).await.unwrap(), end);
}

/// Douyin's own number decides, and the out_settle_no only if that is unknown.
#[tokio::test]
async fn the_settle_with_the_settle_id_is_meant_whichever_number_is_named() {
    let gateway = spawn().await;
    gateway.sim.set_callback_url(APP_ID, None);
    let (one, other) = (number("one"), number("other"));
    let mut settles = Vec::new();
    for number in [&one, &other] {
        let order = format!("sim-hold-{number}");
        settles.push(gateway.create(create_on(number, &order)).await.unwrap());
    }
    let letter = Letter::about(&gateway.sim, settles[0].settle_id(), Status::Success);
    let misnamed = letter.changed(&gateway.sim, |msg| msg["out_settle_no"] = (*other).into());
    assert_eq!(misnamed.deliver(&gateway).await, success());
    assert_eq!(gateway.get(&one).await.unwrap().state(), SettleState::Succeeded);
    assert_eq!(gateway.get(&other).await.unwrap(), settles[1]);
}

/// The poller was first. The late callback still brings what a query does not show.
#[tokio::test]
async fn a_late_callback_fills_in_what_is_missing() {
    let gateway = spawn_with(|_| {}).await;
    let (number, gate) = (number("late"), Gate::new());
    gateway.sim.script_callback(&number, vec![CallbackScript::Hold(gate.clone())]);
    gateway.create(create_request(&number)).await.unwrap();
    let end = gateway.end(&number).await;
    assert_eq!(sources(&gateway, &number).await.last(), Some(&ObservationSource::Query));
    assert_eq!(end.result.as_ref().unwrap().message, None);
    gate.open();
    acknowledged(&gateway, &number, 1).await;
    let after = gateway.get(&number).await.unwrap();
    assert_eq!(after.state(), SettleState::Succeeded);
    assert_eq!(after.result.unwrap().message(), "SUCCESS");
    assert_eq!(after.revision, end.revision + 1);
}

#[tokio::test]
async fn a_callback_may_come_before_the_answer_to_the_create() {
    let gateway = spawn_with(|config| {
        patient(config);
        crate::harness::wait_for_answers(config);
    })
    .await;
    let (number, gate) = (number("early"), Gate::new());
    let late_answer = Script::apply_then(Script::Hold(gate.clone()));
    gateway.sim.script(&number, vec![late_answer]);
    let (mut client, request) = (gateway.client.clone(), create_request(&number));
    let call = tokio::spawn(async move { client.create_settle(request).await });
    within("the send to arrive", gate.arrived()).await;
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    gate.open();
    let answered = within("the create", call).await.unwrap().unwrap().into_inner();
    assert_eq!(answered.settle.unwrap().state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

/// The answer is lost, and nothing marks the settle as ours. The callback alone proves nothing, but
/// the query that decides comes at once.
#[tokio::test]
async fn a_callback_that_may_not_end_its_settle_brings_the_query_forward() {
    let gateway = spawn_with(|config| {
        patient(config);
        config.gateway.mark = Mark::Off;
    })
    .await;
    gateway.sim.set_callback_url(APP_ID, None);
    let number = number("unmarked");
    gateway.sim.script_query(&number, vec![Script::FindNothing, Script::FindNothing]);
    gateway.sim.script(&number, vec![Script::apply_then(Script::Drop), Script::Drop]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    crate::harness::assert_create_error(
        &status,
        tonic::Code::Unavailable,
        "UPSTREAM_UNAVAILABLE",
        "unknown",
    );
    let queries = gateway.sim.books().queries_total();
    let settle_id = gateway.sim.books().only(&number).unwrap().settle_id.clone();
    gateway.sim.finish(&settle_id, Status::Success);
    let letter = Letter::about(&gateway.sim, &settle_id, Status::Success);
    gateway.sim.always_query(Some(Script::Html));
    assert_eq!(letter.deliver(&gateway).await, success());
    // It was queried at once without a result. The callback alone changed no state.
    let asked = |books: &Snapshot| books.queries_total() > queries;
    within("the query", gateway.sim.until(asked)).await;
    assert_eq!(gateway.get(&number).await.unwrap().state(), SettleState::Submitting);
    gateway.sim.always_query(None);
    // A copy of it brings the next query forward again.
    let end = async {
        while gateway.get(&number).await.unwrap().state() != SettleState::Succeeded {
            assert_eq!(letter.deliver(&gateway).await, success());
        }
    };
    within("the query that decides", end).await;
    let history = gateway.get_full(&number).await.unwrap().history;
    let left = history.iter().find(|entry| entry.state() != SettleState::Submitting).unwrap();
    assert_eq!(left.source(), ObservationSource::Query, "{history:?}");
}

#[tokio::test]
async fn without_any_good_callback_every_settle_still_ends() {
    for script in [
        CallbackScript::Lose,
        CallbackScript::Never,
        CallbackScript::WrongSignature,
        CallbackScript::Truncate,
        CallbackScript::Cut,
    ] {
        let gateway = spawn_with(|_| {}).await;
        gateway.sim.always_callback(Some(script));
        let number = number("untold");
        gateway.create(create_request(&number)).await.unwrap();
        assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
        assert!(!sources(&gateway, &number).await.contains(&ObservationSource::Callback));
    }
}

/// What is acknowledged is durable: it is there after a restart.
#[tokio::test]
async fn an_acknowledged_callback_outlives_the_process() {
    let gateway = spawn().await;
    let number = number("kept");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let letter = Letter::about(&gateway.sim, settle.settle_id(), Status::Success);
    assert_eq!(letter.deliver(&gateway).await, success());
    let gateway = gateway.restart().await;
    assert_eq!(gateway.get(&number).await.unwrap().state(), SettleState::Succeeded);
}

#[tokio::test]
async fn the_apps_own_address_goes_out_unless_the_caller_names_one() {
    let gateway = spawn_with(|config| {
        let url = NotifyUrl::parse("https://gateway.example/callbacks/douyin/x").unwrap();
        config.apps[0].notify_url = Some(url);
    })
    .await;
    let (ours, theirs) = (number("ours"), number("theirs"));
    gateway.create(create_request(&ours)).await.unwrap();
    let mut request = create_request(&theirs);
    request.notify_url = "https://caller.example/own".to_owned();
    gateway.create(request).await.unwrap();
    let sent = |number: &str| {
        let body = gateway.sim.books().create_bodies(number)[0].clone();
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["notify_url"].clone()
    };
    assert_eq!(sent(&ours), "https://gateway.example/callbacks/douyin/x");
    assert_eq!(sent(&theirs), "https://caller.example/own");
    // Neither address is this gateway's: both settles end by polling all the same.
    for number in [&ours, &theirs] {
        assert_eq!(gateway.end(number).await.state(), SettleState::Succeeded);
    }
}
