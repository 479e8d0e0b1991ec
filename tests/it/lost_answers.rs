//! Answers that get lost after the money moved, and answers that cannot be used: the caller gets a
//! true answer in time, and the settle reaches its true end.

use std::time::{Duration, Instant};

use douyin_sim::Script;
use settlement_gateway::proto::v1::SettleState;
use tonic::Code;

use crate::harness::{
    Gateway, assert_create_error, create_on, create_request, details, number, simulator_with,
};

/// The one settle under the number was made by one intent and paid once.
fn assert_paid_once(gateway: &Gateway, number: &str) {
    let books = gateway.sim.books();
    assert_eq!(books.under(number).len(), 1, "{:?}", books.under(number));
    let bodies = books.create_bodies(number);
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "a re-send is the same bytes");
}

#[tokio::test]
async fn a_lost_answer_is_repaired_within_the_call() {
    let gateway = Gateway::spawn().await;
    let number = number("lost");
    let settle = gateway.create(create_on(&number, "sim-lost-1")).await.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_paid_once(&gateway, &number);
}

#[tokio::test]
async fn a_refused_resend_after_a_lost_answer_never_rejects_the_settle() {
    // The first send takes the money, its answer is lost, and the settle stays invisible to
    // queries while the re-send is refused for lack of money: the trap that pays twice.
    let sim = simulator_with(|config| config.choices.visible_after_ms = 400).await;
    let gateway = Gateway::spawn_with(sim, |_| {}).await;
    let number = number("refused-resend");
    let lost = Script::apply_then(Script::Drop);
    gateway.sim.script(&number, vec![lost, Script::Refuse(23112)]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    let reason = "NO_MONEY_TO_SETTLE";
    assert_create_error(&status, Code::FailedPrecondition, reason, "unknown");
    let told = gateway.watch_to_end(&number).await.unwrap();
    assert!(told.iter().all(|settle| settle.state() != SettleState::Rejected));
    assert_eq!(told.last().unwrap().state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().sends(&number), 2);
    assert_paid_once(&gateway, &number);
}

#[tokio::test]
async fn a_refused_resend_rejects_once_a_query_after_the_grace_finds_nothing() {
    let gateway = Gateway::spawn().await;
    let number = number("refused-for-good");
    gateway.sim.script(&number, vec![Script::Drop, Script::Refuse(23112)]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    let reason = "NO_MONEY_TO_SETTLE";
    assert_create_error(&status, Code::FailedPrecondition, reason, "unknown");
    let end = gateway.end(&number).await;
    assert_eq!(end.state(), SettleState::Rejected);
    assert_eq!(end.rejection.unwrap().reason, reason);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    assert_create_error(&status, Code::FailedPrecondition, reason, "refused");
    assert_eq!(gateway.sim.books().sends(&number), 2);
    assert_eq!(gateway.sim.books().under(&number).len(), 0);
}

#[tokio::test]
async fn ten_system_errors_are_outlasted() {
    let gateway = Gateway::spawn().await;
    let number = number("23000");
    gateway.sim.script(&number, vec![Script::Refuse(23000); 10]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    let told = assert_create_error(&status, Code::Unavailable, "SYSTEM_ERROR", "unknown");
    assert_eq!(told.douyin.unwrap().err_no, Some(23000));
    assert!(told.retry_after.is_some());
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().sends(&number), 11);
    assert_paid_once(&gateway, &number);
}

#[tokio::test]
async fn whatever_douyin_answers_the_caller_hears_the_truth_and_the_settle_ends_well() {
    let odd = [
        ("hang", Script::Hang),
        ("drop", Script::Drop),
        ("mid", Script::CloseMidAnswer),
        ("html", Script::Html),
        ("empty", Script::Empty),
        ("huge", Script::Huge(10 << 20)),
        ("types", Script::WrongTypes),
    ];
    let gateway = Gateway::spawn().await;
    for (name, script) in odd {
        for applied in [true, false] {
            let number = number(name);
            let script = if applied { Script::apply_then(script.clone()) } else { script.clone() };
            // Twice, so that the re-send within the call does not repair it.
            gateway.sim.script(&number, vec![script.clone(), script]);
            let began = Instant::now();
            let answer = gateway.create(create_request(&number)).await;
            assert!(began.elapsed() < Duration::from_secs(8), "{name}: {:?}", began.elapsed());
            match answer {
                // The query at the end of the call found it.
                Ok(settle) => {
                    assert!(applied, "{name}");
                    assert_ne!(settle.state(), SettleState::Submitting, "{name}");
                }
                Err(status) => {
                    let reason = "UPSTREAM_UNAVAILABLE";
                    assert_create_error(&status, Code::Unavailable, reason, "unknown");
                }
            }
            assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded, "{name}");
            assert_paid_once(&gateway, &number);
        }
    }
}

#[tokio::test]
async fn an_unlisted_number_three_times_is_a_refusal_once_the_grace_is_over() {
    let gateway = Gateway::spawn().await;
    let number = number("unlisted");
    gateway.sim.script(&number, vec![Script::Refuse(23999); 3]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    let told = assert_create_error(&status, Code::Unknown, "DOUYIN_ERROR", "unknown");
    assert_eq!(told.douyin.unwrap().err_no, Some(23999));
    let end = gateway.end(&number).await;
    assert_eq!(end.state(), SettleState::Rejected);
    assert_eq!(end.rejection.unwrap().douyin_error.unwrap().err_no, Some(23999));
    assert_eq!(gateway.sim.books().sends(&number), 3);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    assert_eq!(details(&status).info.metadata["outcome"], "refused");
}

#[tokio::test]
async fn throttling_slows_the_app_and_loses_nothing() {
    let gateway = Gateway::spawn().await;
    let number = number("throttled");
    gateway.sim.script(&number, vec![Script::Refuse(12001)]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    let code = Code::ResourceExhausted;
    let told = assert_create_error(&status, code, "UPSTREAM_RATE_LIMITED", "unknown");
    assert!(told.retry_after.is_some());
    // The whole app waits: another create is turned away before it is recorded.
    let other = crate::harness::number("throttled-other");
    let status = gateway.create(create_request(&other)).await.unwrap_err();
    assert_create_error(&status, code, "UPSTREAM_RATE_LIMITED", "not_sent");
    assert_eq!(gateway.get(&other).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_paid_once(&gateway, &number);
}

#[tokio::test]
async fn an_unreachable_douyin_is_told_and_the_settle_goes_out_later() {
    let mut gateway = Gateway::spawn_with(simulator_with(|_| {}).await, |config| {
        // No process listens there.
        config.douyin.base_url = "http://127.0.0.1:9".to_owned();
    })
    .await;
    let number = number("unreachable");
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    assert_create_error(&status, Code::Unavailable, "UPSTREAM_UNAVAILABLE", "unknown");
    gateway.tune(|_| {});
    let gateway = gateway.restart().await;
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_paid_once(&gateway, &number);
}

#[tokio::test]
async fn a_window_that_ends_without_douyin_rejects_the_settle() {
    let gateway = Gateway::spawn_with(simulator_with(|_| {}).await, |config| {
        config.gateway.policy.grace = Duration::from_millis(300);
        config.gateway.policy.call_timeout = Duration::from_millis(300);
        config.douyin.call_timeout = Duration::from_millis(300);
        config.gateway.submit_window_max = Duration::from_millis(1_200);
    })
    .await;
    gateway.sim.always_create(Some(Script::Refuse(23000)));
    let number = number("expired");
    gateway.create(create_request(&number)).await.unwrap_err();
    let end = gateway.end(&number).await;
    assert_eq!(end.state(), SettleState::Rejected);
    assert_eq!(end.rejection.unwrap().reason, "SUBMISSION_EXPIRED");
    let window = end.submit_before.unwrap();
    let rejected = end.update_time.unwrap();
    assert!((rejected.seconds, rejected.nanos) > (window.seconds, window.nanos));
}
