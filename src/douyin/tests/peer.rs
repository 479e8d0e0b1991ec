//! A double of Douyin within the process: tokens by its rules, creates by a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::{Call, Reply, SendError, Transport};
use super::{SECRET, accepted};

/// What a request gets.
#[derive(Clone)]
pub(super) enum Act {
    Say(Value),
    SayWith(u16, &'static [u8]),
    Fail(SendError),
    Hang,
    /// Lets this many seconds pass first.
    After(u64, Box<Act>),
}

#[derive(Clone, Default)]
pub(super) struct Peer(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    /// Newest last. The newest two are valid.
    tokens: Vec<String>,
    token_acts: VecDeque<Act>,
    acts: VecDeque<Act>,
    /// The answer to a rejected token.
    rejection: Option<Value>,
    token_calls: usize,
    /// The tokens of the other calls.
    calls: Vec<String>,
}

impl Peer {
    /// The next token calls get these answers; later ones get tokens.
    pub(super) fn script_tokens(&self, acts: impl IntoIterator<Item = Act>) {
        self.0.lock().unwrap().token_acts.extend(acts);
    }

    /// The next creates and queries with a valid token get these answers; later ones are accepted.
    pub(super) fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.0.lock().unwrap().acts.extend(acts);
    }

    pub(super) fn reject_with(&self, rejection: Value) {
        self.0.lock().unwrap().rejection = Some(rejection);
    }

    /// Makes a token as any fetcher with the key does.
    pub(super) fn issue(&self) -> String {
        let mut books = self.0.lock().unwrap();
        let token = format!("clt.{}", books.tokens.len() + 1);
        books.tokens.push(token.clone());
        token
    }

    /// The answer that hands out a token made now.
    pub(super) fn issued(&self) -> Value {
        json!({
            "data": { "access_token": self.issue(), "expires_in": 7200, "error_code": 0 },
            "message": "success",
        })
    }

    pub(super) fn kill_tokens(&self) {
        let (first, second) = (self.issue(), self.issue());
        assert_ne!(first, second);
    }

    pub(super) fn token_calls(&self) -> usize {
        self.0.lock().unwrap().token_calls
    }

    pub(super) fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }

    pub(super) fn transport(&self) -> Transport {
        let peer = self.clone();
        Transport::InProcess(Arc::new(move |call| {
            let peer = peer.clone();
            Box::pin(async move {
                // Other tasks run while a request is on its way.
                tokio::task::yield_now().await;
                let mut act = peer.act(&call);
                loop {
                    act = match act {
                        Act::Say(body) => return Ok(reply(200, body.to_string().into())),
                        Act::SayWith(status, body) => {
                            return Ok(reply(status, Bytes::from_static(body)));
                        }
                        Act::Fail(error) => return Err(error),
                        Act::Hang => std::future::pending().await,
                        Act::After(secs, then) => {
                            tokio::time::advance(std::time::Duration::from_secs(secs)).await;
                            *then
                        }
                    }
                }
            })
        }))
    }

    fn act(&self, call: &Call) -> Act {
        if call.path == "/oauth/client_token/" {
            return self.act_on_token_call(call);
        }
        let token = call.headers["access-token"].to_str().unwrap().to_owned();
        let mut books = self.0.lock().unwrap();
        let good = books.tokens.iter().rev().take(2).any(|good| *good == token);
        books.calls.push(token);
        if good {
            return books.acts.pop_front().unwrap_or_else(|| Act::Say(accepted()));
        }
        let rejection = json!({ "err_no": 28001003, "err_msg": "bad access_token" });
        Act::Say(books.rejection.clone().unwrap_or(rejection))
    }

    fn act_on_token_call(&self, call: &Call) -> Act {
        assert!(!call.headers.contains_key("access-token"));
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        let client_key = body["client_key"].as_str().unwrap();
        assert!(["tt1", "tt9"].contains(&client_key), "{client_key}");
        let expected = json!({
            "client_key": client_key, "client_secret": SECRET, "grant_type": "client_credential",
        });
        assert_eq!(body, expected);
        let mut books = self.0.lock().unwrap();
        books.token_calls += 1;
        let scripted = books.token_acts.pop_front();
        drop(books);
        scripted.unwrap_or_else(|| Act::Say(self.issued()))
    }
}

fn reply(status: u16, content: Bytes) -> Reply {
    Reply { status, log_id_header: Some("log-header".to_owned()), content }
}
