//! `restored`: tells a database that it is a backup, so that it begins a new generation.

use std::process::ExitCode;

use clap::Args;

use super::database::Database;
use super::{complain, print, setup};
use crate::config::Database as Configured;
use crate::settle::ProcessId;
use crate::store::{Postgres, Sqlite};

#[derive(Debug, Args)]
pub struct Restored {
    #[command(flatten)]
    database: Database,
}

impl Restored {
    pub async fn run(self) -> ExitCode {
        let database = match self.database.options() {
            Ok(database) => database,
            Err(told) => return told,
        };
        let name = database.to_string();
        let begun = match database {
            Configured::Sqlite(options) => {
                let process = ProcessId(setup::seed());
                Sqlite::begin_generation(&options, process).map_err(|error| error.to_string())
            }
            Configured::Postgres(options) => {
                Postgres::begin_generation(*options).await.map_err(|error| error.to_string())
            }
        };
        match begun {
            Ok(begun) => {
                print(&format!(
                    "{name} is generation {}: {} open settles are never sent again; they are \
                     followed if Douyin shows them, and rejected if it does not\n",
                    begun.number, begun.open_settles,
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
