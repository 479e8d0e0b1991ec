//! How a command asks the running gateway: JSON to its admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;

use super::ConfigFile;
use super::healthcheck::reachable;
use crate::config::{Config, Environment, Problems};

/// Connecting included.
const TIME_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The given address, else the one of the configuration.
pub(crate) fn address(
    given: Option<SocketAddr>,
    file: &ConfigFile,
) -> Result<SocketAddr, Problems> {
    match given {
        Some(addr) => Ok(addr),
        None => Config::load_addr(file.source(), &Environment::of_process(), |config| {
            ("server.admin_addr", config.admin_addr)
        })
        .map(reachable),
    }
}

/// Asks a question; returns the answer's text, or why there is none.
pub(crate) async fn ask(
    addr: SocketAddr,
    path: &str,
    asked: &impl Serialize,
) -> Result<String, String> {
    let answer = tokio::time::timeout(TIME_MAX, exchange(addr, path, asked)).await;
    answer.unwrap_or_else(|_| {
        Err(format!("no answer within {TIME_MAX:?}: look whether it took effect"))
    })
}

async fn exchange(addr: SocketAddr, path: &str, asked: &impl Serialize) -> Result<String, String> {
    let socket = tokio::net::TcpStream::connect(addr).await.map_err(|e| e.to_string())?;
    let connection = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = connection.map_err(|e| e.to_string())?;
    let body = serde_json::to_vec(asked).expect("texts serialize");
    let request = Request::post(path)
        .header(header::HOST, addr.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .expect("the parts are sound");
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let good = answer.status().is_success();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        if good { Ok(text) } else { Err(text) }
    };
    // The connection runs for as long as the answer is waited for.
    tokio::select! {
        biased;
        answer = answer => answer,
        Err(error) = connection => Err(error.to_string()),
    }
}
