//! A callback from Douyin, from raw bytes to its content: verified first, then read. Its body is an
//! envelope whose `msg` is JSON in a string (3.1). The module of the trade system reads what that
//! says of a settle.
//!
//! Two kinds come to the same address: those signed in headers with the platform's key, and those
//! of guaranteed payment, whose signature stands in the body. If the app has a token for the second
//! kind, a body that holds such a signature is of that kind.
//!
//! A message whose settle or status cannot be understood is refused, so that Douyin delivers it
//! again and an operator notices. Other fields that cannot be understood are left out.
//!
//! What it must not know: HTTP, and what becomes of a settle because of a callback.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::Value;

use super::guaranteed;
pub use super::heard::{Heard, Rejected};
use super::heard::{kind_shown, object};
use super::signature::{PlatformKeys, Signed};
use super::system::{self, Callbacks};
use super::wire::values::{Fields, parsed, text};
use super::wire::{self, Unreadable, lenient};
use crate::settle::{AppId, TradeSystem};

/// Douyin's log id of a callback, from its header.
pub fn log_id(header: &str) -> String {
    wire::bounded_log_id(header)
}

/// What the callbacks of one app are signed with.
#[derive(Clone, Default, Debug)]
pub struct Verifiers {
    /// `None`: those signed in headers are refused.
    pub keys: Option<Arc<PlatformKeys>>,
    /// `None`: those signed in the body are refused.
    pub token: Option<Arc<SecretString>>,
}

/// Reads a callback to `app_id`, or to the app that it names if that is `None`. Nothing of the body
/// but its signature is read before that is verified. `trade_systems`: those of the app, in the
/// order of its configuration.
pub fn hear(
    app_id: Option<&AppId>,
    trade_systems: &[TradeSystem],
    verifiers: &Verifiers,
    signed: &Signed<'_>,
) -> Result<Heard, Rejected> {
    if let Some(token) = &verifiers.token
        && let Some(fields) = guaranteed::signed_part(signed.body)
    {
        return guaranteed::hear(app_id, token, &fields);
    }
    verifiers.keys.as_ref().ok_or(Rejected::NoKey)?.verify(signed)?;
    read(app_id, trade_systems, signed.body)
}

pub(super) fn read(
    app_id: Option<&AppId>,
    trade_systems: &[TradeSystem],
    body: &[u8],
) -> Result<Heard, Rejected> {
    let envelope = object(body, "the body is not a JSON object")?;
    let kind = text(&envelope, &["type"])?.ok_or(Unreadable("type is missing"))?;
    if kind != "settle" {
        return Ok(Heard::Other { kind: kind_shown(&kind) });
    }
    let trade_systems = possible(version(&envelope)?, trade_systems);
    let first = trade_systems.first().copied().unwrap_or(TradeSystem::General);
    let msg = match envelope.get("msg") {
        Some(Value::String(msg)) => object(msg.as_bytes(), "msg is not a JSON object")?,
        // No page shows it so, but the meaning is clear.
        Some(Value::Object(msg)) => msg.clone(),
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            return Err(Unreadable("msg is missing or not a text").into());
        }
    };
    let named = parsed(text(&msg, &["app_id"])?, AppId::parse, "app_id")?;
    // The systems of one version describe a settle alike.
    let report = (system::of(first).report)(&msg)?;
    if named.is_some() && app_id.is_some() && named.as_ref() != app_id {
        return Err(Rejected::OtherApp);
    }
    Ok(Heard::Settles { trade_systems, reports: vec![report] })
}

/// 3.0 is the general trading system's, 2.0 that of its sibling systems.
fn version(envelope: &Fields) -> Result<Callbacks, Unreadable> {
    let version = lenient::text(envelope, "version").ok_or(Unreadable("version is missing"))?;
    match version.as_str() {
        "3.0" | "3" => Ok(Callbacks::Version3),
        "2.0" | "2" => Ok(Callbacks::Version2),
        _ => Err(Unreadable("version is neither 3.0 nor 2.0")),
    }
}

