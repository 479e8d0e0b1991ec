//! Calls that show by a signature which app they come from: `Byte-Authorization` (§7), and the
//! field `sign` (§6.3). And what the developer has set in the console for them.
//!
//! It knows keys, salts and nonces, and not what is called.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;

use http::{HeaderMap, Method};
use md5::{Digest as _, Md5};
use serde_json::Value;

use super::SimApp;
use super::answers::Refusal;
use super::choices::Choices;
use super::fields::peek;
use super::keys::AppKey;

/// "Signature check failed" (§1.8): the only such number that is documented for the newer calls.
const BAD_SIGNATURE: i64 = 11_004;
/// The same of guaranteed payment, and its number for an unknown app.
const BAD_SIGN: i64 = 2_008;
const UNKNOWN_APP: i64 = 2_020;
/// An older request is refused. That one from the future is too, is a guess.
const AGE_S_MAX: u64 = 3_600;
/// A bound on memory; an older nonce can be used again.
const NONCES_MAX: usize = 100_000;
/// The fields that the MD5 leaves out.
const UNSIGNED: [&str; 4] = ["sign", "app_id", "thirdparty_id", "other_settle_params"];

/// What the developers' apps sign with.
#[derive(Debug)]
pub(super) struct Signers {
    apps: BTreeMap<String, Signer>,
    /// The nonces of `Byte-Authorization` so far.
    nonces: HashSet<(String, String)>,
    nonces_by_age: VecDeque<(String, String)>,
    /// How far tests have moved the clock ahead. A developer's machine, whose time is signed, does
    /// not move with it.
    pub(super) ahead_ms: u64,
}

struct Signer {
    key: AppKey,
    key_version: String,
    salt: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key_version", &self.key_version).finish_non_exhaustive()
    }
}

/// The parts of a request that a signature covers.
pub(super) struct SignedRequest<'a> {
    pub(super) method: &'a Method,
    /// The path, with what follows a question mark.
    pub(super) uri: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

impl Signers {
    pub(super) fn new(apps: &[SimApp]) -> Self {
        let signer = |app: &SimApp| {
            let (key, key_version) = (app.app_key.clone(), app.key_version.clone());
            (app.app_id.clone(), Signer { key, key_version, salt: app.salt.clone() })
        };
        Self {
            apps: apps.iter().map(signer).collect(),
            nonces: HashSet::new(),
            nonces_by_age: VecDeque::new(),
            ahead_ms: 0,
        }
    }

    /// Replaces the public key that the console has for an app.
    pub(super) fn set_key(&mut self, app_id: &str, key: AppKey, key_version: &str) {
        if let Some(signer) = self.apps.get_mut(app_id) {
            signer.key = key;
            key_version.clone_into(&mut signer.key_version);
        }
    }

    /// The app that a good `Byte-Authorization` belongs to.
    pub(super) fn of_header(
        &mut self,
        now_ms: u64,
        request: &SignedRequest<'_>,
        choices: &Choices,
    ) -> Result<String, Refusal> {
        let bad = |why: &str| Refusal::with(BAD_SIGNATURE, why);
        let header = request.headers.get("byte-authorization");
        let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let fields = Authorization::read(header).ok_or_else(|| bad("no Byte-Authorization"))?;
        let signer = self.apps.get(fields.app_id).ok_or_else(|| bad("unknown appid"))?;
        if fields.key_version != signer.key_version {
            return Err(bad("there is no key of this key_version"));
        }
        let signed_at_s: u64 = fields.timestamp.parse().map_err(|_| bad("no timestamp"))?;
        let now_s = now_ms.saturating_sub(self.ahead_ms) / 1_000;
        if signed_at_s.abs_diff(now_s) > AGE_S_MAX {
            return Err(bad("the timestamp is more than an hour away"));
        }
        let text = request_text(request, fields.timestamp, fields.nonce);
        if !signer.key.verifies(&text, fields.signature) {
            return Err(bad("the signature is of another text or by another key"));
        }
        let nonce = (fields.app_id.to_owned(), fields.nonce.to_owned());
        if self.nonces.insert(nonce.clone()) {
            self.nonces_by_age.push_back(nonce);
        } else if choices.nonce_counts_once {
            return Err(bad("the nonce_str was used before"));
        }
        while self.nonces_by_age.len() > NONCES_MAX {
            if let Some(oldest) = self.nonces_by_age.pop_front() {
                self.nonces.remove(&oldest);
            }
        }
        Ok(fields.app_id.to_owned())
    }

    /// The app that a body with a good `sign` belongs to.
    pub(super) fn of_body(&self, body: &[u8]) -> Result<String, Refusal> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let app_id = peek(&body, "app_id");
        let signer = self.apps.get(&app_id).ok_or_else(|| Refusal::new(UNKNOWN_APP))?;
        let sign = peek(&body, "sign");
        if sign.is_empty() || sign != md5_sign(&body, &signer.salt) {
            return Err(Refusal::new(BAD_SIGN));
        }
        Ok(app_id)
    }
}

/// The fields of the header.
struct Authorization<'a> {
    app_id: &'a str,
    nonce: &'a str,
    timestamp: &'a str,
    key_version: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// `SHA256-RSA2048 appid="…",nonce_str="…",timestamp="…",key_version="…",signature="…"`, with
    /// quotes and in any order.
    fn read(header: &'a str) -> Option<Self> {
        let list = header.strip_prefix("SHA256-RSA2048 ")?;
        let field = |name: &str| {
            list.split(',').find_map(|one| {
                let (found, value) = one.trim().split_once('=')?;
                let value = value.strip_prefix('"')?.strip_suffix('"')?;
                (found == name && !value.is_empty()).then_some(value)
            })
        };
        Some(Self {
            app_id: field("appid")?,
            nonce: field("nonce_str")?,
            timestamp: field("timestamp")?,
            key_version: field("key_version")?,
            signature: field("signature")?,
        })
    }
}

/// Five lines, each ended by LF.
pub(super) fn request_text(request: &SignedRequest<'_>, timestamp: &str, nonce: &str) -> Vec<u8> {
    let lines = [
        request.method.as_str().as_bytes(),
        request.uri.as_bytes(),
        timestamp.as_bytes(),
        nonce.as_bytes(),
        request.body,
    ];
    lines.into_iter().flat_map(|line| line.iter().chain(b"\n")).copied().collect()
}

/// The values that are not empty, and the salt, sorted and joined.
pub(super) fn md5_sign(body: &Value, salt: &str) -> String {
    let signed = |(name, value): (&String, &Value)| {
        let text = match value {
            Value::Null => return None,
            // As the platform's own demonstration does it.
            Value::String(text) => match text.trim() {
                "null" => return None,
                quoted => {
                    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                    inner.unwrap_or(quoted).trim().to_owned()
                }
            },
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        (!UNSIGNED.contains(&name.as_str()) && !text.is_empty()).then_some(text)
    };
    let mut values: Vec<String> =
        body.as_object().into_iter().flatten().filter_map(signed).collect();
    values.push(salt.to_owned());
    values.sort_unstable();
    hex(&Md5::digest(values.join("&")))
}

/// The signature in a callback of guaranteed payment: SHA-1 over the sorted values and the token.
pub(super) fn sha1_sign(values: &[&str], token: &str) -> String {
    let mut values: Vec<&str> = values.iter().copied().filter(|text| !text.is_empty()).collect();
    values.push(token);
    values.sort_unstable();
    let digest =
        ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, values.concat().as_bytes());
    hex(digest.as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
