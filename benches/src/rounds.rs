//! Alternating rounds: one server after the other, again and again, so that a change of the machine
//! meanwhile affects all of them. A round that other processes disturbed is repeated.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::load::{self, Plan, Target};
use crate::machine::{cpu_of, cpu_of_all, flushes, median};
use crate::numbers::Numbers;
use crate::postgres::Postgres;
use crate::servers::{Programs, Server};
use crate::upstream::Upstream;
use crate::verify;

/// A round counts as disturbed if other processes used more of a core than this.
const DISTURBED: f64 = 0.12;

/// How many rounds there are, and how long they take.
#[derive(Clone, Copy)]
pub struct Extent {
    pub rounds: usize,
    pub warm_up: Duration,
    pub measured: Duration,
    /// How often a disturbed round is repeated. All rounds together are repeated at most half as
    /// often as there are rounds.
    pub repeats: usize,
    /// Threads that make load.
    pub threads: usize,
}

/// A server, or several that share the calls, and their measurements.
pub struct Row {
    pub name: String,
    pub target: Target,
    /// None: the upstream, which is a thread of this process.
    pub servers: Vec<Server>,
    /// Where they store, if that is a process of its own. It ends after them.
    pub database: Option<Postgres>,
    pub numbers: Numbers,
    /// Starts the gateway of a round, if each round has a new one.
    start: Option<Start>,
    /// For each number of callers (by index), the figures of its rounds.
    rounds: Vec<Vec<Figures>>,
}

/// Starts a gateway for a round, which has this number.
type Start = Box<dyn Fn(usize) -> Result<Server, Failure>>;

/// The figures of one round, or the medians of several.
#[derive(Clone, Copy)]
pub struct Figures {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub cpu_us: f64,
    /// Of the process in which the server stores; 0: there is none.
    pub database_us: f64,
}

/// Processor times, read at both ends of a round.
struct Cpu {
    server: Duration,
    database: Duration,
    ours: Duration,
    all: Duration,
}

impl Row {
    pub fn direct(name: &str, tag: &'static str, upstream: &Upstream) -> Self {
        Self::new(name, tag, Target::Direct(upstream.url()), Vec::new())
    }

    pub fn of(name: &str, tag: &'static str, server: Server) -> Self {
        Self::new(name, tag, Target::Grpc(server.url.clone()), vec![server])
    }

    /// A gateway that is started anew for each round, on a new database. Two processes of one
    /// program can differ by a tenth for as long as they live (where their memory lies), and rows
    /// that are to be compared closely must not differ by that.
    pub fn anew(
        name: &str,
        tag: &'static str,
        start: impl Fn(usize) -> Result<Server, Failure> + 'static,
    ) -> Self {
        let row = Self::new(name, tag, Target::Grpc(String::new()), Vec::new());
        Self { start: Some(Box::new(start)), ..row }
    }

    /// Starts the gateway of this round, if each round has a new one.
    pub fn renew(&mut self, round: usize) -> Result<(), Failure> {
        let Some(start) = &self.start else { return Ok(()) };
        let server = start(round)?;
        self.target = Target::Grpc(server.url.clone());
        self.servers = vec![server];
        Ok(())
    }

    /// Gateways on one database.
    pub fn replicas(
        name: &str,
        tag: &'static str,
        (servers, database): (Vec<Server>, Postgres),
    ) -> Self {
        let urls = servers.iter().map(|server| server.url.clone()).collect();
        let row = Self::new(name, tag, Target::Replicas(urls), servers);
        Self { database: Some(database), ..row }
    }

    fn new(name: &str, tag: &'static str, target: Target, servers: Vec<Server>) -> Self {
        let (name, numbers) = (name.to_owned(), Numbers::new(tag));
        Self { name, target, servers, database: None, numbers, start: None, rounds: Vec::new() }
    }

    pub fn median(&self, level: usize) -> Figures {
        let of = |figure: fn(&Figures) -> f64| {
            median(&self.rounds[level].iter().map(figure).collect::<Vec<_>>())
        };
        Figures {
            per_second: of(|round| round.per_second),
            p50_us: of(|round| round.p50_us),
            p99_us: of(|round| round.p99_us),
            cpu_us: of(|round| round.cpu_us),
            database_us: of(|round| round.database_us),
        }
    }

    /// CPU per call by that of another row, round by round, so that a machine that is slower in one
    /// round changes nothing. Returns the median.
    pub fn cpu_over(&self, other: &Self, level: usize) -> f64 {
        let pairs = self.rounds[level].iter().zip(&other.rounds[level]);
        median(&pairs.map(|(own, other)| own.cpu_us / other.cpu_us).collect::<Vec<_>>())
    }

    /// Checks that every create is where it must be, exactly once.
    pub fn verify(&self, upstream: &Upstream) -> Result<(), Failure> {
        verify::at_the_upstream(upstream, &self.numbers)
    }

    /// Checks that every create is in the store of its gateways, exactly once. Returns how many.
    pub fn verify_store(&self) -> Result<u64, Failure> {
        let gateway = self.servers.first().ok_or("the upstream stores nothing")?;
        verify::in_the_store(&gateway.url, &self.numbers)?;
        Ok(self.numbers.count())
    }

    fn database_cpu(&self) -> Result<Duration, Failure> {
        self.database.as_ref().map_or(Ok(Duration::ZERO), Postgres::cpu)
    }
}

