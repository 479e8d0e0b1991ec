//! Reads a file of platform public keys, in every form in which a person gets them (`key_text`).
//! Nothing in the file is skipped silently. What is neither key nor comment is an error, and so is
//! a key that fits no signature or every signature.
//!
//! What it must not know: what is signed. No error repeats the file's text, because it may hold a
//! private key by mistake.

use pkcs1::RsaPublicKey;
use spki::SubjectPublicKeyInfoRef;
use spki::der::{Decode as _, Header, Reader as _, SliceReader, Tag};

use crate::douyin::key_text::{Piece, Unended, der, pieces, without_comments};

/// More keys of one app are a mistake, because a rotation needs two.
const KEYS_MAX: usize = 8;
/// Douyin's keys have 2048 bits (签名算法). Longer ones are accepted; shorter ones can be broken.
const MODULUS_BYTES_MIN: usize = 256;
const MODULUS_BYTES_MAX: usize = 1024;
/// With exponent 1 every peer can sign; beyond 33 bits `ring` verifies nothing.
const EXPONENT_MIN: u64 = 3;
const EXPONENT_MAX: u64 = (1 << 33) - 1;
/// rsaEncryption (RFC 8017, A.1).
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";

/// Why a file has no usable keys. The text follows the file's name. Keys and blocks are numbered
/// from the top.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadKeys {
    #[error(
        "holds no public key: put the platform's there, a block -----BEGIN PUBLIC KEY----- or the \
         Base64 that Douyin's console shows"
    )]
    None,
    #[error("holds a private key: the platform's public key is wanted, and nothing else")]
    Private,
    #[error("holds {0} keys; at most {KEYS_MAX} are taken: remove the old ones")]
    TooMany(usize),
    #[error(
        "has a line ({0}) that is neither a key nor a comment: remove it, or put a # before it"
    )]
    Text(usize),
    #[error("holds a block (number {0}) without its end: copy the key once more, with all lines")]
    Unended(usize),
    #[error(
        "holds a certificate (number {0}) and not a key: put the key of it there, as openssl x509 \
         -pubkey -noout prints it"
    )]
    Certificate(usize),
    #[error("holds a block (number {0}) that is no public key: remove it")]
    Foreign(usize),
    #[error("holds a key (number {0}) that cannot be read: copy it once more")]
    Unreadable(usize),
    #[error(
        "holds a key (number {0}) that is not a whole RSA public key: copy it once more, and keep \
         an empty line between two keys without BEGIN and END"
    )]
    NotRsa(usize),
    #[error(
        "holds a key (number {number}) of {bits} bits; 2048 to 8192 are taken: make the app's keys \
         anew in Douyin's console"
    )]
    Length { number: usize, bits: usize },
    #[error(
        "holds a key (number {0}) with which no signature means anything: its exponent must be odd \
         and from 3 to 2^33, its modulus odd; copy it once more from Douyin's console"
    )]
    Meaningless(usize),
}

/// The keys of a text as PKCS#1, at least one.
pub(super) fn read(text: &str) -> Result<Vec<Vec<u8>>, BadKeys> {
    let text = without_comments(text);
    if text.contains("PRIVATE KEY-----") {
        return Err(BadKeys::Private);
    }
    let pieces = pieces(&text).map_err(|Unended(number)| BadKeys::Unended(number))?;
    match pieces.len() {
        0 => return Err(BadKeys::None),
        1..=KEYS_MAX => {}
        more => return Err(BadKeys::TooMany(more)),
    }
    (1..).zip(&pieces).map(|(number, piece)| key(number, piece)).collect()
}

fn key(number: usize, piece: &Piece<'_>) -> Result<Vec<u8>, BadKeys> {
    let (body, unreadable) = match *piece {
        Piece::Block { label: "PUBLIC KEY" | "RSA PUBLIC KEY", body } => {
            (body, BadKeys::Unreadable(number))
        }
        Piece::Block { label, .. } if label.ends_with("CERTIFICATE") => {
            return Err(BadKeys::Certificate(number));
        }
        Piece::Block { .. } => return Err(BadKeys::Foreign(number)),
        Piece::Bare { body, line } => (body, BadKeys::Text(line)),
    };
    let der = der(body).ok_or(unreadable)?;
    if is_private(&der) {
        return Err(BadKeys::Private);
    }
    rsa(number, &der)
}

/// Either form, whatever the name of the block: tools confuse the two names.
fn rsa(number: usize, der: &[u8]) -> Result<Vec<u8>, BadKeys> {
    let pkcs1 = match SubjectPublicKeyInfoRef::try_from(der) {
        Ok(info) if info.algorithm.oid.to_string() == RSA_ENCRYPTION => {
            info.subject_public_key.as_bytes()
        }
        Ok(_) => None,
        Err(_) => Some(der),
    };
    let key = pkcs1.and_then(|pkcs1| RsaPublicKey::try_from(pkcs1).ok());
    let (Some(pkcs1), Some(key)) = (pkcs1, key) else { return Err(BadKeys::NotRsa(number)) };
    let (modulus, exponent) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
    if !(MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&modulus.len()) {
        return Err(BadKeys::Length { number, bits: bits(modulus) });
    }
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    let sound = number_of(exponent).is_some_and(|e| (EXPONENT_MIN..=EXPONENT_MAX).contains(&e));
    if !sound || !odd(exponent) || !odd(modulus) {
        return Err(BadKeys::Meaningless(number));
    }
    Ok(pkcs1.to_vec())
}

/// A private key (PKCS#1 or PKCS#8) begins with a small number, its version.
fn is_private(der: &[u8]) -> bool {
    let Ok(mut reader) = SliceReader::new(der) else { return false };
    let sequence = Header::decode(&mut reader).is_ok_and(|header| header.tag == Tag::Sequence);
    sequence && reader.decode::<u8>().is_ok()
}

/// Without leading zeros.
fn bits(number: &[u8]) -> usize {
    let first = number.first().map_or(0, |byte| byte.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(first).unwrap_or_default())
}

fn number_of(bytes: &[u8]) -> Option<u64> {
    let zeros = size_of::<u64>().checked_sub(bytes.len())?;
    let mut whole = [0; size_of::<u64>()];
    whole.get_mut(zeros..)?.copy_from_slice(bytes);
    Some(u64::from_be_bytes(whole))
}
