//! The listener's wire: the published form of a callback, HTTP/2, TLS, and how it stops.

use std::path::Path;

use douyin_sim::Status;
use settlement_gateway::apps::AppConfig;
use settlement_gateway::config::Tls;
use settlement_gateway::douyin::PlatformKeys;
use settlement_gateway::proto::v1::{self, SettleOrigin, SettleState};

use super::{Letter, patient, signing_simulator, spawn, spawn_with, success};
use crate::harness::{APP_ID, Gateway, app, create_on, number, within};

const VECTOR_APP: &str = "ttcfdbb96650e33350";

fn vector(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/callback").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The message that was made and signed outside, through the whole gateway.
#[tokio::test]
async fn the_published_form_of_a_callback_is_taken_in() {
    let gateway = spawn_with(|config| {
        let keys = PlatformKeys::parse(&vector("platform-public-key.pem")).unwrap();
        let platform_keys = Some(keys);
        config.apps.push(AppConfig { platform_keys, ..app(VECTOR_APP, "not-asked-for") });
    })
    .await;
    let headers = vector("headers.txt");
    let value = |name: &str| {
        let line = headers.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(": ").to_owned()
    };
    let letter = Letter {
        to: VECTOR_APP.to_owned(),
        timestamp: value("Byte-Timestamp"),
        nonce: value("Byte-Nonce-Str"),
        signature: value("Byte-Signature"),
        body: vector("body.json").into_bytes(),
    };
    assert_eq!(letter.deliver(&gateway).await, success());
    let request = v1::GetSettleRequest {
        app_id: VECTOR_APP.to_owned(),
        key: Some(v1::get_settle_request::Key::OutSettleNo("out_settle_example_1".to_owned())),
        ..Default::default()
    };
    let mut client = gateway.client.clone();
    let answer = within("GetSettle", client.get_settle(request)).await.unwrap();
    let settle = answer.into_inner().settle.unwrap();
    assert_eq!((settle.state(), settle.origin()), (SettleState::Succeeded, SettleOrigin::Platform));
    assert_eq!(settle.settle_id(), "ots72735132864850025400652");
    assert_eq!(settle.result.unwrap().settle_amount_fen, Some(20));
}

async fn waiting(gateway: &Gateway) -> (String, Letter) {
    gateway.sim.set_callback_url(APP_ID, None);
    let number = number("wire");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    (number, Letter::about(&gateway.sim, settle.settle_id(), Status::Success))
}

#[tokio::test]
async fn http_2_without_tls_works_too() {
    let gateway = spawn().await;
    let (number, letter) = waiting(&gateway).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let wrong = Letter { nonce: "other".to_owned(), ..letter.clone() };
    assert_eq!(wrong.deliver_by(&client, &gateway).await.0, 401);
    assert_eq!(letter.deliver_by(&client, &gateway).await, success());
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
}

#[tokio::test]
async fn with_a_certificate_the_listener_speaks_tls_and_nothing_else() {
    let gateway = Gateway::spawn_with(signing_simulator().await, |config| {
        patient(config);
        let dir = tempfile::TempDir::new().unwrap();
        let (certificate, key) = crate::config::certificate(dir.path());
        let tls = Tls::read(&certificate, &key).map_err(|_| "made just now").unwrap();
        // The client trusts exactly this one.
        let text = std::fs::read_to_string(certificate).unwrap();
        CERTIFICATE.set(text).unwrap();
        config.callback.tls.tls = Some(tls);
    })
    .await;
    let (number, letter) = waiting(&gateway).await;
    let url = gateway.callback_url(APP_ID).replace("http://", "https://");
    let trusted = reqwest::Certificate::from_pem(CERTIFICATE.get().unwrap().as_bytes()).unwrap();
    for http2 in [false, true] {
        let client = reqwest::Client::builder().tls_certs_only([trusted.clone()]);
        let client = if http2 { client } else { client.http1_only() }.build().unwrap();
        let request = client
            .post(&url)
            .header("Byte-Timestamp", &letter.timestamp)
            .header("Byte-Nonce-Str", &letter.nonce)
            .header("Byte-Signature", &letter.signature)
            .body(letter.body.clone());
        let answer = within("the answer", request.send()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let expected = if http2 { reqwest::Version::HTTP_2 } else { reqwest::Version::HTTP_11 };
        assert_eq!(answer.version(), expected);
    }
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    let plain = reqwest::Client::new().post(gateway.callback_url(APP_ID)).send().await;
    assert!(plain.is_err(), "{plain:?}");
}

static CERTIFICATE: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Callbacks are accepted until the end of the stop; otherwise Douyin would have to deliver them
/// again.
#[tokio::test]
async fn a_draining_gateway_still_takes_callbacks_and_then_stops() {
    let mut gateway = spawn_with(|config| {
        patient(config);
        config.stop.drain_delay = std::time::Duration::from_secs(2);
    })
    .await;
    let (number, letter) = waiting(&gateway).await;
    let client = reqwest::Client::new();
    assert_eq!(gateway.admin("/readyz").await.0, 200);
    gateway.begin_stop();
    while gateway.admin("/readyz").await.0 == 200 {}
    assert_eq!(letter.deliver_by(&client, &gateway).await, success());
    assert_eq!(gateway.get(&number).await.unwrap().state(), SettleState::Succeeded);
    assert_eq!(gateway.stop().await, settlement_gateway::server::Stopped::Gracefully);
}
