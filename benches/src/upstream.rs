//! A Douyin that accepts everything at once, over HTTP/1.1, and counts how often it took each
//! number.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::Failure;
use crate::numbers::Number;

pub const CREATE_PATH: &str = "/api/trade_basic/v1/developer/settle_create/";
const TOKEN_PATH: &str = "/oauth/client_token/";
const TOKEN: &str = concat!(
    r#"{"message":"success","data":{"error_code":0,"access_token":"clt.bench","#,
    r#""expires_in":7200,"description":""}}"#
);

#[derive(Clone)]
pub struct Upstream {
    pub addr: SocketAddr,
    taken: Arc<Mutex<Taken>>,
}

/// How often each number was taken, by the numbers' tags. In pieces, so that growing copies
/// nothing.
#[derive(Default)]
struct Taken(HashMap<String, Vec<Box<[u8; PIECE]>>>);

const PIECE: usize = 1 << 16;

#[derive(Deserialize)]
struct Create<'a> {
    out_settle_no: &'a str,
}

impl Upstream {
    /// Runs on a thread of its own for as long as this process lives.
    pub fn start() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let upstream = Self { addr: listener.local_addr()?, taken: Arc::default() };
        let serving = upstream.clone();
        let thread = std::thread::Builder::new().name("upstream".to_owned());
        thread.spawn(move || runtime.block_on(serving.serve(listener)))?;
        Ok(upstream)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many of the numbers `0..count` with this tag were taken exactly once, and how often
    /// numbers with this tag were taken in total.
    pub fn taken(&self, tag: &str, count: u64) -> (u64, u64) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let pieces = taken.0.get(tag).map(Vec::as_slice).unwrap_or_default();
        let times = || pieces.iter().flat_map(|piece| piece.iter().copied());
        let once = (0..count).zip(times()).filter(|(_, times)| *times == 1).count();
        (once as u64, times().map(u64::from).sum())
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            // Without free descriptors the connection fails, which the client sees.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let upstream = self.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| upstream.answer(request));
                // The client closes the connection when it likes.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await;
        let content = match (path.as_str(), body) {
            (CREATE_PATH, Ok(body)) => self.take(&body.to_bytes()),
            (TOKEN_PATH, Ok(_)) => Some(TOKEN.to_owned()),
            _ => None,
        };
        let mut response = match content {
            Some(content) => Response::new(Full::from(content)),
            None => {
                let mut refusal = Response::new(Full::default());
                *refusal.status_mut() = StatusCode::BAD_REQUEST;
                refusal
            }
        };
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        Ok(response)
    }

    fn take(&self, body: &[u8]) -> Option<String> {
        let create: Create<'_> = serde_json::from_slice(body).ok()?;
        let number = Number::parse(create.out_settle_no)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.note(&number);
        let Number { tag, index } = number;
        Some(format!(
            concat!(
                r#"{{"err_no":0,"err_msg":"success","log_id":"20261128120000bench","#,
                r#""data":{{"settle_id":"ots{}{:020}","wallet_settle_id":"wal{:020}"}}}}"#
            ),
            tag, index, index
        ))
    }
}

impl Taken {
    fn note(&mut self, number: &Number<'_>) {
        if !self.0.contains_key(number.tag) {
            self.0.insert(number.tag.to_owned(), Vec::new());
        }
        let Some(pieces) = self.0.get_mut(number.tag) else { return };
        let index = usize::try_from(number.index).expect("numbers are counted from 0");
        while pieces.len() <= index / PIECE {
            pieces.push(Box::new([0; PIECE]));
        }
        let times = &mut pieces[index / PIECE][index % PIECE];
        *times = times.saturating_add(1);
    }
}
