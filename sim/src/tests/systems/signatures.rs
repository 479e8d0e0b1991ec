//! What shows who asks: tokens, `Byte-Authorization` and `sign`.

use http::HeaderValue;
use serde_json::json;

use super::{Developer, edited, in_each};
use crate::tests::wire::{Client, read};
use crate::tests::{APP, START_MS};
use crate::{AppKey, PlatformKey, System};

#[test]
fn a_request_that_does_not_show_who_asks_has_no_effect() {
    in_each(|developer| {
        let body = developer.body("s1", "o1");
        let mut request = developer.request(developer.create_path(), body);
        for name in ["access-token", "byte-authorization"] {
            request.headers.remove(name);
        }
        let unsigned = edited(
            serde_json::from_slice(&request.body).expect("JSON"),
            "sign",
            json!("2001ff1c8ffa0f6b4bfb592133a84294"),
        );
        if developer.system == System::Guaranteed {
            request.body = unsigned.to_string().into();
        }
        let reply = developer.desk.core.handle(developer.desk.now_ms, request);
        let said = developer.read(&super::answer(reply));
        let expected = match developer.system {
            System::General | System::SelfOperated | System::Agency => 28_001_003,
            System::Industry => 11_004,
            System::Guaranteed => 2_008,
        };
        assert_eq!(said.number, expected);
        assert_eq!(developer.settles().len(), 0);
    });
}

/// The number of a create whose header is this one, as a function of the good one's text.
fn with_header(edit: impl Fn(String) -> String) -> i64 {
    let mut developer = Developer::new(System::Industry);
    let body = developer.body("s1", "o1");
    let mut request = developer.request(developer.create_path(), body);
    let header = request.headers["byte-authorization"].to_str().expect("ASCII").to_owned();
    let value = HeaderValue::try_from(edit(header)).expect("ASCII");
    request.headers.insert("byte-authorization", value);
    let reply = developer.desk.core.handle(developer.desk.now_ms, request);
    developer.read(&super::answer(reply)).number
}

#[test]
fn every_part_of_the_header_counts() {
    assert_eq!(with_header(|header| header), 0);
    for (good, bad) in [
        ("SHA256-RSA2048 ", "SHA256-RSA4096 "),
        ("appid=\"tt0", "appid=\"tt1"),
        ("nonce_str=\"nonce1\"", "nonce_str=\"nonce2\""),
        ("nonce_str=\"nonce1\"", "nonce_str=\"\""),
        ("timestamp=\"17", "timestamp=\"16"),
        ("timestamp=\"1700000000\"", "timestamp=\"1700000001\""),
        ("key_version=\"1\"", "key_version=\"2\""),
        ("key_version=\"1\"", "key_version=1"),
        ("signature=\"", "signature=\"A"),
        (",signature", ";signature"),
    ] {
        let number = with_header(|header| {
            assert!(header.contains(good), "{good}");
            header.replace(good, bad)
        });
        assert_eq!(number, 11_004, "{bad}");
    }
}

#[test]
fn the_signature_covers_the_body_and_the_path() {
    let mut developer = Developer::new(System::Industry);
    let (path, body) = (developer.create_path(), developer.body("s1", "o1"));
    let mut request = developer.request(path, body.clone());
    let mut spaced = request.body.to_vec();
    spaced.push(b' ');
    request.body = spaced.into();
    let now_ms = developer.desk.now_ms;
    let reply = developer.desk.core.handle(now_ms, request);
    assert_eq!(developer.read(&super::answer(reply)).number, 11_004);
    let mut request = developer.request(path, body.clone());
    request.path.push('/');
    let reply = developer.desk.core.handle(now_ms, request);
    assert_eq!(developer.read(&super::answer(reply)).number, 11_004);
    // What follows the path is signed too.
    let request = developer.request(&format!("{path}?a=b"), body);
    let reply = developer.desk.core.handle(now_ms, request.clone());
    assert_eq!(developer.read(&super::answer(reply)).number, 0);
    // The same bytes again, as a proxy on the way may send them.
    for (nonce_counts_once, number) in [(true, 11_004), (false, 23_111)] {
        developer.desk.core.books.choices.nonce_counts_once = nonce_counts_once;
        let reply = developer.desk.core.handle(now_ms, request.clone());
        assert_eq!(developer.read(&super::answer(reply)).number, number);
    }
}

