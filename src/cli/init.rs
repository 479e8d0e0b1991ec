//! `init`: makes the database, once in the life of an installation.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{ConfigFile, EX_USAGE, complain, print};
use crate::config::{Config, Environment, Flags};
use crate::store::Sqlite;

#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    file: ConfigFile,
    /// The folder of the database, as for `serve`; overrides the configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Init {
    pub fn run(self) -> ExitCode {
        let flags = Flags { grpc_addr: None, data_dir: self.data_dir };
        let environment = Environment::of_process();
        let options = match Config::load_database(self.file.source(), &environment, flags) {
            Ok(options) => options,
            Err(problems) => {
                complain(problems);
                return ExitCode::from(EX_USAGE);
            }
        };
        match Sqlite::init(&options) {
            Ok(path) => {
                print(&format!("made {}\n", path.display()));
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(error);
                ExitCode::FAILURE
            }
        }
    }
}
