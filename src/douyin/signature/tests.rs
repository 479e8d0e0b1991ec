//! The signature of callbacks: one message made with other software, and what must be refused.

use pkcs1::RsaPublicKey;
use proptest::prelude::*;
use spki::der::Encode as _;
use spki::der::asn1::UintRef;

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
    PlatformKeys::parse(pem).unwrap()
}

#[test]
fn the_message_made_with_openssl_is_good() {
    assert_eq!(keys(KEY).verify(&signed()), Ok(()));
}

/// During a rotation the old key and the new one are both valid, in any order.
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

/// The same message parsed and written again has another text, and so another signature.
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

    /// Any byte of any part: replaced, left out, or one more.
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
        // Bytes that are no text cannot be in a header.
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

/// The Base64 of a block.
fn bare(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

fn pkcs1(modulus: &[u8], exponent: &[u8]) -> String {
    let key = RsaPublicKey {
        modulus: UintRef::new(modulus).unwrap(),
        public_exponent: UintRef::new(exponent).unwrap(),
    };
    let mut room = [0; 2048];
    STANDARD.encode(key.encode_to_slice(&mut room).unwrap())
}

#[test]
fn a_key_is_read_however_it_was_copied() {
    let base64 = bare(KEY);
    let lines = KEY.replace('\n', "\r\n");
    let forms = [
        format!("\u{feff}{lines}"),
        KEY.lines().map(|line| format!("\t  {line}\u{a0} \n\n")).collect(),
        KEY.replace('\n', ""),
        KEY.replace('\n', " "),
        KEY.trim_end().to_owned(),
        format!("# Douyin's console, 2026\n\n{KEY}"),
        base64.clone(),
        format!("\u{feff}\r\n  {base64}\r\n"),
        bare(KEY).trim_end_matches('=').to_owned(),
        KEY.lines()
            .filter(|line| !line.starts_with('-'))
            .map(|line| format!(" {line}\n"))
            .collect(),
        // Tools confuse the two names.
        KEY.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
    ];
    for form in forms {
        let keys = PlatformKeys::parse(&form).unwrap_or_else(|bad| panic!("{bad}: {form:?}"));
        assert_eq!((keys.count(), keys.verify(&signed())), (1, Ok(())), "{form:?}");
    }
    let (old, new) = (bare(OTHER_KEY), base64);
    for two in [
        format!("{OTHER_KEY}\u{feff}{KEY}"),
        format!("{old}\n\n{new}"),
        format!("{OTHER_KEY}{new}"),
        format!("{old}\n{KEY}"),
        format!("# old\n{old}\n# new\n{new}\n"),
    ] {
        let keys = PlatformKeys::parse(&two).unwrap_or_else(|bad| panic!("{bad}: {two:?}"));
        assert_eq!((keys.count(), keys.verify(&signed())), (2, Ok(())), "{two:?}");
    }
}

#[test]
fn what_is_no_usable_key_is_told_apart() {
    let refused = |text: &str| PlatformKeys::parse(text).unwrap_err();
    assert_eq!(refused(""), BadKeys::None);
    assert_eq!(refused("\u{feff}\r\n# none yet\r\n"), BadKeys::None);
    assert_eq!(refused("MIIBIjANBg"), BadKeys::NotRsa(1));
    assert_eq!(refused("a key\n"), BadKeys::Text(1));
    assert_eq!(refused(SHORT), BadKeys::Length { number: 1, bits: 1024 });
    assert_eq!(refused(&format!("{KEY}{SHORT}")), BadKeys::Length { number: 2, bits: 1024 });
    assert_eq!(refused(CURVE), BadKeys::NotRsa(1));
    assert_eq!(refused(&KEY.repeat(9)), BadKeys::TooMany(9));
    assert_eq!(refused(&KEY.replace("MIIB", "!!!!")), BadKeys::Unreadable(1));
    assert_eq!(refused(&KEY.replace("PUBLIC", "PRIVATE")), BadKeys::Private);
    let cut = bare(KEY).split_at(200).0.to_owned();
    assert_eq!(refused(&cut), BadKeys::NotRsa(1));
    // Two keys run together.
    assert_eq!(refused(&format!("{}\n{}", bare(KEY), bare(OTHER_KEY))), BadKeys::NotRsa(1));
}

/// A text in the file that is neither key nor comment is not skipped silently.
#[test]
fn what_stands_beside_a_key_must_be_understood_too() {
    let refused = |beside: &str| {
        let (above, below) = (format!("{beside}{KEY}"), format!("{KEY}{beside}"));
        [above, below].map(|text| PlatformKeys::parse(&text).unwrap_err())
    };
    let block = |label: &str| KEY.replace("PUBLIC KEY", label);
    let certificate = block("CERTIFICATE");
    assert_eq!(refused(&certificate), [BadKeys::Certificate(1), BadKeys::Certificate(2)]);
    let foreign = [BadKeys::Foreign(1), BadKeys::Foreign(2)];
    assert_eq!(refused(&block("CERTIFICATE REQUEST")), foreign);
    assert_eq!(refused(&block("DSA PUBLIC KEY X")), foreign);
    assert_eq!(refused(&block("public key")), foreign);
    for private in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        assert_eq!(refused(&block(private)), [BadKeys::Private, BadKeys::Private]);
    }
    let lines = KEY.lines().count();
    assert_eq!(refused("the new one:\n"), [BadKeys::Text(1), BadKeys::Text(lines + 1)]);
    assert_eq!(refused("-----END PUBLIC KEY-----\n")[0], BadKeys::Text(1));
    let unended = KEY.replace("-----END PUBLIC KEY-----\n", "");
    assert_eq!(refused(&unended), [BadKeys::Unended(1), BadKeys::Unended(2)]);
    let torn = KEY.replace("BEGIN PUBLIC KEY-----", "BEGIN PUBLIC KEY---");
    assert_eq!(refused(&torn), [BadKeys::Unended(1), BadKeys::Unended(2)]);
}

/// With exponent 1 a signature is the signed text itself, so it needs no key.
#[test]
fn a_key_that_needs_no_secret_or_fits_no_signature_is_refused() {
    let mut modulus = [0xff; 256];
    let refused = |modulus: &[u8], exponent: &[u8]| {
        PlatformKeys::parse(&pkcs1(modulus, exponent)).map(|keys| keys.count())
    };
    let sound: [&[u8]; 4] = [&[3], &[17], &[1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff]];
    for exponent in sound {
        assert_eq!(refused(&modulus, exponent), Ok(1), "{exponent:?}");
    }
    let exponents: [&[u8]; 6] =
        [&[0], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 0, 0, 0, 1]];
    for exponent in exponents {
        assert_eq!(refused(&modulus, exponent), Err(BadKeys::Meaningless(1)), "{exponent:?}");
    }
    modulus[255] = 0xfe;
    assert_eq!(refused(&modulus, &[1, 0, 1]), Err(BadKeys::Meaningless(1)));
    assert_eq!(refused(&[0xff; 255], &[3]), Err(BadKeys::Length { number: 1, bits: 2040 }));
    assert_eq!(refused(&[0x7f; 1025], &[3]), Err(BadKeys::Length { number: 1, bits: 8199 }));
}
