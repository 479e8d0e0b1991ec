//! Callbacks: an input is written as HTTP is, headers, an empty line, and the body.
//!
//! The signature `sign`, in the headers or (`msg_signature`) in the body, stands for a true one
//! over this very input, so that what is behind it is reached; any other one is nonsense. A header
//! `Systems` (`Systems: industry, general`) says in which trade systems the app settles; without it
//! the input is heard by two apps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use douyin_sim::PlatformKey;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::Value;
use settlement_gateway::douyin::callback::{Heard, Rejected, Verifiers, hear};
use settlement_gateway::douyin::{PlatformKeys, Signed};
use settlement_gateway::gateway::Name;
use settlement_gateway::http::callbacks::Received;
use settlement_gateway::settle::TradeSystem::{
    Agency, General, Guaranteed, Industry, SelfOperated,
};
use settlement_gateway::settle::{AppId, Key, OutSettleNo, Report, TradeSystem};

use super::world::{APP, CALLBACK_TOKEN, Douyin, Site, World};

/// A world, and a gateway for each configuration of the app.
type Place = (World, BTreeMap<Vec<TradeSystem>, Site>);

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// In what an app of an input settles that does not say it.
const DRAWN: [&[TradeSystem]; 6] = [
    &[General],
    &[SelfOperated],
    &[Industry, Guaranteed],
    &[SelfOperated, Industry, General],
    &[Agency],
    &TradeSystem::ALL,
];

pub fn hold(data: &[u8]) {
    for trade_systems in configured(data) {
        hold_in(&trade_systems, data);
    }
}

/// The trade systems of each app that hears the input.
fn configured(data: &[u8]) -> Vec<Vec<TradeSystem>> {
    let (headers, _) = read(data);
    let mut named = Vec::new();
    let names = headers.get("Systems").and_then(|names| names.to_str().ok()).unwrap_or_default();
    for system in names.split(',').filter_map(|name| TradeSystem::parse(name.trim())) {
        if !named.contains(&system) {
            named.push(system);
        }
    }
    match named.is_empty() {
        true => vec![vec![General, Guaranteed], DRAWN[data.len() % DRAWN.len()].to_vec()],
        false => vec![named],
    }
}

/// An input, with true signatures where it asks for them.
struct Callback {
    headers: HeaderMap,
    body: Vec<u8>,
    /// It is signed in the body, for an app that has such callbacks.
    by_token: bool,
    is_good: bool,
}

impl Callback {
    fn of(trade_systems: &[TradeSystem], data: &[u8]) -> Self {
        let (mut headers, body) = read(data);
        let [timestamp, nonce, signature] = signed_by(&headers);
        if signature == "sign" {
            let lines = [timestamp.as_bytes(), nonce.as_bytes(), body, b""].join(&b'\n');
            let signature = PlatformKey::sandbox().sign(&lines);
            headers.insert("Byte-Signature", HeaderValue::from_str(&signature).unwrap());
        }
        match by_token(body).filter(|_| trade_systems.contains(&Guaranteed)) {
            Some((is_good, body)) => Self { headers, body, by_token: true, is_good },
            None => {
                let is_whole = ![timestamp.as_bytes(), nonce.as_bytes(), body].contains(&&b""[..]);
                let is_good = signature == "sign" && is_whole;
                Self { headers, body: body.to_vec(), by_token: false, is_good }
            }
        }
    }

    fn heard(&self, trade_systems: &[TradeSystem]) -> Result<Heard, Rejected> {
        let keys = PlatformKeys::parse(&PlatformKey::sandbox().public_pem()).unwrap();
        let token = trade_systems.contains(&Guaranteed).then(|| Arc::new(CALLBACK_TOKEN.into()));
        let verifiers = Verifiers { keys: Some(Arc::new(keys)), token };
        let [timestamp, nonce, signature] = signed_by(&self.headers);
        let (timestamp, nonce, signature) = (&*timestamp, &*nonce, &*signature);
        let signed = Signed { timestamp, nonce, signature, body: &self.body };
        hear(AppId::parse(APP).ok().as_ref(), trade_systems, &verifiers, &signed)
    }

    /// A second reading of which systems it may be of: 3.0 is the general system's, 2.0 is one of
    /// its siblings' or the general one's. `None`: its version is written in another way.
    fn may_be_of(&self, trade_systems: &[TradeSystem]) -> Option<Vec<TradeSystem>> {
        if self.by_token {
            return Some(vec![Guaranteed]);
        }
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let siblings = trade_systems.iter().copied().filter(|system| match system {
            SelfOperated | Industry => true,
            General | Agency | Guaranteed => false,
        });
        match body.get("version")?.as_str()? {
            "3.0" => Some(vec![General]),
            "2.0" => Some(siblings.chain([General]).collect()),
            _ => None,
        }
    }
}

