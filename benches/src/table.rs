//! The table: the servers side by side, and the targets that it can judge.

use std::path::{Path, PathBuf};

use crate::Failure;
use crate::judged::{Judged, at_least, at_most};
use crate::machine::Cores;
use crate::rounds::{self, Extent, Row};
use crate::servers::Programs;
use crate::upstream::Upstream;

const CALLERS: [usize; 3] = [1, 64, 256];
const DIRECT: &str = "upstream, called directly";
const BARE: &str = "bare tonic + reqwest, nothing stored";
const GATEWAY: &str = "gateway, SQLite";
const PEER: &str = "grpc-go + net/http, nothing stored";
const POSTGRES: &str = "gateway, PostgreSQL";

/// What may be missing on a machine.
pub struct Others {
    /// The stateless server in Go.
    pub peer: Option<PathBuf>,
    /// What starts a PostgreSQL.
    pub postgres: Option<PathBuf>,
}

pub fn run(programs: &Programs, others: &Others, extent: Extent) -> Result<(), Failure> {
    let cores = Cores::split(1)?;
    println!("{}", cores.describe());
    let upstream = Upstream::start()?;
    let url = upstream.url();
    let mut rows = vec![
        Row::direct(DIRECT, "direct", &upstream),
        Row::of(BARE, "bare", programs.bare(&cores, &url)?),
        Row::of(GATEWAY, "gateway", programs.gateway("gateway", &cores, &url)?),
    ];
    if let Some(peer) = &others.peer {
        rows.push(Row::of(PEER, "peer", programs.peer(peer, &cores, &url)?));
    }
    if let Some(postgres) = others.postgres.as_deref() {
        rows.push(on_postgres(programs, postgres, &cores, &url)?);
    }
    let extent = Extent { threads: cores.load_threads, ..extent };
    let flush_us = rounds::play(&mut rows, &CALLERS, extent, programs)?;
    rounds::print(&rows, &CALLERS);
    if rows.iter().all(|row| row.name != PEER) {
        println!("missing: {PEER} (`scripts/test tools` installs Go and Debian's grpc-go)");
    }
    if rows.iter().all(|row| row.name != POSTGRES) {
        println!("missing: {POSTGRES} (`apt-get install postgresql`, or POSTGRES_BIN)");
    }
    targets(&rows, flush_us);
    for row in &rows {
        row.verify(&upstream)?;
    }
    for gateway in [GATEWAY, POSTGRES].into_iter().filter_map(|name| find(&rows, name)) {
        let count = gateway.verify_store()?;
        println!("\n{}: {count} creates are in its store once.", gateway.name);
    }
    println!("Every create is at the upstream once.");
    Ok(())
}

fn on_postgres(
    programs: &Programs,
    postgres: &Path,
    cores: &Cores,
    url: &str,
) -> Result<Row, Failure> {
    let gateway = programs.replicas("postgres", 1, postgres, (cores, url))?;
    Ok(Row::replicas(POSTGRES, "postgres", gateway))
}

fn find<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.name == name)
}

/// The targets that the table can judge.
fn targets(rows: &[Row], flush_us: f64) {
    let of = |name: &str, level: usize| find(rows, name).map(|row| row.median(level));
    let (Some(direct), Some(bare)) = (of(DIRECT, 0), find(rows, BARE)) else { return };
    let Some(gateway) = find(rows, GATEWAY) else { return };
    let (one, many, most) = (gateway.median(0), gateway.median(1), gateway.median(2));
    let mut judged =
        vec![at_most("CPU at 64 callers ÷ bare", 2.0, many.cpu_us / bare.median(1).cpu_us, 2)];
    if let Some(peer) = of(PEER, 1) {
        judged.push(at_most("CPU at 64 callers ÷ Go", 1.4, many.cpu_us / peer.cpu_us, 2));
    }
    for (level, figures) in [(1, many), (2, most)] {
        let what = format!("calls/s at {} callers ÷ bare", CALLERS[level]);
        let part = figures.per_second / bare.median(level).per_second;
        judged.push(at_least(&what, 0.5, part, 2));
    }
    let bound = direct.p50_us + 2.0 * flush_us + 450.0;
    judged.extend([
        at_most("p99 at 256 callers ÷ bare", 2.5, most.p99_us / bare.median(2).p99_us, 2),
        at_most("p50 of a lone caller, µs: direct + 2 flushes + 450", bound, one.p50_us, 0),
        at_most("CPU of a lone caller ÷ bare", 2.5, one.cpu_us / bare.median(0).cpu_us, 2),
    ]);
    Judged::print(&judged);
}
