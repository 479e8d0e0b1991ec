//! Bad input gets a clear error with all mistakes at once, and loses nothing.

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
        validate_only: true,
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
    let gateway = Gateway::spawn_with(crate::harness::simulator().await, |config| {
        config.gateway.policy.grace = std::time::Duration::from_secs(600);
    })
    .await;
    let now = gateway.create(create_request(&number("now"))).await.unwrap();
    let now = now.create_time.unwrap().seconds;
    // Longer than the grace, and at most 72 h.
    for seconds in [now + 660, now + 72 * 3600 - 60] {
        let mut request = create_request(&number("window"));
        let submit_before = Some(prost_types::Timestamp { seconds, nanos: 7_000_000 });
        request.submit_before = submit_before;
        assert_eq!(gateway.create(request).await.unwrap().submit_before, submit_before);
    }
    for seconds in [now - 10, now, now + 590, now + 72 * 3600 + 60] {
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

type Answer = Result<(), tonic::Status>;

/// One request of each call that names a settle or an app, with the same mistakes in all of them.
async fn each_call(
    gateway: &Gateway,
    app_id: &str,
    trade_system: i32,
    key: Option<&str>,
) -> Vec<(&'static str, Answer)> {
    let (app_id, number) = (app_id.to_owned(), key.map(str::to_owned));
    let mut client = gateway.client.clone();
    let watch = v1::WatchSettleRequest {
        app_id: app_id.clone(),
        trade_system,
        key: number.clone().map(v1::watch_settle_request::Key::SettleId),
        ..Default::default()
    };
    let wait = v1::WaitSettleRequest {
        app_id: app_id.clone(),
        trade_system,
        key: number.clone().map(v1::wait_settle_request::Key::SettleId),
        ..Default::default()
    };
    let get = v1::GetSettleRequest {
        app_id: app_id.clone(),
        trade_system,
        key: number.clone().map(v1::get_settle_request::Key::SettleId),
        refresh: true,
        ..Default::default()
    };
    let query = v1::QuerySettlesRequest {
        app_id: app_id.clone(),
        trade_system,
        key: number.map(v1::query_settles_request::Key::SettleId),
    };
    let list = v1::ListSettlesRequest { app_id, ..Default::default() };
    vec![
        ("WatchSettle", client.watch_settle(watch).await.map(drop)),
        ("WaitSettle", client.wait_settle(wait).await.map(drop)),
        ("GetSettle", client.get_settle(get).await.map(drop)),
        ("QuerySettles", client.query_settles(query).await.map(drop)),
        ("ListSettles", client.list_settles(list).await.map(drop)),
    ]
}

#[tokio::test]
async fn nonsense_is_refused_by_every_call_and_costs_douyin_nothing() {
    let gateway = Gateway::spawn().await;
    let long = "x".repeat(129);
    let cases: [(&str, i32, Option<&str>, &[&str]); 6] = [
        (&long, 99, None, &["app_id", "trade_system", "key"]),
        ("", -1, Some(""), &["trade_system", "settle_id"]),
        ("", i32::MAX, Some(&long), &["trade_system", "settle_id"]),
        ("", 0, Some("a\u{0}b"), &["settle_id"]),
        ("tt\n", 0, Some("x"), &["app_id"]),
        ("tt-unknown", 0, Some("x"), &[]),
    ];
    for (app_id, trade_system, key, wrong) in cases {
        for (call, answer) in each_call(&gateway, app_id, trade_system, key).await {
            let lists = call == "ListSettles";
            let wrong: Vec<_> =
                wrong.iter().filter(|field| !lists || **field == "app_id").copied().collect();
            let status = match answer {
                Err(status) => status,
                Ok(()) if lists && wrong.is_empty() && app_id.is_empty() => continue,
                Ok(()) => panic!("{call} takes {app_id:?} {key:?}"),
            };
            let told = details(&status);
            assert_eq!(told.info.metadata.get("outcome"), None, "{call} sends nothing");
            if app_id == "tt-unknown" {
                assert_eq!(status.code(), Code::FailedPrecondition, "{call}");
                assert_eq!(told.info.reason, "APP_NOT_CONFIGURED");
            } else {
                assert_eq!(status.code(), Code::InvalidArgument, "{call}");
                assert_eq!(
                    (told.info.reason.as_str(), told.fields),
                    ("INVALID_REQUEST", wrong.iter().map(ToString::to_string).collect()),
                    "{call}"
                );
            }
        }
    }
    let books = gateway.sim.books();
    assert_eq!((books.queries_total(), books.token_calls_total()), (0, 0));
}

#[tokio::test]
async fn a_watch_request_is_checked_whole_too() {
    let gateway = Gateway::spawn().await;
    let request = v1::WatchSettleRequest { key: None, trade_system: 7, ..watch_request("x", -1) };
    let status = gateway.watch(request).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(details(&status).fields, ["trade_system", "after_revision", "key"]);
}
