//! The callbacks of each system that has any.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{Developer, in_each};
use crate::callbacks::signed_text;
use crate::signed::sha1_sign;
use crate::tests::callback_core::{answer, good};
use crate::tests::receiver::msg;
use crate::tests::{APP, START_MS, config};
use crate::{
    AppKey, CallbackScript, Choices, Forged, ForgedSignature, PlatformKey, SANDBOX_CALLBACK_TOKEN,
    SimConfig, System,
};

/// Whether a developer would believe a callback.
pub(super) fn is_genuine(system: System, headers: &HeaderMap, body: &Bytes) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if system == System::Guaranteed {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return false;
        };
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let signed = [text("timestamp"), text("nonce"), text("msg")];
        return text("msg_signature") == sha1_sign(&signed, SANDBOX_CALLBACK_TOKEN);
    }
    let (Some(timestamp), Some(nonce), Some(signature)) =
        (header("byte-timestamp"), header("byte-nonce-str"), header("byte-signature"))
    else {
        return false;
    };
    AppKey::from(&PlatformKey::sandbox()).verifies(&signed_text(timestamp, nonce, body), signature)
}

#[test]
fn the_end_of_a_settle_is_told_as_its_system_does() {
    in_each(|developer| {
        let settle_id = developer.create("s1", "o1").settle_id;
        developer.wait();
        let sent = developer.callbacks();
        assert_eq!(sent.len(), 1);
        assert!(is_genuine(developer.system, &sent[0].headers, &sent[0].body));
        let (body, msg) = (serde_json::from_slice::<Value>(&sent[0].body), msg(&sent[0].body));
        let body = body.expect("JSON");
        assert_eq!(body["type"], "settle");
        let version = match developer.system {
            System::General => Some(json!("3.0")),
            System::SelfOperated | System::Industry => Some(json!("2.0")),
            System::Agency | System::Guaranteed => None,
        };
        assert_eq!(body.get("version"), version.as_ref());
        assert_eq!((&msg["status"], &msg["cp_extra"]), (&json!("SUCCESS"), &json!("mark")));
        assert_eq!((&msg["settle_amount"], &msg["rake"]), (&json!(100_000), &json!(600)));
        let ended_at_ms = START_MS + 1_500;
        if developer.system == System::Guaranteed {
            assert!(sent[0].headers.keys().all(|name| name == "content-type"));
            assert_eq!(
                (&msg["cp_settle_no"], &msg["settle_no"]),
                (&json!("s1"), &json!(settle_id))
            );
            assert_eq!(msg["settled_at"], ended_at_ms / 1_000);
            assert_eq!((&msg["out_order_no"], &msg["app_id"]), (&json!("o1"), &json!(APP)));
            assert!(body["nonce"].as_str().is_some_and(|nonce| nonce.len() <= 4));
        } else {
            assert_eq!(
                (&msg["out_settle_no"], &msg["settle_id"]),
                (&json!("s1"), &json!(settle_id))
            );
            assert_eq!(msg["event_time"], ended_at_ms);
        }
        assert_eq!(developer.desk.core.snapshot().callbacks[0].system, developer.system);
        answer(&mut developer.desk, &sent[0], &good());
        assert!(developer.desk.core.snapshot().callbacks[0].is_acknowledged());
    });
}

#[test]
fn each_system_repeats_callbacks_by_its_own_page() {
    for (system, wait_ms) in [
        (System::General, 12_000),
        (System::SelfOperated, 15_000),
        (System::Industry, 2_000),
        (System::Guaranteed, 15_000),
    ] {
        let mut developer = Developer::new(system);
        developer.create("s1", "o1");
        developer.wait();
        let first = developer.callbacks().remove(0);
        answer(&mut developer.desk, &first, &crate::CallbackAnswer::TimedOut);
        developer.desk.now_ms += wait_ms - 1;
        assert_eq!(developer.callbacks().len(), 0, "{system:?}");
        developer.desk.now_ms += 1;
        let second = developer.callbacks().remove(0);
        assert!(is_genuine(system, &second.headers, &second.body));
        assert!((&first.headers, &first.body) != (&second.headers, &second.body));
    }
}

