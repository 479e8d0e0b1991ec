//! `resolve-contradiction`: sends an operator's decision to the running gateway.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use super::{ConfigFile, admin, complain, print};
use crate::http::admin::{Keep, RESOLVE_PATH, Resolve};

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

impl ResolveContradiction {
    pub async fn run(self) -> ExitCode {
        let addr = match admin::address(self.admin_addr, &self.file) {
            Ok(addr) => addr,
            Err(problems) => {
                complain(problems);
                return ExitCode::FAILURE;
            }
        };
        let Self { app_id, out_settle_no, keep, .. } = self;
        let resolve = Resolve { app_id, out_settle_no, keep };
        match admin::ask(addr, RESOLVE_PATH, &resolve).await {
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
