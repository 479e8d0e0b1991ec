//! Nonsense on the wire. What is no request gets an error that says so, and what HTTP/2 turns away
//! by itself harms no other call.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use prost::Message as _;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::harness::{Gateway, create_request, number, simulator, wait_for_answers, within};
use crate::raw::{Call, Raw, Wire, frame};
use crate::told::Told;
use crate::trailers::told_raw;

async fn edge() -> (Gateway, Wire) {
    let gateway = Gateway::spawn().await;
    let wire = Wire::connect(&gateway.url).await;
    (gateway, wire)
}

async fn told(wire: &Wire, rpc: Option<Rpc>, call: Call) -> Told {
    let raw = wire.call(call).await.expect("the server answers");
    told_raw(&raw, rpc)
}

/// The gateway still works.
async fn assert_works(gateway: &Gateway) {
    gateway.create(create_request(&number("still"))).await.unwrap();
}

#[tokio::test]
async fn bodies_that_are_no_message_are_malformed_and_nothing_is_sent() {
    let (gateway, wire) = edge().await;
    let message = create_request("n").encode_to_vec();
    let whole = frame(0, &message);
    let cut = |bytes: usize| Bytes::copy_from_slice(whole.split_at(bytes).0);
    let bodies = [
        ("nothing", Bytes::new()),
        ("half a head", cut(3)),
        ("a head", cut(5)),
        ("half a message", cut(20)),
        ("a flag that is none", frame(7, &message)),
        ("compressed, and in no encoding", frame(1, &message)),
        ("random bytes", Bytes::from_static(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n")),
        ("a wire type that is none", frame(0, &[0x0F, 0xFF])),
        ("a text that is no UTF-8", frame(0, &[0x0A, 2, 0xC3, 0x28])),
        ("a length beyond the end", frame(0, &[0x0A, 0xFF, 0xFF, 3])),
        ("a message and half a head", [&whole[..], &cut(3)[..]].concat().into()),
        ("a message and half of another", [&whole[..], &cut(20)[..]].concat().into()),
        ("JSON", frame(0, br#"{"out_settle_no": "n"}"#)),
    ];
    for rpc in Rpc::ALL {
        for (what, body) in &bodies {
            let told = told(&wire, Some(*rpc), Call::bytes(*rpc, body.clone())).await;
            assert_eq!(told.reason(), "REQUEST_MALFORMED", "{what} to {}", rpc.name());
        }
    }
    // Gzip is understood; bytes that only claim to be gzip are not.
    let call = Call::bytes(Rpc::CreateSettle, frame(1, &message)).with("grpc-encoding", "gzip");
    assert_eq!(told(&wire, Some(Rpc::CreateSettle), call).await.reason(), "REQUEST_MALFORMED");
    assert_eq!(gateway.sim.books().creates_total(), 0);
    assert_works(&gateway).await;
}

#[tokio::test]
async fn a_request_may_have_64_kib_and_no_more_also_once_it_is_unpacked() {
    let (gateway, wire) = edge().await;
    let sized = |bytes: usize| {
        // An unknown field fills it up: a tag, three bytes of length, and the rest.
        let mut message = create_request(&number("sized")).encode_to_vec();
        let rest = bytes - message.len() - 5;
        message.extend([0xFA, 0x3F]);
        prost::encoding::encode_varint(u64::try_from(rest).unwrap(), &mut message);
        message.resize(bytes, 0);
        message
    };
    let raw = wire.call(Call::bytes(Rpc::CreateSettle, frame(0, &sized(64 * 1024)))).await.unwrap();
    assert_eq!(raw.end["grpc-status"], "0", "{raw:?}");
    for call in [
        Call::bytes(Rpc::CreateSettle, frame(0, &sized(64 * 1024 + 1))),
        // The announced length counts, not what comes.
        Call::bytes(Rpc::CreateSettle, Bytes::from_static(&[0, 0xFF, 0xFF, 0xFF, 0xFF])),
        Call::bytes(Rpc::CreateSettle, frame(1, &gzip_of_zeros())).with("grpc-encoding", "gzip"),
    ] {
        let told = told(&wire, Some(Rpc::CreateSettle), call).await;
        let seen = (told.code, told.reason(), told.outcome());
        assert_eq!(seen, (Code::InvalidArgument, "REQUEST_TOO_LARGE", "not_sent"));
    }
    assert_eq!(gateway.sim.books().creates_total(), 1);
}

/// 70 KiB of zeros, as gzip packs them into a hundred bytes.
fn gzip_of_zeros() -> Vec<u8> {
    let head = b"\x1F\x8B\x08\0\0\0\0\0\x02\x03";
    let begin = b"\xED\xC1\x01\x0D\0\0\0\xC2\xA0\xF7\x4F\x6D\x0F\x07\x14";
    let (end, check) = (b"\x8F\x06", b"\x65\x38\xC4\x5B\x00\x18\x01\x00");
    [&head[..], begin, &[0; 69], end, check].concat()
}

#[tokio::test]
async fn an_unknown_encoding_is_answered_with_the_known_ones() {
    let (_gateway, wire) = edge().await;
    for encoding in ["snappy", "br", "deflate", "gzip, identity", "\u{FF}"] {
        let call = Call::of(Rpc::GetSettle, &v1::GetSettleRequest::default());
        let raw = wire.call(call.with("grpc-encoding", encoding)).await.unwrap();
        let told = told_raw(&raw, Some(Rpc::GetSettle));
        let seen = (told.code, told.reason());
        assert_eq!(seen, (Code::Unimplemented, "COMPRESSION_NOT_SUPPORTED"), "{encoding}");
        assert_eq!(raw.end["grpc-accept-encoding"], "gzip,identity");
    }
}

#[tokio::test]
async fn an_error_of_what_the_contract_does_not_have_has_the_shape_too() {
    let (_gateway, wire) = edge().await;
    let check = |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        frame(0, &request.encode_to_vec())
    };
    let reflect = |symbol: &str| {
        let asked = MessageRequest::FileContainingSymbol(symbol.to_owned());
        let host = String::new();
        let request = ServerReflectionRequest { host, message_request: Some(asked) };
        frame(0, &request.encode_to_vec())
    };
    let service = "/douyin.settlement.v1.SettlementService";
    let (unimplemented, not_found) = (Code::Unimplemented, Code::NotFound);
    let (no_rpc, no_name) = ("RPC_NOT_FOUND", "NAME_NOT_FOUND");
    for (path, body, code, reason) in [
        (format!("{service}/ReturnSettle"), Bytes::new(), unimplemented, no_rpc),
        (format!("{service}/createSettle"), Bytes::new(), unimplemented, no_rpc),
        (format!("{service}/"), Bytes::new(), unimplemented, no_rpc),
        ("/no.such.Service/Call".to_owned(), Bytes::new(), unimplemented, no_rpc),
        ("/".to_owned(), Bytes::new(), unimplemented, no_rpc),
        ("/%00/%FF?x=1".to_owned(), Bytes::new(), unimplemented, no_rpc),
        ("/grpc.health.v1.Health/List2".to_owned(), Bytes::new(), unimplemented, no_rpc),
        ("/grpc.health.v1.Health/Check".to_owned(), check("no.such"), not_found, no_name),
        (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned(),
            reflect("no.such.Symbol"),
            not_found,
            no_name,
        ),
        (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned(),
            frame(0, &ServerReflectionRequest::default().encode_to_vec()),
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            "/grpc.health.v1.Health/Check".to_owned(),
            frame(0, &[0xFF]),
            Code::InvalidArgument,
            "REQUEST_MALFORMED",
        ),
    ] {
        let told = told(&wire, None, Call::to(&path, body)).await;
        assert_eq!((told.code, told.reason()), (code, reason), "{path}");
    }
}

/// The server's stack would say CANCELLED, without a word about the money.
#[tokio::test]
async fn any_deadline_is_told_as_deadline_exceeded() {
    let (gateway, wire) = edge().await;
    let list = v1::ListSettlesRequest::default();
    for micros in [0, 1, 900, 1_000, 5_000, 19_000, 20_000] {
        let timeout = Duration::from_micros(micros);
        let create = Call::of(Rpc::CreateSettle, &create_request("n")).timeout(timeout);
        let create = told(&wire, Some(Rpc::CreateSettle), create).await;
        let seen = (create.code, create.reason(), create.outcome());
        assert_eq!(seen, (Code::DeadlineExceeded, "DEADLINE_REACHED", "not_sent"), "{micros}");
        let list = Call::of(Rpc::ListSettles, &list).timeout(timeout);
        let list = told(&wire, Some(Rpc::ListSettles), list).await;
        assert_eq!((list.code, list.reason()), (Code::DeadlineExceeded, "DEADLINE_REACHED"));
    }
    // While the request is still on its way, its code has not even begun.
    let late = Call::of(Rpc::CreateSettle, &create_request("n"));
    let late = late.never_ending(Bytes::new()).timeout(Duration::from_millis(120));
    let late = told(&wire, Some(Rpc::CreateSettle), late).await;
    assert_eq!((late.reason(), late.outcome()), ("DEADLINE_REACHED", "not_sent"));
    // A deadline that is none is no deadline.
    for nonsense in ["", "1", "1x", "-1S", "999999999S"] {
        let call = Call::of(Rpc::ListSettles, &v1::ListSettlesRequest::default());
        let raw = wire.call(call.with("grpc-timeout", nonsense)).await.unwrap();
        assert_eq!(raw.end["grpc-status"], "0", "{nonsense} {raw:?}");
    }
    assert_eq!(gateway.sim.books().creates_total(), 0);
}

#[tokio::test]
async fn what_http2_turns_away_harms_no_other_call() {
    let (gateway, wire) = edge().await;
    // Metadata without end: HTTP/2 answers by itself, before there is a request.
    let huge = "x".repeat(20 * 1024);
    let call = Call::of(Rpc::CreateSettle, &create_request("n")).with("x-huge", &huge);
    let Raw { http, .. } = wire.call(call).await.expect("an answer of HTTP/2's");
    assert_eq!(http, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let nonsense: &[(&str, Vec<u8>)] = &[
        ("HTTP/1.1", b"POST / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ("random bytes", (0_u32..4_096).map(|i| (i * 7_919 % 251) as u8).collect()),
        ("a frame of 16 MiB", [preface, settings, &[0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1]].concat()),
        ("data on no stream", [preface, settings, &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat()),
        (
            "headers that are none",
            [preface, settings, &[0, 0, 2, 1, 5, 0, 0, 0, 1, 0xFF, 0xFF]].concat(),
        ),
        ("an even stream", [preface, settings, &[0, 0, 1, 1, 5, 0, 0, 0, 2, 0x83]].concat()),
        (
            "a window of nothing",
            [preface, settings, &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
        ),
    ];
    for (what, bytes) in nonsense {
        let mut socket =
            TcpStream::connect(gateway.url.trim_start_matches("http://")).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        // It hangs up, with a GOAWAY or without.
        let mut answer = Vec::new();
        let _ = within(what, socket.read_to_end(&mut answer)).await;
    }
    assert_eq!(gateway.sim.books().creates_total(), 0);
    assert_works(&gateway).await;
    let told = told(&wire, Some(Rpc::GetSettle), Call::bytes(Rpc::GetSettle, Bytes::new())).await;
    assert_eq!(told.reason(), "REQUEST_MALFORMED", "the first connection still works");
}

/// Health tells orchestrators whether a gateway lives, and a busy one does.
#[tokio::test]
async fn a_gateway_that_sheds_calls_still_says_that_it_serves() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.grpc.calls_max = 1;
        wait_for_answers(config);
    })
    .await;
    let wire = Wire::connect(&gateway.url).await;
    let gate = douyin_sim::Gate::new();
    gateway.sim.script("held", vec![douyin_sim::Script::Hold(gate.clone())]);
    let (held, call) = (wire.clone(), Call::of(Rpc::CreateSettle, &create_request("held")));
    let held = tokio::spawn(async move { held.call(call).await });
    within("the send to arrive", gate.arrived()).await;
    let health = frame(0, &HealthCheckRequest::default().encode_to_vec());
    let raw = wire.call(Call::to("/grpc.health.v1.Health/Check", health)).await.unwrap();
    assert_eq!(raw.end["grpc-status"], "0", "{raw:?}");
    let list = Call::of(Rpc::ListSettles, &v1::ListSettlesRequest::default());
    assert_eq!(told(&wire, Some(Rpc::ListSettles), list).await.reason(), "OVERLOADED");
    gate.open();
    within("the held call", held).await.unwrap().unwrap();
    // And its place is free again.
    let list = Call::of(Rpc::ListSettles, &v1::ListSettlesRequest::default());
    let raw = wire.call(list).await.unwrap();
    assert_eq!(raw.end["grpc-status"], "0", "{raw:?}");
}
