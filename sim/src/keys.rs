//! RSA keys, as the console has them: the platform's pair of each app, whose private half signs
//! callbacks, and the public half of the app's own pair, which verifies its requests.
//!
//! It signs and verifies bytes and does not know what they say.

use std::fmt;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

/// The key of every app without a key of its own. It is public.
static SANDBOX: LazyLock<PlatformKey> = LazyLock::new(|| {
    PlatformKey::from_pem(include_str!("platform_key.pem")).expect("it was made by openssl")
});

static SANDBOX_APP: LazyLock<AppKey> = LazyLock::new(|| {
    let pair = PlatformKey::from_pem(SANDBOX_APP_PRIVATE_KEY_PEM);
    AppKey::from(&pair.expect("it was made by openssl"))
});

/// An RSA key pair, as the platform has one for each app.
#[derive(Clone)]
pub struct PlatformKey(Arc<RsaKeyPair>);

impl PlatformKey {
    /// Reads an unencrypted private key, PKCS#8 in PEM, of 2048 bits or more.
    ///
    /// # Errors
    /// A sentence about what is wrong. It does not contain the key.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| format!("there is no PKCS#8 private key in PEM in it: {error}"))?;
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|error| format!("it is no RSA key that can sign: {error}"))?;
        Ok(Self(Arc::new(pair)))
    }

    /// The simulator's own key, which is not secret.
    #[must_use]
    pub fn sandbox() -> Self {
        SANDBOX.clone()
    }

    /// The public half as the console shows it: SubjectPublicKeyInfo in PEM.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let base64 = STANDARD.encode(spki(self.0.public_key().as_ref()));
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for (place, character) in base64.chars().enumerate() {
            if place > 0 && place % 64 == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem.push_str("\n-----END PUBLIC KEY-----\n");
        pem
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256, in Base64. The same text has the same signature.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> String {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)
            .expect("the signature has the length of the modulus");
        STANDARD.encode(&signature)
    }
}

impl fmt::Debug for PlatformKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformKey").finish_non_exhaustive()
    }
}

/// The private half that belongs to [`AppKey::sandbox`], PKCS#8 in PEM. It is public.
pub const SANDBOX_APP_PRIVATE_KEY_PEM: &str = include_str!("app_key.pem");

/// The public key of an app, as a developer uploads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppKey {
    /// `RSAPublicKey` in DER.
    public_key: Vec<u8>,
}

impl AppKey {
    /// Reads a public key, SubjectPublicKeyInfo in PEM or its bare Base64.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
        let der = STANDARD
            .decode(lines.collect::<String>())
            .map_err(|error| format!("it is no Base64: {error}"))?;
        let bits = split(SEQUENCE, &der)
            .and_then(|(info, _)| info.strip_prefix(&RSA_ENCRYPTION))
            .and_then(|rest| split(BIT_STRING, rest));
        match bits {
            Some(([0, public_key @ ..], _)) => Ok(Self { public_key: public_key.to_vec() }),
            Some(_) | None => Err("it is no public key of RSA".to_owned()),
        }
    }

    /// That of the simulator's own pair, whose private half is [`SANDBOX_APP_PRIVATE_KEY_PEM`].
    #[must_use]
    pub fn sandbox() -> Self {
        SANDBOX_APP.clone()
    }

    /// Whether a signature in Base64 is that of this text: RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn verifies(&self, text: &[u8], signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_key);
        STANDARD.decode(signature).is_ok_and(|signature| key.verify(text, &signature).is_ok())
    }
}

impl From<&PlatformKey> for AppKey {
    /// The public half of a pair.
    fn from(pair: &PlatformKey) -> Self {
        Self { public_key: pair.0.public_key().as_ref().to_vec() }
    }
}

/// `AlgorithmIdentifier` of RSA keys: the OID rsaEncryption, and NULL.
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// SubjectPublicKeyInfo around an RSAPublicKey, both in DER.
fn spki(public_key: &[u8]) -> Vec<u8> {
    // No bit of the last byte is unused.
    let bits = [&[0], public_key].concat();
    der(SEQUENCE, &[&RSA_ENCRYPTION[..], &der(BIT_STRING, &bits)].concat())
}

/// One element: tag, length, content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let leading_zeros = length.iter().take_while(|byte| **byte == 0).count();
    let digits = length.get(leading_zeros..).unwrap_or_default();
    let mut element = vec![tag];
    match digits {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        long => {
            element.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            element.extend_from_slice(long);
        }
    }
    element.extend_from_slice(content);
    element
}

/// The content of the first element, if it has this tag, and what follows the element.
fn split(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (length, rest) = match rest.split_first()? {
        (short, rest) if *short < 0x80 => (usize::from(*short), rest),
        (long, rest) => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let add =
                |sum: usize, digit: &u8| sum.checked_mul(256)?.checked_add(usize::from(*digit));
            (digits.iter().try_fold(0, add)?, rest)
        }
    };
    if *found == tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_der_wants_them() {
        assert_eq!(der(3, &[]), [3, 0]);
        assert_eq!(der(3, &[7; 127])[..2], [3, 127]);
        assert_eq!(der(3, &[7; 128])[..4], [3, 0x81, 128, 7]);
        assert_eq!(der(3, &[7; 256])[..5], [3, 0x82, 1, 0, 7]);
    }

    #[test]
    fn what_is_no_key_is_told_without_repeating_it() {
        for pem in
            ["", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"]
        {
            let problem = PlatformKey::from_pem(pem).expect_err(pem);
            assert!(
                problem.starts_with("it is no RSA") || problem.starts_with("there is no PKCS#8")
            );
            assert!(!problem.contains("secret") && !problem.contains("c2VjcmV0"), "{problem}");
        }
        assert_eq!(format!("{:?}", PlatformKey::sandbox()), "PlatformKey { .. }");
    }
}
