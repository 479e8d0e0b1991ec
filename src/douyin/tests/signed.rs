//! Calls that are signed: what is signed is what is sent, each time anew.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::*;
use crate::settle::{Answers, Failure, Learned, Reason};

const KEY: &str = include_str!("../../../tests/vectors/request/pkcs8.pem");
const PUBLIC: &str = include_str!("../../../tests/vectors/request/public.pem");

/// A process whose calls are kept, and answered with this.
fn calling(stepped: &Stepped, answer: Value) -> (Caller, Arc<Mutex<Vec<Call>>>) {
    let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
    let kept = Arc::clone(&calls);
    let transport = Transport::InProcess(Arc::new(move |call: Call| {
        kept.lock().unwrap().push(call);
        let content = Bytes::from(answer.to_string());
        Box::pin(async move { Ok(Reply { status: 200, log_id_header: None, content }) })
    }));
    (stepped.caller(ClientConfig::default(), transport), calls)
}

/// The value of a field of the header.
fn field(header: &str, name: &str) -> String {
    let (_, rest) = header.split_once(&format!("{name}=\"")).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// Verifies the call over the bytes that it sends; returns its time and its nonce.
fn verified(call: &Call) -> (String, String) {
    let header = call.headers["byte-authorization"].to_str().unwrap();
    let list = header.strip_prefix("SHA256-RSA2048 ").unwrap();
    assert_eq!((field(list, "appid"), field(list, "key_version")), ("tt1".into(), "7".into()));
    let (timestamp, nonce) = (field(list, "timestamp"), field(list, "nonce_str"));
    assert_eq!(nonce.len(), 32);
    let head = format!("POST\n{}\n{timestamp}\n{nonce}\n", call.path);
    let text = [head.as_bytes(), &call.body, b"\n"].concat();
    let digits: String = PUBLIC.lines().filter(|line| !line.starts_with('-')).collect();
    let spki = STANDARD.decode(digits).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &spki[24..]);
    let signature = STANDARD.decode(field(list, "signature")).unwrap();
    assert_eq!(key.verify(&text, &signature), Ok(()), "{header}");
    (timestamp, nonce)
}

#[tokio::test(start_paused = true)]
async fn each_send_has_the_same_bytes_and_a_signature_of_its_own() {
    let stepped = Stepped::new();
    let (caller, calls) = calling(&stepped, accepted());
    let key = SigningKey::parse(&KEY.to_owned().into(), "7").unwrap();
    caller.access.sign_with(Some(&key), None);
    for _ in 0..2 {
        let permitted = stepped.clock.uptime();
        let create = caller.client.create(&caller.access, TradeSystem::Industry, BODY, permitted);
        assert!(matches!(create.await.learned, Learned::Accepted(_)));
        // The machine's clock is set. The uptime, by which permissions end, does not move.
        stepped.clock.jump_ms(3_600_000);
    }
    let calls = calls.lock().unwrap();
    let [first, second] = &calls[..] else { panic!("{calls:?}") };
    for call in [first, second] {
        assert_eq!((call.site, &call.body[..]), (Site::Developer, BODY.as_bytes()));
        assert!(!call.headers.contains_key("access-token"));
        assert!(call.headers["byte-authorization"].is_sensitive());
    }
    let (one, another) = (verified(first), verified(second));
    assert_eq!((one.0.as_str(), another.0.as_str()), ("1700000000", "1700003600"));
    assert_ne!(one.1, another.1, "nonces");
}

/// Also while a token is alive that was fetched with one.
#[tokio::test(start_paused = true)]
async fn without_a_client_secret_nothing_is_sent_and_the_app_does_not_pause() {
    let stepped = Stepped::new();
    let (caller, calls) = calling(&stepped, accepted());
    stepped.store_token("clt.stored", 0, 7_200).await;
    let learned = async || caller.create(BODY, stepped.clock.uptime()).await.learned;
    assert!(matches!(learned().await, Learned::Accepted(_)));
    caller.access.renew(None);
    let without = Failure::own(Reason::TradeSystemNotConfigured);
    assert_eq!(learned().await, Learned::NotSent(without));
    assert_eq!((calls.lock().unwrap().len(), caller.pause()), (1, None));
    caller.access.renew(Some(&SECRET.into()));
    assert!(matches!(learned().await, Learned::Accepted(_)));
}

#[tokio::test(start_paused = true)]
async fn without_a_key_nothing_is_sent_and_one_that_is_rejected_proves_nothing() {
    let stepped = Stepped::new();
    let (caller, calls) = calling(&stepped, refused(11004));
    let create = async || {
        let permitted = stepped.clock.uptime();
        let access = &caller.access;
        caller.client.create(access, TradeSystem::Industry, BODY, permitted).await
    };
    let without = Failure::own(Reason::TradeSystemNotConfigured);
    assert_eq!(create().await.learned, Learned::NotSent(without));
    assert_eq!(calls.lock().unwrap().len(), 0);
    let key = SigningKey::parse(&KEY.to_owned().into(), "7").unwrap();
    caller.access.sign_with(Some(&key), None);
    // Douyin may have counted the nonce of a copy of this very request, which took effect.
    let answer = create().await;
    let Learned::Unknown(failure) = answer.learned else { panic!("{answer:?}") };
    assert_eq!(failure.reason.known(), Some(Reason::UpstreamCredentialsRejected));
    assert_eq!(answer.answers, Answers::Nothing);
    assert_eq!(calls.lock().unwrap().len(), 1, "another token would change nothing");
    assert_eq!(caller.pause(), None, "the app's other systems go on");
}
