//! `export`: writes all settles of a database into a file and closes the database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::database::Database;
use super::progress::Progress;
use super::{complain, print};
use crate::config::Database as Configured;
use crate::store::{MoveError, Postgres, Sqlite, Writer};

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    database: Database,
    /// The file to make, which only its owner can read. It holds all that was settled, and no
    /// secret.
    #[arg(value_name = "FILE", required_unless_present = "take_back")]
    file: Option<PathBuf>,
    /// Opens a database again that was exported. Only if no gateway has worked on the other one:
    /// what was settled there is not known here.
    #[arg(long, conflicts_with = "file")]
    take_back: bool,
}

impl Export {
    pub async fn run(self) -> ExitCode {
        let database = match self.database.options() {
            Ok(database) => database,
            Err(told) => return told,
        };
        let name = database.to_string();
        let done = match &self.file {
            Some(file) => export(&database, file).await.map(|settles| {
                format!(
                    "{} has all {settles} settles of {name}, which is closed from now on: \
                     settlement-gateway import them into an empty database\n",
                    file.display(),
                )
            }),
            None => take_back(database).await.map(|()| {
                format!(
                    "{name} is open again. Remove the file of the export. If a gateway has worked \
                     on the other database, run settlement-gateway restored before serve\n"
                )
            }),
        };
        match done {
            Ok(done) => {
                print(&done);
                ExitCode::SUCCESS
            }
            Err(problem) => {
                complain(problem);
                ExitCode::FAILURE
            }
        }
    }
}

async fn take_back(database: Configured) -> Result<(), String> {
    let taken_back = match database {
        Configured::Sqlite(options) => Sqlite::take_back(&options),
        Configured::Postgres(options) => Box::pin(Postgres::take_back(*options)).await,
    };
    taken_back.map_err(|error| error.to_string())
}

async fn export(database: &Configured, path: &Path) -> Result<u64, String> {
    let told = |error: io::Error| format!("cannot make {}: {error}", path.display());
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = options.map_err(told)?;
    let exported = match write(database, &file).await {
        Ok(settles) => {
            file.sync_all().and_then(|()| sync_name(path)).map(|()| settles).map_err(told)
        }
        Err(error) => Err(error.to_string()),
    };
    if exported.is_err() {
        // It is of no use, and in the way of the next attempt.
        let _ = fs::remove_file(path);
    }
    exported
}

async fn write(database: &Configured, file: &File) -> Result<u64, MoveError> {
    let mut progress = Progress::new("settles exported");
    let mut told = |settles| progress.tell(settles);
    let mut to = BufWriter::new(file);
    let mut writer = Writer::new(&mut to, &mut told);
    let settles = match database {
        Configured::Sqlite(options) => Sqlite::export(options, &mut writer)?,
        Configured::Postgres(options) => {
            Box::pin(Postgres::export((**options).clone(), &mut writer)).await?
        }
    };
    to.flush()?;
    Ok(settles)
}

fn sync_name(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
