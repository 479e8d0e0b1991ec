//! `init`: makes the database, once in the life of an installation.

use std::process::ExitCode;

use clap::Args;

use super::database::Database;
use super::{complain, print};
use crate::config::Database as Configured;
use crate::store::{Postgres, Sqlite};

#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    database: Database,
}

impl Init {
    pub async fn run(self) -> ExitCode {
        let made = match self.database.options() {
            Ok(Configured::Sqlite(options)) => {
                Sqlite::init(&options).map(|path| path.display().to_string()).map_err(told)
            }
            Ok(Configured::Postgres(options)) => {
                let made = Postgres::init(&options).await;
                made.map(|()| format!("the tables in {}", options.address)).map_err(told)
            }
            Err(told) => return told,
        };
        match made {
            Ok(made) => {
                print(&format!("made {made}\n"));
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(error);
                ExitCode::FAILURE
            }
        }
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
