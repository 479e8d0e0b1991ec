//! The world of one run: what there is, what happens by chance, and how it begins and ends.
//!
//! One thread, and one runtime whose time stands still while any task has something to do. All
//! chance
//! comes from the seed, and everything that is drawn is drawn in the order of events, so that one
//! seed is one run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use douyin_sim::System;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::Level;

use crate::callers;
use crate::chaos;
use crate::checker::Checker;
use crate::database::Database;
use crate::douyin::{BEGINS_MS, Douyin};
use crate::faults::{Counts, Fault};
use crate::gateway::{self, Slot};
use crate::plan::Plan;
use crate::postman;
use crate::process::Process;
use crate::rules::{Rule, Violation};
use crate::trace::{Ear, Keep, Trace};

/// Cheap to clone; clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    plan: Plan,
    began: Instant,
    rng: Mutex<fastrand::Rng>,
    trace: Mutex<Trace>,
    counts: Mutex<Counts>,
    /// Faults have stopped.
    calm: AtomicBool,
    douyin: Mutex<Douyin>,
    database: Mutex<Database>,
    slots: Mutex<Vec<Slot>>,
    /// No gateway is started before this moment.
    closed_until: Mutex<Duration>,
    checker: Mutex<Checker>,
    /// Told when a process died.
    deaths: Notify,
    /// Told when Douyin may have something to tell.
    mail: Notify,
    violations: Mutex<Vec<Violation>>,
}

/// How a run ended.
pub struct Ran {
    pub violations: Vec<Violation>,
    pub counts: Counts,
    pub settles: BTreeMap<System, usize>,
    pub commits: u64,
    pub left_to_a_person: usize,
    pub virtual_time: Duration,
    pub lines: Vec<String>,
}

/// The longest time from the end of all faults to the end of everything.
const ENDS_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// Plays one world to its end.
pub fn run(plan: Plan, keep: Keep) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be built");
    let _ear = Ear::new(keep);
    runtime.block_on(async {
        let world = World::new(plan, keep);
        world.play().await;
        world.end()
    })
}

impl World {
    fn new(plan: Plan, keep: Keep) -> Self {
        let rng = fastrand::Rng::with_seed(plan.seed ^ 0x7472_6961_6c00);
        Self(Arc::new(Inner {
            began: Instant::now(),
            rng: Mutex::new(rng),
            trace: Mutex::new(Trace::new(keep)),
            counts: Mutex::default(),
            calm: AtomicBool::new(false),
            douyin: Mutex::new(Douyin::new(&plan)),
            database: Mutex::new(Database::new(&plan)),
            closed_until: Mutex::default(),
            slots: Mutex::new((0..plan.replicas).map(|_| Slot::default()).collect()),
            checker: Mutex::default(),
            deaths: Notify::new(),
            mail: Notify::new(),
            violations: Mutex::default(),
            plan,
        }))
    }

    async fn play(&self) {
        for line in self.plan().to_string().lines() {
            self.say("plan", || line.to_owned());
        }
        for replica in 0..self.plan().replicas {
            gateway::start(self, replica);
        }
        let chaos = tokio::spawn(chaos::reign(self.clone()));
        tokio::spawn(postman::work(self.clone()));
        let callers = callers::begin(self);
        let all = async move {
            chaos.await.expect("it does not panic");
            for caller in callers {
                caller.await.expect("it does not panic");
            }
        };
        let limit = self.plan().storm + ENDS_WITHIN;
        if tokio::time::timeout(limit, all).await.is_err() {
            self.say("world", || "the time is up, and a call still waits".to_owned());
        }
        callers::audit(self, limit).await;
    }

