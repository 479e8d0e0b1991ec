//! Callbacks: an input is written as HTTP is, headers, an empty line, and the body.
//!
//! The signature `sign`, in the headers or (`msg_signature`) in the body, stands for a true one
//! over this very input, so that what is behind it is reached; any other one is nonsense.

use std::cell::RefCell;
use std::sync::Arc;

use douyin_sim::PlatformKey;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::Value;
use settlement_gateway::douyin::callback::{Heard, Rejected, Verifiers, hear};
use settlement_gateway::douyin::{PlatformKeys, Signed};
use settlement_gateway::gateway::Name;
use settlement_gateway::http::callbacks::Received;
use settlement_gateway::settle::{AppId, Key, OutSettleNo, TradeSystem};

use super::world::{APP, CALLBACK_TOKEN, Douyin, Site, World};

thread_local! {
    static PLACE: RefCell<Option<(World, Site)>> = const { RefCell::new(None) };
}

pub fn hold(data: &[u8]) {
    let (mut headers, body) = read(data);
    let text = |headers: &HeaderMap, name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (timestamp, nonce) = (text(&headers, "Byte-Timestamp"), text(&headers, "Byte-Nonce-Str"));
    let mut signature = text(&headers, "Byte-Signature");
    let is_signed = signature == "sign";
    if is_signed {
        let lines = [timestamp.as_bytes(), nonce.as_bytes(), body, b""].join(&b'\n');
        signature = PlatformKey::sandbox().sign(&lines);
        headers.insert("Byte-Signature", HeaderValue::from_str(&signature).unwrap());
    }
    let by_token = by_token(body);
    let is_good = match &by_token {
        Some((is_good, _)) => *is_good,
        None => is_signed && !timestamp.is_empty() && !nonce.is_empty() && !body.is_empty(),
    };
    let body = by_token.as_ref().map_or(body, |(_, body)| body);

    let app_id = AppId::parse(APP).unwrap();
    let keys = PlatformKeys::parse(&PlatformKey::sandbox().public_pem()).unwrap();
    let signed = Signed { timestamp: &timestamp, nonce: &nonce, signature: &signature, body };
    let token = Some(Arc::new(CALLBACK_TOKEN.into()));
    let verifiers = Verifiers { keys: Some(Arc::new(keys)), token };
    let systems = [TradeSystem::General, TradeSystem::Guaranteed];
    let heard = hear(Some(&app_id), &systems, &verifiers, &signed);
    let is_refused = matches!(heard, Err(Rejected::Signature(_)));
    assert_eq!(is_refused, !is_good, "nothing but the signature decides: {heard:?}");

    PLACE.with_borrow_mut(|place| {
        if place.as_mut().is_none_or(|(world, _)| world.is_worn()) {
            let world = World::new();
            let site = world.site(Douyin::default());
            *place = Some((world, site));
        }
        let Some((world, site)) = place.as_mut() else { return };
        let app = site.core.apps.get(&app_id).expect("it is served");
        let verdict = world.run(site.core.callbacks.receive(app, "nowhere", &headers, body));
        match heard {
            Err(Rejected::Signature(_)) => assert_eq!(verdict, Received::BadSignature),
            Err(Rejected::NoKey) => panic!("it has both"),
            Err(Rejected::Malformed(_) | Rejected::OtherApp) => {
                assert_eq!(verdict, Received::Malformed);
            }
            Ok(Heard::Other { kind }) => {
                assert_eq!(verdict, Received::OtherType);
                assert!(kind != "settle" && kind.len() <= 64, "{kind:?}");
            }
            Ok(Heard::Settles { trade_systems, reports }) => {
                let trade_system = trade_systems[0];
                assert_eq!(verdict, Received::Acknowledged, "the store is up");
                let Some(report) = reports.last() else { return };
                let mut get =
                    |name| world.run(site.core.gateway.get(&name)).expect("the store is up");
                let name = Name::SettleId(app_id.clone(), trade_system, report.settle_id.clone());
                let known = get(name);
                if let Some(known) = known {
                    assert_eq!(known.state.settle_id(), Some(&report.settle_id));
                    return;
                }
                // Of a number that another settle has, no more than the contradiction is kept; also
                // where Douyin's number of the one is what the other's caller chose.
                let own = || OutSettleNo::of_settle_id(&report.settle_id);
                let out_settle_no = report.out_settle_no.clone().unwrap_or_else(own);
                let other = get(Name::Key(Key { app_id, trade_system, out_settle_no }));
                let other = other.unwrap_or_else(|| panic!("acknowledged and lost: {report:?}"));
                assert_ne!(other.state.settle_id(), Some(&report.settle_id));
            }
        }
    });
}

/// Whether a body that is signed in itself is good, and that body with a true signature if it asks
/// for one. `None`: it is of the other kind.
fn by_token(body: &[u8]) -> Option<(bool, Vec<u8>)> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return None };
    let signature = fields.get("msg_signature")?.clone();
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
        _ => String::new(),
    };
    let [timestamp, nonce, msg] = ["timestamp", "nonce", "msg"].map(text);
    if signature != "sign" {
        return Some((false, body.to_vec()));
    }
    let mut values = [timestamp.as_str(), &nonce, &msg, CALLBACK_TOKEN];
    values.sort();
    let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, values.concat().as_bytes());
    fields.insert("msg_signature".to_owned(), hex::encode(sha1).into());
    let plain = |text: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !text.is_empty() && text.chars().all(is_plain)
    };
    let is_good = plain(&timestamp) && plain(&nonce) && !msg.is_empty();
    Some((is_good, Value::Object(fields).to_string().into_bytes()))
}

fn read(data: &[u8]) -> (HeaderMap, &[u8]) {
    let end = data.windows(2).position(|two| two == b"\n\n").unwrap_or(data.len());
    let (head, rest) = data.split_at(end);
    let mut headers = HeaderMap::new();
    // The listener reads heads of at most 16 KiB.
    for line in head.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let parsed = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = parsed {
            headers.append(name, value);
        }
    }
    (headers, rest.get(2..).unwrap_or_default())
}
