//! Signs requests to Douyin (`Byte-Authorization`), as its page on the signature algorithm (签名算法)
//! describes it: RSASSA-PKCS1-v1_5 with SHA-256, by the private key whose public half is in
//! Douyin's console.
//!
//! What it must not know: what a request asks for. No error repeats the text of a key.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use secrecy::{ExposeSecret as _, SecretString};

use super::key_text::{Piece, Unended, der, pieces, without_comments};
use crate::clock::Timestamp;
use crate::settle::AppId;

/// The key with which an app signs its requests; cheap to clone.
#[derive(Clone)]
pub struct SigningKey(Arc<Inner>);

struct Inner {
    pair: KeyPair,
    /// Which of the app's public keys in Douyin's console belongs to it.
    version: String,
}

/// Why a file has no usable private key. The text follows the file's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPrivateKey {
    #[error(
        "holds no private key: put the app's there, a block -----BEGIN PRIVATE KEY----- (PKCS#8), \
         -----BEGIN RSA PRIVATE KEY----- (PKCS#1) or its bare Base64"
    )]
    None,
    #[error("holds more than one key: the app signs with one")]
    Several,
    #[error("holds a public key: the app's private key is wanted")]
    Public,
    #[error("holds a key that is encrypted: decrypt it (openssl pkcs8 -in FILE -out NEW -nocrypt)")]
    Encrypted,
    #[error("holds a block without its end: copy the key once more, with all lines")]
    Unended,
    #[error("holds what is no key: copy the key once more, with all lines")]
    Unreadable,
    #[error(
        "holds a key that is no RSA private key of 2048 to 4096 bits: Douyin takes RSA of 2048"
    )]
    NotRsa,
}

/// One request, as far as the signature covers it.
pub(super) struct ToSign<'a> {
    /// Douyin's own, without host.
    pub(super) path: &'a str,
    /// Douyin refuses one that is more than an hour away.
    pub(super) time: Timestamp,
    pub(super) nonce: &'a str,
    /// The bytes that are sent.
    pub(super) body: &'a [u8],
}

impl SigningKey {
    /// Reads the text of a file with one key. `version`: the number of its public half in Douyin's
    /// console.
    pub fn parse(text: &SecretString, version: &str) -> Result<Self, BadPrivateKey> {
        let text = SecretString::from(without_comments(text.expose_secret()));
        let pieces = pieces(text.expose_secret());
        let pieces = pieces.map_err(|Unended(_)| BadPrivateKey::Unended)?;
        // Tools write what a key is for before its block.
        let blocks = pieces.iter().filter(|piece| matches!(piece, Piece::Block { .. }));
        let blocks: Vec<_> = blocks.collect();
        let body = match (&blocks[..], &pieces[..]) {
            ([], []) => return Err(BadPrivateKey::None),
            ([Piece::Block { label, body }], _) => match *label {
                "PRIVATE KEY" | "RSA PRIVATE KEY" => *body,
                "ENCRYPTED PRIVATE KEY" => return Err(BadPrivateKey::Encrypted),
                label if label.ends_with("PUBLIC KEY") => return Err(BadPrivateKey::Public),
                _ => return Err(BadPrivateKey::NotRsa),
            },
            ([], [Piece::Bare { body, .. }]) => *body,
            (_, _) => return Err(BadPrivateKey::Several),
        };
        // The old form of encryption names itself within the block.
        if body.contains("ENCRYPTED") {
            return Err(BadPrivateKey::Encrypted);
        }
        let der = der(body).ok_or(BadPrivateKey::Unreadable)?;
        // Either form, whatever the name of the block: tools confuse the two names.
        let pair = KeyPair::from_pkcs8(&der).or_else(|_| KeyPair::from_der(&der));
        let pair = pair.map_err(|_| BadPrivateKey::NotRsa)?;
        Ok(Self(Arc::new(Inner { pair, version: version.to_owned() })))
    }

