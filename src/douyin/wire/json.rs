//! Parses bytes from Douyin as JSON.
//!
//! Damaged text is repaired, so that an err_msg cut within a character does not hide the err_no
//! beside it. Each repair leaves [`DAMAGED`] in the text. A text that decides nothing is shown with
//! the mark replaced; a damaged text that decides is not used.
//!
//! What it must not know: what a field means.

use std::fmt;
use std::str::Chars;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Stands where a text was repaired. No text has it otherwise: Unicode reserves it for a program's
/// internal use.
pub(in crate::douyin) const DAMAGED: char = '\u{fdd0}';
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// `None`: it is no JSON even after a repair, or an object has one name twice, so that its value is
/// ambiguous. The parser limits the depth.
pub(in crate::douyin) fn parse(bytes: &[u8]) -> Option<Value> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let read: Result<Read, _> = serde_json::from_slice(bytes);
    // Nearly every answer is whole, so only a damaged one is read twice.
    let read = read.or_else(|_| serde_json::from_str(&repaired(bytes)));
    read.ok().map(|Read(value)| value)
}

/// The text as people may read it.
pub(in crate::douyin) fn readable(text: &str) -> String {
    text.replace(DAMAGED, "\u{fffd}")
}

pub(in crate::douyin) fn is_damaged(text: &str) -> bool {
    text.contains(DAMAGED)
}

/// Repairs what a JSON parser refuses within texts: bytes that are not UTF-8, halves of surrogate
/// pairs, control characters, unknown escapes. Everything else stays.
fn repaired(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(DAMAGED);
        }
    }
    let mut mended = String::with_capacity(text.len());
    let mut is_inside = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                is_inside = !is_inside;
                mended.push(c);
            }
            '\\' if is_inside => mend_escape(&mut chars, &mut mended),
            c if is_inside && c < ' ' => mended.push(DAMAGED),
            c => mended.push(c),
        }
    }
    mended
}

/// What follows a backslash.
fn mend_escape(chars: &mut Chars<'_>, mended: &mut String) {
    /// `u` and four digits.
    const UNIT: usize = 5;
    let rest = chars.as_str();
    let second = rest.get(UNIT..).and_then(|rest| rest.strip_prefix('\\')).and_then(unit);
    let whole = match (unit(rest), second) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * UNIT + 1,
        (Some(0xd800..=0xdfff), _) => {
            chars.nth(UNIT - 1);
            mended.push(DAMAGED);
            return;
        }
        (Some(_), _) => UNIT,
        (None, _) if rest.starts_with(['"', '\\', '/', 'b', 'f', 'n', 'r', 't']) => 1,
        (None, _) => {
            mended.push(DAMAGED);
            return;
        }
    };
    mended.push('\\');
    mended.extend(chars.by_ref().take(whole));
}

/// The UTF-16 unit that an escape names.
fn unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix('u')?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

/// A value in which no object has one name twice. `Value` itself would keep the last one.
struct Read(Value);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Read)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(Read(item)) = items.next_element()? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some((name, Read(value))) = fields.next_entry::<String, Read>()? {
            match read.get(&name) {
                Some(known) if *known != value => {
                    return Err(A::Error::custom("one name has two values"));
                }
                Some(_) => {}
                None => {
                    read.insert(name, value);
                }
            }
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        let read = parse(bytes).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(bytes)));
        readable(read["t"].as_str().unwrap())
    }

    #[test]
    fn what_is_broken_in_a_text_is_repaired_and_nothing_else_is_touched() {
        let cases: [(&[u8], &str); 13] = [
            (br#"{"t":"x\ud83d"}"#, "x\u{fffd}"),
            (br#"{"t":"\ud83dx"}"#, "\u{fffd}x"),
            (br#"{"t":"\ude00\ud83d"}"#, "\u{fffd}\u{fffd}"),
            (br#"{"t":"\ud83d\ud83d\ude00"}"#, "\u{fffd}\u{1f600}"),
            (br#"{"t":"\\ud83d\ud83d\"\n"}"#, "\\ud83d\u{fffd}\"\n"),
            (b"{\"t\":\"\xe5\x88\"}", "\u{fffd}"),
            (b"{\"t\":\"\xff\xfex\"}", "\u{fffd}\u{fffd}x"),
            (b"{\"t\":\"\xed\xa0\xbdx\"}", "\u{fffd}\u{fffd}\u{fffd}x"),
            (b"{\"t\":\"two\nlines\"}", "two\u{fffd}lines"),
            (br#"{"t":"\x41\u00zz"}"#, "\u{fffd}x41\u{fffd}u00zz"),
            (b"\xef\xbb\xbf{\"t\":\"marked\"}", "marked"),
            (b"\xef\xbb\xbf {\"t\":\"\xff\"}", "\u{fffd}"),
            ("{\"t\":\"分\u{fffd}\"}".as_bytes(), "分\u{fffd}"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(text(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_no_json_stays_none() {
        let cases: [&[u8]; 8] = [
            b"",
            b"\xff",
            b"<html>",
            b"{\"t\":\"x",
            b"{\"t\":\"x\\",
            b"{\"t\":\"\\u",
            b"{\"t\":1}{}",
            b"{\xff\"t\":1}",
        ];
        for bytes in cases {
            assert_eq!(parse(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn one_name_has_one_value() {
        assert_eq!(parse(br#"{"a":1,"a":1}"#), Some(json!({ "a": 1 })));
        for twice in [r#"{"a":1,"a":2}"#, r#"[{"b":{"a":null,"a":0}}]"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(parse(twice.as_bytes()), None, "{twice}");
        }
    }

    proptest! {
        #[test]
        fn any_json_reads_as_serde_json_reads_it(
            texts in prop::collection::vec(any::<String>(), 0..4),
            numbers in prop::collection::vec(any::<f64>(), 0..4),
        ) {
            let value = json!({ "texts": texts, "numbers": numbers, "b": [true, null, {}, -1] });
            let plain: Value = serde_json::from_str(&value.to_string()).unwrap();
            prop_assert_eq!(parse(value.to_string().as_bytes()), Some(plain));
        }

        /// Repairing sound JSON would change what Douyin said.
        #[test]
        fn a_repair_leaves_whole_json_as_it_is(text in any::<String>()) {
            let whole = json!({ "t": text }).to_string();
            prop_assert_eq!(repaired(whole.as_bytes()), whole);
        }

        #[test]
        fn any_bytes_are_repaired_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            escaped in "[\\\\ud89a\"0-9]{0,24}",
        ) {
            let _ = (parse(&bytes), parse(format!("{{\"t\":\"{escaped}\"}}").as_bytes()));
        }
    }
}
