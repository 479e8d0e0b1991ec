//! `resolve-contradiction`: an operator's decision, taken to the gateway that runs.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;

use super::healthcheck::reachable;
use super::{ConfigFile, complain, print};
use crate::admin::{Keep, RESOLVE_PATH, Resolve};
use crate::config::{Config, Environment};

#[derive(Debug, Args)]
pub struct ResolveContradiction {
    #[command(flatten)]
    file: ConfigFile,
    /// The settle's app.
    #[arg(long, value_name = "APP_ID")]
    app_id: String,
    /// The settle's number.
    #[arg(long, value_name = "NUMBER")]
    out_settle_no: String,
    /// Which word stands: the recorded state, or the one that the contradiction claims.
    #[arg(long, value_enum)]
    keep: Keep,
    /// The gateway's admin address. Default: the one of the configuration.
    #[arg(long, value_name = "ADDR")]
    admin_addr: Option<SocketAddr>,
}

/// Connecting included.
const TIME_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

impl ResolveContradiction {
    pub async fn run(self) -> ExitCode {
        let addr = match self.admin_addr {
            Some(addr) => addr,
            None => match Config::load_addr(self.file.source(), &Environment::of_process(), |c| {
                ("server.admin_addr", c.admin_addr)
            }) {
                Ok(addr) => reachable(addr),
                Err(problems) => {
                    complain(problems);
                    return ExitCode::FAILURE;
                }
            },
        };
        let Self { app_id, out_settle_no, keep, .. } = self;
        let resolve = Resolve { app_id, out_settle_no, keep };
        let answer = tokio::time::timeout(TIME_MAX, ask(addr, &resolve)).await;
        let late = || Err(format!("no answer within {TIME_MAX:?}: look whether it was resolved"));
        match answer.unwrap_or_else(|_| late()) {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(why) => {
                complain(format_args!("{addr}: {}", why.trim_end()));
                ExitCode::FAILURE
            }
        }
    }
}

async fn ask(addr: SocketAddr, resolve: &Resolve) -> Result<String, String> {
    let socket = tokio::net::TcpStream::connect(addr).await.map_err(|e| e.to_string())?;
    let connection = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = connection.map_err(|e| e.to_string())?;
    let body = serde_json::to_vec(resolve).expect("texts serialize");
    let request = Request::post(RESOLVE_PATH)
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
    // The connection works for as long as the answer is waited for.
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(error.to_string()),
    }
}
