//! The admin listener: health over HTTP, metrics, and what it takes decisions from.

use settlement_gateway::admin::RESOLVE_PATH;

use crate::harness::{Gateway, within};

#[tokio::test]
async fn it_is_alive_ready_and_counts() {
    let gateway = Gateway::spawn().await;
    assert_eq!(gateway.admin("/livez").await, (200, "alive\n".to_owned()));
    let ready = async { while gateway.admin("/readyz").await.0 != 200 {} };
    within("the store to have shown that it can commit", ready).await;
    let (status, _) = gateway.admin("/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(gateway.admin("/elsewhere").await.0, 404);
    assert_eq!(gateway.admin(RESOLVE_PATH).await.0, 405);
}

/// A page in somebody's browser must not be able to decide.
#[tokio::test]
async fn a_decision_is_taken_as_json_only_and_only_if_it_is_whole() {
    let gateway = Gateway::spawn().await;
    let url = format!("http://{}{RESOLVE_PATH}", gateway.addrs.admin);
    let client = reqwest::Client::new();
    let whole = r#"{"app_id":"tt1","out_settle_no":"1","keep":"recorded"}"#;
    for (content_type, body, status) in [
        ("text/plain", whole, 415),
        ("application/x-www-form-urlencoded", whole, 415),
        ("application/json", "{}", 400),
        ("application/json", r#"{"app_id":"","out_settle_no":"1","keep":"recorded"}"#, 400),
        ("application/json", r#"{"app_id":"tt1","out_settle_no":"1","keep":"both"}"#, 400),
        ("application/json", whole, 404),
    ] {
        let request = client.post(&url).header("content-type", content_type).body(body);
        let answer = within("the answer", request.send()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{content_type} {body}");
    }
    let large = client.post(&url).header("content-type", "application/json");
    let answer = large.body("x".repeat(17 * 1024)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 413);
}