    /// That of its public half in Douyin's console.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// The value of `Byte-Authorization` for one request.
    pub(super) fn authorization(&self, app_id: &AppId, request: &ToSign<'_>) -> SecretString {
        let Inner { pair, version } = &*self.0;
        let mut signature = vec![0; pair.public().modulus_len()];
        let signed =
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &request.text(), &mut signature);
        signed.expect("a key that was read signs any text into as many bytes as its modulus has");
        let (nonce, seconds) = (request.nonce, request.seconds());
        let signature = STANDARD.encode(signature);
        let fields = format!(
            "appid=\"{app_id}\",nonce_str=\"{nonce}\",timestamp=\"{seconds}\",\
             key_version=\"{version}\",signature=\"{signature}\""
        );
        format!("SHA256-RSA2048 {fields}").into()
    }
}

impl ToSign<'_> {
    fn seconds(&self) -> u64 {
        self.time.since_epoch().as_secs()
    }

    /// Five lines, each ended by a line feed.
    fn text(&self) -> Vec<u8> {
        let head = format!("POST\n{}\n{}\n{}\n", self.path, self.seconds(), self.nonce);
        [head.as_bytes(), self.body, b"\n"].concat()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(version {})", self.0.version)
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;
    use crate::douyin::PlatformKeys;
    use crate::douyin::signature::Signed;

    const PKCS8: &str = include_str!("../../tests/vectors/request/pkcs8.pem");
    const PKCS1: &str = include_str!("../../tests/vectors/request/pkcs1.pem");
    const PUBLIC: &str = include_str!("../../tests/vectors/request/public.pem");
    const BODY: &str = r#"{"out_order_no":"order-1","settle_desc":"门店分账"}"#;
    const NONCE: &str = "DC10180A100073E70A48F195DA2AF2E6";
    /// `openssl dgst -sha256 -sign pkcs8.pem` of the five lines of [`request`].
    const BY_OPENSSL: &str = "fegZoelk8Er5X72Iln/itW9SjMD/O3t7GPdj1XV/DhuJwMW+HwbmL2yNYgHEZFCE+faQ\
        BQozbC0nT0xVderoTF8jrA9AOJhrgFY+v3xNqt0ccYvAd8z6BdJ69uPvbEBji88E5DLF9ljJ1L6iONH0rHsoiQP+\
        Gj/RB2z8Mlh1v4fOD42ibykwcwWDOcq6h7Mv4ZGTk5fXOHmBp/eeTcb8ollEO8Rwsq2rOhqT3mO/nEXayzeMZE5f\
        kb4d4fwQVBM6IUzq6hOAWHzfzMz8fIyFTwfBqhKKlvxK495MYfEd6Nb5BbRQTOfMzx2DApFa4BPk7XJoboRo044l\
        uCfObGD1ZQ==";

    fn request() -> ToSign<'static> {
        let path = "/api/apps/trade/v2/create_settle";
        let time = Timestamp::from_ms(1_700_000_000_999);
        ToSign { path, time, nonce: NONCE, body: BODY.as_bytes() }
    }

    fn parse(text: &str) -> Result<SigningKey, BadPrivateKey> {
        SigningKey::parse(&text.to_owned().into(), "3")
    }

    fn bare(pem: &str) -> String {
        pem.lines().filter(|line| !line.starts_with("-----")).collect()
    }

    #[test]
    fn a_key_is_read_in_every_form_and_signs_as_openssl_does() {
        let broken = bare(PKCS8)
            .as_bytes()
            .chunks(20)
            .map(String::from_utf8_lossy)
            .fold("# the app's key\r\n\u{feff}".to_owned(), |text, line| {
                text + "  " + &line + "\r\n"
            });
        let forms = [
            PKCS8.to_owned(),
            PKCS1.to_owned(),
            bare(PKCS8),
            bare(PKCS1),
            broken,
            PKCS1.replace("RSA PRIVATE KEY", "PRIVATE KEY"),
            format!(
                "Bag Attributes\n    friendlyName: app\nKey Attributes: <No Attributes>\n{PKCS8}"
            ),
        ];
        for form in forms {
            let key = parse(&form).unwrap();
            let header = key.authorization(&AppId::parse("tt1").unwrap(), &request());
            let expected = format!(
                "SHA256-RSA2048 appid=\"tt1\",nonce_str=\"{NONCE}\",timestamp=\"1700000000\",\
                 key_version=\"3\",signature=\"{BY_OPENSSL}\""
            );
            assert_eq!(header.expose_secret(), expected);
            assert_eq!(format!("{key:?}"), "SigningKey(version 3)");
        }
        assert!(PlatformKeys::parse(PUBLIC).is_ok(), "what the operator puts into the console");
    }

    /// The inputs of Douyin's page, signed outside with the key of the callback's vector.
    #[test]
    fn what_is_signed_is_what_douyins_page_shows() {
        let request = ToSign {
            path: "/api/business/diamond/query",
            time: Timestamp::from_ms(1_623_934_869_000),
            nonce: NONCE,
            body: br#"{"appid":"ttxxx","order_id":"xxx"}"#,
        };
        let signature = "D9cKcmSWl/dZHsC8Mr6ppCPRnYclH/ThgKOm3OIchaho9v2LPP/c90EtUWUYOPMSyjvA44\
            xLn/HYB08RWYMuIRGPWVchnmk/olgLd9fB4HLDakEbX0NGQgWIt0oEFkyK0a1opbgkJu3Vi6bue82HR4/oXQ\
            //CgUQQkANmF01V0MeTRyT8i7M8wtFq0mEBA0CGY9MXWQHLY6ZeefD7J0XioiFpk9Wm6peoJyvC9FRe/BA7H\
            6x0X6iskfQw5yhljYuKdaYZ+0ydrd5bt1xRc2HMXdaTUCOWhKL4jhzQxGchvGGzXBc0zB1GM9nOJ4gZ+0rd8\
            F+H9KnAmfEJWkYX1ZcxA==";
        let key = include_str!("../../tests/vectors/callback/platform-public-key.pem");
        let spki = STANDARD.decode(bare(key)).unwrap();
        // The 24 bytes before it say that it is RSA.
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &spki[24..]);
        let signature = STANDARD.decode(signature).unwrap();
        assert_eq!(key.verify(&request.text(), &signature), Ok(()));
        let later = ToSign { time: Timestamp::from_ms(1_623_934_870_000), ..request };
        assert!(key.verify(&later.text(), &signature).is_err());
        // And it is another text than that of a callback.
        let keys = PlatformKeys::parse(include_str!(
            "../../tests/vectors/callback/platform-public-key.pem"
        ));
        let (timestamp, signature) = ("1623934869", &STANDARD.encode(&signature));
        let callback = Signed { timestamp, nonce: NONCE, signature, body: later.body };
        assert!(keys.unwrap().verify(&callback).is_err());
    }

    #[test]
    fn what_cannot_sign_is_refused_with_its_reason_and_without_its_text() {
        let cut_off = PKCS8.split("-----END").next().unwrap();
        let old_encryption =
            PKCS1.replacen("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
        let cases = [
            ("", BadPrivateKey::None),
            ("# a comment only", BadPrivateKey::None),
            (&format!("{PKCS8}\n{PKCS1}"), BadPrivateKey::Several),
            (PUBLIC, BadPrivateKey::Public),
            (include_str!("../../tests/vectors/request/encrypted.pem"), BadPrivateKey::Encrypted),
            (&old_encryption, BadPrivateKey::Encrypted),
            (cut_off, BadPrivateKey::Unended),
            ("the key of the app", BadPrivateKey::Unreadable),
            (include_str!("../../tests/vectors/request/short.pem"), BadPrivateKey::NotRsa),
            (include_str!("../../tests/vectors/request/elliptic.pem"), BadPrivateKey::NotRsa),
            (&bare(PUBLIC), BadPrivateKey::NotRsa),
        ];
        for (text, why) in cases {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
    }
}
