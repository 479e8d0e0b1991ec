//! `restored`: tells the database that it is a backup, which went back to an earlier state.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{ConfigFile, EX_USAGE, complain, print, setup};
use crate::config::{Config, Environment, Flags};
use crate::settle::ProcessId;
use crate::store::Sqlite;

#[derive(Debug, Args)]
pub struct Restored {
    #[command(flatten)]
    file: ConfigFile,
    /// The folder of the database; overrides the configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Restored {
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
        match Sqlite::begin_generation(&options, ProcessId(setup::seed())) {
            Ok(begun) => {
                print(&format!(
                    "{} is generation {}: {} open settles are never sent again; they are followed \
                     if Douyin shows them, and rejected if it does not\n",
                    options.path.display(),
                    begun.number,
                    begun.open_settles,
                ));
                ExitCode::SUCCESS
            }
            Err(problem) => {
                complain(problem);
                ExitCode::FAILURE
            }
        }
    }
}
