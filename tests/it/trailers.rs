//! The status of an answer, read from the bytes on the wire.

use http::{HeaderMap, StatusCode};
use settlement_gateway::grpc::rpc::Rpc;
use tonic::Code;

use crate::harness::SECRET;
use crate::raw::Raw;
use crate::told::{Told, told};

/// The most bytes that the headers of an answer may cost, as HTTP/2 counts them: grpcio loses the
/// status above it.
const HEADERS_BYTES_MAX: usize = 8 * 1024;

/// None of these may reach a caller: secrets, tokens, and internals of the gateway.
const HIDDEN: &[&[u8]] =
    &[SECRET.as_bytes(), b"clt.", b"sql", b"tonic", b"panic", b".rs", b"127.0.0.1", b"/data/"];

/// Reads the status from the bytes of an answer, and checks all that holds for every one.
#[track_caller]
pub fn told_raw(raw: &Raw, rpc: Option<Rpc>) -> Told {
    assert_eq!(raw.http, StatusCode::OK, "{raw:?}");
    let end = &raw.end;
    let bytes: usize = end.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!(bytes <= HEADERS_BYTES_MAX, "{bytes} bytes of headers");
    let code = Code::from_bytes(only(end, "grpc-status").as_bytes());
    let message = percent_decoded(&only(end, "grpc-message"));
    let details = base64_decoded(&only(end, "grpc-status-details-bin"));
    nothing_hidden_shows(&details);
    told(code, &message, &details, rpc)
}

/// For details whose texts are the gateway's own.
#[track_caller]
pub fn nothing_hidden_shows(details: &[u8]) {
    for hidden in HIDDEN {
        let shows = details.windows(hidden.len()).any(|it| it.eq_ignore_ascii_case(hidden));
        let (hidden, text) = (hidden.escape_ascii(), details.escape_ascii());
        assert!(!shows, "{hidden} shows: {text}");
    }
}

/// The one value of a header.
#[track_caller]
fn only(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    let [value] = values[..] else { panic!("{} times {name}: {headers:?}", values.len()) };
    value.to_str().unwrap().to_owned()
}

fn percent_decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (hex, after) = after.split_at(2);
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap());
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Base64, with or without padding.
fn base64_decoded(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("{c} is no base64"),
    };
    let mut bytes = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = four.iter().fold(0_u32, |bits, c| bits << 6 | u32::from(value(*c)));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
