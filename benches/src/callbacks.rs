//! Callbacks that say that a settle succeeded, signed with the simulator's key.

use std::time::Instant;

use douyin_sim::PlatformKey;
use serde_json::json;

use crate::Failure;
use crate::numbers::app_id;

/// Sends callbacks to one gateway.
pub struct Callbacks {
    client: reqwest::Client,
    url: String,
    key: PlatformKey,
}

impl Callbacks {
    /// `url`: the gateway's callback listener.
    pub fn new(client: reqwest::Client, url: &str) -> Self {
        Self { client, url: url.to_owned(), key: PlatformKey::sandbox() }
    }

    /// Says that the settle with this number, which the upstream took, succeeded. Returns when the
    /// callback was sent and when it was acknowledged.
    pub async fn succeeded(&self, tag: &str, number: u64) -> Result<(Instant, Instant), Failure> {
        let app_id = app_id(number);
        let body = body(&app_id, tag, number);
        let (timestamp, nonce) = ("1790000000", "bench");
        let text = [timestamp, nonce, &body, ""].join("\n");
        let request = self
            .client
            .post(format!("{}/callbacks/douyin/{app_id}", self.url))
            .header("Byte-Timestamp", timestamp)
            .header("Byte-Nonce-Str", nonce)
            .header("Byte-Signature", self.key.sign(text.as_bytes()))
            .body(body);
        let sent = Instant::now();
        let answer = request.send().await?.error_for_status()?.bytes().await?;
        let acknowledged = Instant::now();
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        match answer["err_no"].as_i64() {
            Some(0) => Ok((sent, acknowledged)),
            _ => Err(format!("a callback was answered {answer}").into()),
        }
    }
}

fn body(app_id: &str, tag: &str, number: u64) -> String {
    let msg = json!({
        "app_id": app_id,
        "status": "SUCCESS",
        "order_id": format!("motb{number:020}"),
        "message": "SUCCESS",
        "event_time": 1_790_000_000_000_u64,
        "settle_id": format!("ots{tag}{number:020}"),
        "out_settle_no": format!("{tag}-{number:010}"),
        "rake": 600,
        "commission": 0,
        "settle_detail": "商户号7278924576854329635-分成金额(分)120",
        "settle_amount": 100_000,
        "is_auto_settle": false,
    });
    json!({ "version": "3.0", "msg": msg.to_string(), "type": "settle" }).to_string()
}