/// Runs all rounds with each number of callers. Returns the median time of a flush meanwhile, in
/// microseconds.
pub fn play(
    rows: &mut [Row],
    callers: &[usize],
    extent: Extent,
    programs: &Programs,
) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut flush = flushes(&programs.directory)?;
    let rounds = extent.rounds * callers.len() * rows.len();
    let repeats = extent.repeats;
    let mut disturbance = Disturbance { repeats, left: rounds / 2, repeated: 0, counted: 0 };
    for row in &mut *rows {
        row.rounds = vec![Vec::new(); callers.len()];
    }
    let (mut chance, mut order) = (fastrand::Rng::with_seed(0), Vec::from_iter(0..rows.len()));
    for round in 1..=extent.rounds {
        rows.iter_mut().try_for_each(|row| row.renew(round))?;
        for (level, callers) in callers.iter().enumerate() {
            // A row leaves the machine work (blocks to write back) for which the next one pays, so
            // that the order is another one each time.
            chance.shuffle(&mut order);
            for index in order.iter().copied() {
                let Extent { warm_up, measured, threads, .. } = extent;
                let plan = Plan { callers: *callers, warm_up, measured, threads };
                let figures = disturbance.play(rows, index, plan)?;
                rows[index].rounds[level].push(figures);
            }
        }
        flush.extend(flushes(&programs.directory)?);
        eprintln!("round {round} of {} after {} s", extent.rounds, began.elapsed().as_secs());
    }
    let flush_us = median(&flush);
    println!(
        "medians of {} alternating rounds of {} s; {}",
        extent.rounds,
        extent.measured.as_secs_f64(),
        disturbance.describe()
    );
    println!(
        "flush: {flush_us:.0} µs, the median of {} times 4 KiB appended and fdatasync",
        flush.len()
    );
    Ok(flush_us)
}

/// Prints all rows with each number of callers.
pub fn print(rows: &[Row], callers: &[usize]) {
    println!(
        "\n| callers | server | calls/s | p50 µs | p99 µs | server CPU µs per call | \
         of which PostgreSQL |\n\
         | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    );
    for (level, callers) in callers.iter().enumerate() {
        for row in rows {
            let Figures { per_second, p50_us, p99_us, cpu_us, database_us } = row.median(level);
            let of = |is_there, cpu_us| match is_there {
                true => format!("{cpu_us:.1}"),
                false => "–".to_owned(),
            };
            let cpu = of(!row.servers.is_empty(), cpu_us + database_us);
            let database = of(row.database.is_some(), database_us);
            let name = &row.name;
            println!(
                "| {callers} | {name} | {per_second:.0} | {p50_us:.0} | {p99_us:.0} | {cpu} | \
                 {database} |"
            );
        }
    }
    println!();
}

/// Repeats rounds that other processes disturbed, within limits.
struct Disturbance {
    repeats: usize,
    left: usize,
    repeated: usize,
    counted: usize,
}

impl Disturbance {
    fn play(&mut self, rows: &[Row], index: usize, plan: Plan) -> Result<Figures, Failure> {
        let mut repeats = 0;
        loop {
            let (figures, others) = round(rows, index, plan)?;
            if others <= DISTURBED {
                return Ok(figures);
            }
            if repeats == self.repeats || self.left == 0 {
                self.counted += 1;
                return Ok(figures);
            }
            repeats += 1;
            self.repeated += 1;
            self.left -= 1;
        }
    }

    fn describe(&self) -> String {
        let percent = DISTURBED * 100.0;
        format!(
            "{} rounds were repeated because other processes had more than {percent:.0} % of a \
             core; {} such rounds count for want of better ones",
            self.repeated, self.counted
        )
    }
}

/// Runs one round of one server. Returns its figures, and how much of a core other processes used
/// meanwhile.
fn round(rows: &[Row], index: usize, plan: Plan) -> Result<(Figures, f64), Failure> {
    let Row { target, numbers, name, .. } = &rows[index];
    let ours = std::process::id();
    let ask = || {
        let (mut server, mut database) = (Duration::ZERO, Duration::ZERO);
        let mut all_ours = cpu_of(ours)?;
        for (other, row) in rows.iter().enumerate() {
            let gateways =
                row.servers.iter().map(Server::cpu).sum::<Result<Duration, Failure>>()?;
            let stores = row.database_cpu()?;
            all_ours += gateways + stores;
            if other == index {
                (server, database) = (gateways, stores);
            }
        }
        Ok(Cpu { server, database, ours: all_ours, all: cpu_of_all()? })
    };
    let sample = load::run(target, numbers, plan, ask);
    let sample = sample.map_err(|problem| format!("{name}: {problem}"))?;
    let (before, after) = (&sample.before, &sample.after);
    let all = (after.all.saturating_sub(before.all)).as_secs_f64();
    let ours = (after.ours - before.ours).as_secs_f64();
    let per_call = |cpu: Duration| cpu.as_secs_f64() * 1e6 / sample.calls();
    let figures = Figures {
        per_second: sample.per_second(),
        p50_us: sample.quantile(0.5),
        p99_us: sample.quantile(0.99),
        cpu_us: per_call(after.server - before.server),
        database_us: per_call(after.database.saturating_sub(before.database)),
    };
    Ok((figures, (all - ours) / sample.seconds))
}
