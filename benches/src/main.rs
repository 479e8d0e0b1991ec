//! What the gateway costs: a load generator, a Douyin that answers at once, and other servers for
//! comparison. `scripts/bench` builds everything and runs it.

mod bare;
mod batches;
mod callbacks;
mod curves;
mod fill;
mod judged;
mod load;
mod machine;
mod micro;
mod moved;
mod numbers;
mod paced;
mod plot;
mod postgres;
mod records;
mod replicas;
mod rounds;
mod samples;
mod scaling;
mod secured;
mod servers;
mod stored;
mod sustained;
mod table;
mod telemetry;
mod upstream;
mod verify;
mod watches;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use servers::Programs;

/// Any problem. It ends the bench and is printed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The allocator that the gateway uses.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the gateway costs. Run by scripts/bench.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the bare translator in front of an upstream.
    Bare { upstream: String },
    /// Prints the table.
    Table {
        #[command(flatten)]
        at: At,
        /// The binary of the stateless server in Go, for comparison.
        #[arg(long)]
        peer: Option<PathBuf>,
        /// scripts/postgres, if this machine has a PostgreSQL.
        #[arg(long)]
        postgres: Option<PathBuf>,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// What more replicas on a PostgreSQL bring.
    Replicas {
        #[command(flatten)]
        at: At,
        /// scripts/postgres.
        #[arg(long)]
        postgres: PathBuf,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// What the log, spans and metrics cost.
    Telemetry {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// What more cores bring.
    Scaling {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// How cost grows. Writes points as lines of `plot,series,x,y`.
    Curves {
        #[command(flatten)]
        at: At,
        #[arg(long)]
        out: PathBuf,
    },
    /// What part of the processor time of creates goes into telling, by samples of stacks.
    Profile {
        #[command(flatten)]
        at: At,
    },
    /// Makes a picture of each plot in the points.
    Plot { points: PathBuf, directory: PathBuf },
    /// The parts of a create one by one.
    Micro,
    /// What one create costs the store's writer.
    Writes {
        #[command(flatten)]
        at: At,
    },
    /// What watches cost.
    Watches {
        #[command(flatten)]
        at: At,
        #[arg(long, default_value_t = 20_000)]
        watches: u64,
        /// How long to wait before memory is measured.
        #[arg(long, default_value_t = 11_000)]
        settled_ms: u64,
        /// The memory only, with TLS and a caller that is known by its client certificate.
        #[arg(long)]
        mtls: bool,
    },
    /// What many stored settles change.
    Stored {
        #[command(flatten)]
        at: At,
        #[arg(long, default_value_t = 1_000_000)]
        settles: u64,
    },
    /// What it takes to move a store to another database.
    Moved {
        #[command(flatten)]
        at: At,
        /// scripts/postgres.
        #[arg(long)]
        postgres: PathBuf,
        #[arg(long, default_value_t = 200_000)]
        settles: u64,
    },
    /// Half the greatest rate for several stretches, then one stretch beside a long reader.
    Sustained {
        #[command(flatten)]
        at: At,
        #[arg(long, default_value_t = 10)]
        stretches: u64,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

#[derive(Args)]
struct Rounds {
    /// How many alternating rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each round measures.
    #[arg(long, default_value_t = 4000)]
    measured_ms: u64,
    #[arg(long, default_value_t = 1000)]
    warm_up_ms: u64,
    /// How often a round that other processes disturbed is repeated; 0: never.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

#[derive(Args)]
struct At {
    /// The gateway's binary.
    #[arg(long)]
    gateway: PathBuf,
    /// For the databases. The disk below it is the one that is measured.
    #[arg(long)]
    directory: PathBuf,
}

fn main() -> ExitCode {
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().expect("nothing else installs one");
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("settlement-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Bare { upstream } => bare::serve(&upstream),
        Command::Table { at, peer, postgres, rounds } => {
            table::run(&at.programs()?, &table::Others { peer, postgres }, rounds.extent())
        }
        Command::Replicas { at, postgres, rounds } => {
            replicas::run(&at.programs()?, &postgres, rounds.extent())
        }
        Command::Telemetry { at, rounds } => telemetry::run(&at.programs()?, rounds.extent()),
        Command::Profile { at } => telemetry::profile(&at.programs()?),
        Command::Scaling { at, rounds } => scaling::run(&at.programs()?, rounds.extent()),
        Command::Curves { at, out } => curves::run(&at.programs()?, &out),
        Command::Plot { points, directory } => plot::run(&points, &directory),
        Command::Micro => {
            micro::run();
            Ok(())
        }
        Command::Writes { at } => writes::run(&at.programs()?),
        Command::Watches { at, watches, settled_ms, mtls } => {
            let run = if mtls { watches::run_by_mtls } else { watches::run };
            run(&at.programs()?, watches, Duration::from_millis(settled_ms))
        }
        Command::Stored { at, settles } => stored::run(&at.programs()?, settles),
        Command::Moved { at, postgres, settles } => moved::run(&at.programs()?, &postgres, settles),
        Command::Sustained { at, stretches, seconds } => {
            sustained::run(&at.programs()?, stretches, Duration::from_secs(seconds))
        }
    }
}

impl Rounds {
    fn extent(&self) -> rounds::Extent {
        rounds::Extent {
            rounds: self.rounds,
            warm_up: Duration::from_millis(self.warm_up_ms),
            measured: Duration::from_millis(self.measured_ms),
            repeats: self.repeats,
            threads: 1,
        }
    }
}

impl At {
    fn programs(self) -> Result<Programs, Failure> {
        std::fs::create_dir_all(&self.directory)?;
        let directory = self.directory.canonicalize()?;
        Ok(Programs { gateway: self.gateway, bench: std::env::current_exe()?, directory })
    }
}
