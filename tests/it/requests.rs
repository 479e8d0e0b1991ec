//! Requests as they come over the wire: compressed, too large, with odd deadlines, at the limits.

use prost_types::Timestamp;
use settlement_gateway::proto::v1::{self, SettleState};
use tonic::Code;
use tonic::codec::CompressionEncoding::Gzip;

use crate::harness::{Gateway, assert_create_error, create_request, details, number, within};

#[tokio::test]
async fn a_compressed_request_is_as_good_as_any() {
    let gateway = Gateway::spawn().await;
    let number = number("gzip");
    let mut client = gateway.client.clone().send_compressed(Gzip);
    let call = client.create_settle(create_request(&number));
    let settle = within("CreateSettle", call).await.unwrap().into_inner().settle.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
    // It is the same request.
    assert!(gateway.create_full(create_request(&number)).await.unwrap().replayed);
}

#[tokio::test]
async fn a_request_above_64_kib_is_refused_compressed_or_not_and_records_nothing() {
    let gateway = Gateway::spawn().await;
    let number = number("huge");
    for bytes in [66_000, 16 << 20] {
        // Compressed, this is a fraction: it is what comes out that counts.
        let settle_desc = "x".repeat(bytes);
        let huge = v1::CreateSettleRequest { settle_desc, ..create_request(&number) };
        let clients = [gateway.client.clone(), gateway.client.clone().send_compressed(Gzip)];
        for mut client in clients {
            let call = client.create_settle(huge.clone());
            let status = within("the refusal", call).await.unwrap_err();
            let (code, reason) = (Code::InvalidArgument, "REQUEST_TOO_LARGE");
            assert_create_error(&status, code, reason, "not_sent");
        }
    }
    // One that is just within is decoded, and all that is wrong with it is told.
    let large =
        v1::CreateSettleRequest { settle_desc: "x".repeat(65_000), ..create_request(&number) };
    let status = gateway.create(large).await.unwrap_err();
    assert_eq!(details(&status).fields, ["settle_desc"]);
    assert_eq!(gateway.get(&number).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(gateway.sim.books().creates_total(), 0);
}

#[tokio::test]
async fn an_absurd_deadline_is_no_deadline() {
    let gateway = Gateway::spawn().await;
    for timeout in ["99999999H", "123456789S", "-5S", "1.5S", "soon", "S", "12"] {
        let number = number("absurd");
        let mut request = tonic::Request::new(create_request(&number));
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
        let mut client = gateway.client.clone();
        let answer = within(timeout, client.create_settle(request)).await;
        let settle = answer.unwrap_or_else(|status| panic!("{timeout}: {status:?}")).into_inner();
        assert_eq!(settle.settle.unwrap().state(), SettleState::Processing, "{timeout}");
    }
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Nine receivers whose JSON text is this long: brackets, eight commas, and for each
/// `{"merchant_uid":"…","amount":1}` with its uid.
fn receivers(bytes: usize) -> Vec<v1::SettleParam> {
    let last = bytes - 2 - 8 - 9 * 30 - 8 * 24;
    let uid = |i: usize| format!("{i}{}", text(if i == 8 { last } else { 24 } - 1));
    (0..9).map(|i| v1::SettleParam { merchant_uid: uid(i), amount_fen: 1 }).collect()
}

/// Each field at its limit and one byte above it.
#[tokio::test]
async fn every_limit_is_exact_to_the_byte() {
    type Set = fn(&mut v1::CreateSettleRequest, usize);
    let fields: [(&str, usize, Set); 7] = [
        ("out_settle_no", 64, |request, bytes| request.out_settle_no = text(bytes)),
        ("out_order_no", 64, |request, bytes| request.out_order_no = text(bytes)),
        ("settle_desc", 512, |request, bytes| request.settle_desc = text(bytes)),
        ("item_order_id", 64, |request, bytes| request.item_order_id = text(bytes)),
        ("ext", 2048, |request, bytes| request.ext = text(bytes)),
        ("notify_url", 512, |request, bytes| {
            request.notify_url = format!("https://{}", text(bytes - 8));
        }),
        ("settle_params", 512, |request, bytes| request.settle_params = receivers(bytes)),
    ];
    let gateway = Gateway::spawn().await;
    for (field, bytes_max, set) in fields {
        let mut request = create_request(&number("limit"));
        set(&mut request, bytes_max + 1);
        let status = gateway.create(request.clone()).await.unwrap_err();
        assert_eq!(details(&status).fields, [field]);
        set(&mut request, bytes_max);
        gateway.create(request).await.unwrap_or_else(|status| panic!("{field}: {status:?}"));
    }
}

#[tokio::test]
async fn a_settle_without_receivers_is_all_the_sellers() {
    let gateway = Gateway::spawn().await;
    let number = number("seller");
    let request = v1::CreateSettleRequest { settle_params: Vec::new(), ..create_request(&number) };
    gateway.create(request).await.unwrap();
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().only(&number).unwrap().settle_params, []);
}

#[tokio::test]
async fn a_window_in_the_far_future_or_past_is_told_and_never_a_panic() {
    let gateway = Gateway::spawn().await;
    for seconds in [i64::MIN, -1, i64::MAX / 1_000, i64::MAX] {
        let mut request = create_request(&number("window"));
        request.submit_before = Some(Timestamp { seconds, nanos: 0 });
        let status = gateway.create(request).await.unwrap_err();
        assert_eq!(details(&status).fields, ["submit_before"], "{seconds}: {status:?}");
    }
}

#[tokio::test]
async fn an_amount_or_a_receiver_that_is_wrong_is_named_by_its_place() {
    let gateway = Gateway::spawn().await;
    let mut request = create_request(&number("amounts"));
    let param =
        |uid: &str, amount_fen| v1::SettleParam { merchant_uid: uid.to_owned(), amount_fen };
    request.settle_params = vec![param("1", i64::MIN), param("2", 1), param("2", 1)];
    let status = gateway.create(request).await.unwrap_err();
    let fields = details(&status).fields;
    assert_eq!(fields, ["settle_params[0].amount_fen", "settle_params[2].merchant_uid"]);
}
