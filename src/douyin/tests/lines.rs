//! Which connection gets which request, and when its answer is believed: a late answer must not be
//! taken for the answer about another settle.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::http::Desk;
use super::server::{Act, Server, json as answer, raw};
use super::*;
use crate::settle::{Failure, Learned, Reason};

/// Longer than a connection must rest before it is used again.
const RESTED: Duration = Duration::from_millis(80);
const LATE: Duration = Duration::from_millis(10);

fn yes() -> Vec<u8> {
    answer("200 OK", &accepted())
}

fn no() -> Vec<u8> {
    answer("400 Bad Request", &refused(23102))
}

fn nothing() -> Vec<u8> {
    answer("200 OK", &json!({ "err_no": 0, "data": [] }))
}

fn is_accepted(answer: &CreateAnswer) -> bool {
    matches!(answer.learned, Learned::Accepted(_))
}

#[tokio::test]
async fn a_second_answer_that_comes_late_is_no_answer_to_the_next_create() {
    for pause in [Duration::ZERO, LATE] {
        for wait in [Duration::ZERO, RESTED] {
            let acts = [Act::SayMore(yes(), pause, no()), Act::Say(yes())];
            let server = Server::start(acts).await;
            let desk = Desk::at(&server.url()).await;
            assert!(is_accepted(&desk.create().await));
            tokio::time::sleep(wait).await;
            let next = desk.create().await;
            assert!(is_accepted(&next), "{pause:?} {wait:?}: {next:?}");
            assert_eq!((server.connections(), server.requests().len()), (2, 2));
        }
    }
}

/// The late answer of an earlier request arrives when this one is on its way already.
#[tokio::test]
async fn a_refusal_on_a_kept_connection_that_is_followed_by_another_answer_is_unknown() {
    for late in [no(), answer("200 OK", &json!({ "err_no": 23111, "err_msg": "exists" }))] {
        let server = Server::start([Act::Say(yes()), Act::SayMore(late, LATE, yes())]).await;
        let desk = Desk::at(&server.url()).await;
        assert!(is_accepted(&desk.create().await));
        tokio::time::sleep(RESTED).await;
        let next = desk.create().await;
        assert_eq!(next.learned, Learned::Unknown(Failure::own(Reason::UpstreamConnectionLost)));
        assert_eq!(server.connections(), 1, "it had rested");
    }
}

#[tokio::test]
async fn nothing_found_on_a_kept_connection_counts_only_if_nothing_follows() {
    let late = Act::SayMore(nothing(), LATE, nothing());
    let server = Server::start([Act::Say(nothing()), late, Act::Say(nothing())]).await;
    let desk = Desk::at(&server.url()).await;
    for reports in [Some(0), None, Some(0)] {
        let number = number();
        let found = desk.caller.query(QueryBy::OutSettleNo(&number)).await;
        assert_eq!(found.ok().map(|answer| answer.reports.len()), reports);
        tokio::time::sleep(RESTED).await;
    }
    assert_eq!(server.connections(), 2, "the one that said too much is gone");
}

#[tokio::test]
async fn what_answers_another_question_is_no_answer() {
    let other = json!({
        "err_no": 0,
        "data": [{ "settle_id": "ots9", "settle_status": "SUCCESS", "out_settle_no": "no-9" }],
    });
    let mut like = other.clone();
    like["data"][0]["out_settle_no"] = json!("NO-1");
    let acts = [Act::Say(answer("200 OK", &other)), Act::Say(answer("200 OK", &like))];
    let server = Server::start(acts).await;
    let desk = Desk::at(&server.url()).await;
    for is_answer in [false, true] {
        let number = number();
        let found = desk.caller.query(QueryBy::OutSettleNo(&number)).await;
        assert_eq!(found.is_ok(), is_answer, "{found:?}");
    }
}

#[tokio::test]
async fn a_connection_that_keeps_to_its_answers_is_used_again() {
    let server = Server::start([Act::Say(yes()), Act::Say(no()), Act::Say(yes())]).await;
    let desk = Desk::at(&server.url()).await;
    assert!(is_accepted(&desk.create().await));
    tokio::time::sleep(RESTED).await;
    let answer = desk.create().await;
    assert!(matches!(answer.learned, Learned::Refused(_)), "{answer:?}");
    tokio::time::sleep(RESTED).await;
    assert!(is_accepted(&desk.create().await));
    assert_eq!(server.connections(), 1);
}

/// A create that finds only closed connections takes a new one.
#[tokio::test]
async fn a_kept_connection_that_was_closed_gets_no_request() {
    let server = Server::start([Act::SayAndClose(yes()), Act::Say(yes())]).await;
    let desk = Desk::at(&server.url()).await;
    assert!(is_accepted(&desk.create().await));
    tokio::time::sleep(RESTED).await;
    assert!(is_accepted(&desk.create().await));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn no_more_connections_are_kept_than_allowed_and_none_for_longer() {
    let server = Server::start(vec![Act::Say(yes()); 8]).await;
    let config = ClientConfig {
        base_url: server.url(),
        idle_connections_max: 1,
        idle_timeout: 3 * RESTED,
        ..ClientConfig::default()
    };
    let desk = Desk::with(config).await;
    for _ in 0..3 {
        assert!(is_accepted(&desk.create().await));
    }
    assert!(server.connections() <= 3);
    let opened = server.connections();
    tokio::time::sleep(4 * RESTED).await;
    assert!(is_accepted(&desk.create().await));
    assert_eq!(server.connections(), opened + 1, "the kept one was too old");
}

#[tokio::test]
async fn an_answer_may_be_compressed_within_its_limit() {
    let packed = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(text.as_bytes()).unwrap();
        let body = packed.finish().unwrap();
        let mut answer = raw("200 OK", "content-encoding: gzip\r\n", "").to_vec();
        let length = format!("content-length: {}", body.len());
        answer = String::from_utf8(answer).unwrap().replace("content-length: 0", &length).into();
        answer.extend_from_slice(&body);
        answer
    };
    let bomb = json!({ "err_no": 23102, "err_msg": "x".repeat(1_000_000) }).to_string();
    let acts = [packed(&accepted().to_string()), packed(&bomb), packed("no JSON")];
    let mut broken = packed(&accepted().to_string());
    let last = broken.len() - 12;
    broken[last] ^= 0xff;
    let acts = acts.into_iter().chain([broken]).map(Act::Say);
    let server = Server::start(acts).await;
    let config = ClientConfig {
        base_url: server.url(),
        answer_bytes_max: 100_000,
        ..ClientConfig::default()
    };
    let desk = Desk::with(config).await;
    assert!(is_accepted(&desk.create().await));
    for reason in
        [Reason::UpstreamBadAnswer, Reason::UpstreamBadAnswer, Reason::UpstreamConnectionLost]
    {
        let answer = desk.create().await;
        let Learned::Unknown(failure) = &answer.learned else { panic!("{answer:?}") };
        assert_eq!(failure.reason, reason);
    }
}
