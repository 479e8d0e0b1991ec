//! Everything about a run that is drawn from its seed before it begins: how big its world is, which
//! knobs the gateways have, which faults happen how often, what Douyin's habits are.
//!
//! A run enables only some kinds of faults, each at a rate of its own, so that rare combinations
//! come up and a quiet corner of the world stays quiet.

use std::fmt;
use std::time::Duration;

use douyin_sim::{Choices, NumberCheck};
use settlement_gateway::apps::Budget;
use settlement_gateway::gateway::{GatewayConfig, PollerConfig};
use settlement_gateway::settle::Schedule;
use settlement_gateway::settle::{Mark, Policy};

use crate::faults::{Fault, Rates};
use crate::mutations::Broken;
use crate::systems::{self, AGENCY, GUARANTEED, INDUSTRY, Known, WITH_CREATES};

/// What holds one run apart from another.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Gateways at once on the one store.
    pub replicas: usize,
    pub apps: usize,
    pub intents: usize,
    /// Those in which callers settle, in the order in which the apps name them.
    pub systems: Vec<Known>,
    /// How long faults go on. Intents begin in the first half of it.
    pub storm: Duration,
    pub rates: Rates,
    /// What happens to whole processes and services, and when.
    pub acts: Vec<(Duration, Act)>,
    pub knobs: Knobs,
    pub choices: Choices,
    /// How many of 10 000 requests, settles and tokens meet the simulator's own faults.
    pub weather: u32,
    /// How late a request may arrive at Douyin after it was sent, and how late Douyin may show what
    /// it took. Together no more than the grace, as the rules assume.
    pub late_max: Duration,
    pub hidden_max: Duration,
    /// How late a copy of a call may arrive.
    pub copy_late_max: Duration,
    pub latency_max: Duration,
    /// From acceptance to the end of a settle.
    pub course_max: Duration,
    /// Douyin tells the end of settles by callbacks.
    pub callbacks: bool,
    /// Operators who stop and end what is in doubt.
    pub operators: usize,
    /// Orders have money again after a settle took some, so that a second payment would succeed.
    pub refilled: bool,
    /// How far each replica's clock is ahead (in milliseconds), and how it drifts (in millionths).
    pub clocks: Vec<(i64, i32)>,
    /// The same of the store's clock.
    pub store_clock: (i64, i32),
    /// Hints between replicas are lost.
    pub loses_hints: bool,
    /// A rule broken on purpose.
    pub broken: Option<Broken>,
}

/// The knobs of the gateways.
#[derive(Clone, Debug)]
pub struct Knobs {
    pub policy: Policy,
    pub schedule: Schedule,
    pub mark: Mark,
    pub lease: Duration,
    pub attempt_timeout: Duration,
    pub creates_max: usize,
    pub watches_max: usize,
    pub resync: Duration,
    pub watch_age_max: Duration,
    pub heartbeat: Duration,
    pub slow_consumer: Duration,
    pub budget: Budget,
    pub submit_window_max: Duration,
    pub queue_jobs_max: usize,
    pub batch_jobs_max: usize,
    pub poller: PollerConfig,
    pub token_life: Duration,
    pub pause_max: Duration,
    pub refetch_gap: Duration,
}

