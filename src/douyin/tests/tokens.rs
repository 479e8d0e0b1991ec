//! Tokens are shared, live for a short time, and end each other. So they are fetched as rarely as
//! possible.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;

use super::super::codes::{Handling, rows};
use super::peer::{Act, Peer};
use super::*;
use crate::settle::{Answers, Learned, Reason};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

async fn create(world: &Stepped, caller: &Caller) -> CreateAnswer {
    caller.create(BODY, world.clock.uptime()).await
}

async fn accepted_by(world: &Stepped, caller: &Caller) {
    let answer = create(world, caller).await;
    assert!(matches!(answer.learned, Learned::Accepted(_)), "{answer:?}");
}

fn not_sent(answer: &CreateAnswer) -> Reason {
    let Learned::NotSent(failure) = &answer.learned else { panic!("{answer:?}") };
    assert_eq!(answer.answers, Answers::OneSend);
    failure.reason.known().unwrap()
}

fn one() -> (Stepped, Peer, Caller) {
    let (world, peer) = (Stepped::new(), Peer::default());
    let caller = world.caller(ClientConfig::default(), peer.transport());
    (world, peer, caller)
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_stored_and_used_until_it_nears_its_end() {
    let (world, peer, caller) = one();
    accepted_by(&world, &caller).await;
    let stored = world.stored().await.unwrap();
    assert_eq!(stored.access_token.expose_secret(), "clt.1");
    assert_eq!((stored.age, stored.left), (Some(secs(0)), secs(7_200)));
    tokio::time::advance(secs(7_200 - 241)).await;
    accepted_by(&world, &caller).await;
    assert_eq!((peer.token_calls(), peer.calls()), (1, vec!["clt.1".to_owned(); 2]));
    tokio::time::advance(secs(1)).await;
    accepted_by(&world, &caller).await;
    assert_eq!(peer.token_calls(), 2);
    assert_eq!(peer.calls()[2], "clt.2", "replaced four minutes before its end");
}

#[tokio::test(start_paused = true)]
async fn a_restart_fetches_no_token() {
    let (world, peer, caller) = one();
    accepted_by(&world, &caller).await;
    drop(caller);
    let restarted = world.caller(ClientConfig::default(), peer.transport());
    accepted_by(&world, &restarted).await;
    assert_eq!((peer.token_calls(), peer.calls()), (1, vec!["clt.1".to_owned(); 2]));
}

#[tokio::test(start_paused = true)]
async fn every_token_number_leads_to_one_fetch_and_one_repeat() {
    for row in rows(TradeSystem::General)
        .into_iter()
        .filter(|row| row.handling == Handling::Reauthenticate)
    {
        let envelopes = [
            json!({ "err_no": row.err_no, "err_msg": "bad access_token" }),
            json!({ "data": { "error_code": row.err_no, "description": "expired" } }),
            json!({ "extra": { "error_code": 2190004, "sub_error_code": row.err_no } }),
        ];
        for rejection in envelopes {
            let (world, peer, caller) = one();
            peer.reject_with(rejection);
            accepted_by(&world, &caller).await;
            peer.kill_tokens();
            accepted_by(&world, &caller).await;
            assert_eq!(peer.token_calls(), 2, "{row:?}");
            assert_eq!(peer.calls(), ["clt.1", "clt.1", "clt.4"], "{row:?}");
            assert_eq!(caller.pause(), None);
            accepted_by(&world, &caller).await;
            assert_eq!(peer.token_calls(), 2, "the new token stays");
        }
    }
}

/// If such a life were believed, each call would fetch a token and end an older one.
#[tokio::test(start_paused = true)]
async fn a_token_that_claims_not_to_live_is_used_all_the_same() {
    for expires_in in [json!(0), json!(-1), json!("soon"), json!(1.5), json!(null)] {
        let (world, peer, caller) = one();
        let token = json!({ "access_token": peer.issue(), "expires_in": expires_in });
        peer.script_tokens([Act::Say(json!({ "data": token, "message": "success" }))]);
        for _ in 0..20 {
            accepted_by(&world, &caller).await;
        }
        assert_eq!(peer.token_calls(), 1, "{expires_in}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_repeats_with_another_token_too() {
    let (world, peer, caller) = one();
    accepted_by(&world, &caller).await;
    peer.kill_tokens();
    peer.script([Act::Say(json!({ "err_no": 0, "data": [] }))]);
    let found = caller.query(QueryBy::OutSettleNo(&number())).await.unwrap();
    assert_eq!((found.reports.len(), peer.token_calls()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_calls_with_a_dead_token_fetch_one() {
    let (world, peer, caller) = one();
    accepted_by(&world, &caller).await;
    peer.kill_tokens();
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (caller, permitted) = (caller.clone(), world.clock.uptime());
        calls.spawn(async move { caller.create(BODY, permitted).await });
    }
    for answer in calls.join_all().await {
        assert!(matches!(answer.learned, Learned::Accepted(_)), "{answer:?}");
    }
    assert_eq!((peer.token_calls(), peer.calls().len()), (2, 1 + 100 + 100));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_first_calls_fetch_one_token() {
    let (world, peer, caller) = one();
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (caller, permitted) = (caller.clone(), world.clock.uptime());
        calls.spawn(async move { caller.create(BODY, permitted).await });
    }
    calls.join_all().await;
    assert_eq!((peer.token_calls(), peer.calls().len()), (1, 100));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_another_process_stored_is_taken_without_fetching() {
    let (world, peer, caller) = one();
    accepted_by(&world, &caller).await;
    peer.kill_tokens();
    let foreign = peer.issue();
    world.store_token(&foreign, 0, 7_200).await;
    accepted_by(&world, &caller).await;
    assert_eq!((peer.token_calls(), peer.calls()[2].as_str()), (1, foreign.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_fetcher_costs_one_fetch_per_gap_and_pauses_in_between() {
    let (world, peer, caller) = one();
    accepted_by(&world, &caller).await;
    peer.kill_tokens();
    accepted_by(&world, &caller).await;
    assert_eq!(peer.token_calls(), 2);
    for round in 0..3 {
        peer.kill_tokens();
        tokio::time::advance(secs(20)).await;
        let answer = create(&world, &caller).await;
        assert_eq!(not_sent(&answer), Reason::UpstreamCredentialsRejected);
        let until = caller.pause().unwrap().until;
        assert_eq!(until, world.clock.now().plus(secs(40)), "the rest of the gap");
        assert_eq!(peer.token_calls(), 2 + round);
        tokio::time::advance(secs(40)).await;
        accepted_by(&world, &caller).await;
        assert_eq!(peer.token_calls(), 3 + round);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_that_is_rejected_too_ends_the_call_unsent_and_pauses_the_app() {
    let (world, peer, caller) = one();
    accepted_by(&world, &caller).await;
    peer.kill_tokens();
    peer.script([Act::Say(refused(2190008))]);
    let answer = create(&world, &caller).await;
    assert_eq!(not_sent(&answer), Reason::UpstreamCredentialsRejected);
    let Learned::NotSent(failure) = &answer.learned else { panic!("{answer:?}") };
    assert_eq!(failure.douyin.as_ref().unwrap().err_no, Some(2190008));
    assert_eq!((answer.throttled, answer.log_id.as_deref()), (false, Some("log-2")));
    assert_eq!((peer.token_calls(), peer.calls().len()), (2, 3));
    let pause = caller.pause().unwrap();
    assert_eq!(pause.failure, *failure);
    assert_eq!(pause.until, world.clock.now().plus(secs(60)));
    assert_eq!(not_sent(&create(&world, &caller).await), Reason::UpstreamCredentialsRejected);
    assert_eq!(peer.calls().len(), 3, "a pause sends nothing");
}

#[tokio::test(start_paused = true)]
async fn a_young_token_of_an_earlier_life_is_not_replaced_in_a_hurry() {
    let (world, peer, caller) = one();
    world.store_token("clt.unknown", 10, 7_200).await;
    assert_eq!(not_sent(&create(&world, &caller).await), Reason::UpstreamCredentialsRejected);
    let until = caller.pause().unwrap().until;
    assert_eq!((peer.token_calls(), until), (0, world.clock.now().plus(secs(50))));
    tokio::time::advance(secs(50)).await;
    accepted_by(&world, &caller).await;
    assert_eq!(peer.token_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_from_the_future_is_replaced_all_the_same() {
    let (world, peer, caller) = one();
    world.store_token("clt.unknown", 0, 7_200).await;
    world.clock.jump_ms(-3_600_000);
    accepted_by(&world, &caller).await;
    assert_eq!(peer.token_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_told_once_to_douyin_and_pauses_the_app() {
    for err_no in [10002, 10003, 10013] {
        let (world, peer, caller) = one();
        let wrong = json!({ "data": { "error_code": err_no, "description": "wrong" } });
        peer.script_tokens(vec![Act::Say(wrong); 9]);
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            let (caller, permitted) = (caller.clone(), world.clock.uptime());
            calls.spawn(async move { caller.create(BODY, permitted).await });
        }
        for answer in calls.join_all().await {
            assert_eq!(not_sent(&answer), Reason::UpstreamCredentialsRejected);
        }
        assert_eq!((peer.token_calls(), peer.calls().len()), (1, 0));
        assert_eq!(caller.pause().unwrap().until, world.clock.now().plus(secs(1)));
        tokio::time::advance(secs(1)).await;
        create(&world, &caller).await;
        assert_eq!(caller.pause().unwrap().until, world.clock.now().plus(secs(2)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_had_leaves_the_call_unsent_with_the_cause() {
    let throttled = json!({ "data": { "error_code": 10020, "description": "too many" } });
    let garbage = json!({ "data": { "access_token": "two\nlines", "expires_in": 7200 } });
    let cases = [
        (Act::Say(throttled), Reason::UpstreamQuotaExhausted, true),
        (Act::Say(garbage), Reason::UpstreamBadAnswer, false),
        (Act::Say(json!({ "data": {}, "message": "success" })), Reason::UpstreamBadAnswer, false),
        (Act::Say(json!({ "err_no": 2190004 })), Reason::UpstreamPermissionMissing, false),
        (Act::SayWith(502, b"<html>"), Reason::UpstreamHttpError, false),
        (Act::Fail(SendError::Timeout), Reason::UpstreamTimeout, false),
        (Act::Fail(SendError::Lost("reset".to_owned())), Reason::UpstreamConnectionLost, false),
        (Act::Fail(SendError::NotSent("refused".to_owned())), Reason::UpstreamUnreachable, false),
    ];
    for (act, reason, throttled) in cases {
        let (world, peer, caller) = one();
        peer.script_tokens([act]);
        let answer = create(&world, &caller).await;
        assert_eq!((not_sent(&answer), answer.throttled), (reason, throttled));
        assert!(caller.pause().is_some(), "{reason:?}");
        assert!(peer.calls().is_empty());
        tokio::time::advance(secs(600)).await;
        accepted_by(&world, &caller).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_costs_a_valid_token_nothing() {
    let (world, peer, caller) = one();
    accepted_by(&world, &caller).await;
    tokio::time::advance(secs(7_200 - 200)).await;
    peer.script_tokens([Act::SayWith(502, b"<html>")]);
    for _ in 0..3 {
        accepted_by(&world, &caller).await;
    }
    assert_eq!((peer.token_calls(), caller.pause()), (2, None));
    tokio::time::advance(secs(60)).await;
    accepted_by(&world, &caller).await;
    assert_eq!((peer.token_calls(), peer.calls()[4].as_str()), (3, "clt.2"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_another_process_refreshed_is_taken() {
    let (world, peer, caller) = one();
    let other = world.caller(ClientConfig::default(), peer.transport());
    accepted_by(&world, &caller).await;
    tokio::time::advance(secs(7_200 - 200)).await;
    accepted_by(&world, &other).await;
    accepted_by(&world, &caller).await;
    assert_eq!((peer.token_calls(), peer.calls()[2].as_str()), (2, "clt.2"));
}

#[tokio::test(start_paused = true)]
async fn a_token_call_that_hangs_ends_in_time_for_all_calls() {
    let (world, peer, caller) = one();
    peer.script_tokens([Act::Hang]);
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let (caller, permitted) = (caller.clone(), world.clock.uptime());
        calls.spawn(async move { caller.create(BODY, permitted).await });
    }
    while peer.token_calls() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(secs(5)).await;
    for answer in calls.join_all().await {
        assert_eq!(not_sent(&answer), Reason::UpstreamTimeout);
    }
    assert_eq!((peer.token_calls(), peer.calls().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_vanishes_while_fetching_leaves_nothing_locked() {
    let (world, peer, caller) = one();
    peer.script_tokens([Act::Hang]);
    let vanishing = create(&world, &caller);
    tokio::select! {
        answer = vanishing => panic!("{answer:?}"),
        () = async {
            while peer.token_calls() == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    accepted_by(&world, &caller).await;
    assert_eq!(peer.token_calls(), 2);
}

/// As processes on one store.
fn three(world: &Stepped, peer: &Peer) -> [Caller; 3] {
    [(); 3].map(|()| world.caller(ClientConfig::default(), peer.transport()))
}

#[tokio::test(start_paused = true)]
async fn processes_that_start_together_fetch_one_token() {
    let (world, peer) = (Stepped::new(), Peer::default());
    peer.script_tokens([Act::After(2, Box::new(Act::Say(peer.issued())))]);
    together(&world, &three(&world, &peer)).await;
    assert_eq!((peer.token_calls(), peer.calls()), (1, vec!["clt.1".to_owned(); 3]));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_replaced_by_one_fetch_for_all_processes() {
    let (world, peer) = (Stepped::new(), Peer::default());
    let callers = three(&world, &peer);
    together(&world, &callers).await;
    // One that another process fetched a moment ago would not be replaced in a hurry.
    tokio::time::advance(secs(61)).await;
    peer.kill_tokens();
    peer.script_tokens([Act::After(2, Box::new(Act::Say(peer.issued())))]);
    together(&world, &callers).await;
    assert_eq!(peer.token_calls(), 2);
    assert_eq!(peer.calls().iter().filter(|token| *token == "clt.4").count(), 3);
}

/// The others wait no longer than the turn lasts.
#[tokio::test(start_paused = true)]
async fn a_process_that_dies_while_it_fetches_keeps_no_other_from_fetching() {
    let (world, peer) = (Stepped::new(), Peer::default());
    let [dies, lives, _] = three(&world, &peer);
    peer.script_tokens([Act::Hang]);
    tokio::select! {
        answer = create(&world, &dies) => panic!("{answer:?}"),
        () = async {
            while peer.token_calls() == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    let began = world.clock.uptime();
    let passing = async {
        loop {
            tokio::time::advance(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = accepted_by(&world, &lives) => {}
        () = passing => {}
    }
    let took = world.clock.uptime().since(began);
    assert!((secs(6)..secs(8)).contains(&took), "{took:?}");
    assert_eq!(peer.token_calls(), 2);
}

/// Another process could not fetch: those that wait for its token do not try one after the other.
#[tokio::test(start_paused = true)]
async fn a_turn_that_brought_no_token_is_given_back_at_once() {
    let (world, peer) = (Stepped::new(), Peer::default());
    let [first, second, _] = three(&world, &peer);
    peer.script_tokens([Act::SayWith(502, b"<html>")]);
    assert_eq!(not_sent(&create(&world, &first).await), Reason::UpstreamHttpError);
    accepted_by(&world, &second).await;
    assert_eq!(peer.token_calls(), 2);
}

async fn together(world: &Stepped, callers: &[Caller]) {
    let mut calls = JoinSet::new();
    for caller in callers {
        let (caller, permitted) = (caller.clone(), world.clock.uptime());
        calls.spawn(async move { caller.create(BODY, permitted).await });
    }
    let all = async {
        for answer in calls.join_all().await {
            assert!(matches!(answer.learned, Learned::Accepted(_)), "{answer:?}");
        }
    };
    let passing = async {
        loop {
            tokio::time::advance(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = all => {}
        () = passing => {}
    }
}
