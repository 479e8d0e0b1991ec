//! Whether a callback is Douyin's: the signature over its raw bytes, as Douyin's page on its
//! signature algorithm (签名算法) has it.
//!
//! What it must not know: what a callback says. Nothing of a body is read before it is verified.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs1::RsaPublicKey;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use spki::SubjectPublicKeyInfoRef;

/// The platform public keys of one app. Several, so that Douyin's key can be changed without a
/// moment in which callbacks are refused: the old one and the new one are both good.
#[derive(Clone)]
pub struct PlatformKeys(Vec<PlatformKey>);

/// RSA, as PKCS#1 has it.
#[derive(Clone)]
struct PlatformKey(Vec<u8>);

/// More keys of one app are a mistake: a rotation needs two.
const KEYS_MAX: usize = 8;
/// Douyin's keys have 2048 bits (same page). Longer ones are accepted, shorter ones can be broken.
const MODULUS_BYTES_MIN: usize = 256;
const MODULUS_BYTES_MAX: usize = 1024;
/// rsaEncryption (RFC 8017, A.1).
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";

/// Why a text holds no usable keys. Follows the name of the file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadKeys {
    #[error("holds no public key: it needs a block -----BEGIN PUBLIC KEY-----")]
    None,
    #[error("holds a private key: the platform's public key is wanted, and nothing else")]
    Private,
    #[error("holds {0} keys; at most {KEYS_MAX} are taken")]
    TooMany(usize),
    #[error("holds something that is not PEM")]
    NotPem,
    #[error("holds a key (number {0}) that is not an RSA public key")]
    NotRsa(usize),
    #[error("holds a key (number {number}) of {bits} bits; 2048 to 8192 are taken")]
    Length { number: usize, bits: usize },
}

/// Why a callback is not Douyin's.
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
    /// As it came: a body that was parsed and written again has another signature.
    pub body: &'a [u8],
}

impl PlatformKeys {
    /// Reads a file of `PUBLIC KEY` blocks, as Douyin's console shows them.
    pub fn from_pem(text: &str) -> Result<Self, BadKeys> {
        if text.contains("PRIVATE KEY-----") {
            return Err(BadKeys::Private);
        }
        let blocks = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes());
        let blocks: Vec<_> = blocks.collect::<Result<_, _>>().map_err(|_| BadKeys::NotPem)?;
        match blocks.len() {
            0 => return Err(BadKeys::None),
            1..=KEYS_MAX => {}
            more => return Err(BadKeys::TooMany(more)),
        }
        let numbered = (1..).zip(&blocks);
        let keys = numbered.map(|(number, block)| PlatformKey::from_der(number, block));
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of the keys made the signature.
    ///
    /// The signed text is three lines, each ended by a line feed: timestamp, nonce, raw body; the
    /// signature is RSASSA-PKCS1-v1_5 with SHA-256. The time is not compared with a clock:
    /// no document says that a repeated delivery is signed anew, so an old one may be honest, and a
    /// replayed one changes nothing.
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

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for PlatformKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlatformKeys({})", self.count())
    }
}

impl PlatformKey {
    fn from_der(number: usize, block: &SubjectPublicKeyInfoDer<'_>) -> Result<Self, BadKeys> {
        let not_rsa = BadKeys::NotRsa(number);
        let Ok(info) = SubjectPublicKeyInfoRef::try_from(block.as_ref()) else {
            return Err(not_rsa);
        };
        let key = info.subject_public_key.as_bytes();
        let Some(key) = key.filter(|_| info.algorithm.oid.to_string() == RSA_ENCRYPTION) else {
            return Err(not_rsa);
        };
        let parsed = RsaPublicKey::try_from(key).map_err(|_| not_rsa)?;
        let modulus_bytes = parsed.modulus.as_bytes().len();
        if !(MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&modulus_bytes) {
            return Err(BadKeys::Length { number, bits: modulus_bytes * 8 });
        }
        Ok(Self(key.to_vec()))
    }
}

/// The headers of a callback (page on common parameters, 公共参数).
pub const TIMESTAMP_HEADER: &str = "Byte-Timestamp";
pub const NONCE_HEADER: &str = "Byte-Nonce-Str";
pub const SIGNATURE_HEADER: &str = "Byte-Signature";
/// Douyin's log id of a callback.
pub const LOG_ID_HEADER: &str = "Byte-Logid";

#[cfg(test)]
mod tests;