/// What happens to a whole process or service at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// It dies after so many more polls of its tasks.
    Crash {
        replica: usize,
        polls: u64,
    },
    /// It is stopped in order and started again.
    Restart {
        replica: usize,
    },
    Pause {
        replica: usize,
        lasts: Duration,
    },
    /// The store can be read and not written.
    Outage {
        lasts: Duration,
    },
    /// Every answer of Douyin is this number.
    Storm {
        lasts: Duration,
        err_no: i64,
    },
    Unreachable {
        lasts: Duration,
    },
    TokenStolen,
    TokensEnded,
    SecretWrong {
        lasts: Duration,
    },
    Stranger,
    /// All replicas die, and an operator puts the last backup in the place of the database.
    Restore,
    /// The clock of the store jumps.
    StoreClock {
        by_ms: i64,
    },
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rng = &mut rng;
        let storm = mostly(rng, 10, 90, 3_600);
        let replicas = if rng.u8(..3) == 0 { rng.usize(2..=3) } else { 1 };
        let knobs = Knobs::drawn(rng);
        let grace_ms = ms(knobs.policy.grace);
        let late_ms = rng.u64(0..=grace_ms.saturating_sub(LOST_MS));
        let hidden_ms = grace_ms.saturating_sub(LOST_MS) - late_ms;
        let mut choices = Choices::from_seed(seed);
        choices.visible_after_ms = choices.visible_after_ms.min(hidden_ms);
        let weather = if rng.bool() { 0 } else { rng.u32(50..=3_000) };
        let mut rates = drawn_rates(rng);
        if !choices.exists_while_invisible && rng.bool() {
            rates.set(Fault::Nameless, 0);
        }
        let plan = Self {
            seed,
            replicas,
            apps: if rng.u8(..4) == 0 { 2 } else { 1 },
            intents: rng.usize(1..=8),
            systems: vec![systems::GENERAL],
            storm,
            acts: drawn_acts(rng, storm, replicas),
            rates,
            choices,
            weather,
            late_max: Duration::from_millis(late_ms),
            hidden_max: Duration::from_millis(hidden_ms),
            copy_late_max: mostly(rng, 1, 30, 7_200),
            latency_max: Duration::from_millis(rng.u64(0..=200)),
            course_max: mostly(rng, 0, 30, 1_200),
            callbacks: rng.u8(..3) != 0,
            operators: 0,
            refilled: rng.u8(..4) != 0,
            knobs,
            clocks: vec![(0, 0); replicas],
            store_clock: (0, 0),
            loses_hints: seed.is_multiple_of(2),
            broken: None,
        };
        let plan = plan.with_long_tokens(rng.u8(..8) == 0);
        let mut plan = plan.with_doubts(rng.u8(..16) == 0);
        plan.clocks = (0..replicas).map(|_| drawn_clock(rng)).collect();
        plan.store_clock = drawn_clock(rng);
        let restores = if rng.u8(..8) == 0 { rng.u32(1..=2) } else { 0 };
        let mut plan = plan.with_restores(rng, restores);
        plan.operators = if rng.u8(..4) == 0 { rng.usize(1..=2) } else { 0 };
        plan.with_store_clock_set(rng).with_systems()
    }

    /// Most apps use every system, and some use one. Drawn by chance of its own, so that all else
    /// of a seed is as it was when there was one system.
    fn with_systems(mut self) -> Self {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ 0x0073_7973_7465_6d73);
        self.systems = WITH_CREATES.to_vec();
        rng.shuffle(&mut self.systems);
        // Douyin refuses what is signed an hour away from its own time.
        if self.clocks.iter().any(|(ahead_ms, _)| ahead_ms.abs() > SIGNED_AWAY_MS_MAX) {
            self.without(INDUSTRY);
        }
        // It shows no order, so that only the mark tells whose a settle is.
        if self.knobs.mark == Mark::Off {
            self.without(GUARANTEED);
        }
        if rng.u8(..4) == 0 {
            self.systems.truncate(1);
        }
        // After a restore the record may be missing that says where the settle was made.
        let restores = self.acts.iter().any(|(_, act)| *act == Act::Restore);
        if rng.bool() && !restores {
            self.rates.set(Fault::Moved, 1_500);
        }
        self
    }

    fn without(&mut self, system: Known) {
        self.systems.retain(|known| *known != system);
    }

    /// Whether gateways sign with their time of day.
    pub fn signs(&self) -> bool {
        self.systems.contains(&INDUSTRY)
    }

    /// The system in which a caller pays this intent.
    pub fn system_of(&self, intent: usize) -> Known {
        let seed =
            self.seed.wrapping_mul(1_000_003).wrapping_add(u64::try_from(intent).expect("a few"));
        self.systems[fastrand::Rng::with_seed(seed).usize(..self.systems.len())]
    }

    /// What the apps' configuration names.
    pub fn configured(&self) -> Vec<Known> {
        // One that uses several has orders that Douyin settles, too.
        let agency = (self.systems.len() > 1).then_some(AGENCY);
        self.systems.iter().copied().chain(agency).collect()
    }

    /// The machine of the database has its clock set, as only one that several gateways share can.
    fn with_store_clock_set(mut self, rng: &mut fastrand::Rng) -> Self {
        if self.replicas > 1 && rng.u8(..4) == 0 {
            for _ in 0..rng.u32(1..=3) {
                let longest_ms = [1_000, 60_000, 3_600_000][rng.usize(..3)];
                let by_ms = rng.i64(-longest_ms..=longest_ms);
                let at = Duration::from_millis(rng.u64(..ms(self.storm)));
                self.acts.push((at, Act::StoreClock { by_ms }));
            }
            self.acts.sort_by_key(|(at, _)| *at);
        }
        self
    }

    /// The database goes back to a backup. What it forgets must not come again by itself: a delayed
    /// copy of a create is what a restore can still pay twice.
    pub fn with_restores(mut self, rng: &mut fastrand::Rng, restores: u32) -> Self {
        for _ in 0..restores {
            self.acts.push((Duration::from_millis(rng.u64(..ms(self.storm))), Act::Restore));
            for fault in [Fault::CallCopied, Fault::CallLate] {
                self.rates.set(fault, 0);
            }
        }
        self.acts.sort_by_key(|(at, _)| *at);
        self
    }

    /// Tokens that outlive the run: a gateway that keeps a stolen one never gets to the end.
    fn with_long_tokens(mut self, long: bool) -> Self {
        if long {
            self.knobs.token_life = Duration::from_secs(10 * 86_400);
        }
        self
    }

    /// Sends without an answer, commits in doubt, and re-sends that are refused because the first
    /// send took the money. Here an answer that is counted twice leads to a false statement about
    /// money.
    fn with_doubts(mut self, doubts: bool) -> Self {
        if doubts {
            self.choices.number_check = NumberCheck::AfterRules;
            self.rates.set(Fault::ReplyLost, 3_000);
            self.rates.set(Fault::CommitLost, 1_500);
            self.rates.set(Fault::CommitKept, 1_500);
        }
        self
    }

    /// The configuration of floor 2, without its seed and its runner.
    pub fn gateway(&self) -> GatewayConfig {
        let knobs = &self.knobs;
        GatewayConfig {
            policy: knobs.policy.clone(),
            schedule: knobs.schedule.clone(),
            mark: knobs.mark,
            lease: knobs.lease,
            creates_max: knobs.creates_max,
            resync: knobs.resync,
            shared_resync: knobs.resync,
            look_interval: LOOK_INTERVAL,
            watch_age_max: knobs.watch_age_max,
            submit_window_max: knobs.submit_window_max,
            ..GatewayConfig::default()
        }
    }
}

