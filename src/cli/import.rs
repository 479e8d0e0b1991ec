//! `import`: puts all settles of a file that `export` wrote into an empty database.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::database::Database;
use super::progress::Progress;
use super::{complain, print};
use crate::config::Database as Configured;
use crate::store::{MoveError, Postgres, Reader, Sqlite};

#[derive(Debug, Args)]
pub struct Import {
    #[command(flatten)]
    database: Database,
    /// The file that `export` made.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Import {
    pub async fn run(self) -> ExitCode {
        let database = match self.database.options() {
            Ok(database) => database,
            Err(told) => return told,
        };
        let (name, file) = (database.to_string(), self.file.display().to_string());
        match import(database, &self.file).await {
            Ok(settles) => {
                print(&format!("{name} has all {settles} settles of {file}\n"));
                ExitCode::SUCCESS
            }
            Err(error @ MoveError::InDoubt { .. }) => {
                complain(error);
                ExitCode::FAILURE
            }
            Err(error) => {
                complain(format!("nothing of {file} was imported: {error}"));
                ExitCode::FAILURE
            }
        }
    }
}

async fn import(database: Configured, path: &PathBuf) -> Result<u64, MoveError> {
    let mut from = BufReader::new(File::open(path)?);
    let mut progress = Progress::new("settles imported");
    let mut told = |settles| progress.tell(settles);
    let mut reader = Reader::new(&mut from, &mut told);
    match database {
        Configured::Sqlite(options) => Sqlite::import(&options, &mut reader),
        Configured::Postgres(options) => Box::pin(Postgres::import(*options, &mut reader)).await,
    }
}
