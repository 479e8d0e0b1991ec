//! A PostgreSQL server of its own for one row, which scripts/postgres starts on the disk that is
//! measured.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Failure;
use crate::machine::cpu_of_family;

/// What a server for this would be given, and what keeps checkpoints out of a round.
const SETTINGS: [&str; 3] =
    ["shared_buffers=256MB", "max_wal_size=4GB", "checkpoint_timeout=30min"];

/// Ends when this value is dropped, and when this process ends.
pub struct Postgres {
    script: Child,
    /// The address for a gateway.
    pub url: String,
    /// The server's first process, whose children are all others.
    pid: u32,
}

impl Postgres {
    /// `data`: a new folder for the data.
    pub fn start(script: &Path, data: &Path, cores: &str) -> Result<Self, Failure> {
        let mut child = Command::new("taskset")
            .args(["-c", cores])
            .arg(script)
            .args(SETTINGS)
            .env("POSTGRES_DATA", data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut socket = String::new();
        let printed = child.stdout.take().ok_or("no standard output")?;
        BufReader::new(printed).read_line(&mut socket)?;
        if socket.is_empty() {
            return Err("scripts/postgres started no server".into());
        }
        let host = socket.trim().replace('/', "%2F");
        let url = format!("postgres://postgres@{host}/postgres");
        let file = fs::read_to_string(data.join("postmaster.pid"))?;
        let pid = file.lines().next().unwrap_or_default().parse()?;
        Ok(Self { script: child, url, pid })
    }

    pub fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of_family(self.pid)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The script ends with its standard input.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