impl Knobs {
    fn drawn(rng: &mut fastrand::Rng) -> Self {
        let attempt_timeout = secs(rng, 1, 5);
        let call_timeout = attempt_timeout * rng.u32(1..=3);
        let policy = Policy {
            grace: mostly(rng, 5, 60, 600),
            call_timeout,
            exists_absent_max: secs(rng, 60, 3_600),
            expiry_attempts_min: 10,
            unlisted_times_max: 3,
            grace_proves: true,
        };
        let schedule = Schedule {
            first: Duration::from_millis(rng.u64(200..=2_000)),
            cap: secs(rng, 20, 600),
            watched_cap: secs(rng, 2, 20),
        };
        Self {
            policy,
            schedule,
            mark: if rng.u8(..4) == 0 { Mark::Off } else { Mark::On },
            lease: call_timeout + secs(rng, 1, 30),
            attempt_timeout,
            creates_max: if rng.u8(..5) == 0 { rng.usize(1..=2) } else { 1_024 },
            watches_max: if rng.u8(..5) == 0 { rng.usize(1..=3) } else { 1_000 },
            resync: secs(rng, 5, 60),
            watch_age_max: secs(rng, 30, 1_800),
            heartbeat: secs(rng, 5, 60),
            slow_consumer: secs(rng, 5, 30),
            budget: match rng.u8(..4) {
                0 => Budget { requests_per_second: rng.u32(1..=4), requests_in_flight: 4 },
                _ => Budget::default(),
            },
            submit_window_max: Duration::from_secs(72 * 3_600),
            queue_jobs_max: if rng.u8(..6) == 0 { rng.usize(8..=16) } else { 4_096 },
            batch_jobs_max: if rng.bool() { 64 } else { rng.usize(1..=3) },
            poller: PollerConfig {
                turns_max: rng.usize(1..=32),
                sleep_max: secs(rng, 5, 120),
                sweep_interval: secs(rng, 60, 600),
            },
            token_life: secs(rng, 60, 7_200),
            pause_max: secs(rng, 5, 600),
            refetch_gap: secs(rng, 1, 60),
        }
    }
}

