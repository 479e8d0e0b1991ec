//! The command line. What the commands do is elsewhere.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A gRPC gateway to Douyin's settlement (分账, profit sharing) that never loses or doubles a
/// settle.
#[derive(Debug, Parser)]
#[command(name = "settlement-gateway", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the gateway.
    Serve(Serve),
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    #[cfg_attr(feature = "sandbox", arg(required_unless_present = "sandbox"))]
    #[cfg_attr(not(feature = "sandbox"), arg(required = true))]
    pub config: Option<PathBuf>,
    /// Runs against a Douyin simulator in this process: no account, no money.
    #[cfg(feature = "sandbox")]
    #[arg(long)]
    pub sandbox: bool,
    /// Where gRPC listens; overrides the configuration.
    #[arg(long, value_name = "ADDR", env = "SETTLEMENT_GRPC_ADDR")]
    pub grpc_addr: Option<SocketAddr>,
    /// The folder of the database; overrides the configuration.
    #[arg(long, value_name = "DIR", env = "SETTLEMENT_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
