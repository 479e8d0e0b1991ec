//! By which way a request goes out, and what is proven when that way fails: through a proxy's
//! tunnel, with authorities of one's own, and while either is replaced.

use std::time::Duration;

use ::http::HeaderMap;

use super::authority::{Authority, Fault, Front};
use super::http::Desk;
use super::proxy::{Does, Proxy};
use super::server::{Act, Server, json as answer};
use super::*;
use crate::douyin::transport::Deadline;
use crate::douyin::way::{Authorities, Credentials, ProxyAddress};
use crate::settle::{Answers, Failure, Learned, Reason};

/// Longer than a connection must rest before it is used again.
const RESTED: Duration = Duration::from_millis(80);

/// Douyin behind TLS: the authority of its certificate, what it hears, and where it is.
struct Upstream {
    authority: Authority,
    server: Server,
    front: Front,
}

impl Upstream {
    async fn start(acts: impl IntoIterator<Item = Act>, fault: Fault) -> Self {
        let (authority, server) = (Authority::new("the right one"), Server::start(acts).await);
        let front = Front::start(&server.address, authority.acceptor(fault)).await;
        Self { authority, server, front }
    }

    async fn accepting() -> Self {
        Self::start(vec![yes(); 8], Fault::None).await
    }

    fn config(&self, way: Way) -> ClientConfig {
        let base_url = format!("https://{}", self.front.address);
        ClientConfig { base_url, way, ..ClientConfig::default() }
    }

    fn trusted(&self) -> Option<Authorities> {
        Some(self.authority.trusted())
    }
}

fn yes() -> Act {
    Act::Say(answer("200 OK", &accepted()))
}

fn through(proxy: &Proxy, credentials: Option<&str>) -> Option<way::Proxy> {
    let address = ProxyAddress::parse(&format!("http://{}", proxy.address)).unwrap();
    let credentials = credentials.map(|text| Credentials::parse(text).unwrap());
    Some(way::Proxy { address, credentials })
}

fn is_accepted(answer: &CreateAnswer) -> bool {
    matches!(answer.learned, Learned::Accepted(_))
}

