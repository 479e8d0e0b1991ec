//! A callback from Douyin, from raw bytes to its content: verified first, then read. Its body is an
//! envelope whose `msg` is JSON in a string (3.1). The module of the trade system reads what that
//! says of a settle.
//!
//! A message whose settle or status cannot be understood is refused, so that Douyin delivers it
//! again and an operator notices. Other fields that cannot be understood are left out.
//!
//! What it must not know: HTTP, and what becomes of a settle because of a callback.

use serde_json::Value;

use super::signature::{BadSignature, PlatformKeys, Signed};
use super::system::{self, Callbacks};
use super::wire::values::{Fields, parsed, text};
use super::wire::{self, Unreadable, json, lenient};
use crate::settle::{AppId, Report, TradeSystem};

/// What a callback tells one app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    Settle {
        /// The one system that it is of, or those that it may be of. Which of them has the settle
        /// is asked in this order; if none has it, the first one is taken.
        trade_systems: Vec<TradeSystem>,
        report: Box<Report>,
    },
    /// Douyin sends other events to the same address, which the gateway ignores: payments, refunds,
    /// withdrawals.
    Other { kind: String },
}

/// Why a callback is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejected {
    #[error(transparent)]
    Signature(#[from] BadSignature),
    #[error("the message {0}")]
    Malformed(#[from] Unreadable),
    #[error("the message is signed for this app and names another one")]
    OtherApp,
}

/// Douyin's log id of a callback, from its header.
pub fn log_id(header: &str) -> String {
    wire::bounded_log_id(header)
}

/// Reads a callback to `app_id`, or to the app that it names if that is `None`. Nothing of the body
/// is read before one of the app's keys fits its signature. `trade_systems`: those of the app, in
/// the order of its configuration.
pub fn hear(
    app_id: Option<&AppId>,
    trade_systems: &[TradeSystem],
    keys: &PlatformKeys,
    signed: &Signed<'_>,
) -> Result<Heard, Rejected> {
    keys.verify(signed)?;
    read(app_id, trade_systems, signed.body)
}

/// What is kept of the name of another type. Douyin's names are short.
const KIND_BYTES_MAX: usize = 64;

pub(super) fn read(
    app_id: Option<&AppId>,
    trade_systems: &[TradeSystem],
    body: &[u8],
) -> Result<Heard, Rejected> {
    let envelope = object(body, "the body is not a JSON object")?;
    let kind = text(&envelope, &["type"])?.ok_or(Unreadable("type is missing"))?;
    if kind != "settle" {
        let kind = kind.chars().filter(|c| !c.is_control()).take(KIND_BYTES_MAX / 4).collect();
        return Ok(Heard::Other { kind });
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
    Ok(Heard::Settle { trade_systems, report: Box::new(report) })
}

/// 3.0 is the general trading system's, 2.0 that of its sibling systems. Without a version it is
/// guaranteed payment's callback, which has another signature and other names.
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
        Callbacks::Version3 => false,
    });
    siblings.chain([TradeSystem::General]).collect()
}

fn object(bytes: &[u8], wrong: &'static str) -> Result<Fields, Unreadable> {
    // The parser limits its depth, the listener its size.
    match json::parse(bytes) {
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) | None => Err(Unreadable(wrong)),
    }
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
        hear(app_id.as_ref(), &[TradeSystem::General], &keys, &signed)
    }

    #[test]
    fn a_callback_is_for_the_app_that_it_names() {
        assert_eq!(heard(Some("tt0")), Err(Rejected::OtherApp));
        for app_id in [Some("ttcfdbb96650e33350"), None] {
            assert!(matches!(heard(app_id), Ok(Heard::Settle { .. })), "{app_id:?}");
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
                    let Ok(Heard::Settle { trade_systems, .. }) = heard else {
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
