//! Tests of the simulator: the rules on the pure core, the faults over real HTTP.

mod automatic;
mod callback_core;
mod callback_faults;
mod callbacks;
mod cards;
mod choices;
mod control;
mod course;
mod create;
mod faults;
mod keys;
mod query;
mod receiver;
mod scripts;
mod standalone;
mod systems;
mod timing;
mod tls;
mod token;
mod weather;
mod wire;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::orders::Order;
use super::{Answer, AppRules, Core, OrderSetup, Reply, Request, SimApp, SimConfig, Timing};

const TOKEN: &str = "/oauth/client_token/";
const CREATE: &str = "/api/trade_basic/v1/developer/settle_create/";
const QUERY: &str = "/api/trade_basic/v1/developer/settle_query/";
const APP: &str = "tt0123456789abcdef";
const SECRET: &str = "not a secret";
/// When every test of the core begins: 06:13:20 in China.
const START_MS: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 86_400_000;
/// From then to the next midnight in China.
const TO_MIDNIGHT_MS: u64 = 64_000_000;

fn config() -> SimConfig {
    let app = SimApp::new(APP, SECRET);
    let other = SimApp::new("ttother", SECRET);
    SimConfig::loopback(7, vec![app, other])
}

/// A core, a clock and a good token.
struct Desk {
    core: Core,
    now_ms: u64,
    token: String,
}

impl Desk {
    fn new() -> Self {
        Self::with(&config())
    }

    fn with(config: &SimConfig) -> Self {
        let mut desk =
            Self { core: Core::new(config), now_ms: START_MS, token: "clt.none".to_owned() };
        desk.token = desk.fetch();
        desk
    }

    fn fetch(&mut self) -> String {
        self.fetch_for(APP)
    }

    fn fetch_for(&mut self, app_id: &str) -> String {
        let body = self.post(TOKEN, &edited(token_body(), "client_key", json!(app_id)));
        body["data"]["access_token"].as_str().expect("a token").to_owned()
    }

    /// Moves the clock, and fetches a token that is good then.
    fn later_by_ms(&mut self, ms: u64) {
        self.now_ms += ms;
        self.token = self.fetch();
    }

    fn order(&self, out_order_no: &str) -> Option<&Order> {
        self.core.books.orders().find(|order| order.out_order_no == out_order_no)
    }

    fn set_order(&mut self, out_order_no: &str, order: OrderSetup) {
        self.core.books.advance(self.now_ms);
        self.core.books.set_order(APP, out_order_no, order);
    }

    fn set_app(&mut self, rules: AppRules) {
        self.core.books.advance(self.now_ms);
        self.core.books.set_app(APP, rules);
    }

    fn set_timing(&mut self, timing: Timing) {
        self.set_app(AppRules { timing, ..AppRules::default() });
    }

    fn send(&mut self, path: &str, body: impl Into<Bytes>) -> Reply {
        let request = request(path, &self.token, body.into());
        self.core.handle(self.now_ms, request)
    }

    /// The JSON of an answer that comes at once.
    fn post(&mut self, path: &str, body: &Value) -> Value {
        json_of(&answer(self.send(path, body.to_string())))
    }

    fn create(&mut self, body: &Value) -> Value {
        self.post(CREATE, body)
    }

    /// The number with which a create is answered.
    fn create_err_no(&mut self, body: &Value) -> i64 {
        self.create(body)["err_no"].as_i64().expect("a number")
    }

    fn query(&mut self, key: &str, value: &str) -> Vec<Value> {
        let answer = self.post(QUERY, &json!({ "app_id": APP, key: value }));
        assert_eq!(answer["err_no"], 0);
        answer["data"].as_array().expect("an array").clone()
    }
}

fn request(path: &str, token: &str, body: Bytes) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("access-token", HeaderValue::from_str(token).expect("tokens are ASCII"));
    Request { method: Method::POST, path: path.to_owned(), headers, body }
}

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Answer(answer) => answer,
        other @ (Reply::Wait { .. }
        | Reply::Hold { .. }
        | Reply::Drop
        | Reply::CloseMid(_)
        | Reply::Hang { .. }) => panic!("no answer but {other:?}"),
    }
}

/// Odd answers begin with a byte order mark and have half an emoji in their texts.
fn json_of(answer: &Answer) -> Value {
    let text = std::str::from_utf8(&answer.body).expect("an answer in UTF-8");
    let text = text.trim_start_matches('\u{feff}').replace("\\ud83d", "?");
    serde_json::from_str(&text).expect("an answer in JSON")
}

fn token_body() -> Value {
    json!({ "client_key": APP, "client_secret": SECRET, "grant_type": "client_credential" })
}

/// A correct whole-order create.
fn good_create(out_settle_no: &str, out_order_no: &str) -> Value {
    json!({
        "app_id": APP,
        "out_order_no": out_order_no,
        "out_settle_no": out_settle_no,
        "settle_desc": "shares",
        "settle_params": r#"[{"merchant_uid":"72789245768543296350","amount":400}]"#,
        "ext": "mark",
    })
}

fn item_create(out_settle_no: &str, out_order_no: &str, item_order_id: &str) -> Value {
    edited(good_create(out_settle_no, out_order_no), "item_order_id", json!(item_order_id))
}

fn edited(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

fn without(mut body: Value, name: &str) -> Value {
    body.as_object_mut().expect("bodies are objects").remove(name);
    body
}