/// About half of all kinds, each at a rate between three in a thousand and one in four.
fn drawn_rates(rng: &mut fastrand::Rng) -> Rates {
    let mut rates = Rates::none();
    // One is an act only, one has its rate elsewhere; here every seed would be another world by it.
    let drawn = |fault: &&Fault| ![Fault::StoreClockSet, Fault::Moved].contains(*fault);
    for &fault in Fault::ALL.iter().filter(drawn) {
        let rate = 30 * 3_u32.pow(rng.u32(0..=4));
        let per_poll = [Fault::Stall, Fault::Overtaken].contains(&fault);
        let in_doubt = [Fault::CommitKept, Fault::CommitLost].contains(&fault);
        let rate = match fault == Fault::Stall {
            // Once per poll of a task, of which there are thousands.
            true => rate / 30,
            false if per_poll => 4 * rate,
            false if in_doubt => rate.min(1_000),
            false => rate,
        };
        if rng.bool() {
            rates.set(fault, rate.min(3_500));
        }
    }
    rates
}

fn drawn_acts(rng: &mut fastrand::Rng, storm: Duration, replicas: usize) -> Vec<(Duration, Act)> {
    let mut acts = Vec::new();
    let mut lasts = [20, 20, 20, 20, 20];
    for longest in &mut lasts {
        if rng.u8(..4) == 0 {
            *longest = 1_200;
        }
    }
    for kind in 0..10 {
        if rng.bool() {
            continue;
        }
        for _ in 0..rng.u32(1..=5) {
            let replica = rng.usize(..replicas);
            let act = match kind {
                0 => Act::Crash { replica, polls: rng.u64(..60) },
                1 => Act::Restart { replica },
                2 => Act::Pause { replica, lasts: secs(rng, 1, lasts[0]) },
                3 => Act::Outage { lasts: secs(rng, 1, lasts[1]) },
                4 => Act::Storm { lasts: secs(rng, 1, lasts[2]), err_no: storm_number(rng) },
                5 => Act::Unreachable { lasts: secs(rng, 1, lasts[3]) },
                6 => Act::TokenStolen,
                7 => Act::TokensEnded,
                8 => Act::SecretWrong { lasts: secs(rng, 1, lasts[4]) },
                _ => Act::Stranger,
            };
            acts.push((Duration::from_millis(rng.u64(..ms(storm))), act));
        }
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// Seldom enough for a run of a day of virtual time.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Of the grace: 2 s more may be lost in bad weather, and clocks drift.
const LOST_MS: u64 = 2_500;

/// How far a clock may be from Douyin's, less what it drifts, for what is signed with its time.
pub const SIGNED_AWAY_MS_MAX: i64 = 3_500_000;

/// Days apart, and as bad as clocks get.
fn drawn_clock(rng: &mut fastrand::Rng) -> (i64, i32) {
    let longest_ms = [0, 60_000, 3_600_000, 3 * 86_400_000][rng.usize(..4)];
    (rng.i64(-longest_ms..=longest_ms), rng.i32(-200..=200))
}

/// Numbers that say nothing about the money.
fn storm_number(rng: &mut fastrand::Rng) -> i64 {
    [23_000, 28_001_005, 12_001, 10_020, 2_100_004, 987_654][rng.usize(..6)]
}

fn secs(rng: &mut fastrand::Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from * 1_000..=to * 1_000))
}

/// Between so many seconds and so many, one time in four up to many more.
fn mostly(rng: &mut fastrand::Rng, from: u64, to: u64, rarely_to: u64) -> Duration {
    let to = if rng.u8(..4) == 0 { rarely_to } else { to };
    secs(rng, from, to)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a plan is made of hours")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        writeln!(
            f,
            "replicas {}, apps {}, intents {}, systems {:?}, storm {:?}, weather {}, late {:?}, \
             hidden {:?}, copies late {:?}, latency {:?}, course {:?}, callbacks {}, \
             operators {}, refilled {}, broken {:?}",
            self.replicas,
            self.apps,
            self.intents,
            self.systems.iter().map(|known| known.there).collect::<Vec<_>>(),
            self.storm,
            self.weather,
            self.late_max,
            self.hidden_max,
            self.copy_late_max,
            self.latency_max,
            self.course_max,
            self.callbacks,
            self.operators,
            self.refilled,
            self.broken,
        )?;
        writeln!(f, "rates: {}", self.rates)?;
        let (clocks, store_clock) = (&self.clocks, self.store_clock);
        let loses_hints = self.loses_hints;
        writeln!(f, "clocks: {clocks:?}, the store's {store_clock:?}, loses hints: {loses_hints}")?;
        for (at, act) in &self.acts {
            writeln!(f, "at {at:?}: {act:?}")?;
        }
        writeln!(f, "{:?}", self.knobs)?;
        write!(f, "{:?}", self.choices)
    }
}