/// Checks that the request is proven not to have been sent, and returns why.
async fn not_sent(config: ClientConfig) -> String {
    let answer = Desk::with(config.clone()).await.create().await;
    assert_eq!(answer.learned, Learned::NotSent(Failure::own(Reason::UpstreamUnreachable)));
    assert_eq!(answer.answers, Answers::OneSend);
    let clock = Clock::system();
    let (from, within) = (clock.uptime(), config.call_timeout);
    let call = Call {
        site: Site::Open,
        path: "/x/",
        headers: HeaderMap::new(),
        body: BODY.into(),
        timeout: config.attempt_timeout,
        deadline: Deadline { clock, from, within },
    };
    let transport = Transport::Http(HttpTransport::new(&config).unwrap());
    match transport.send(call).await.map(drop) {
        Err(SendError::NotSent(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_go_through_a_tunnel_as_they_go_without_one() {
    let upstream = Upstream::accepting().await;
    let proxy = Proxy::start(Does::Open).await;
    let direct = Desk::with(upstream.config(Way { proxy: None, authorities: upstream.trusted() }));
    assert!(is_accepted(&direct.await.create().await));
    assert_eq!(proxy.asked(), Vec::<String>::new());
    let way = Way { proxy: through(&proxy, None), authorities: upstream.trusted() };
    let desk = Desk::with(upstream.config(way)).await;
    for _ in 0..2 {
        assert!(is_accepted(&desk.create().await));
        tokio::time::sleep(RESTED).await;
    }
    let requests = upstream.server.requests();
    assert_eq!((requests.len(), upstream.server.connections()), (3, 2), "the tunnel is kept");
    assert!(requests.iter().all(|request| *request == requests[0]), "{requests:?}");
    let asked = proxy.asked();
    let mut lines: Vec<&str> = asked[0].trim_end().lines().collect();
    lines.sort_unstable();
    let to = &upstream.front.address;
    let agent = format!("user-agent: settlement-gateway/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, [format!("CONNECT {to} HTTP/1.1"), format!("host: {to}"), agent]);
    assert_eq!(asked.len(), 1);
}

/// A proxy that reads along would see the token, so it must be asked for a tunnel also where
/// Douyin's address is plain http, as in tests.
#[tokio::test]
async fn a_plain_address_is_called_through_a_tunnel_too() {
    let server = Server::start([yes()]).await;
    let proxy = Proxy::start(Does::Open).await;
    let way = Way { proxy: through(&proxy, None), authorities: None };
    let config = ClientConfig { base_url: server.url(), way, ..ClientConfig::default() };
    assert!(is_accepted(&Desk::with(config).await.create().await));
    assert_eq!(proxy.asked().len(), 1);
}

/// Old and careless proxies announce a tunnel as a page, too.
#[tokio::test]
async fn a_tunnel_is_open_in_whatever_words_a_proxy_says_so() {
    for words in [
        "HTTP/1.0 200 Connection established\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 201 Created\r\nvia: 1.1 proxy\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let upstream = Upstream::accepting().await;
        let proxy = Proxy::start(Does::OpenSaying(words)).await;
        let way = Way { proxy: through(&proxy, None), authorities: upstream.trusted() };
        let answer = Desk::with(upstream.config(way)).await.create().await;
        assert!(is_accepted(&answer), "{words:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_tunnel_leads_to_the_host_and_the_port_of_douyins_address() {
    for (base_url, to) in [
        ("https://open.example/below/", "open.example:443"),
        ("http://open.example", "open.example:80"),
        ("https://open.example:8443", "open.example:8443"),
        ("https://[::1]:8443", "[::1]:8443"),
        ("https://[::1]", "[::1]:443"),
    ] {
        let proxy = Proxy::start(Does::Say("HTTP/1.1 403 Forbidden\r\n\r\n")).await;
        let way = Way { proxy: through(&proxy, None), authorities: None };
        let base_url = base_url.to_owned();
        not_sent(ClientConfig { base_url, way, ..ClientConfig::default() }).await;
        let head = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n");
        assert!(proxy.asked().iter().all(|asked| asked.starts_with(&head)), "{:?}", proxy.asked());
    }
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_gets_them_and_douyin_does_not() {
    let upstream = Upstream::accepting().await;
    let proxy = Proxy::start(Does::OpenForKnown).await;
    let config = |credentials| {
        upstream
            .config(Way { proxy: through(&proxy, credentials), authorities: upstream.trusted() })
    };
    for wrong in [None, Some("gateway:wrong"), Some("other:password")] {
        let cause = not_sent(config(wrong)).await;
        assert!(cause.contains("the proxy answered 407"), "{cause}");
        assert!(!cause.contains("wrong"), "{cause}");
    }
    assert_eq!(upstream.server.connections(), 0);
    let desk = Desk::with(config(Some("gateway:password"))).await;
    assert!(is_accepted(&desk.create().await));
    assert!(!upstream.server.requests()[0].contains("proxy-authorization"));
}

#[tokio::test]
async fn whatever_a_proxy_does_instead_of_opening_a_tunnel_nothing_is_sent() {
    let bad_gateway = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 9\r\n\r\nno route\n";
    let endless = "HTTP/1.1 403 Forbidden\r\n\r\n<html>";
    for (does, why) in [
        (Does::Say(bad_gateway), "the proxy answered 502 Bad Gateway"),
        (Does::SayLater(RESTED, bad_gateway), "the proxy answered 502 Bad Gateway"),
        (Does::Say(endless), "the proxy answered 403 Forbidden"),
        (Does::Say("HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n"), "the proxy answered 302 Found"),
        (Does::Say("HTTP/1.1 101 Switching Protocols\r\n\r\n"), "the proxy answered 101"),
        (Does::Say("HTTP/1.1 200"), "no answer of the proxy in time"),
        (Does::Say("SSH-2.0-OpenSSH\r\n"), "the proxy gave no answer: "),
        (Does::Close, "the proxy gave no answer: "),
        (Does::Hang, "no answer of the proxy in time"),
        (Does::OpenAndClose, "handshake eof"),
        (
            Does::OpenSaying("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n"),
            "the proxy sent more bytes than its answer",
        ),
    ] {
        let upstream = Upstream::accepting().await;
        let proxy = Proxy::start(does).await;
        let way = Way { proxy: through(&proxy, None), authorities: upstream.trusted() };
        let connect_timeout = Duration::from_millis(300);
        let config = ClientConfig { connect_timeout, ..upstream.config(way) };
        let cause = not_sent(config).await;
        assert!(cause.contains(why), "{does:?}: {cause}");
        assert_eq!(upstream.server.requests(), Vec::<String>::new(), "{does:?}");
        assert_eq!(proxy.asked().len(), 2, "{does:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_named() {
    let upstream = Upstream::accepting().await;
    let proxy = Proxy::start(Does::Open).await;
    let way = Way { proxy: through(&proxy, None), authorities: upstream.trusted() };
    drop(proxy);
    // Its listener is closed when its task ends.
    tokio::task::yield_now().await;
    let cause = not_sent(upstream.config(way)).await;
    assert!(cause.starts_with("the proxy cannot be reached: "), "{cause}");
    assert_eq!(upstream.server.connections(), 0);
}

/// The proxy loses what it carries once the request has left: Douyin may have it.
#[tokio::test]
async fn a_tunnel_that_is_cut_after_the_request_leaves_the_outcome_unknown() {
    let upstream = Upstream::start([Act::Hang], Fault::None).await;
    let proxy = Proxy::start(Does::Open).await;
    let way = Way { proxy: through(&proxy, None), authorities: upstream.trusted() };
    let desk = Desk::with(upstream.config(way)).await;
    let cut = async {
        while upstream.server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        proxy.cut();
    };
    let (answer, ()) = tokio::join!(desk.create(), cut);
    assert_eq!(answer.learned, Learned::Unknown(Failure::own(Reason::UpstreamConnectionLost)));
    assert_eq!(answer.answers, Answers::Nothing);
    assert_eq!(upstream.server.requests().len(), 1, "sent once");
}

#[tokio::test]
async fn a_kept_tunnel_that_the_proxy_has_cut_gets_no_request() {
    let upstream = Upstream::accepting().await;
    let (first, second) = (Proxy::start(Does::Open).await, Proxy::start(Does::Open).await);
    let way = |proxy| Way { proxy: through(proxy, None), authorities: upstream.trusted() };
    let desk = Desk::with(upstream.config(way(&first))).await;
    assert!(is_accepted(&desk.create().await));
    first.cut();
    tokio::time::sleep(RESTED).await;
    // What it gets is a proxy that cuts all: proof that it does not go over the kept tunnel.
    let answer = desk.create().await;
    assert_eq!(answer.learned, Learned::NotSent(Failure::own(Reason::UpstreamUnreachable)));
    assert_eq!(upstream.server.requests().len(), 1);
    desk.caller.client.go_by(&way(&second)).unwrap();
    assert!(is_accepted(&desk.create().await));
}

#[tokio::test]
async fn only_certificates_of_the_given_authorities_for_the_right_name_and_time_are_good() {
    let other = Authority::new("another");
    for (fault, is_right_authority, why) in [
        (Fault::None, true, None),
        (Fault::None, false, Some("UnknownIssuer")),
        (Fault::Expired, true, Some("expired")),
        (Fault::OtherName, true, Some("not valid for name")),
    ] {
        let upstream = Upstream::start([yes()], fault).await;
        let trusted = if is_right_authority { &upstream.authority } else { &other };
        let way = Way { proxy: None, authorities: Some(trusted.trusted()) };
        let config = upstream.config(way);
        match why {
            None => assert!(is_accepted(&Desk::with(config).await.create().await)),
            Some(why) => {
                let cause = not_sent(config).await;
                assert!(cause.contains(why), "{fault:?}: {cause}");
            }
        }
    }
    // The machine does not know any of them.
    let upstream = Upstream::accepting().await;
    let cause = not_sent(upstream.config(Way::default())).await;
    assert!(cause.contains("UnknownIssuer"), "{cause}");
}

/// Of several authorities each is good: the old one and the new one during a change.
#[tokio::test]
async fn a_bundle_is_all_of_its_authorities() {
    let (upstream, other) = (Upstream::accepting().await, Authority::new("another"));
    let bundle = format!("# ours\n{}\n# Douyin's\n{}", other.pem, upstream.authority.pem);
    let authorities = Authorities::parse(&bundle).unwrap();
    assert_eq!(authorities.count(), 2);
    let way = Way { proxy: None, authorities: Some(authorities) };
    assert!(is_accepted(&Desk::with(upstream.config(way)).await.create().await));
}

#[tokio::test]
async fn another_way_is_taken_at_once_and_no_connection_of_the_old_one_is_used_again() {
    let (upstream, other) = (Upstream::accepting().await, Authority::new("another"));
    let proxy = Proxy::start(Does::OpenForKnown).await;
    let way = |credentials, authorities| Way { proxy: through(&proxy, credentials), authorities };
    let good = way(Some("gateway:password"), upstream.trusted());
    let desk = Desk::with(upstream.config(way(None, upstream.trusted()))).await;
    let client = &desk.caller.client;
    let unreachable = Learned::NotSent(Failure::own(Reason::UpstreamUnreachable));
    assert_eq!(desk.create().await.learned, unreachable);
    client.go_by(&good).unwrap();
    assert!(is_accepted(&desk.create().await));
    tokio::time::sleep(RESTED).await;
    // The same way, read again: the tunnel stays.
    client.go_by(&way(Some("gateway:password"), upstream.trusted())).unwrap();
    assert!(is_accepted(&desk.create().await));
    assert_eq!(upstream.server.connections(), 1);
    tokio::time::sleep(RESTED).await;
    for worse in [way(Some("gateway:old"), upstream.trusted()), way(None, Some(other.trusted()))] {
        client.go_by(&worse).unwrap();
        assert_eq!(desk.create().await.learned, unreachable, "{worse:?}");
        client.go_by(&good).unwrap();
        assert!(is_accepted(&desk.create().await));
        tokio::time::sleep(RESTED).await;
    }
}

#[tokio::test]
async fn a_request_that_is_on_its_way_when_the_way_is_replaced_is_answered_there() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let held = Act::SayAt(Arc::clone(&gate), answer("200 OK", &accepted()));
    let upstream = Upstream::start([held, yes()], Fault::None).await;
    let desk = Desk::with(upstream.config(Way { proxy: None, authorities: upstream.trusted() }));
    let desk = desk.await;
    let proxy = Proxy::start(Does::Open).await;
    let replace = async {
        while upstream.server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        let way = Way { proxy: through(&proxy, None), authorities: upstream.trusted() };
        desk.caller.client.go_by(&way).unwrap();
        gate.notify_one();
    };
    let (answer, ()) = tokio::join!(desk.create(), replace);
    assert!(is_accepted(&answer));
    assert_eq!(proxy.asked().len(), 0);
    tokio::time::sleep(RESTED).await;
    // The old connection is not kept.
    assert!(is_accepted(&desk.create().await));
    assert_eq!((proxy.asked().len(), upstream.server.connections()), (1, 2));
}
