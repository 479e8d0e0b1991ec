//! What operators decide while Douyin's words are on their way.

use douyin_sim::{Gate, Script, Status, StrangerSettle};
use settlement_gateway::proto::v1::{self, ObservationSource, SettleState};

use super::{Letter, patient, spawn_with, success};
use crate::errors_own::ends::soon;
use crate::errors_own::{end_request, resolve_request, stop_request};
use crate::harness::{APP_ID, Gateway, create_on, create_request, details, number, within};

async fn resolve(gateway: &Gateway, number: &str, keep: v1::KeptWord) -> v1::Settle {
    let revision = gateway.get(number).await.unwrap().revision;
    let request =
        v1::ResolveContradictionRequest { keep: keep.into(), ..resolve_request(number, revision) };
    let mut operator = gateway.operator.clone();
    let resolved = within("the decision", operator.resolve_contradiction(request)).await;
    resolved.unwrap().into_inner().settle.unwrap()
}

/// The worker that is on the settle began to ask before the operator decided.
#[tokio::test]
async fn the_query_that_a_decision_asks_for_is_made_also_if_another_one_is_on_its_way() {
    let gateway = spawn_with(patient).await;
    gateway.sim.set_callback_url(APP_ID, None);
    let number = number("disputed");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let settle_id = settle.settle_id();
    let letter = |status| Letter::about(&gateway.sim, settle_id, status);
    assert_eq!(letter(Status::Success).deliver(&gateway).await, success());
    let gates = [Gate::new(), Gate::new()];
    gateway.sim.script_query(settle_id, gates.iter().cloned().map(Script::Hold).collect());
    assert_eq!(letter(Status::Fail).deliver(&gateway).await, success());
    within("the query about the contradiction", gates[0].arrived()).await;

    let decided = resolve(&gateway, &number, v1::KeptWord::Claimed).await;
    assert_eq!((decided.state(), decided.settle_status.as_ref()), (SettleState::Failed, None));
    // Douyin still says PROCESSING, which tells nothing of the end.
    gates[0].open();
    within("the query that the decision asks for", gates[1].arrived()).await;
    assert_eq!(gateway.get(&number).await.unwrap().settle_status, None);
    gateway.sim.set_status(settle_id, Status::Fail);
    gates[1].open();
    let told = async {
        while gateway.get(&number).await.unwrap().settle_status() != "FAIL" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("Douyin's word", told).await;
}

/// Of two records of one settle one goes, and not what an operator decided about it.
#[tokio::test]
async fn a_decision_about_a_record_that_goes_up_in_another_is_kept_there() {
    let gateway = spawn_with(|config| {
        patient(config);
        crate::harness::wait_for_answers(config);
    })
    .await;
    gateway.sim.set_callback_url(APP_ID, None);
    gateway.sim.always_query(Some(Script::FindNothing));
    let (ours, gate) = (number("nameless"), Gate::new());
    gateway.sim.script(&ours, vec![Script::apply_then(Script::Hold(gate.clone()))]);
    let (mut client, request) = (gateway.client.clone(), create_request(&ours));
    let call = tokio::spawn(async move { client.create_settle(request).await });
    within("the send to arrive", gate.arrived()).await;
    let settle_id = gateway.sim.books().only(&ours).unwrap().settle_id.clone();
    for status in [Status::Success, Status::Fail] {
        let nameless = Letter::about(&gateway.sim, &settle_id, status)
            .changed(&gateway.sim, |msg| msg["out_settle_no"] = "".into());
        assert_eq!(nameless.deliver(&gateway).await, success());
    }
    let decided = resolve(&gateway, &settle_id, v1::KeptWord::Recorded).await;
    assert_eq!(decided.state(), SettleState::Succeeded);

    gate.open();
    within("the create", call).await.unwrap().unwrap();
    let told = gateway.get_full(&ours).await.unwrap();
    let settle = told.settle.unwrap();
    assert_eq!(settle.settle_id(), settle_id);
    assert_eq!(settle.decision, decided.decision);
    assert!(settle.revision > decided.revision);
    let operators = ObservationSource::Operator;
    let kept = told.history.iter().find(|entry| entry.source() == operators);
    let kept = kept.expect("the decision is in the history");
    assert_eq!(kept.why.as_ref(), decided.decision.as_ref().map(|decision| &decision.why));
    assert!(told.history.is_sorted_by(|a, b| a.revision < b.revision), "{:?}", told.history);
    assert_eq!(told.history.last().unwrap().revision, settle.revision);
}

/// The settle of the mistyped id is told by a callback just while Douyin is asked last.
#[tokio::test]
async fn a_mistyped_settle_id_does_not_take_over_a_settle_that_is_adopted_meanwhile() {
    let gateway = spawn_with(|config| {
        soon(config);
        // The query is held for longer than that.
        config.douyin.attempt_timeout = std::time::Duration::from_secs(10);
        config.douyin.call_timeout = std::time::Duration::from_secs(10);
    })
    .await;
    gateway.sim.set_callback_url(APP_ID, None);
    let settle = StrangerSettle {
        out_order_no: number("order"),
        status: Status::Success,
        ..StrangerSettle::default()
    };
    let (ours, theirs) = (number("mistyped"), number("theirs"));
    let settle_id = gateway.sim.stranger_settle(APP_ID, &theirs, settle);
    gateway.sim.script(&ours, vec![Script::Refuse(23000); 9]);
    gateway.create(create_request(&ours)).await.unwrap_err();
    let mut operator = gateway.operator.clone();
    let (stopped, wait) = loop {
        let seen = gateway.get(&ours).await.unwrap();
        match operator.stop_sending(stop_request(&ours, seen.revision)).await {
            Ok(stopped) => {
                let stopped = stopped.into_inner();
                break (stopped.settle.unwrap(), stopped.wait.unwrap());
            }
            Err(status) => assert_eq!(details(&status).info.reason, "REVISION_CHANGED"),
        }
    };
    tokio::time::sleep(wait.try_into().unwrap()).await;
    let gate = Gate::new();
    gateway.sim.script_query(&ours, vec![Script::Hold(gate.clone())]);
    let request = v1::EndSettleRequest {
        outcome: v1::EndOutcome::Succeeded.into(),
        settle_id: settle_id.clone(),
        ..end_request(&ours, stopped.revision)
    };
    let again = request.clone();
    let end = tokio::spawn(async move { operator.end_settle(request).await });
    within("Douyin to be asked last", gate.arrived()).await;
    let nameless = Letter::about(&gateway.sim, &settle_id, Status::Success)
        .changed(&gateway.sim, |msg| msg["out_settle_no"] = "".into());
    assert_eq!(nameless.deliver(&gateway).await, success());
    gate.open();
    let first = within("the end", end).await.unwrap().unwrap_err();
    let second = gateway.operator.clone().end_settle(again).await.unwrap_err();
    for status in [first, second] {
        let told = details(&status);
        assert_eq!(told.info.reason, "INVALID_REQUEST", "{status:?}");
        assert_eq!(told.fields, ["settle_id"], "{status:?}");
    }
    assert_eq!(gateway.get(&ours).await.unwrap().state(), SettleState::Submitting);
    let theirs = gateway.get(&settle_id).await.unwrap();
    assert_eq!((theirs.state(), theirs.decision), (SettleState::Succeeded, None));
}

/// Douyin gives a second settle the id of the first one, which is not a record to merge.
#[tokio::test]
async fn a_worker_that_cannot_record_an_id_gives_its_lease_back() {
    let gateway = spawn_with(patient).await;
    gateway.sim.set_callback_url(APP_ID, None);
    let (first, second) = (number("first"), number("second"));
    let settle = gateway.create(create_on(&first, "sim-hold-1")).await.unwrap();
    let data = serde_json::json!({ "settle_id": settle.settle_id() });
    let accepted = serde_json::json!({ "err_no": 0, "err_msg": "", "data": data }).to_string();
    gateway.sim.script(&second, vec![Script::json(200, accepted)]);
    gateway.create(create_request(&second)).await.unwrap_err();
    let is_leased = || {
        let database = rusqlite::Connection::open(gateway.database()).unwrap();
        let sql = "SELECT lease_until_ms IS NOT NULL FROM settle WHERE out_settle_no = ?";
        database.query_row(sql, [&second], |row| row.get::<_, bool>(0)).unwrap()
    };
    let given_back = async {
        while is_leased() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the lease to be given back", given_back).await;
    assert_eq!(gateway.get(&second).await.unwrap().state(), SettleState::Submitting);
}
