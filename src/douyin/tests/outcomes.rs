//! What each possible answer means for the money and for the app.

use std::time::Duration;

use serde_json::json;

use super::super::codes::{Handling, Retry, rows};
use super::peer::{Act, Peer};
use super::*;
use crate::metrics::{DOUYIN_CALLS, UNLISTED_ANSWERS};
use crate::settle::{Answers, Failure, Learned, Reason};

struct Desk {
    world: Stepped,
    peer: Peer,
    caller: Caller,
}

impl Desk {
    fn new() -> Self {
        let (world, peer) = (Stepped::new(), Peer::default());
        let caller = world.caller(ClientConfig::default(), peer.transport());
        Self { world, peer, caller }
    }

    async fn create(&self, act: Act) -> CreateAnswer {
        self.peer.script([act]);
        self.caller.create(BODY, self.world.clock.uptime()).await
    }

    async fn query(&self, act: Act) -> Result<QueryAnswer, QueryFailure> {
        self.peer.script([act]);
        self.caller.query(QueryBy::OutSettleNo(&number())).await
    }
}

fn failure(learned: &Learned) -> &Failure {
    match learned {
        Learned::Refused(failure)
        | Learned::Unknown(failure)
        | Learned::Unlisted(failure)
        | Learned::NotSent(failure)
        | Learned::Exists(failure) => failure,
        Learned::Accepted(_)
        | Learned::Reported(_)
        | Learned::Absent
        | Learned::Elsewhere
        | Learned::Resolved { .. }
        | Learned::Stopped { .. }
        | Learned::Ended(_) => {
            panic!("no failure: {learned:?}")
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_with_its_id_answers_the_send() {
    let answer = Desk::new().create(Act::Say(accepted())).await;
    let Learned::Accepted(ids) = &answer.learned else { panic!("{answer:?}") };
    assert_eq!(ids.settle_id.as_str(), "ots1");
    assert_eq!((answer.answers, answer.throttled), (Answers::OneSend, false));
    assert_eq!(answer.log_id.as_deref(), Some("log-1"));
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_without_an_id_stays_counted_as_unanswered() {
    for data in [json!(null), json!({}), json!({ "settle_id": "" }), json!([])] {
        let answer = Desk::new().create(Act::Say(json!({ "err_no": 0, "data": data }))).await;
        let Learned::Exists(Failure { reason, douyin: Some(said) }) = &answer.learned else {
            panic!("{answer:?}")
        };
        assert_eq!((reason.known(), said.err_no), (Some(Reason::AcceptedWithoutId), Some(0)));
        assert_eq!(said.log_id, "log-header");
        assert_eq!(answer.answers, Answers::Nothing);
        assert_eq!(answer.log_id.as_deref(), Some("log-header"));
    }
}

#[tokio::test(start_paused = true)]
async fn every_number_of_the_table_is_handled_as_the_table_says() {
    for row in rows(TradeSystem::General) {
        let desk = Desk::new();
        let answer = desk.create(Act::Say(refused(row.err_no))).await;
        let (learned, answers) = (&answer.learned, answer.answers);
        match row.handling {
            Handling::Refused => {
                assert!(matches!(learned, Learned::Refused(_)), "{answer:?}");
                assert_eq!(answers, Answers::OneSend, "{answer:?}");
            }
            Handling::Exists => {
                assert!(matches!(learned, Learned::Exists(_)), "{answer:?}");
                assert_eq!(answers, Answers::OneSend, "{answer:?}");
            }
            Handling::Unknown | Handling::Throttled => {
                assert!(matches!(learned, Learned::Unknown(_)), "{answer:?}");
                assert_eq!(answers, Answers::Nothing, "{answer:?}");
            }
            // The repeat was accepted; see `tokens` for the rest.
            Handling::Reauthenticate => {
                assert!(matches!(learned, Learned::Accepted(_)), "{answer:?}");
                continue;
            }
        }
        let failure = failure(learned);
        assert_eq!(failure.reason, row.reason);
        let said = failure.douyin.as_ref().unwrap();
        assert_eq!((said.err_no, said.err_msg.as_str()), (Some(row.err_no), "no"));
        assert_eq!((said.log_id.as_str(), said.http_status), ("log-2", 200));
        assert_eq!(answer.throttled, row.handling == Handling::Throttled);
        assert_eq!(desk.caller.pause().is_some(), answer.throttled);
    }
}

#[tokio::test(start_paused = true)]
async fn the_number_decides_whatever_the_http_status_is() {
    for status in [200, 201, 302, 400, 401, 403, 404, 429, 500, 502] {
        let refusal = Act::SayWith(status, br#"{"err_no":23102,"err_msg":"order not pay"}"#);
        let answer = Desk::new().create(refusal).await;
        assert!(matches!(answer.learned, Learned::Refused(_)), "{status}: {answer:?}");
        let said = failure(&answer.learned).douyin.clone().unwrap();
        assert_eq!(said.http_status, status);
        let acceptance = Act::SayWith(status, br#"{"err_no":0,"data":{"settle_id":"ots1"}}"#);
        let answer = Desk::new().create(acceptance).await;
        assert!(matches!(answer.learned, Learned::Accepted(_)), "{status}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_readable_number_the_outcome_is_unknown() {
    let html = b"<html>no</html>";
    let too_large =
        |status| SendError::TooLarge { status, log_id_header: Some("log-header".to_owned()) };
    let cases = [
        (Act::SayWith(200, html), Reason::UpstreamBadAnswer),
        (Act::SayWith(200, b""), Reason::UpstreamBadAnswer),
        (Act::SayWith(200, b"{}"), Reason::UpstreamBadAnswer),
        (Act::SayWith(200, br#"{"err_no":true,"data":7}"#), Reason::UpstreamBadAnswer),
        (Act::SayWith(200, br#"{"data":{"settle_id":"ots1"}}"#), Reason::UpstreamBadAnswer),
        (Act::SayWith(301, html), Reason::UpstreamHttpError),
        (Act::SayWith(401, b""), Reason::UpstreamHttpError),
        (Act::SayWith(403, html), Reason::UpstreamHttpError),
        (Act::SayWith(404, html), Reason::UpstreamHttpError),
        (Act::SayWith(429, b"{}"), Reason::UpstreamHttpError),
        (Act::SayWith(502, html), Reason::UpstreamHttpError),
        (Act::Fail(too_large(200)), Reason::UpstreamBadAnswer),
        (Act::Fail(too_large(502)), Reason::UpstreamHttpError),
        (Act::Fail(SendError::Lost("reset".to_owned())), Reason::UpstreamConnectionLost),
        (Act::Fail(SendError::Timeout), Reason::UpstreamTimeout),
    ];
    for (act, reason) in cases {
        let http_status = match &act {
            Act::SayWith(status, _) => Some(*status),
            Act::Fail(SendError::TooLarge { status, .. }) => Some(*status),
            Act::Say(_) | Act::Fail(_) | Act::Hang | Act::After(..) => None,
        };
        let answer = Desk::new().create(act).await;
        let Learned::Unknown(Failure { reason: told, douyin }) = &answer.learned else {
            panic!("{answer:?}")
        };
        assert_eq!(*told, reason);
        assert_eq!(douyin.as_ref().map(|said| said.http_status), http_status, "{reason:?}");
        if let Some(said) = douyin {
            assert_eq!((said.err_no, said.err_msg.as_str()), (None, ""));
            assert_eq!(said.log_id, "log-header");
        }
        assert_eq!((answer.answers, answer.throttled), (Answers::Nothing, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_that_no_table_lists_is_reported_as_such() {
    let pairs = [
        json!({ "err_no": 99999 }),
        json!({ "extra": { "error_code": 2191009, "sub_error_code": 99999 } }),
    ];
    for body in pairs {
        let answer = Desk::new().create(Act::Say(body)).await;
        assert!(matches!(answer.learned, Learned::Unlisted(_)), "{answer:?}");
        assert_eq!(failure(&answer.learned).reason, Reason::DouyinError);
        assert_eq!(answer.answers, Answers::Nothing);
    }
}

#[tokio::test(start_paused = true)]
async fn what_did_not_leave_the_machine_answers_its_send() {
    let cases = [
        (SendError::NotSent("no route".to_owned()), Reason::UpstreamUnreachable),
        (SendError::TooLate, Reason::SendTooLate),
    ];
    for (error, reason) in cases {
        let answer = Desk::new().create(Act::Fail(error)).await;
        assert_eq!(answer.learned, Learned::NotSent(Failure::own(reason)));
        assert_eq!(answer.answers, Answers::OneSend);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_once_the_permission_has_run_out() {
    let desk = Desk::new();
    let permitted = desk.world.clock.uptime();
    tokio::time::advance(Duration::from_secs(10)).await;
    let answer = desk.caller.create(BODY, permitted).await;
    assert_eq!(answer.learned, Learned::NotSent(Failure::own(Reason::SendTooLate)));
    assert_eq!(answer.answers, Answers::OneSend);
    assert_eq!((desk.peer.token_calls(), desk.peer.calls().len()), (0, 0));
    assert_eq!(desk.caller.pause(), None, "it says nothing about the app");
}

#[tokio::test(start_paused = true)]
async fn the_repeat_after_a_token_error_has_the_same_permission() {
    let desk = Desk::new();
    let slow = Act::After(4, Box::new(Act::Say(refused(28001003))));
    desk.peer.script([slow]);
    desk.peer.script_tokens([Act::After(4, Box::new(Act::SayWith(500, b"")))]);
    desk.world.store_token(&desk.peer.issue(), 3_600, 7_200).await;
    let permitted = desk.world.clock.uptime();
    tokio::time::advance(Duration::from_secs(6)).await;
    let answer = desk.caller.create(BODY, permitted).await;
    assert_eq!(answer.learned, Learned::NotSent(Failure::own(Reason::SendTooLate)));
    assert_eq!(desk.peer.calls().len(), 1);
    assert_eq!(desk.peer.token_calls(), 0, "a token is not fetched for nothing");
}

#[tokio::test(start_paused = true)]
async fn throttling_pauses_the_whole_app_and_a_pause_sends_nothing() {
    let desk = Desk::new();
    assert!(desk.create(Act::Say(refused(12001))).await.throttled);
    let pause = desk.caller.pause().unwrap();
    assert_eq!(pause.until, desk.world.clock.now().plus(Duration::from_secs(3)));
    let calls = desk.peer.calls().len();

    let answer = desk.create(Act::Say(accepted())).await;
    assert_eq!(failure(&answer.learned).reason, Reason::UpstreamRateLimited);
    assert!(matches!(answer.learned, Learned::NotSent(_)), "{answer:?}");
    assert_eq!((answer.answers, answer.throttled), (Answers::OneSend, true));
    let found = desk.caller.query(QueryBy::OutSettleNo(&number())).await;
    assert!(found.unwrap_err().throttled);
    assert_eq!(desk.peer.calls().len(), calls);

    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(desk.caller.pause(), None);
    let answer = desk.caller.create(BODY, desk.world.clock.uptime()).await;
    assert!(matches!(answer.learned, Learned::Accepted(_)), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quota_pauses_for_as_long_as_its_row_says() {
    for row in
        rows(TradeSystem::General).into_iter().filter(|row| row.handling == Handling::Throttled)
    {
        let desk = Desk::new();
        desk.create(Act::Say(refused(row.err_no))).await;
        let Retry::Now(delay) = row.retry else { panic!("{row:?}") };
        let until = desk.caller.pause().unwrap().until;
        assert_eq!(until, desk.world.clock.now().plus(delay), "{row:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_finds_settles_or_none_or_fails() {
    let desk = Desk::new();
    let item = json!({ "settle_id": "ots1", "settle_status": "SUCCESS", "settle_amount": 20 });
    let found = desk.query(Act::Say(json!({ "err_no": 0, "data": [item] }))).await.unwrap();
    assert_eq!(found.reports.len(), 1);
    assert_eq!(found.log_id.as_deref(), Some("log-header"));
    let none = desk.query(Act::Say(json!({ "err_no": 0, "data": [] }))).await.unwrap();
    assert_eq!(none.reports, []);

    let failures = [
        (Act::Say(json!({ "err_no": 0 })), Reason::UpstreamBadAnswer, Some(None)),
        (
            Act::Say(json!({ "err_no": 0, "data": [{ "settle_id": "ots1" }] })),
            Reason::UpstreamBadAnswer,
            Some(None),
        ),
        (Act::Say(refused(23000)), Reason::SystemError, Some(Some(23000))),
        (Act::Say(refused(99999)), Reason::DouyinError, Some(Some(99999))),
        (Act::SayWith(502, b"<html>"), Reason::UpstreamHttpError, Some(None)),
        (Act::Fail(SendError::Timeout), Reason::UpstreamTimeout, None),
    ];
    for (act, reason, err_no) in failures {
        let failed = desk.query(act).await.unwrap_err();
        assert_eq!((failed.failure.reason.known(), failed.throttled), (Some(reason), false));
        assert_eq!(failed.failure.douyin.map(|said| said.err_no), err_no, "{reason:?}");
    }
    let throttled = desk.query(Act::Say(refused(12001))).await.unwrap_err();
    assert!(throttled.throttled);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_in_time() {
    let desk = Desk::new();
    desk.peer.script([Act::Hang]);
    let create = desk.caller.create(BODY, desk.world.clock.uptime());
    let patience = async {
        while desk.peer.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_secs(5)).await;
    };
    let (answer, ()) = tokio::join!(create, patience);
    assert_eq!(answer.learned, Learned::Unknown(Failure::own(Reason::UpstreamTimeout)));
}

#[test]
fn the_address_is_one() {
    let build = |config: ClientConfig| {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("settlement.db")).creating();
        let (sqlite, _committer) = Sqlite::open_stepped(&options).unwrap();
        let store = Store::Sqlite(Arc::new(sqlite));
        Client::new(config, None, store, Clock::system()).map(drop)
    };
    let loopback = || ClientConfig {
        base_url: "http://127.0.0.1:9/below/".to_owned(),
        ..ClientConfig::default()
    };
    assert_eq!(build(loopback()), Ok(()));
    for wrong in [
        "",
        "open.douyin.com",
        "ftp://a.example",
        "https://",
        "https://a.example/?x=1",
        "https://user:word@a.example",
    ] {
        let config = ClientConfig { base_url: wrong.to_owned(), ..ClientConfig::default() };
        let error = BuildError::BaseUrl { base_url: wrong.to_owned() };
        assert_eq!(build(config), Err(error));
    }
}

#[tokio::test(start_paused = true)]
async fn answers_with_an_unlisted_number_are_counted_by_app_and_never_by_number() {
    let desk = Desk::new();
    // Other tests count for theirs.
    let app_id = AppId::parse("tt9").unwrap();
    let access = Arc::new(desk.caller.client.access(app_id, Some(SECRET.into())));
    let caller = Caller { client: desk.caller.client.clone(), access };
    let desk = Desk { caller, ..desk };
    for err_no in [23999, 23000, 1, 0] {
        desk.create(Act::Say(refused(err_no))).await;
    }
    desk.query(Act::Say(refused(77))).await.unwrap_err();
    assert_eq!(UNLISTED_ANSWERS.so_far(["tt9"]), 3);
    for (system, endpoint, outcome, err_no, calls) in [
        ("general", "settle_create", "unlisted", "other", 2),
        ("general", "settle_create", "unknown", "23000", 1),
        ("general", "settle_query", "failed", "other", 1),
        ("platform", "client_token", "fetched", "0", 1),
    ] {
        let counted = DOUYIN_CALLS.so_far(["tt9", system, endpoint, outcome, err_no]);
        assert_eq!(counted, calls, "{endpoint} {outcome} {err_no}");
    }
}
