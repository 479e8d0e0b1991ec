//! The signature of callbacks: one message made outside, and what must be refused.

use proptest::prelude::*;

use super::*;

const BODY: &[u8] = include_bytes!("../../../tests/vectors/callback/body.json");
const KEY: &str = include_str!("../../../tests/vectors/callback/platform-public-key.pem");
const OTHER_KEY: &str = include_str!("../../../tests/vectors/callback/other-public-key.pem");
const HEADERS: &str = include_str!("../../../tests/vectors/callback/headers.txt");
const TIMESTAMP: &str = "1700000000";
const NONCE: &str = "abcdef1234567890";

fn signature() -> &'static str {
    let line = HEADERS.lines().find_map(|line| line.strip_prefix("Byte-Signature: "));
    line.expect("the vector is signed")
}

fn signed() -> Signed<'static> {
    Signed { timestamp: TIMESTAMP, nonce: NONCE, signature: signature(), body: BODY }
}

fn keys(pem: &str) -> PlatformKeys {
    PlatformKeys::from_pem(pem).unwrap()
}

#[test]
fn the_message_made_with_openssl_is_good() {
    assert_eq!(keys(KEY).verify(&signed()), Ok(()));
}

/// A rotation: the old key and the new one are good at the same time, in any order.
#[test]
fn every_key_of_the_ring_is_tried() {
    for pem in [format!("{KEY}{OTHER_KEY}"), format!("{OTHER_KEY}\n\n{KEY}")] {
        let keys = keys(&pem);
        assert_eq!(keys.count(), 2);
        assert_eq!(keys.verify(&signed()), Ok(()));
    }
    assert_eq!(keys(OTHER_KEY).verify(&signed()), Err(BadSignature::NoKeyFits));
}

#[test]
fn keys_are_shown_by_their_number() {
    assert_eq!(format!("{:?}", keys(&format!("{KEY}{OTHER_KEY}"))), "PlatformKeys(2)");
}

#[test]
fn what_is_missing_is_refused_before_anything_is_verified() {
    let missing = BadSignature::Missing;
    let cases = [
        (Signed { timestamp: "", ..signed() }, missing("Byte-Timestamp")),
        (Signed { nonce: "", ..signed() }, missing("Byte-Nonce-Str")),
        (Signed { signature: "", ..signed() }, missing("Byte-Signature")),
        (Signed { body: b"", ..signed() }, BadSignature::EmptyBody),
        (Signed { signature: "no base64", ..signed() }, BadSignature::NotBase64),
        (Signed { signature: "AAAA", ..signed() }, BadSignature::NoKeyFits),
    ];
    for (signed, expected) in cases {
        assert_eq!(keys(KEY).verify(&signed), Err(expected));
    }
}

/// The same message parsed and written again: another text, another signature.
#[test]
fn a_body_that_was_written_again_is_refused() {
    let parsed: serde_json::Value = serde_json::from_slice(BODY).unwrap();
    let again = serde_json::to_vec(&parsed).unwrap();
    assert_ne!(again, BODY);
    let refused = keys(KEY).verify(&Signed { body: &again, ..signed() });
    assert_eq!(refused, Err(BadSignature::NoKeyFits));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whichever byte of whichever part: replaced, left out, or one more.
    #[test]
    fn any_change_of_a_byte_is_refused(
        part in 0..3_usize, at in any::<prop::sample::Index>(), byte in 0..=255_u8, how in 0..3_u8,
    ) {
        let mut parts = [TIMESTAMP.as_bytes().to_vec(), NONCE.as_bytes().to_vec(), BODY.to_vec()];
        let before = parts.clone();
        let changed = &mut parts[part];
        let at = at.index(changed.len());
        match how {
            0 => changed[at] = byte,
            1 => drop(changed.remove(at)),
            _ => changed.insert(at, byte),
        }
        prop_assume!(parts != before);
        // What is no text is in no header.
        let texts = (std::str::from_utf8(&parts[0]), std::str::from_utf8(&parts[1]));
        let (Ok(timestamp), Ok(nonce)) = texts else { return Ok(()) };
        let signed = Signed { timestamp, nonce, signature: signature(), body: &parts[2] };
        prop_assert_eq!(keys(KEY).verify(&signed), Err(BadSignature::NoKeyFits));
    }

    #[test]
    fn any_change_of_the_signature_is_refused(at in 0..344_usize, byte in 33..127_u8) {
        let mut text = signature().as_bytes().to_vec();
        prop_assume!(text[at] != byte);
        text[at] = byte;
        let signature = String::from_utf8(text).unwrap();
        let refused = keys(KEY).verify(&Signed { signature: &signature, ..signed() });
        prop_assert!(refused.is_err());
    }
}

/// 1024 bits, and an elliptic curve: made with OpenSSL.
const SHORT: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCltvac1Bp5INWUQwNTxCfI34WE
7zBxC8fPuHSm8sMxHSXSVErqMtwPNPoQE1enzlVJN37S5XRZl0Fw/HcV2vEXQs/8
fe4oDUDhN03cBIeXvntQ5lO4I/46SJX29dpJs2KnPzHTFKkyIi6wnJAYTvZ+KJd6
LjI5BkM0aiAu0G+XswIDAQAB
-----END PUBLIC KEY-----
";
const CURVE: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAERGLq/XckKg2t2V1K2rG/QVaOrOCJ
Pnmu2wMhP2ek6cHs9vH3sIZgdSvNudREWkBlTPkPykNgP1jRPQacKS6Ymw==
-----END PUBLIC KEY-----
";

#[test]
fn what_is_no_usable_key_is_told_apart() {
    let refused = |pem: &str| PlatformKeys::from_pem(pem).unwrap_err();
    assert_eq!(refused(""), BadKeys::None);
    assert_eq!(refused("MIIBIjANBg"), BadKeys::None);
    assert_eq!(refused(SHORT), BadKeys::Length { number: 1, bits: 1024 });
    assert_eq!(refused(&format!("{KEY}{SHORT}")), BadKeys::Length { number: 2, bits: 1024 });
    assert_eq!(refused(CURVE), BadKeys::NotRsa(1));
    assert_eq!(refused(&KEY.repeat(9)), BadKeys::TooMany(9));
    assert_eq!(refused(&KEY.replace("MIIB", "!!!!")), BadKeys::NotPem);
    assert_eq!(refused(&KEY.replace("PUBLIC", "PRIVATE")), BadKeys::Private);
    // PKCS#1, as some tools write it.
    assert_eq!(refused(&KEY.replace("PUBLIC", "RSA PUBLIC")), BadKeys::None);
}
