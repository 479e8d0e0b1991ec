//! Half the greatest rate for minutes: the p99 and the size of the log over time, first alone and
//! then beside a reader that keeps the log from being restarted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::Failure;
use crate::judged::{Judged, at_most};
use crate::machine::Cores;
use crate::numbers::Numbers;
use crate::paced::{calls, connections, greatest_rate, quantile};
use crate::servers::Programs;
use crate::upstream::Upstream;
use crate::verify;

/// How soon after the reader has ended the log must be short again.
const SHORT_WITHIN: Duration = Duration::from_secs(10);
/// The size to which the store cuts a log that has grown.
const LOG_MIB_MAX: f64 = 64.0;
const MIB: f64 = 1024.0 * 1024.0;

/// A part of the run.
struct Stretch {
    p50_us: f64,
    p99_us: f64,
    /// The size of the log at the end of this part.
    log_mib: f64,
}

pub fn run(programs: &Programs, stretches: u64, stretch: Duration) -> Result<(), Failure> {
    let cores = Cores::split(1)?;
    println!("{}", cores.describe());
    let upstream = Upstream::start()?;
    let server = programs.gateway("sustained", &cores, &upstream.url())?;
    let numbers = Numbers::new("sustained");
    let rate = greatest_rate(&server.url, &numbers, cores.load_threads)? / 2.0;
    println!("half the greatest rate: {rate:.0} creates/s\n");
    let database = programs.database("sustained");
    let log = PathBuf::from(format!("{}-wal", database.display()));
    let play = |stretches| play(&server.url, &numbers, rate, stretch, stretches, &log);

    println!("| | p50 µs | p99 µs | log MiB |\n| --- | ---: | ---: | ---: |");
    let alone = play(stretches)?;
    print("alone", &alone);
    let reader = hold_the_log(&database)?;
    let beside = play(1)?;
    print("beside a reader", &beside);
    drop(reader);
    let gone = Instant::now();
    // The load goes on, because the writer shortens the log only while it writes.
    let after = self::play(&server.url, &numbers, rate, SHORT_WITHIN, 1, &log)?;
    print(&format!("{:.0} s after it", gone.elapsed().as_secs_f64()), &after);

    let worst = |of: fn(&Stretch) -> f64, all: &[Stretch]| all.iter().map(of).fold(0.0, f64::max);
    let best =
        |of: fn(&Stretch) -> f64, all: &[Stretch]| all.iter().map(of).fold(f64::INFINITY, f64::min);
    let (p99, size) = (|it: &Stretch| it.p99_us, |it: &Stretch| it.log_mib);
    Judged::print(&[
        at_most("p99, worst ÷ best stretch", 2.0, worst(p99, &alone) / best(p99, &alone), 2),
        at_most("log, largest ÷ smallest", 2.0, worst(size, &alone) / best(size, &alone), 2),
        at_most(
            "p99 beside a reader ÷ worst alone",
            2.0,
            worst(p99, &beside) / worst(p99, &alone),
            2,
        ),
        at_most("MiB of log after the reader", LOG_MIB_MAX, worst(size, &after), 1),
    ]);
    verify::at_the_upstream(&upstream, &numbers)?;
    verify::in_the_store(&server.url, &numbers)?;
    println!("\nEvery create is at the upstream once, and {} in the store once.", numbers.count());
    Ok(())
}

fn print(name: &str, stretches: &[Stretch]) {
    for (index, Stretch { p50_us, p99_us, log_mib }) in stretches.iter().enumerate() {
        println!("| {name} {} | {p50_us:.0} | {p99_us:.0} | {log_mib:.1} |", index + 1);
    }
}

/// Begins a read transaction. While it lives, the log cannot be restarted.
fn hold_the_log(database: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open(database)?;
    connection.execute_batch("BEGIN")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

/// Runs this many stretches of load at a rate.
fn play(
    url: &str,
    numbers: &Numbers,
    rate: f64,
    stretch: Duration,
    stretches: u64,
    log: &Path,
) -> Result<Vec<Stretch>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clients = connections(url).await?;
        let mut done = Vec::new();
        for _ in 0..stretches {
            let micros = calls(&clients, numbers, rate, stretch).await?;
            let log_mib = fs::metadata(log)?.len() as f64 / MIB;
            let (p50_us, p99_us) = (quantile(&micros, 0.5), quantile(&micros, 0.99));
            done.push(Stretch { p50_us, p99_us, log_mib });
        }
        Ok(done)
    })
}
