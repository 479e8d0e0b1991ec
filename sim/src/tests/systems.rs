//! Every trade system by its own documents: a developer who uses one speaks here as they say, and
//! what is true of several is one test with the system as its parameter.

mod agency;
mod callbacks;
mod guaranteed;
mod settling;
mod siblings;
mod signatures;
mod storms;
mod vectors;

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::callback_core::URL;
use super::{APP, Desk, answer, config, edited, json_of};
use crate::signed::{SignedRequest, md5_sign, request_text};
use crate::{
    Answer, AppliedSettle, Delivery, PlatformKey, Reply, Request, SANDBOX_APP_PRIVATE_KEY_PEM,
    SANDBOX_SALT, SimConfig, System,
};

/// The systems in which developers settle.
const SETTLING: [System; 4] =
    [System::General, System::SelfOperated, System::Industry, System::Guaranteed];

/// A developer who uses one system, with an address for its callbacks.
struct Developer {
    desk: Desk,
    system: System,
    key: PlatformKey,
    signed: usize,
}

/// An answer, read as the documents of its system say.
#[derive(Debug)]
struct Said {
    /// 0: good.
    number: i64,
    /// The id that an accepted create names.
    settle_id: String,
    body: Value,
}

/// Runs a test in each system in which developers settle.
fn in_each(test: impl Fn(&mut Developer)) {
    for system in SETTLING {
        test(&mut Developer::new(system));
    }
}

impl Developer {
    fn new(system: System) -> Self {
        Self::with(system, config())
    }

    fn with(system: System, mut config: SimConfig) -> Self {
        config.apps[0].callback_url = Some(URL.to_owned());
        let key = PlatformKey::from_pem(SANDBOX_APP_PRIVATE_KEY_PEM).expect("a key");
        Self { desk: Desk::with(&config), system, key, signed: 0 }
    }

    fn create_path(&self) -> &'static str {
        match self.system {
            System::General => super::CREATE,
            System::SelfOperated => "/api/apps/trade/v2/settle/create_settle",
            System::Industry => "/api/apps/trade/v2/create_settle",
            System::Guaranteed => "/api/apps/ecpay/v1/settle",
            System::Agency => panic!("it has no create"),
        }
    }

    fn query_path(&self) -> &'static str {
        match self.system {
            System::General => super::QUERY,
            System::SelfOperated => "/api/apps/trade/v2/settle/query_settle",
            System::Agency => "/api/apps/trade/v2/settle/query_settle/",
            System::Industry => "/api/apps/trade/v2/query_settle",
            System::Guaranteed => "/api/apps/ecpay/v1/query_settle",
        }
    }

    /// A correct create.
    fn body(&self, out_settle_no: &str, out_order_no: &str) -> Value {
        let mut body = super::good_create(out_settle_no, out_order_no);
        let fields = body.as_object_mut().expect("an object");
        if self.system != System::General {
            let mark = fields.remove("ext").expect("it is there");
            fields.insert("cp_extra".to_owned(), mark);
        }
        if matches!(self.system, System::SelfOperated | System::Industry) {
            fields.remove("app_id");
        }
        body
    }

    fn query_body(&self, key: &str, value: &str) -> Value {
        match self.system {
            System::General | System::Guaranteed => json!({ "app_id": APP, key: value }),
            System::SelfOperated | System::Industry | System::Agency => json!({ key: value }),
        }
    }

    /// The request, with what shows who asks.
    fn request(&mut self, path: &str, mut body: Value) -> Request {
        if self.system == System::Guaranteed {
            body["sign"] = json!(md5_sign(&body, SANDBOX_SALT));
        }
        let body = Bytes::from(body.to_string());
        let mut request = super::request(path, &self.desk.token, body);
        if self.system == System::Industry {
            request.headers.remove("access-token");
            let header = self.authorization(path, &request.body, self.desk.now_ms / 1_000);
            request.headers.insert("byte-authorization", header);
        }
        request
    }

    fn authorization(&mut self, uri: &str, body: &[u8], timestamp_s: u64) -> HeaderValue {
        self.signed += 1;
        let (timestamp, nonce) = (timestamp_s.to_string(), format!("nonce{}", self.signed));
        let headers = http::HeaderMap::new();
        let request = SignedRequest { method: &Method::POST, uri, headers: &headers, body };
        let signature = self.key.sign(&request_text(&request, &timestamp, &nonce));
        let text = format!(
            "SHA256-RSA2048 appid=\"{APP}\",nonce_str=\"{nonce}\",timestamp=\"{timestamp}\",\
             key_version=\"1\",signature=\"{signature}\""
        );
        HeaderValue::try_from(text).expect("ASCII")
    }

    fn send(&mut self, path: &str, body: Value) -> Reply {
        let request = self.request(path, body);
        self.desk.core.handle(self.desk.now_ms, request)
    }

    fn ask(&mut self, path: &str, body: Value) -> Said {
        let answer = answer(self.send(path, body));
        self.read(&answer)
    }

    fn read(&self, answer: &Answer) -> Said {
        let body = json_of(answer);
        let (number, settle_id) = match self.system {
            System::General | System::Industry => (&body["err_no"], &body["data"]["settle_id"]),
            System::SelfOperated | System::Agency => {
                let (sub, parent) =
                    (&body["extra"]["sub_error_code"], &body["extra"]["error_code"]);
                (if *sub == 0 { parent } else { sub }, &body["data"]["settle_id"])
            }
            System::Guaranteed => (&body["err_no"], &body["settle_no"]),
        };
        let number = number.as_i64().unwrap_or_else(|| panic!("no number in {body}"));
        let settle_id = settle_id.as_str().unwrap_or_default().to_owned();
        Said { number, settle_id, body }
    }

    fn create(&mut self, out_settle_no: &str, out_order_no: &str) -> Said {
        let body = self.body(out_settle_no, out_order_no);
        self.ask(self.create_path(), body)
    }

    /// What a query tells of settles, oldest first; empty if it finds none.
    fn query(&mut self, key: &str, value: &str) -> Vec<Value> {
        let said = self.ask(self.query_path(), self.query_body(key, value));
        match (self.system, said.number) {
            (System::Guaranteed, 2_000) => Vec::new(),
            (System::Guaranteed, 0) => vec![said.body["settle_info"].clone()],
            (_, 0) => said.body["data"].as_array().expect("an array").clone(),
            (_, number) => panic!("{number}"),
        }
    }

    /// The status of the one settle under a number; empty if there is none.
    fn status(&mut self, out_settle_no: &str) -> String {
        match self.query("out_settle_no", out_settle_no).as_slice() {
            [] => String::new(),
            [one] => one["settle_status"].as_str().expect("a word").to_owned(),
            more => panic!("{more:?}"),
        }
    }

    /// Lets settles end.
    fn wait(&mut self) {
        self.desk.later_by_ms(1_500);
    }

    fn callbacks(&mut self) -> Vec<Delivery> {
        self.desk.core.callbacks_due(self.desk.now_ms, 100)
    }

    fn settles(&self) -> Vec<AppliedSettle> {
        self.desk.core.snapshot().settles
    }

    /// The number of this system where most have the other.
    fn number(&self, usual: i64, guaranteed: i64) -> i64 {
        if self.system == System::Guaranteed { guaranteed } else { usual }
    }
}