/// The systems that a callback of this version may be of. 2.0 may also be the general system's (a
/// guess: the page of its settle notification was not readable).
fn possible(version: Callbacks, configured: &[TradeSystem]) -> Vec<TradeSystem> {
    let has = |system: &TradeSystem| system::of(*system).callbacks == Some(version);
    let siblings = configured.iter().copied().filter(|system| match version {
        Callbacks::Version2 => has(system),
        Callbacks::Version3 | Callbacks::Token => false,
    });
    siblings.chain([TradeSystem::General]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BODY: &[u8] = include_bytes!("../../tests/vectors/callback/body.json");
    const HEADERS: &str = include_str!("../../tests/vectors/callback/headers.txt");
    const KEY: &str = include_str!("../../tests/vectors/callback/platform-public-key.pem");

    /// The message made with openssl, read for an app.
    fn heard(app_id: Option<&str>) -> Result<Heard, Rejected> {
        let keys = PlatformKeys::parse(KEY).unwrap();
        let header = |name: &str| {
            let value =
                HEADERS.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.expect("the vector has the header")
        };
        let signed = Signed {
            timestamp: header("Byte-Timestamp"),
            nonce: header("Byte-Nonce-Str"),
            signature: header("Byte-Signature"),
            body: BODY,
        };
        let app_id = app_id.map(|app_id| AppId::parse(app_id).unwrap());
        let verifiers = Verifiers { keys: Some(Arc::new(keys)), token: None };
        hear(app_id.as_ref(), &[TradeSystem::General], &verifiers, &signed)
    }

    #[test]
    fn a_callback_is_for_the_app_that_it_names() {
        assert_eq!(heard(Some("tt0")), Err(Rejected::OtherApp));
        for app_id in [Some("ttcfdbb96650e33350"), None] {
            assert!(matches!(heard(app_id), Ok(Heard::Settles { .. })), "{app_id:?}");
        }
    }

    fn body(version: Value, msg: Value) -> Vec<u8> {
        let msg = msg.to_string();
        serde_json::to_vec(&json!({ "version": version, "msg": msg, "type": "settle" })).unwrap()
    }

    fn shortest() -> Value {
        json!({ "status": "SUCCESS", "settle_id": "ots1" })
    }

    /// A 3.0 is the general system's. A 2.0 is that of a sibling that the app settles in, or the
    /// general one's.
    #[test]
    fn a_settle_is_of_a_system_that_its_version_and_the_app_allow() {
        use TradeSystem::{Agency, General, SelfOperated};
        let app_id = AppId::parse("tt1").unwrap();
        let three = [json!("3.0"), json!(3), json!("3")];
        let two = [json!("2.0"), json!("2"), json!(2)];
        let cases: [(&[Value], &[TradeSystem], &[TradeSystem]); 5] = [
            (&three, &[General], &[General]),
            (&three, &[SelfOperated, General], &[General]),
            (&two, &[General, Agency], &[General]),
            (&two, &[General, SelfOperated], &[SelfOperated, General]),
            (&two, &[SelfOperated], &[SelfOperated, General]),
        ];
        for (versions, configured, possible) in cases {
            for version in versions {
                for named in [json!("tt1"), json!(null)] {
                    let mut msg = shortest();
                    msg["app_id"] = named;
                    let heard = read(Some(&app_id), configured, &body(version.clone(), msg));
                    let Ok(Heard::Settles { trade_systems, .. }) = heard else {
                        panic!("{version}: {heard:?}")
                    };
                    assert_eq!(trade_systems, possible, "{version} {configured:?}");
                }
            }
        }
    }

    #[test]
    fn a_message_of_another_type_is_only_named() {
        for kind in ["payment", "refund", "settle_finish", "a\nb"] {
            let body = json!({ "type": kind, "msg": "no JSON at all", "version": "9.9" });
            let heard = read(None, &[], &serde_json::to_vec(&body).unwrap());
            assert_eq!(heard, Ok(Heard::Other { kind: kind.replace('\n', "") }));
        }
    }

    /// It is logged, and its length is the sender's choice.
    #[test]
    fn of_the_name_of_another_type_only_the_beginning_is_kept() {
        for letter in ["x", "分", "\u{1f4b0}"] {
            let body = json!({ "type": letter.repeat(99) }).to_string();
            let kept = read(None, &[], body.as_bytes());
            assert_eq!(kept, Ok(Heard::Other { kind: letter.repeat(16) }));
        }
    }

    #[test]
    fn an_envelope_that_cannot_be_understood_is_refused() {
        let mut of_no_app = shortest();
        of_no_app["app_id"] = json!({});
        let cases = [
            b"".to_vec(),
            b"no JSON".to_vec(),
            b"[]".to_vec(),
            b"{}".to_vec(),
            br#"{"type":"settle"}"#.to_vec(),
            br#"{"type":"settle","version":"3.0"}"#.to_vec(),
            br#"{"type":"settle","version":"3.0","msg":"[]"}"#.to_vec(),
            br#"{"type":"settle","version":"3.0","msg":7}"#.to_vec(),
            body(json!("4.0"), shortest()),
            body(json!(null), shortest()),
            body(json!("3.0"), of_no_app),
            format!("{}1{}", "[".repeat(500), "]".repeat(500)).into_bytes(),
        ];
        for case in cases {
            let heard = read(None, &[], &case);
            let case = String::from_utf8_lossy(&case);
            assert!(matches!(heard, Err(Rejected::Malformed(_))), "{case}: {heard:?}");
        }
    }

    #[test]
    fn a_log_id_is_kept_as_it_is_and_never_longer_than_a_line() {
        assert_eq!(log_id("2024-log"), "2024-log");
        assert_eq!(log_id(&"分".repeat(99)).len(), 126);
    }
}
