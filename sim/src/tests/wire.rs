//! The simulator over real HTTP: the whole way once, its limits and its end.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::{APP, CREATE, QUERY, TOKEN, config, good_create, token_body};
use crate::{Gate, Script, SimConfig, Simulator, Status};

/// Turns a test that would hang into one that fails.
pub(super) const LONG: Duration = Duration::from_secs(10);

/// A simulator and a client with a good token.
pub(super) struct Client {
    pub(super) sim: Simulator,
    pub(super) http: reqwest::Client,
    token: String,
}

impl Client {
    pub(super) async fn start() -> Self {
        Self::start_with(config()).await
    }

    pub(super) async fn start_with(config: SimConfig) -> Self {
        // Other code in this process may have installed it already, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let sim = Simulator::start(config).await.expect("a free loopback port");
        #[expect(clippy::disallowed_methods, reason = "not the gateway's client")]
        let http = reqwest::Client::new();
        let mut client = Self { sim, http, token: String::new() };
        let body = client.post(TOKEN, &token_body()).await.expect("an answer");
        let body: Value = read(body).await;
        client.token = body["data"]["access_token"].as_str().expect("a token").to_owned();
        client
    }

    pub(super) async fn post(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<reqwest::Response, reqwest::Error> {
        self.http
            .post(format!("{}{path}", self.sim.url()))
            .header("content-type", "application/json")
            .header("access-token", &self.token)
            .body(body.to_string())
            .send()
            .await
    }

    pub(super) async fn create(&self) -> Result<reqwest::Response, reqwest::Error> {
        self.post(CREATE, &good_create("s1", "o1")).await
    }

    /// Sends a create and leaves the rest of the conversation to the test.
    pub(super) async fn send_raw(&self, body: &Value) -> TcpStream {
        let address = self.sim.url().replace("http://", "");
        let mut stream = TcpStream::connect(&address).await.expect("it listens");
        let (body, token) = (body.to_string(), &self.token);
        let head = format!(
            "POST {CREATE} HTTP/1.1\r\nhost: {address}\r\naccess-token: {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("an open connection");
        stream.write_all(body.as_bytes()).await.expect("an open connection");
        stream
    }

    pub(super) async fn create_err_no(&self) -> Value {
        read(self.create().await.expect("an answer")).await["err_no"].clone()
    }
}

pub(super) async fn read(response: reqwest::Response) -> Value {
    serde_json::from_slice(&read_bytes(response).await).expect("JSON")
}

pub(super) async fn read_bytes(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.expect("a whole body") {
        body.extend_from_slice(&chunk);
    }
    body
}

#[tokio::test]
async fn a_settle_can_be_created_and_followed_to_its_end() {
    let client = Client::start().await;
    let response = client.create().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(response.headers()["x-tt-logid"].len() >= 44);
    let created = read(response).await;
    let key = json!({ "app_id": APP, "settle_id": created["data"]["settle_id"] });
    let item = read(client.post(QUERY, &key).await.expect("an answer")).await["data"][0].clone();
    assert_eq!(item["settle_status"], "INIT");
    client.sim.advance(Duration::from_secs(2));
    let item = read(client.post(QUERY, &key).await.expect("an answer")).await["data"][0].clone();
    assert_eq!(item["settle_status"], "SUCCESS");
    let books = client.sim.books();
    assert_eq!(books.only("s1").expect("one settle").status, Status::Success);
    assert_eq!((books.creates_total(), books.queries_total()), (1, 2));
    client.sim.stop().await;
}

#[tokio::test]
async fn a_business_error_has_status_400_and_a_json_body() {
    let client = Client::start().await;
    let response = client.post(CREATE, &good_create("s1", "sim-err-23107-x")).await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), 400);
    assert_eq!(read(response).await["err_no"], 23_107);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_body_above_64_kib_is_too_large() {
    let client = Client::start().await;
    let response = client.post(CREATE, &json!({ "ext": "x".repeat(64 * 1024) })).await;
    assert_eq!(response.expect("an answer").status(), 413);
    assert_eq!(client.sim.books().creates_total(), 0);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_token_can_be_stolen_and_ended() {
    let client = Client::start().await;
    client.sim.steal_token(APP).expect("a token");
    assert_eq!(client.create_err_no().await, 0);
    client.sim.steal_token(APP).expect("a token");
    assert_eq!(client.create_err_no().await, 28_001_008);
    assert_eq!(client.sim.steal_token("ttnone"), None);
    client.sim.expire_tokens(APP);
    assert_eq!(client.create_err_no().await, 28_001_008);
    client.sim.stop().await;
}

#[tokio::test]
async fn until_waits_for_what_other_requests_do() {
    let client = Client::start().await;
    let (books, _, _) = tokio::join!(
        client.sim.until(|books| books.sends("s1") == 2),
        client.create_err_no(),
        client.create_err_no(),
    );
    let bodies = books.create_bodies("s1");
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[0], bodies[1]);
    client.sim.stop().await;
}

#[tokio::test]
async fn stop_ends_everything_that_waits_and_frees_the_port() {
    let client = Client::start().await;
    let gate = Gate::new();
    let slow = Script::delay(3_600_000, Script::Normal);
    client.sim.script("s1", vec![Script::Hold(gate.clone()), Script::Hang, slow]);
    let good = good_create("s1", "o1");
    let requests = async {
        tokio::join!(client.post(CREATE, &good), client.post(CREATE, &good), client.create())
    };
    let stop = async {
        client.sim.until(|books| books.sends("s1") == 3).await;
        client.sim.stop().await;
    };
    let ((one, two, three), ()) = tokio::join!(requests, stop);
    assert!(one.is_err() && two.is_err() && three.is_err());
    assert!(client.sim.books().settles.is_empty());
    let address = client.sim.url().replace("http://", "");
    TcpListener::bind(address).await.expect("the port is free again");
}

#[tokio::test]
async fn dropping_the_last_handle_stops_it_too() {
    let client = Client::start().await;
    let url = client.sim.url();
    drop(client.sim);
    // The listener closes a moment later.
    let address = url.replace("http://", "");
    let refused = async {
        while TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, refused).await.expect("it stops");
}
