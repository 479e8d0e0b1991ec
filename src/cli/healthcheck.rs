//! `healthcheck`: asks a gateway whether it serves. For containers, whose image has no other
//! program for that.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect::{Own, Reach};
use super::{complain, print};

#[derive(Debug, Args)]
pub struct Healthcheck {
    #[command(flatten)]
    reach: Reach,
    /// The service to ask for. Default: the server as a whole.
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
}

/// Connecting included. Shorter than the container engine's time limit, so that the reason is
/// printed.
const TIME_MAX: Duration = Duration::from_secs(2);

impl Healthcheck {
    pub async fn run(self) -> ExitCode {
        let answer = tokio::time::timeout(TIME_MAX, ask(&self.reach, self.service)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {TIME_MAX:?}")));
        match answer {
            Ok(ServingStatus::Serving) => {
                print("SERVING\n");
                ExitCode::SUCCESS
            }
            Ok(status) => {
                complain(format_args!("the gateway is {}", status.as_str_name()));
                ExitCode::FAILURE
            }
            Err(why) => {
                complain(why);
                ExitCode::FAILURE
            }
        }
    }
}

async fn ask(reach: &Reach, service: String) -> Result<ServingStatus, String> {
    // A gateway that serves must not be ended because the file of its certificate was changed badly
    // and the gateway goes on with the old one.
    let line = reach.connect(Own::Any).await?;
    let answer = HealthClient::new(line).check(HealthCheckRequest { service }).await;
    let answer = answer.map_err(|status| {
        format!("{} {}", status.code(), status.message()).trim_end().to_owned()
    })?;
    Ok(answer.into_inner().status())
}
