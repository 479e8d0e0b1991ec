//! Runs many seeds on all cores and says what was done.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use douyin_sim::System;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::faults::{Counts, Fault};
use crate::plan::Plan;
use crate::rules::Violation;
use crate::systems::{AGENCY, WITH_CREATES};
use crate::trace::{Keep, ToEar};
use crate::world::{Ran, run};

/// What many runs came to.
#[derive(Default)]
pub struct Totals {
    pub seeds: u64,
    /// Those with several gateways on the store.
    pub of_several: u64,
    pub counts: Counts,
    /// In Douyin's books.
    pub settles: BTreeMap<System, usize>,
    pub commits: u64,
    pub left_to_a_person: usize,
    pub virtual_time: Duration,
    /// The first failures, by seed.
    pub failures: Vec<(u64, Vec<Violation>)>,
    pub took: Duration,
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

/// Hands the gateways' log to the [`trace::Ear`] of the run's thread.
pub fn listen() {
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(ToEar));
}

/// How one seed ends. A panic outside of the gateways is a failure of the trial itself.
pub fn one(plan: Plan, keep: Keep) -> Ran {
    listen();
    run(plan, keep)
}

/// Runs seeds until there are so many, the time is up, or some have failed.
pub fn many(first: u64, seeds: u64, longest: Duration) -> Totals {
    listen();
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let enough = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u64::try_from(cores).expect("a small number");
    let workers = setting("TRIAL_THREADS", cores);
    let only_several = setting("TRIAL_SEVERAL", 0) != 0;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || began.elapsed() > longest {
                        return;
                    }
                    let plan = Plan::of(seed);
                    let several = plan.replicas > 1;
                    if only_several && !several {
                        continue;
                    }
                    let ran = one(plan, Keep::Nothing);
                    let mut totals = totals.lock().expect("no code panics while holding this");
                    totals.of_several += u64::from(several);
                    totals.add(seed, &ran);
                    if totals.failures.len() >= FAILURES_MAX {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut totals = totals.into_inner().expect("no code panics while holding this");
    totals.took = began.elapsed();
    totals.failures.sort();
    totals
}

const FAILURES_MAX: usize = 10;

impl Totals {
    fn add(&mut self, seed: u64, ran: &Ran) {
        self.seeds += 1;
        self.counts.merge(&ran.counts);
        for (system, settles) in &ran.settles {
            *self.settles.entry(*system).or_default() += settles;
        }
        self.commits += ran.commits;
        self.left_to_a_person += ran.left_to_a_person;
        self.virtual_time += ran.virtual_time;
        if !ran.violations.is_empty() {
            self.failures.push((seed, ran.violations.clone()));
        }
    }

    /// The kinds of faults that never happened in so many seeds that they should have.
    pub fn unplayed(&self) -> Vec<Fault> {
        let enough = self.seeds >= 1_000;
        let never = |fault: &&Fault| enough && self.counts.of(**fault) == 0;
        Fault::ALL.iter().filter(never).copied().collect()
    }

    /// The systems without a settle in so many seeds that they should have one.
    pub fn unused(&self) -> Vec<System> {
        let all = WITH_CREATES.into_iter().chain([AGENCY]).map(|known| known.there);
        all.filter(|system| self.seeds >= 100 && !self.settles.contains_key(system)).collect()
    }

    /// What was done, and how to see what went wrong.
    pub fn print(&self) {
        let settles = self.settles.iter();
        let settles: Vec<_> =
            settles.map(|(system, settles)| format!("{settles} {}", system.word())).collect();
        let took_ms = self.took.as_millis().max(1);
        println!(
            "{} seeds ({} with several gateways) in {} s, {} per second; settles: {}; {} commits, \
             {} crashes, {} hours of virtual time, {} settles left to a person; faults:",
            self.seeds,
            self.of_several,
            took_ms / 1_000,
            u128::from(self.seeds) * 1_000 / took_ms,
            settles.join(", "),
            self.commits,
            self.counts.of(Fault::Crash),
            self.virtual_time.as_secs() / 3_600,
            self.left_to_a_person,
        );
        print!("{}", self.counts);
        for (seed, violations) in &self.failures {
            println!("seed {seed} failed:");
            violations.iter().for_each(|violation| println!("    {violation}"));
            println!("  {}", replay_command(*seed));
        }
    }
}

pub fn replay_command(seed: u64) -> String {
    format!("TRIAL_SEED={seed} cargo test --profile trial --test trial replay -- --nocapture")
}
