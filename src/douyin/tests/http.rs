//! The client over real sockets: what it sends, and what is proven when a connection breaks.

use std::time::Duration;

use serde_json::json;

use super::server::{Act, Server, json as answer, raw};
use super::*;
use crate::settle::{Answers, Failure, Learned, Reason};
use crate::trace::{self, TraceParent};

pub(super) struct Desk {
    pub(super) caller: Caller,
    clock: Clock,
    _dir: TempDir,
}

impl Desk {
    pub(super) async fn at(base_url: &str) -> Self {
        Self::with(ClientConfig { base_url: base_url.to_owned(), ..ClientConfig::default() }).await
    }

    /// With a token in the store, so that the server gets no token calls.
    pub(super) async fn with(config: ClientConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("settlement.db")).creating();
        let store = Store::Sqlite(Arc::new(Sqlite::open(options).unwrap()));
        let clock = Clock::system();
        let (age, left) = (Some(Duration::ZERO), Duration::from_secs(7_200));
        let token = StoredToken { access_token: "clt.stored".into(), age, left };
        let turn = store.token_turn(&app_id(), None, left).await.unwrap().unwrap();
        assert_eq!(store.save_token(&app_id(), token, turn).await, Ok(true));
        let caller = Caller::new(Client::new(config, None, store, clock.clone()).unwrap());
        Self { caller, clock, _dir: dir }
    }

    pub(super) async fn create(&self) -> CreateAnswer {
        self.caller.create(BODY, self.clock.uptime()).await
    }
}

/// Checks that it is neither an acceptance nor a refusal. `http_status`: of the answer, if any.
async fn unknown(act: Act, reason: Reason, http_status: Option<u16>) {
    let server = Server::start([act.clone()]).await;
    let config = ClientConfig {
        base_url: server.url(),
        attempt_timeout: Duration::from_millis(300),
        answer_bytes_max: 10_000,
        ..ClientConfig::default()
    };
    let answer = Desk::with(config).await.create().await;
    let Learned::Unknown(failure) = &answer.learned else { panic!("{answer:?}") };
    assert_eq!(failure.reason, reason, "{act:?}");
    let said = failure.douyin.as_ref().map(|said| (said.http_status, said.err_no));
    assert_eq!(said, http_status.map(|status| (status, None)), "{act:?}");
    assert_eq!((answer.answers, answer.throttled), (Answers::Nothing, false));
    assert_eq!(server.requests().len(), 1, "sent once: {act:?}");
}

#[tokio::test]
async fn a_create_goes_out_exactly_as_documented() {
    let server = Server::start([Act::Say(answer("200 OK", &accepted()))]).await;
    let learned = Desk::at(&server.url()).await.create().await.learned;
    assert!(matches!(learned, Learned::Accepted(_)), "{learned:?}");
    let requests = server.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /api/trade_basic/v1/developer/settle_create/ HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", server.address);
    let length = format!("content-length: {}", BODY.len());
    let agent = format!("user-agent: settlement-gateway/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        lines,
        [
            "accept-encoding: gzip",
            "accept: */*",
            "access-token: clt.stored",
            length.as_str(),
            "content-type: application/json",
            host.as_str(),
            agent.as_str(),
        ]
    );
    assert_eq!(body, BODY, "the very bytes that were given");
}

#[tokio::test]
async fn the_trace_of_the_caller_goes_out_with_it() {
    let server = Server::start([Act::Say(answer("200 OK", &accepted()))]).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let desk = Desk::at(&server.url()).await;
    trace::within(TraceParent::parse(parent), desk.create()).await;
    let wanted = format!("\r\ntraceparent: {parent}\r\n");
    assert!(server.requests()[0].contains(&wanted), "{:?}", server.requests());
}

