//! No secret shows: not in logs at the most verbose level, not in errors, not in Debug output.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::proxy::{Does, Proxy};
use super::server::{Act, Server, json as answer};
use super::*;
use crate::douyin::way::{Credentials, ProxyAddress};

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Capture {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_no_token_and_no_body_shows_anywhere() {
    let capture = Capture::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(capture.clone())
        .finish();
    // With one subscriber in the process, the thread that reaches a span first decides for good
    // whether it is shown, and another test's thread has no subscriber.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let token = |token: &str| json!({ "data": { "access_token": token, "error_code": 0 } });
    let echo = |err_no: i32, echo: &str| {
        let err_msg = format!("you sent {echo}");
        Act::Say(answer("400 Bad Request", &json!({ "err_no": err_no, "err_msg": err_msg })))
    };
    let server = Server::start([
        echo(10013, SECRET),
        Act::Say(answer("200 OK", &token("clt.first-token"))),
        echo(28001003, "clt.first-token"),
        Act::Say(answer("200 OK", &token("clt.second-token"))),
        echo(23102, "clt.second-token"),
        Act::Say(answer("200 OK", &accepted())),
        Act::SayAndClose(Vec::new()),
        Act::Say(answer("500 Oops", &json!({ "clt.second-token": "private text" }))),
    ])
    .await;
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("settlement.db")).creating();
    let store = Store::Sqlite(Arc::new(Sqlite::open(options).unwrap()));
    let proxy = Proxy::start(Does::OpenForKnown).await;
    let address = ProxyAddress::parse(&format!("http://{}", proxy.address)).unwrap();
    let credentials = Some(Credentials::parse("gateway:password").unwrap());
    let config = ClientConfig {
        base_url: server.url(),
        way: Way { proxy: Some(way::Proxy { address, credentials }), authorities: None },
        pause_max: Duration::ZERO,
        ..ClientConfig::default()
    };
    let mut shown = format!("{config:?}");
    let clock = Clock::system();
    let client = Client::new(config, None, store.clone(), clock.clone()).unwrap();
    let caller = Caller::new(client);
    for _ in 0..5 {
        let answer = caller.create(BODY, clock.uptime()).await;
        shown.push_str(&format!("{answer:?}"));
    }
    shown.push_str(&format!("{:?}", store.token(&app_id()).await));
    assert_eq!(server.requests().len(), 8, "the whole script was played");

    shown.push_str(&String::from_utf8(capture.0.lock().unwrap().clone()).unwrap());
    for wanted in ["outcome=\"accepted\"", "outcome=\"refused\"", "elapsed_ms=", "app_id=tt1"] {
        assert!(shown.contains(wanted), "the log lacks {wanted}: {shown}");
    }
    // `gateway:password` and how the proxy gets it.
    let credentials = ["gateway:password", "Z2F0ZXdheTpwYXNzd29yZA"];
    let secrets = [SECRET, "first-token", "second-token", "private text"];
    for secret in secrets.into_iter().chain(credentials) {
        let place = shown.find(secret);
        let around = place.map(|at| shown.get(at.saturating_sub(200)..at + 20));
        assert_eq!(around, None, "{secret} shows");
    }
}