#[test]
fn a_retry_may_be_the_same_again() {
    for system in super::SETTLING {
        let choices = Choices { callback_retry_signs_anew: false, ..Choices::default() };
        let mut developer = Developer::with(system, SimConfig { choices, ..config() });
        developer.create("s1", "o1");
        developer.wait();
        let first = developer.callbacks().remove(0);
        answer(&mut developer.desk, &first, &crate::CallbackAnswer::TimedOut);
        developer.desk.now_ms += 15_000;
        let second = developer.callbacks().remove(0);
        assert_eq!((&first.headers, &first.body), (&second.headers, &second.body));
    }
}

#[test]
fn a_script_spoils_a_callback_in_every_system() {
    in_each(|developer| {
        for script in [CallbackScript::WrongSignature, CallbackScript::Truncate] {
            developer.desk.core.outbox.scripts.queue("s1", vec![script]);
        }
        developer.create("s1", "o1");
        developer.wait();
        let wrong = developer.callbacks().remove(0);
        assert!(!is_genuine(developer.system, &wrong.headers, &wrong.body));
        // It says the same as a good one.
        assert_eq!(msg(&wrong.body)["status"], "SUCCESS");
        answer(&mut developer.desk, &wrong, &crate::CallbackAnswer::TimedOut);
        developer.desk.now_ms += 15_000;
        let half = developer.callbacks().remove(0);
        assert!(serde_json::from_slice::<Value>(&half.body).is_err());
        answer(&mut developer.desk, &half, &crate::CallbackAnswer::TimedOut);
        developer.desk.now_ms += 33_000;
        let whole = developer.callbacks().remove(0);
        assert!(is_genuine(developer.system, &whole.headers, &whole.body));
    });
}

#[test]
fn a_forged_callback_is_signed_as_it_is_chosen() {
    in_each(|developer| {
        let settle_id = developer.create("s1", "sim-hold-1").settle_id;
        let core = &developer.desk.core;
        let body = core.callback_body(&settle_id, crate::Status::Fail).expect("a settle");
        let forged =
            Forged { system: developer.system, app_id: APP.to_owned(), body, ..Forged::default() };
        for (signature, genuine) in [
            (ForgedSignature::Good, true),
            (ForgedSignature::Wrong, false),
            (ForgedSignature::Missing, false),
            (ForgedSignature::Exactly("c2VjcmV0".to_owned()), false),
        ] {
            let forged = Forged { signature: signature.clone(), ..forged.clone() };
            let id = developer.desk.core.forge_callback(developer.desk.now_ms, &forged);
            let sent = developer.callbacks().remove(0);
            assert_eq!(Some(sent.callback), id);
            assert_eq!(is_genuine(developer.system, &sent.headers, &sent.body), genuine);
            assert_eq!(msg(&sent.body)["status"], "FAIL");
            answer(&mut developer.desk, &sent, &good());
        }
        // A replay is the very same bytes.
        let now_ms = developer.desk.now_ms;
        let first = developer.desk.core.snapshot().callbacks[0].clone();
        developer.desk.core.outbox.replay(now_ms, first.id).expect("it was sent");
        let again = developer.callbacks().remove(0);
        let sent = &first.attempts[0].sent;
        assert_eq!((&again.headers, &again.body), (&sent.headers, &sent.body));
    });
}

#[test]
fn what_is_no_message_is_forged_as_it_is() {
    let mut developer = Developer::new(System::Guaranteed);
    let forged = Forged {
        system: System::Guaranteed,
        app_id: APP.to_owned(),
        body: "no JSON".into(),
        ..Forged::default()
    };
    developer.desk.core.forge_callback(developer.desk.now_ms, &forged).expect("it is sent");
    assert_eq!(developer.callbacks()[0].body, "no JSON");
}

#[test]
fn the_choices_about_messages_hold_in_guaranteed_payment_too() {
    let choices = Choices {
        callback_amounts: crate::AmountForm::Text,
        callback_fields: crate::CallbackFields::Sparse,
        ..Choices::default()
    };
    let mut developer = Developer::with(System::Guaranteed, SimConfig { choices, ..config() });
    developer.create("s1", "o1");
    developer.wait();
    let msg = msg(&developer.callbacks()[0].body);
    assert_eq!((&msg["rake"], msg["settled_at"].is_string()), (&json!("600"), true));
    assert_eq!((msg.get("message"), msg.get("is_auto_settle")), (None, None));
    assert_eq!(msg["cp_extra"], "mark");
}