#[test]
fn a_timestamp_counts_for_an_hour() {
    for (signed_at_s, number) in [
        (START_MS / 1_000 - 3_600, 0),
        (START_MS / 1_000 - 3_601, 11_004),
        (START_MS / 1_000 + 3_601, 11_004),
    ] {
        let mut developer = Developer::new(System::Industry);
        let (path, body) = (developer.create_path(), developer.body("s1", "o1"));
        let mut request = developer.request(path, body);
        let header = developer.authorization(path, &request.body, signed_at_s);
        request.headers.insert("byte-authorization", header);
        let reply = developer.desk.core.handle(START_MS, request);
        assert_eq!(developer.read(&super::answer(reply)).number, number, "{signed_at_s}");
    }
}

#[test]
fn the_key_of_an_app_can_be_replaced() {
    let mut developer = Developer::new(System::Industry);
    let pair = PlatformKey::sandbox();
    developer.desk.core.signers.set_key(APP, AppKey::from(&pair), "1");
    assert_eq!(developer.create("s1", "o1").number, 11_004);
    developer.key = pair;
    assert_eq!(developer.create("s1", "o1").number, 0);
}

#[test]
fn public_keys_are_read_as_the_console_shows_them() {
    let pair = PlatformKey::sandbox();
    let pem = pair.public_pem();
    let bare: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    for text in [pem.as_str(), bare.as_str()] {
        assert_eq!(AppKey::from_text(text), Ok(AppKey::from(&pair)));
    }
    let cut = bare.get(..bare.len() - 8).expect("Base64 is ASCII");
    for text in ["", "secret", "AAAA", cut] {
        assert!(AppKey::from_text(text).is_err(), "{text}");
    }
}

#[test]
fn every_field_of_a_signed_body_counts() {
    for (name, value) in [("settle_desc", json!("other")), ("finish", json!("true"))] {
        let mut developer = Developer::new(System::Guaranteed);
        let body = developer.body("s1", "o1");
        let mut request = developer.request(developer.create_path(), body);
        let changed =
            edited(serde_json::from_slice(&request.body).expect("JSON"), name, value.clone());
        request.body = changed.to_string().into();
        let reply = developer.desk.core.handle(developer.desk.now_ms, request);
        assert_eq!(developer.read(&super::answer(reply)).number, 2_008, "{name}");
        let body = edited(developer.body("s1", "o1"), name, value);
        assert_eq!(developer.ask(developer.create_path(), body).number, 0, "{name}");
    }
    let mut developer = Developer::new(System::Guaranteed);
    let body = edited(developer.body("s1", "o1"), "app_id", json!("ttunknown"));
    assert_eq!(developer.ask(developer.create_path(), body).number, 2_020);
}

#[tokio::test]
async fn a_clock_that_a_test_moves_leaves_the_developers_timestamps_good() {
    let client = Client::start().await;
    client.sim.advance(std::time::Duration::from_hours(72));
    let mut developer = Developer::new(System::Industry);
    let books = client.http.get(format!("{}/sim/books", client.sim.url())).send().await;
    let books = read(books.expect("an answer")).await;
    let ms = |name: &str| books[name].as_u64().expect("a number");
    developer.desk.now_ms = ms("now_ms") - ms("ahead_ms");
    let (path, body) = (developer.create_path(), developer.body("s1", "o1"));
    let request = developer.request(path, body);
    let sent = client.http.post(format!("{}{path}", client.sim.url()));
    let sent = sent.headers(request.headers).body(request.body).send().await;
    assert_eq!(read(sent.expect("an answer")).await["err_no"], 0);
    client.sim.stop().await;
}
