//! Callbacks over real HTTP, signed with a key pair that is made in the test.

mod adopted;
mod decided;
mod disputed;
mod ended;
mod latency;
mod merged;
mod refused;
mod slow;
mod stops;
mod systems;
mod wire;

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use douyin_sim::{PlatformKey, Simulator, Status};
use serde_json::Value;
use settlement_gateway::config::Config;

use crate::harness::{APP_ID, Gateway, simulator_with, within};

/// Runs openssl, which scripts/test installs; its standard output.
pub fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn new_key() -> PlatformKey {
    let bits = "rsa_keygen_bits:2048";
    let pem = openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", bits]);
    PlatformKey::from_pem(&pem).unwrap()
}

/// The key pair of this run: making one takes a tenth of a second.
fn key() -> PlatformKey {
    static KEY: LazyLock<PlatformKey> = LazyLock::new(new_key);
    KEY.clone()
}

async fn signing_simulator() -> Simulator {
    simulator_with(|config| config.apps[0].platform_key = key()).await
}

/// Whatever ends a settle within a test, it is not the schedule of the poller.
fn patient(config: &mut Config) {
    config.gateway.schedule.first = Duration::from_secs(600);
    config.gateway.schedule.cap = Duration::from_secs(600);
    config.gateway.schedule.watched_cap = Duration::from_secs(600);
}

/// A gateway that learns by callbacks only.
async fn spawn() -> Gateway {
    spawn_with(patient).await
}

async fn spawn_with(tune: fn(&mut Config)) -> Gateway {
    let gateway = Gateway::spawn_with(signing_simulator().await, tune).await;
    gateway.callbacks_on();
    gateway
}

/// A callback as bytes, on its way to an app's address.
#[derive(Clone)]
struct Letter {
    to: String,
    timestamp: String,
    nonce: String,
    signature: String,
    body: Vec<u8>,
}

impl Letter {
    /// Signed as Douyin signs it.
    fn signed(sim: &Simulator, body: impl Into<Vec<u8>>) -> Self {
        let (timestamp, nonce) = ("1700000000".to_owned(), "abcdef1234567890".to_owned());
        let body = body.into();
        let signature = sim.sign(APP_ID, &timestamp, &nonce, &body);
        Self { to: APP_ID.to_owned(), timestamp, nonce, signature, body }
    }

    /// What Douyin would say if the settle had this status.
    fn about(sim: &Simulator, settle_id: &str, status: Status) -> Self {
        Self::signed(sim, sim.callback_body(settle_id, status).expect("there is such a settle"))
    }

    /// The same with another message, signed anew.
    fn changed(&self, sim: &Simulator, change: impl FnOnce(&mut Value)) -> Self {
        let mut body: Value = serde_json::from_slice(&self.body).unwrap();
        let mut msg: Value = serde_json::from_str(body["msg"].as_str().unwrap()).unwrap();
        change(&mut msg);
        body["msg"] = msg.to_string().into();
        Self::signed(sim, body.to_string())
    }

    /// Delivers it; the HTTP status and the answer.
    async fn deliver(&self, gateway: &Gateway) -> (u16, Value) {
        self.deliver_by(&reqwest::Client::new(), gateway).await
    }

    async fn deliver_by(&self, client: &reqwest::Client, gateway: &Gateway) -> (u16, Value) {
        self.deliver_to(client, &gateway.callback_url(&self.to)).await
    }

    async fn deliver_to(&self, client: &reqwest::Client, url: &str) -> (u16, Value) {
        self.attempt(client, url).await.unwrap()
    }

    /// As Douyin delivers: on a connection of its own, and once more if that is lost before an
    /// answer has come.
    async fn deliver_again(&self, url: &str) -> (u16, Value) {
        let mut answered = self.attempt(&reqwest::Client::new(), url).await;
        for _ in 0..4 {
            if answered.is_ok() {
                break;
            }
            answered = self.attempt(&reqwest::Client::new(), url).await;
        }
        answered.unwrap()
    }

    async fn attempt(
        &self,
        client: &reqwest::Client,
        url: &str,
    ) -> Result<(u16, Value), reqwest::Error> {
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("Byte-Timestamp", &self.timestamp)
            .header("Byte-Nonce-Str", &self.nonce)
            .header("Byte-Signature", &self.signature)
            .header("Byte-Logid", "log-of-the-letter")
            .body(self.body.clone());
        let answer = within("the answer to a callback", request.send()).await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_str(&answer.text().await?).unwrap()))
    }
}

fn success() -> (u16, Value) {
    (200, serde_json::json!({ "err_no": 0, "err_tips": "success" }))
}
