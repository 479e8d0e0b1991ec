//! What it takes to move a store: from SQLite to PostgreSQL, and back.

use std::fs;
use std::path::Path;

use crate::Failure;
use crate::fill::fill;
use crate::machine::Cores;
use crate::numbers::app_id;
use crate::postgres::Postgres;
use crate::servers::Programs;

/// Nothing is sent.
const NO_DOUYIN: &str = "http://127.0.0.1:9";

pub fn run(programs: &Programs, script: &Path, settles: u64) -> Result<(), Failure> {
    let cores = Cores::split(1)?;
    println!("{}; the commands run where the machine puts them", cores.describe());
    let data = programs.directory.join("moved-postgres");
    let server = Postgres::start(script, &data, &cores.server)?;
    let sqlite = |name| format!("sqlite_path = \"{}\"", programs.database(name).display());
    programs.make_new("sqlite", &sqlite("sqlite"), NO_DOUYIN)?;
    programs.make_new("postgres", &format!("url = \"{}\"", server.url), NO_DOUYIN)?;
    programs.make_new("again", &sqlite("again"), NO_DOUYIN)?;
    fill(&programs.database("sqlite"), &app_id(0), "moved", 0..settles)?;
    println!("| what | seconds | settles/s |\n| --- | ---: | ---: |");
    let [there, back] = ["there", "back"].map(|name| programs.directory.join(name));
    for (what, command, of, file) in [
        ("export from SQLite", "export", "sqlite", &there),
        ("import into PostgreSQL", "import", "postgres", &there),
        ("export from PostgreSQL", "export", "postgres", &back),
        ("import into SQLite", "import", "again", &back),
    ] {
        let (said, took) = programs.command(of, &[command, &file.display().to_string()])?;
        if !said.contains(&format!("all {settles} settles")) {
            return Err(format!("settles are missing: {said}").into());
        }
        let seconds = took.as_secs_f64();
        println!("| {what} | {seconds:.1} | {:.0} |", settles as f64 / seconds);
    }
    let bytes = fs::metadata(&there)?.len();
    println!("{settles} settles: a file of {bytes} bytes, {} for each.", bytes / settles);
    for file in [there, back] {
        fs::remove_file(file)?;
    }
    Ok(())
}
