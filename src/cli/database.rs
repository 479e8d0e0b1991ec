//! The database of a command that runs without a gateway on it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{ConfigFile, EX_USAGE, complain};
use crate::config::{self, Config, DATABASE, Environment, Flags};

#[derive(Debug, Args)]
pub(crate) struct Database {
    #[command(flatten)]
    file: ConfigFile,
    /// The folder of the database, as for `serve`; overrides the configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Database {
    /// How the database is opened. `Err`: the configuration cannot be used, and the operator was
    /// told.
    pub(crate) fn options(self) -> Result<config::Database, ExitCode> {
        let flags =
            Flags { grpc_addr: None, database: self.data_dir.map(|dir| dir.join(DATABASE)) };
        let environment = Environment::of_process();
        Config::load_database(self.file.source(), &environment, flags).map_err(|problems| {
            complain(problems);
            ExitCode::from(EX_USAGE)
        })
    }
}
