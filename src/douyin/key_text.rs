//! Texts of keys, in every form in which a person gets them: PEM or the bare Base64 that Douyin's
//! console shows, indented, in one line, with a byte order mark, from Windows.
//!
//! What it must not know: what a key is for. Nothing here repeats a text, because it may hold a
//! private key.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use spki::der::Tag;

/// Some tools leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) enum Piece<'a> {
    /// Between `-----BEGIN label-----` and its end.
    Block { label: &'a str, body: &'a str },
    /// Lines outside of any block, up to an empty one.
    Bare { body: &'a str, line: usize },
}

/// The block of this number, from the top, has no end.
pub(super) struct Unended(pub(super) usize);

/// The lines without white space around them and without byte order marks, of which a file made
/// from several files has several. A comment leaves an empty line.
pub(super) fn without_comments(text: &str) -> String {
    let text = text.replace('\u{feff}', "");
    let lines = text.lines().map(str::trim);
    let lines = lines.map(|line| if line.starts_with('#') { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// The parts of a text. As in RFC 7468, but white space may be anywhere, and what stands between
/// the blocks is kept.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Unended> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let (outside, block) = match rest.split_once("-----BEGIN ") {
            Some((outside, block)) => (outside, Some(block)),
            None => (rest, None),
        };
        for body in outside.split("\n\n").map(str::trim).filter(|body| !body.is_empty()) {
            let before = text.len() - rest.len() + (outside.find(body).unwrap_or_default());
            let line = 1 + text.bytes().take(before).filter(|byte| *byte == b'\n').count();
            pieces.push(Piece::Bare { body, line });
        }
        let Some(block) = block else { return Ok(pieces) };
        let unended = Unended(pieces.len() + 1);
        let Some((label, block)) = block.split_once("-----") else { return Err(unended) };
        let Some((body, after)) = block.split_once(&format!("-----END {label}-----")) else {
            return Err(unended);
        };
        // The end belongs to a later block.
        if body.contains("-----") {
            return Err(unended);
        }
        pieces.push(Piece::Block { label, body });
        rest = after;
    }
}

/// The DER of a piece. `None`: it is no Base64, or some words that are Base64 by chance.
pub(super) fn der(body: &str) -> Option<Vec<u8>> {
    let digits: String = body.split_whitespace().collect();
    let der = BASE64.decode(digits).ok();
    // All keys begin with this byte.
    der.filter(|der| der.first() == Some(&u8::from(Tag::Sequence)))
}
