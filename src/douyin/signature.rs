//! Whether a callback is from Douyin: checks the signature over its raw bytes, as Douyin's page on
//! its signature algorithm (签名算法) describes it.
//!
//! What it must not know: what a callback says. Nothing of a body is read before it is verified.

mod keys;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

pub(crate) use keys::BadKeys;

/// The platform public keys of one app. It may have several, so that during a change of Douyin's
/// key both the old and the new one are accepted.
#[derive(Clone)]
pub struct PlatformKeys(Vec<PlatformKey>);

/// RSA, as PKCS#1 has it.
#[derive(Clone)]
struct PlatformKey(Vec<u8>);

/// Why a callback is not accepted as Douyin's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadSignature {
    #[error("{0} is missing or empty")]
    Missing(&'static str),
    #[error("the body is empty")]
    EmptyBody,
    #[error("Byte-Signature is not Base64")]
    NotBase64,
    #[error("no platform public key of this app fits the signature")]
    NoKeyFits,
    #[error("msg_signature is not made with the callback token of this app")]
    NotByTheToken,
}

/// What is signed, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `Byte-Timestamp`.
    pub timestamp: &'a str,
    /// `Byte-Nonce-Str`.
    pub nonce: &'a str,
    /// `Byte-Signature`: Base64.
    pub signature: &'a str,
    /// As it came. A body that was parsed and written again has another signature.
    pub body: &'a [u8],
}

impl PlatformKeys {
    /// Reads the text of a file of keys.
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        keys::read(text).map(|keys| Self(keys.into_iter().map(PlatformKey).collect()))
    }

    /// Whether one of the keys fits the signature.
    ///
    /// The signed text is three lines, each ended by a line feed: timestamp, nonce, raw body. The
    /// signature is RSASSA-PKCS1-v1_5 with SHA-256. The time is not compared with a clock: no
    /// document says that a repeated delivery is signed anew, so an old signature may be honest,
    /// and a replayed callback changes nothing.
    pub fn verify(&self, signed: &Signed<'_>) -> Result<(), BadSignature> {
        let Signed { timestamp, nonce, signature, body } = *signed;
        for (name, value) in
            [(TIMESTAMP_HEADER, timestamp), (NONCE_HEADER, nonce), (SIGNATURE_HEADER, signature)]
        {
            if value.is_empty() {
                return Err(BadSignature::Missing(name));
            }
        }
        if body.is_empty() {
            return Err(BadSignature::EmptyBody);
        }
        let signature = STANDARD.decode(signature).map_err(|_| BadSignature::NotBase64)?;
        let text = [timestamp.as_bytes(), b"\n", nonce.as_bytes(), b"\n", body, b"\n"].concat();
        let fits = |key: &PlatformKey| {
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.0);
            key.verify(&text, &signature).is_ok()
        };
        if self.0.iter().any(fits) { Ok(()) } else { Err(BadSignature::NoKeyFits) }
    }

    /// How many keys there are; at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for PlatformKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlatformKeys({})", self.count())
    }
}

/// The headers of a callback (page on common parameters, 公共参数).
pub(crate) const TIMESTAMP_HEADER: &str = "Byte-Timestamp";
pub(crate) const NONCE_HEADER: &str = "Byte-Nonce-Str";
pub(crate) const SIGNATURE_HEADER: &str = "Byte-Signature";
/// Douyin's log id of a callback.
pub(crate) const LOG_ID_HEADER: &str = "Byte-Logid";

#[cfg(test)]
mod tests;
