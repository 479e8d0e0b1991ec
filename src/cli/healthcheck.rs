//! `healthcheck`: asks a gateway whether it serves. For containers, whose image has no other
//! program for that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{ConfigFile, complain, print};
use crate::config::{Config, Environment};

#[derive(Debug, Args)]
pub struct Healthcheck {
    #[command(flatten)]
    file: ConfigFile,
    /// The address to ask. Default: the one that `serve` would listen on by its configuration;
    /// options of `serve` are not known here.
    #[arg(long, value_name = "ADDR")]
    addr: Option<String>,
    /// The service to ask for. Default: the server as a whole.
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
}

/// Connecting included. Shorter than the container engine's time limit, so that the reason is
/// printed.
const TIME_MAX: Duration = Duration::from_secs(2);

impl Healthcheck {
    pub async fn run(self) -> ExitCode {
        let addr = match self.addr {
            Some(addr) => addr,
            None => match Config::load_addr(self.file.source(), &Environment::of_process(), |c| {
                ("server.grpc_addr", c.grpc_addr)
            }) {
                Ok(addr) => reachable(addr).to_string(),
                Err(problems) => {
                    complain(problems);
                    return ExitCode::FAILURE;
                }
            },
        };
        let answer = tokio::time::timeout(TIME_MAX, ask(&addr, self.service)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {TIME_MAX:?}")));
        match answer {
            Ok(ServingStatus::Serving) => {
                print("SERVING\n");
                ExitCode::SUCCESS
            }
            Ok(status) => {
                complain(format_args!("{addr} is {}", status.as_str_name()));
                ExitCode::FAILURE
            }
            Err(why) => {
                complain(format_args!("{addr}: {why}"));
                ExitCode::FAILURE
            }
        }
    }
}

async fn ask(addr: &str, service: String) -> Result<ServingStatus, String> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"));
    let endpoint = endpoint.map_err(|_| "is no address".to_owned())?;
    let channel = endpoint.connect().await.map_err(causes)?;
    let request = HealthCheckRequest { service };
    let answer = HealthClient::new(channel).check(request).await;
    let answer = answer.map_err(|status| {
        format!("{} {}", status.code(), status.message()).trim_end().to_owned()
    })?;
    Ok(answer.into_inner().status())
}

/// A gateway that listens on every address is asked on this machine's own.
pub(crate) fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// An error with all its causes, in one line.
pub(crate) fn causes(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}
