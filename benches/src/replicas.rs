//! What more replicas bring: one gateway on SQLite beside one, two and three on a PostgreSQL.

use std::path::Path;

use crate::Failure;
use crate::machine::Cores;
use crate::rounds::{self, Extent, Row};
use crate::servers::Programs;
use crate::upstream::Upstream;

const CALLERS: [usize; 2] = [64, 256];
const TAGS: [&str; 3] = ["p1", "p2", "p3"];

/// All servers of a row share half of the machine's cores with their PostgreSQL.
pub fn run(programs: &Programs, postgres: &Path, extent: Extent) -> Result<(), Failure> {
    let count = std::thread::available_parallelism()?.get();
    let cores = Cores::split((count / 2).max(1))?;
    println!("{}; a PostgreSQL shares the cores of its gateways", cores.describe());
    let upstream = Upstream::start()?;
    let url = upstream.url();
    let sqlite = programs.gateway("sqlite", &cores, &url)?;
    let mut rows = vec![Row::of("1 gateway, SQLite", "sqlite", sqlite)];
    for (replicas, tag) in (1..).zip(TAGS) {
        let name = match replicas {
            1 => "1 gateway, PostgreSQL".to_owned(),
            several => format!("{several} gateways, PostgreSQL"),
        };
        let fleet = programs.replicas(tag, replicas, postgres, (&cores, &url))?;
        rows.push(Row::replicas(&name, tag, fleet));
    }
    let extent = Extent { threads: cores.load_threads, ..extent };
    rounds::play(&mut rows, &CALLERS, extent, programs)?;
    rounds::print(&rows, &CALLERS);
    for row in &rows {
        row.verify(&upstream)?;
        let count = row.verify_store()?;
        println!("{}: {count} creates are at the upstream and in the store once.", row.name);
    }
    Ok(())
}
