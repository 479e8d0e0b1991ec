//! What is no gRPC call, and what is more than one.

use bytes::Bytes;
use http::StatusCode;
use prost::Message as _;
use settlement_gateway::grpc::rpc::Rpc;
use tonic::Code;

use crate::harness::{Gateway, create_request, number};
use crate::raw::{Call, Wire, frame};
use crate::trailers::told_raw;

#[tokio::test]
async fn what_is_not_of_grpcs_type_is_told_so_by_http() {
    let gateway = Gateway::spawn().await;
    let wire = Wire::connect(&gateway.url).await;
    let request = create_request(&number("typed"));
    for kind in
        ["application/json", "text/plain", "application/grpc-web+proto", "application/grpcx"]
    {
        let call = Call::of(Rpc::CreateSettle, &request).with("content-type", kind);
        let raw = wire.call(call).await.unwrap();
        assert_eq!(raw.http, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
        assert!(raw.body.is_empty() && !raw.end.contains_key("grpc-status"), "{kind} {raw:?}");
    }
    assert_eq!(gateway.sim.books().creates_total(), 0);
    for kind in ["application/grpc+proto", "application/grpc;x=y", "application/grpc"] {
        let call = Call::of(Rpc::CreateSettle, &request).with("content-type", kind);
        let raw = wire.call(call).await.unwrap();
        assert_eq!((raw.http, &raw.end["grpc-status"]), (StatusCode::OK, &"0".parse().unwrap()));
    }
    assert_eq!(gateway.sim.books().creates_total(), 1);
}

#[tokio::test]
async fn a_second_message_in_a_unary_call_is_an_error_and_nothing_is_sent() {
    let gateway = Gateway::spawn().await;
    let wire = Wire::connect(&gateway.url).await;
    let message = |number: &str| frame(0, &create_request(number).encode_to_vec());
    let (first, second) = (message(&number("first")), message(&number("second")));
    for body in [
        [&first[..], &second].concat(),
        [&first[..], &first].concat(),
        [&first[..], &frame(0, &[])].concat(),
    ] {
        let raw = wire.call(Call::bytes(Rpc::CreateSettle, Bytes::from(body))).await.unwrap();
        let told = told_raw(&raw, Some(Rpc::CreateSettle));
        let seen = (told.code, told.reason(), told.outcome());
        assert_eq!(seen, (Code::InvalidArgument, "REQUEST_MALFORMED", "not_sent"));
    }
    assert_eq!(gateway.sim.books().creates_total(), 0);
}