#[tokio::test]
async fn a_query_and_a_token_go_out_as_documented() {
    let token = json!({ "data": { "access_token": "clt.new", "error_code": 0 } });
    let server = Server::start([
        Act::Say(answer("200 OK", &json!({ "err_no": 28001008, "err_msg": "expired" }))),
        Act::Say(answer("200 OK", &token)),
        Act::Say(answer("200 OK", &json!({ "err_no": 0, "data": [] }))),
    ])
    .await;
    let config = ClientConfig {
        base_url: format!("{}/", server.url()),
        refetch_gap: Duration::ZERO,
        ..ClientConfig::default()
    };
    let desk = Desk::with(config).await;
    let found = desk.caller.query(QueryBy::OutSettleNo(&number())).await.unwrap();
    assert_eq!(found.reports, []);
    let requests = server.requests();
    let query = r#"{"app_id":"tt1","out_settle_no":"no-1"}"#;
    for (request, token) in [(&requests[0], "clt.stored"), (&requests[2], "clt.new")] {
        assert!(request.starts_with("POST /api/trade_basic/v1/developer/settle_query/ HTTP/1.1"));
        assert!(request.contains(&format!("\r\naccess-token: {token}\r\n")), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\n{query}")), "{request}");
    }
    assert!(requests[1].starts_with("POST /oauth/client_token/ HTTP/1.1\r\n"));
    assert!(!requests[1].contains("access-token"));
    assert!(requests[1].contains("\r\ncontent-type: application/json\r\n"));
    let (_, body) = requests[1].split_once("\r\n\r\n").unwrap();
    let secret = r#""client_secret":"the-client-secret""#;
    let expected = format!(r#"{{"client_key":"tt1",{secret},"grant_type":"client_credential"}}"#);
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_refusal_with_status_400_is_read() {
    let server = Server::start([Act::Say(answer("400 Bad Request", &refused(23102)))]).await;
    let answer = Desk::at(&server.url()).await.create().await;
    let Learned::Refused(failure) = &answer.learned else { panic!("{answer:?}") };
    let said = failure.douyin.as_ref().unwrap();
    assert_eq!((failure.reason.as_str(), said.err_no), ("ORDER_NOT_PAID", Some(23102)));
    assert_eq!((said.http_status, answer.answers), (400, Answers::OneSend));
}

#[tokio::test]
async fn the_log_id_comes_from_the_header_if_the_body_has_none() {
    let body = json!({ "err_no": 23102, "err_msg": "order not pay" });
    let server = Server::start([Act::Say(answer("200 OK", &body))]).await;
    let answer = Desk::at(&server.url()).await.create().await;
    assert_eq!(answer.log_id.as_deref(), Some("log-header"));
}

#[tokio::test]
async fn silence_after_the_request_is_unknown() {
    unknown(Act::Hang, Reason::UpstreamTimeout, None).await;
}

#[tokio::test]
async fn a_reset_after_the_request_is_unknown() {
    unknown(Act::Reset, Reason::UpstreamConnectionLost, None).await;
}

#[tokio::test]
async fn a_close_after_the_request_is_unknown() {
    unknown(Act::SayAndClose(Vec::new()), Reason::UpstreamConnectionLost, None).await;
}

#[tokio::test]
async fn a_close_within_the_answer_is_unknown() {
    let mut whole = answer("200 OK", &accepted());
    whole.truncate(whole.len() - 10);
    unknown(Act::SayAndClose(whole.clone()), Reason::UpstreamConnectionLost, None).await;
    unknown(Act::Say(whole.clone()), Reason::UpstreamTimeout, None).await;
    whole.truncate(20);
    unknown(Act::SayAndClose(whole), Reason::UpstreamConnectionLost, None).await;
}

#[tokio::test]
async fn an_answer_that_is_not_douyins_is_unknown() {
    let html = "content-type: text/html\r\n";
    let page = raw("200 OK", html, "<html>maintenance</html>");
    unknown(Act::Say(page), Reason::UpstreamBadAnswer, Some(200)).await;
    unknown(Act::Say(raw("502 Bad Gateway", html, "<html>")), Reason::UpstreamHttpError, Some(502))
        .await;
    unknown(Act::Say(raw("200 OK", "", "")), Reason::UpstreamBadAnswer, Some(200)).await;
    unknown(
        Act::Say(answer("200 OK", &json!({ "err_no": {} }))),
        Reason::UpstreamBadAnswer,
        Some(200),
    )
    .await;
    let huge = json!({ "err_no": 0, "err_msg": "x".repeat(20_000) });
    unknown(Act::Say(answer("200 OK", &huge)), Reason::UpstreamBadAnswer, Some(200)).await;
    unknown(
        Act::SayAndClose(b"SSH-2.0-OpenSSH\r\n".to_vec()),
        Reason::UpstreamConnectionLost,
        None,
    )
    .await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let statuses = [(301, "Moved Permanently"), (302, "Found"), (307, "Temporary Redirect")];
    for (status, text) in statuses {
        let page = raw(&format!("{status} {text}"), "location: /elsewhere/\r\n", "");
        unknown(Act::Say(page), Reason::UpstreamHttpError, Some(status)).await;
    }
}

#[tokio::test]
async fn a_request_on_a_kept_connection_that_dies_is_not_sent_again() {
    let first = Act::Say(answer("200 OK", &accepted()));
    let server = Server::start([first, Act::SayAndClose(Vec::new())]).await;
    let desk = Desk::at(&server.url()).await;
    assert!(matches!(desk.create().await.learned, Learned::Accepted(_)));
    let lost = desk.create().await;
    assert_eq!(lost.learned, Learned::Unknown(Failure::own(Reason::UpstreamConnectionLost)));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_request_whose_time_is_over_is_not_written() {
    let server = Server::start([]).await;
    let config = ClientConfig {
        base_url: server.url(),
        call_timeout: Duration::ZERO,
        ..ClientConfig::default()
    };
    let answer = Desk::with(config).await.create().await;
    assert_eq!(answer.learned, Learned::NotSent(Failure::own(Reason::SendTooLate)));
    assert_eq!(server.requests(), Vec::<String>::new());
}

/// As after a suspend: the deadline passes while the connection is made.
#[tokio::test]
async fn a_request_whose_time_ends_while_connecting_is_not_written() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig {
        base_url: format!("https://{}", listener.local_addr().unwrap()),
        call_timeout: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let answer = Desk::with(config).await.create().await;
    assert_eq!(answer.learned, Learned::NotSent(Failure::own(Reason::SendTooLate)));
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_has_sent_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let answer = Desk::at(&format!("http://{address}")).await.create().await;
    assert_eq!(answer.learned, Learned::NotSent(Failure::own(Reason::UpstreamUnreachable)));
    assert_eq!(answer.answers, Answers::OneSend);
}

#[tokio::test]
async fn a_handshake_that_fails_or_hangs_has_sent_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let (closed, _) = listener.accept().await.unwrap();
        drop(closed);
        let _hanging = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
    });
    let config = ClientConfig {
        base_url,
        connect_timeout: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let desk = Desk::with(config).await;
    for _ in 0..2 {
        let answer = desk.create().await;
        assert_eq!(answer.learned, Learned::NotSent(Failure::own(Reason::UpstreamUnreachable)));
    }
}

/// The time of an attempt may end while the connection is still being made.
#[tokio::test]
async fn an_attempt_that_ends_while_connecting_has_sent_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig {
        base_url: format!("https://{}", listener.local_addr().unwrap()),
        attempt_timeout: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let answer = Desk::with(config).await.create().await;
    assert_eq!(answer.learned, Learned::NotSent(Failure::own(Reason::UpstreamUnreachable)));
}
