//! `restored`: tells a database that it is a backup, so that it begins a new generation.

use std::process::ExitCode;

use clap::Args;

use super::database::Database;
use super::{complain, print, setup};
use crate::settle::ProcessId;
use crate::store::Sqlite;

#[derive(Debug, Args)]
pub struct Restored {
    #[command(flatten)]
    database: Database,
}

impl Restored {
    pub fn run(self) -> ExitCode {
        let options = match self.database.options() {
            Ok(options) => options,
            Err(told) => return told,
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
