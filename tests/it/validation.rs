//! Bad input gets a clear error, all of it at once, and loses nothing.

use settlement_gateway::proto::v1;
use tonic::Code;

use crate::harness::{
    Gateway, assert_create_error, create_request, details, number, watch_request,
};

fn param(merchant_uid: &str, amount_fen: i64) -> v1::SettleParam {
    v1::SettleParam { merchant_uid: merchant_uid.to_owned(), amount_fen }
}

#[tokio::test]
async fn every_violation_is_named_at_once_with_its_path() {
    let gateway = Gateway::spawn().await;
    let request = v1::CreateSettleRequest {
        app_id: "x".repeat(65),
        trade_system: 99,
        out_order_no: String::new(),
        out_settle_no: "分".repeat(22),
        settle_desc: String::new(),
        settle_params: vec![param("", 1), param("7001", 0), param("7001", -5)],
        item_order_id: "i".repeat(65),
        ext: "e".repeat(2049),
        notify_url: "http://plain.example".to_owned(),
        submit_before: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        return_when: 42,
    };
    let status = gateway.create(request).await.unwrap_err();
    let reason = "INVALID_REQUEST";
    let told = assert_create_error(&status, Code::InvalidArgument, reason, "not_sent");
    let mut fields = told.fields;
    fields.sort();
    let expected = [
        "app_id",
        "ext",
        "item_order_id",
        "notify_url",
        "out_order_no",
        "out_settle_no",
        "return_when",
        "settle_desc",
        "settle_params[0].merchant_uid",
        "settle_params[1].amount_fen",
        "settle_params[2].amount_fen",
        "settle_params[2].merchant_uid",
        "submit_before",
        "trade_system",
    ];
    assert_eq!(fields, expected);
    assert_eq!(gateway.sim.books().creates_total(), 0);
}

#[tokio::test]
async fn limits_count_bytes_of_utf8_and_are_exact() {
    let gateway = Gateway::spawn().await;
    let longest = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    let mut request = create_request(&number("longest"));
    request.out_order_no = longest("单", 63);
    request.settle_desc = longest("说明", 510);
    request.ext = longest("e", 2048);
    gateway.create(request.clone()).await.unwrap();
    let too_long = [
        (
            "out_order_no",
            v1::CreateSettleRequest { out_order_no: longest("单", 66), ..request.clone() },
        ),
        (
            "settle_desc",
            v1::CreateSettleRequest { settle_desc: longest("说明", 516), ..request.clone() },
        ),
        ("ext", v1::CreateSettleRequest { ext: longest("e", 2049), ..request.clone() }),
    ];
    for (field, request) in too_long {
        let status = gateway.create(request).await.unwrap_err();
        assert_eq!(details(&status).fields, [field]);
    }
}

#[tokio::test]
async fn receivers_are_bounded_in_their_serialized_form() {
    let gateway = Gateway::spawn().await;
    let mut request = create_request(&number("receivers"));
    let uid = |i: usize| format!("727892457685432{i:05}");
    // 2 bytes of brackets; 29 + 20 + 3 bytes each, and the commas between: 9 of them are 478 bytes.
    request.settle_params = (0..9).map(|i| param(&uid(i), 100)).collect();
    gateway.create(request.clone()).await.unwrap();
    request.out_settle_no = number("receivers");
    request.settle_params = (0..10).map(|i| param(&uid(i), 100)).collect();
    let status = gateway.create(request).await.unwrap_err();
    assert_eq!(details(&status).fields, ["settle_params"]);
}

#[tokio::test]
async fn amounts_that_overflow_together_are_refused() {
    let gateway = Gateway::spawn().await;
    let mut request = create_request(&number("overflow"));
    request.settle_params = vec![param("7001", i64::MAX), param("7002", 1)];
    let status = gateway.create(request).await.unwrap_err();
    assert_eq!(details(&status).fields, ["settle_params"]);
}

#[tokio::test]
async fn thousands_of_violations_stay_readable() {
    let gateway = Gateway::spawn().await;
    let mut request = create_request(&number("thousands"));
    request.settle_params = vec![param("", 0); 2_000];
    // `details` checks the size of the encoded status.
    let told = details(&gateway.create(request).await.unwrap_err());
    assert_eq!(told.fields.len(), 21, "twenty, and how many more");
}

#[tokio::test]
async fn a_window_out_of_bounds_is_refused_for_a_new_number() {
    let gateway = Gateway::spawn().await;
    let now = gateway.create(create_request(&number("now"))).await.unwrap();
    let now = now.create_time.unwrap().seconds;
    for seconds in [now - 10, now, now + 73 * 3600] {
        let mut request = create_request(&number("window"));
        request.submit_before = Some(prost_types::Timestamp { seconds, nanos: 0 });
        let status = gateway.create(request).await.unwrap_err();
        let reason = "INVALID_REQUEST";
        let told = assert_create_error(&status, Code::InvalidArgument, reason, "not_sent");
        assert_eq!(told.fields, ["submit_before"]);
    }
}

#[tokio::test]
async fn an_app_that_is_not_configured_is_refused() {
    let gateway = Gateway::spawn().await;
    let mut request = create_request(&number("app"));
    request.app_id = "tt-unknown".to_owned();
    let status = gateway.create(request).await.unwrap_err();
    let reason = "APP_NOT_CONFIGURED";
    let told = assert_create_error(&status, Code::FailedPrecondition, reason, "not_sent");
    assert_eq!(told.info.metadata["app_id"], "tt-unknown");
}

#[tokio::test]
async fn a_watch_request_is_checked_whole_too() {
    let gateway = Gateway::spawn().await;
    let request = v1::WatchSettleRequest { key: None, trade_system: 7, ..watch_request("x", -1) };
    let status = gateway.watch(request).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(details(&status).fields, ["trade_system", "after_revision", "key"]);
}