    fn end(&self) -> Ran {
        self.listen();
        // Processes hold their world, and worlds their processes.
        self.slots().iter_mut().for_each(|slot| *slot = Slot::default());
        let inner = &self.0;
        let mut settles = BTreeMap::new();
        for settle in self.douyin().core.settles() {
            *settles.entry(settle.system).or_default() += 1;
        }
        let (commits, left_to_a_person) = {
            let checker = self.checker();
            (checker.commits, checker.left_to_a_person)
        };
        Ran {
            violations: std::mem::take(&mut *lock(&inner.violations)),
            counts: lock(&inner.counts).clone(),
            settles,
            commits,
            left_to_a_person,
            virtual_time: inner.began.elapsed(),
            lines: std::mem::take(&mut lock(&inner.trace).lines),
        }
    }

    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    pub fn douyin(&self) -> MutexGuard<'_, Douyin> {
        lock(&self.0.douyin)
    }

    pub fn database(&self) -> MutexGuard<'_, Database> {
        lock(&self.0.database)
    }

    pub fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        lock(&self.0.slots)
    }

    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        lock(&self.0.checker)
    }

    pub fn deaths(&self) -> &Notify {
        &self.0.deaths
    }

    pub fn mail(&self) -> &Notify {
        &self.0.mail
    }

    // Time.

    /// The true time of day (unix, in milliseconds): Douyin's.
    pub fn now_ms(&self) -> u64 {
        BEGINS_MS + u64::try_from(self.0.began.elapsed().as_millis()).expect("days")
    }

    pub fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// How long faults have been over.
    pub fn calm_for(&self) -> Option<Duration> {
        self.is_calm().then(|| self.elapsed().saturating_sub(self.plan().storm))
    }

    /// How long faults go on.
    pub fn storm_left(&self) -> Duration {
        self.plan().storm.saturating_sub(self.elapsed())
    }

    pub fn is_calm(&self) -> bool {
        self.0.calm.load(Ordering::Relaxed)
    }

    /// Faults are over.
    pub fn calm_down(&self) {
        self.say("world", || "faults are over".to_owned());
        self.0.calm.store(true, Ordering::Relaxed);
    }

    // Chance.

    /// Whether a fault happens here and now; it is counted.
    pub fn roll(&self, fault: Fault) -> bool {
        let rate = self.plan().rates.of(fault);
        if rate == 0 || self.is_calm() || lock(&self.0.rng).u32(..10_000) >= rate {
            return false;
        }
        self.count(fault);
        true
    }

    pub fn count(&self, fault: Fault) {
        lock(&self.0.counts).add(fault);
    }

    pub fn coin(&self) -> bool {
        lock(&self.0.rng).bool()
    }

    /// A number below `end`, which is not 0.
    pub fn below(&self, end: usize) -> usize {
        lock(&self.0.rng).usize(..end)
    }

    /// A number up to `last`.
    pub fn upto(&self, last: u64) -> u64 {
        lock(&self.0.rng).u64(..=last)
    }

    /// A time up to `longest`.
    pub fn below_time(&self, longest: Duration) -> Duration {
        let longest_ms = u64::try_from(longest.as_millis()).expect("days");
        Duration::from_millis(self.upto(longest_ms))
    }

    /// How long a message takes.
    pub fn latency(&self) -> Duration {
        self.below_time(self.plan().latency_max)
    }

    // What is told.

    pub fn say(&self, who: &str, what: impl FnOnce() -> String) {
        lock(&self.0.trace).add(self.elapsed().as_millis(), who, what);
    }

    /// Something happened that must not.
    pub fn violation(&self, rule: Rule, what: &str) {
        self.say("CHECK", || format!("violated: {rule}: {what}"));
        let mut violations = lock(&self.0.violations);
        if violations.len() < VIOLATIONS_MAX {
            let at = self.elapsed();
            violations.push(Violation { rule, what: format!("{what} (at {at:?})") });
        }
    }

    /// Takes down what the gateways' log said.
    fn listen(&self) {
        for (level, line) in Ear::take() {
            self.checker().logged(self.elapsed(), &line);
            self.say("log", || format!("{level} {line}"));
            if level == Level::ERROR && ALARMS.iter().any(|alarm| line.contains(alarm)) {
                self.violation(Rule::NoAlarms, &line);
            }
        }
    }

    // What happens in several places.

    /// A process dies here and now, with what it had not made durable.
    pub fn crashed(&self, process: &Process) {
        self.count(Fault::Crash);
        self.say(process.name(), || "dies".to_owned());
        process.kill();
        if self.slots().iter().all(|slot| !slot.is_alive()) {
            let mut database = self.database();
            if database.queued() > 0 && self.coin() {
                // Killed after the commit and before its answer.
                while database.commit() > 0 {}
            }
            database.crash();
        }
        self.deaths().notify_one();
    }

    /// All processes die, and an operator puts a backup in the place of the database. Whatever was
    /// on its way has arrived, and can be seen, before a gateway starts again.
    pub fn restore(&self) {
        if !self.database().is_open() {
            return;
        }
        for slot in self.slots().iter() {
            if let Some(running) = &slot.running {
                running.process.kill();
            }
        }
        if !self.database().restore() {
            self.database().crash();
            self.deaths().notify_one();
            return;
        }
        self.count(Fault::Restored);
        self.say("world", || "the database is back at its last backup".to_owned());
        self.checker().forget(self.elapsed());
        let policy = &self.plan().knobs.policy;
        let closed = self.elapsed() + policy.call_timeout + policy.grace;
        *lock(&self.0.closed_until) = closed;
        self.deaths().notify_one();
    }

    /// How long no gateway may be started.
    pub fn closed_for(&self) -> Duration {
        lock(&self.0.closed_until).saturating_sub(self.elapsed())
    }

    /// A gateway is started. After a restore it is the first one, and what the dead ones had told
    /// and was on its way when the store went back has come by now: it is forgotten, too.
    pub fn open_again(&self) {
        if !std::mem::take(&mut *lock(&self.0.closed_until)).is_zero() {
            self.checker().forget(self.elapsed());
        }
    }

    /// A task of a process ran: it may have left something to commit.
    pub fn stirred(&self) {
        self.listen();
        let mut database = self.database();
        let queued = database.queued();
        if queued > self.plan().knobs.queue_jobs_max {
            self.violation(Rule::Limits, &format!("{queued} operations are queued"));
        }
        if database.expected || queued == 0 {
            return;
        }
        database.expected = true;
        drop(database);
        let slow = self.roll(Fault::CommitSlow);
        let longest = if slow { Duration::from_secs(60) } else { Duration::from_millis(5) };
        let wait = self.below_time(longest);
        tokio::spawn(commit(self.clone(), wait));
    }

    pub fn refill(&self, out_order_no: &str) {
        let now_ms = self.now_ms();
        self.douyin().refill(now_ms, out_order_no);
    }

    /// Whatever changed in Douyin's books is told to the checker.
    pub fn books_changed(&self) {
        let now_ms = self.now_ms();
        let news = {
            let mut douyin = self.douyin();
            douyin.core.advance(now_ms);
            douyin.news()
        };
        if !news.is_empty() {
            self.mail().notify_one();
        }
        for (index, is_new) in news {
            let settle = {
                let douyin = self.douyin();
                douyin.core.settles().nth(index).expect("settles stay in the books").clone()
            };
            self.say("books", || {
                let (number, id) = (&settle.out_settle_no, &settle.settle_id);
                format!("{number} is {} as {id}", settle.status.word())
            });
            if is_new && (settle.by_gateway || settle.is_auto_settle) {
                tokio::spawn(chaos::course(self.clone(), settle.settle_id.clone()));
            }
            self.checker().in_books(self, &settle, is_new);
        }
    }
}

/// Violations of one run that are kept; the first one says most.
const VIOLATIONS_MAX: usize = 20;

/// What the gateways themselves say that must not be.
const ALARMS: [&str; 4] = [
    "repaired the schedule",
    "another number has this settle_id",
    "panicked",
    "AliveAfterRejection",
];

async fn commit(world: World, wait: Duration) {
    tokio::time::sleep(wait).await;
    // The database may be another one by now.
    if !world.database().expected {
        return;
    }
    let lost = world.roll(Fault::CommitLost);
    let kept = !lost && world.roll(Fault::CommitKept);
    let mut database = world.database();
    let jobs = match (lost, kept) {
        (true, _) => database.lose(),
        (false, true) => database.commit_unheard(),
        (false, false) => database.commit(),
    };
    database.expected = false;
    let left = database.queued();
    drop(database);
    world.checker().commits += 1;
    world.say("store", || {
        let how = match (lost, kept) {
            (true, _) => "loses",
            (false, true) => "commits, unheard,",
            (false, false) => "commits",
        };
        format!("{how} {jobs}, {left} left")
    });
    world.stirred();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while holding this lock")
}
