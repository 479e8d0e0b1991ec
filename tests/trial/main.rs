//! The trial: gateways, their store, Douyin and callers in one process on virtual time, with faults
//! drawn from a seed. What it found, and how often it is run, is in docs/faults.md.
//!
//! ```text
//!   callers ──► link ──► gateway (in a process) ──► douyin (the simulator's core)
//!      │                    │       ▲
//!      ▼                    ▼  ▲    │ chaos: crashes, pauses, outages, …
//!   checker ◄── books    database └─ postman (callbacks)
//! ```
//!
//! Read `plan.rs` first (what is drawn), then `world.rs` (what there is), `callers.rs` (who obeys
//! the contract) and `checker.rs` (what must hold). One seed is one run, byte for byte.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "the trial kills, and makes what it breaks")]

mod audit;
mod callers;
mod chaos;
mod checker;
mod database;
mod douyin;
mod faults;
mod gateway;
mod link;
mod mutations;
mod operator;
mod pace;
mod plan;
mod postman;
mod process;
mod rogue;
mod rules;
mod runner;
mod systems;
mod trace;
mod world;

use std::time::Duration;

use crate::mutations::Broken;
use crate::plan::Plan;
use crate::rules::Rule;
use crate::runner::{many, one, replay_command, setting};
use crate::trace::Keep;

/// Runs `TRIAL_SEEDS` seeds from `TRIAL_FIRST_SEED` on, for at most `TRIAL_SECONDS`. With
/// `TRIAL_SEVERAL=1` only the third of them that has several gateways.
#[test]
fn seeds() {
    let first = setting("TRIAL_FIRST_SEED", 0);
    let totals = many(
        first,
        setting("TRIAL_SEEDS", 20),
        Duration::from_secs(setting("TRIAL_SECONDS", 24 * 3_600)),
    );
    totals.print();
    assert!(totals.failures.is_empty(), "{} seeds failed", totals.failures.len());
    assert_eq!(totals.unplayed(), [], "in {} seeds these must happen", totals.seeds);
    assert_eq!(totals.unused(), [], "in {} seeds these must have settles", totals.seeds);
}

/// Each found a bug of the gateway that docs/faults.md tells.
const FAILED_ONCE: &[u64] = &[212, 212_232, 505_425];

#[test]
fn seeds_that_failed_once() {
    for &seed in FAILED_ONCE {
        // In the one system that there was then.
        let plan = Plan { systems: vec![systems::GENERAL], ..Plan::of(seed) };
        assert_eq!(one(plan, Keep::Nothing).violations, [], "{}", replay_command(seed));
    }
}

/// Prints what happens with `TRIAL_SEED`, perhaps with the rule `TRIAL_BROKEN` broken.
#[test]
fn replay() {
    let seed = setting("TRIAL_SEED", 0);
    let only = std::env::var("TRIAL_BROKEN").ok();
    let broken = Broken::ALL.iter().find(|(broken, _)| only == Some(format!("{broken:?}")));
    let plan = broken.map_or_else(|| Plan::of(seed), |(broken, _)| broken.plan(seed));
    let ran = one(plan, Keep::Lines);
    if std::env::var_os("TRIAL_SEED").is_some() {
        for line in &ran.lines {
            println!("{line}");
        }
    }
    assert_eq!(ran.violations, []);
}

/// The checker is checked: for each rule something that breaks it is noticed within some seeds.
#[test]
fn whatever_is_broken_on_purpose_is_noticed() {
    let seeds_max = setting("TRIAL_BROKEN_SEEDS", 200);
    let mut unnoticed = Vec::new();
    let only = std::env::var("TRIAL_BROKEN").ok();
    let wanted = |broken: &Broken| only.as_ref().is_none_or(|only| *only == format!("{broken:?}"));
    for (broken, rule) in Broken::ALL.iter().filter(|(broken, _)| wanted(broken)) {
        let notices = |seed: &u64| {
            let ran = one(broken.plan(*seed), Keep::Nothing);
            ran.violations.iter().any(|violation| violation.rule == *rule)
        };
        match (0..seeds_max).find(notices) {
            Some(seed) => println!("| {broken:?} | {rule} | {seed} |"),
            None => unnoticed.push(broken),
        }
    }
    assert!(unnoticed.is_empty(), "not noticed within {seeds_max} seeds: {unnoticed:?}");
}

#[test]
fn every_rule_is_broken_on_purpose() {
    let is_broken = |rule: &&Rule| Broken::ALL.iter().any(|(_, broken)| broken == *rule);
    assert_eq!(Rule::ALL.iter().find(|rule| !is_broken(rule)), None);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..setting("TRIAL_TWICE", 20) {
        let (once, twice) = (one(Plan::of(seed), Keep::Lines), one(Plan::of(seed), Keep::Lines));
        for (a, b) in once.lines.iter().zip(&twice.lines) {
            assert_eq!(a, b, "seed {seed}");
        }
        assert_eq!(once.lines.len(), twice.lines.len(), "seed {seed}");
        assert!(once.lines.len() > 50, "seed {seed} has hardly a trace");
    }
}
