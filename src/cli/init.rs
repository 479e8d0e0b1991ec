//! `init`: makes the database, once in the life of an installation.

use std::process::ExitCode;

use clap::Args;

use super::database::Database;
use super::{complain, print};
use crate::store::Sqlite;

#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    database: Database,
}

impl Init {
    pub fn run(self) -> ExitCode {
        let options = match self.database.options() {
            Ok(options) => options,
            Err(told) => return told,
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
