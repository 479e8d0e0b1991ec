//! How cost grows: with the rate, the settles stored, and the watches. Writes points, from which
//! `plot` makes pictures.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Failure;
use crate::fill::fill;
use crate::load::{self, Plan, Target};
use crate::machine::{Cores, SETTLED};
use crate::numbers::{Numbers, app_id};
use crate::paced::{calls, connections, greatest_rate, quantile};
use crate::servers::{Programs, Server};
use crate::upstream::Upstream;
use crate::watches;

/// Rates to measure, as parts of the greatest rate.
const PARTS: [f64; 7] = [0.02, 0.1, 0.25, 0.5, 0.7, 0.8, 0.9];
const CALLERS: [usize; 6] = [1, 4, 16, 64, 256, 1024];
const STORED: [u64; 5] = [0, 100_000, 300_000, 600_000, 1_000_000];
const WATCHES: [u64; 5] = [0, 2_500, 5_000, 10_000, 20_000];
const MEASURED: Duration = Duration::from_secs(5);

/// Lines of `plot,series,x,y`.
#[derive(Default)]
struct Points(String);

pub fn run(programs: &Programs, out: &Path) -> Result<(), Failure> {
    let cores = Cores::split(1)?;
    println!("{}", cores.describe());
    let upstream = Upstream::start()?;
    let mut points = Points::default();
    with_callers(programs, &cores, &upstream, &mut points)?;
    with_the_rate(programs, &cores, &upstream, &mut points)?;
    with_stored(programs, &cores, &upstream, &mut points)?;
    let server = programs.gateway("curves", &cores, &upstream.url())?;
    for (watches, kib) in watches::growth(&server, &WATCHES, SETTLED)? {
        points.add("watches", "resident, MiB", watches as f64, kib / 1024.0);
    }
    if let Some(directory) = out.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(out, points.0)?;
    Ok(())
}

impl Points {
    fn add(&mut self, plot: &str, series: &str, x: f64, y: f64) {
        println!("{plot}: {series} at {x:.0}: {y:.1}");
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{plot},{series},{x:.1},{y:.3}");
    }
}

fn with_callers(
    programs: &Programs,
    cores: &Cores,
    upstream: &Upstream,
    points: &mut Points,
) -> Result<(), Failure> {
    let url = upstream.url();
    let servers = [
        ("gateway", "c-gateway", programs.gateway("curves", cores, &url)?),
        ("bare translator", "c-bare", programs.bare(cores, &url)?),
    ];
    for (name, tag, server) in &servers {
        let numbers = Numbers::new(tag);
        for callers in CALLERS {
            let (per_second, cpu_us) = closed(server, &numbers, callers, cores)?;
            points.add("callers", &format!("{name}, creates/s"), callers as f64, per_second);
            points.add("cpu", &format!("{name}, µs of CPU per create"), callers as f64, cpu_us);
        }
    }
    Ok(())
}

/// Creates per second in a closed loop, and the CPU time of each create in microseconds.
fn closed(
    server: &Server,
    numbers: &Numbers,
    callers: usize,
    cores: &Cores,
) -> Result<(f64, f64), Failure> {
    let warm_up = Duration::from_secs(1);
    let plan = Plan { callers, warm_up, measured: MEASURED, threads: cores.load_threads };
    let sample = load::run(&Target::Grpc(server.url.clone()), numbers, plan, || server.cpu())?;
    let cpu = (sample.after - sample.before).as_secs_f64();
    Ok((sample.per_second(), cpu * 1e6 / sample.calls()))
}

fn with_the_rate(
    programs: &Programs,
    cores: &Cores,
    upstream: &Upstream,
    points: &mut Points,
) -> Result<(), Failure> {
    let server = programs.gateway("curves", cores, &upstream.url())?;
    let numbers = Numbers::new("rate");
    let greatest = greatest_rate(&server.url, &numbers, cores.load_threads)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clients = connections(&server.url).await?;
        for part in PARTS {
            let rate = greatest * part;
            let before = server.cpu()?;
            let micros = match calls(&clients, &numbers, rate, MEASURED).await {
                Ok(micros) => micros,
                // So near to the greatest rate, a moment of other work is enough.
                Err(why) => {
                    println!("{rate:.0} creates/s are too many: {why}");
                    break;
                }
            };
            let cpu = (server.cpu()? - before).as_secs_f64() / micros.len() as f64;
            points.add("rate", "p50, ms", rate, quantile(&micros, 0.5) / 1e3);
            points.add("rate", "p99, ms", rate, quantile(&micros, 0.99) / 1e3);
            points.add("rate-cpu", "µs of CPU per create", rate, cpu * 1e6);
        }
        Ok(())
    })
}

fn with_stored(
    programs: &Programs,
    cores: &Cores,
    upstream: &Upstream,
    points: &mut Points,
) -> Result<(), Failure> {
    let mut server = programs.gateway("curves", cores, &upstream.url())?;
    let numbers = Numbers::new("among");
    let mut stored = 0;
    for settles in STORED {
        if settles > stored {
            server.stop()?;
            fill(&programs.database("curves"), &app_id(0), "stored", stored..settles)?;
            stored = settles;
            server = programs.gateway_again("curves", cores)?;
            let ready = server.ready()?.as_secs_f64() * 1e3;
            points.add("ready", "ms until ready", settles as f64, ready);
        }
        let (per_second, cpu_us) = closed(&server, &numbers, 64, cores)?;
        let mib = server.resident()? as f64 / 1024.0 / 1024.0;
        points.add("stored", "creates/s at 64 callers", settles as f64, per_second);
        points.add("stored-cpu", "µs of CPU per create", settles as f64, cpu_us);
        points.add("stored-memory", "resident, MiB", settles as f64, mib);
    }
    Ok(())
}