fn hold_in(trade_systems: &[TradeSystem], data: &[u8]) {
    let callback = Callback::of(trade_systems, data);
    let heard = callback.heard(trade_systems);
    let is_refused = matches!(heard, Err(Rejected::Signature(_)));
    assert_eq!(is_refused, !callback.is_good, "nothing but the signature decides: {heard:?}");
    let app_id = AppId::parse(APP).unwrap();
    PLACE.with_borrow_mut(|place| {
        if place.as_mut().is_none_or(|(world, _)| world.is_worn()) {
            *place = Some((World::new(), BTreeMap::new()));
        }
        let Some((world, sites)) = place.as_mut() else { return };
        let site = sites.entry(trade_systems.to_vec());
        let site = site.or_insert_with(|| world.site(Douyin::default(), trade_systems));
        let app = site.core.apps.get(&app_id).expect("it is served");
        let (headers, body) = (&callback.headers, &callback.body);
        let verdict = world.run(site.core.callbacks.receive(app, "nowhere", headers, body));
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
            Ok(Heard::Settles { trade_systems: possible, reports }) => {
                if let Some(expected) = callback.may_be_of(trade_systems) {
                    assert_eq!(possible, expected);
                }
                if verdict == Received::UnknownSystem {
                    // Douyin shows nothing here.
                    assert!(possible.len() > 1, "{possible:?}");
                    return;
                }
                assert_eq!(verdict, Received::Acknowledged, "the store is up");
                if let Some(report) = reports.last() {
                    recorded(world, site, &possible, report);
                }
            }
        }
    });
}

/// What was acknowledged is durable, in one of the systems that it may be of.
fn recorded(world: &mut World, site: &Site, possible: &[TradeSystem], report: &Report) {
    let app_id = AppId::parse(APP).unwrap();
    let mut get = |name| world.run(site.core.gateway.get(&name)).expect("the store is up");
    let by_id = |system| Name::SettleId(app_id.clone(), system, report.settle_id.clone());
    let known = possible.iter().find_map(|system| get(by_id(*system)));
    if let Some(known) = known {
        assert_eq!(known.state.settle_id(), Some(&report.settle_id));
        return;
    }
    // Of a number that another settle has, no more than the contradiction is kept; also where
    // Douyin's number of the one is what the other's caller chose.
    let own = || OutSettleNo::of_settle_id(&report.settle_id);
    let out_settle_no = report.out_settle_no.clone().unwrap_or_else(own);
    let by_number = |trade_system| {
        let (app_id, out_settle_no) = (app_id.clone(), out_settle_no.clone());
        Name::Key(Key { app_id, trade_system, out_settle_no })
    };
    let other = possible.iter().find_map(|system| get(by_number(*system)));
    let other = other.unwrap_or_else(|| panic!("acknowledged and lost: {report:?}"));
    assert_ne!(other.state.settle_id(), Some(&report.settle_id));
}

/// What the headers say of the signature: timestamp, nonce and signature.
fn signed_by(headers: &HeaderMap) -> [String; 3] {
    ["Byte-Timestamp", "Byte-Nonce-Str", "Byte-Signature"].map(|name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// So that inputs are made out of each.
    #[test]
    fn good_and_forged_callbacks_of_each_kind_are_held() {
        let (mut held, mut forged, mut settled_by_itself) = (BTreeSet::new(), [false; 2], false);
        for (_, input) in super::super::corpus("callbacks") {
            for trade_systems in configured(&input) {
                let callback = Callback::of(&trade_systems, &input);
                match callback.heard(&trade_systems) {
                    Ok(Heard::Settles { trade_systems, reports }) => {
                        let by_itself = |report: &Report| report.facts.auto_settle == Some(true);
                        settled_by_itself |= callback.by_token && reports.iter().any(by_itself);
                        held.insert(trade_systems);
                    }
                    Ok(Heard::Other { .. }) => {}
                    Err(_) => forged[usize::from(callback.by_token)] |= !callback.is_good,
                }
            }
        }
        let kinds: [&[TradeSystem]; 5] = [
            &[General],
            &[SelfOperated, General],
            &[Industry, General],
            &[Industry, SelfOperated, General],
            &[Guaranteed],
        ];
        for kind in kinds {
            assert!(held.contains(kind), "{kind:?}");
        }
        assert!(settled_by_itself && forged == [true; 2]);
    }
}
