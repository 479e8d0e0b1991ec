//! What was seen, and what is wrong in it.

use std::fmt::Write as _;
use std::time::Duration;

/// What honest callers saw in one stretch of time.
#[derive(Default)]
pub struct Heard {
    pub calls: usize,
    /// How long the creates took that were answered with OK.
    pub took: Vec<Duration>,
    pub failed_with_details: usize,
    /// What failed without details, or was not answered at all.
    pub failed_without: Vec<String>,
    /// Questions of an orchestrator, each over a connection of its own, and those that were
    /// answered that it serves.
    pub probes: usize,
    pub ready: usize,
}

/// Resident memory in KiB.
pub struct Memory {
    pub quiet: u64,
    pub peak: u64,
    pub after: u64,
}

pub struct Row {
    pub kind: &'static str,
    /// Calls can be answered with OK meanwhile.
    pub serves: bool,
    pub quiet: Heard,
    pub under: Heard,
    pub after: Heard,
    pub memory: Memory,
    /// Cores that the process had of the machine, on average: without, and under it.
    pub cores: [f64; 2],
    /// Intents that did not come to their end.
    pub unfinished: usize,
    /// What was told and is not so.
    pub lies: Vec<String>,
    /// How the process ended, if it did.
    pub ended: Option<String>,
}

/// Longer than this with nothing hostile around, a call may take under it in any case: the machine
/// is shared with the peers.
const LATENCY_FLOOR: Duration = Duration::from_millis(50);

impl Heard {
    /// What shows that calls are served: one of them, and at least half of the probes.
    pub fn is_served(&self) -> bool {
        !self.took.is_empty() && self.ready > 0 && self.ready >= self.probes / 2
    }

    /// Of the creates, in thousandths.
    fn took(&self, thousandth: usize) -> Option<Duration> {
        let mut took = self.took.clone();
        took.sort();
        let last = took.len().checked_sub(1)?;
        took.get(last * thousandth / 1000).copied()
    }
}

impl Row {
    fn all(&self) -> [&Heard; 3] {
        [&self.quiet, &self.under, &self.after]
    }

    /// What must not be, each with the name of the kind. `by_itself`: the memory in KiB of a
    /// process around which there was nothing for the same time, if measures count.
    pub fn wrong(&self, by_itself: Option<u64>) -> Vec<String> {
        let mut wrong = Vec::new();
        let without = self.all().map(|heard| &heard.failed_without).into_iter().flatten();
        if let Some(first) = without.clone().next() {
            wrong.push(format!("{} calls failed without details: {first}", without.count()));
        }
        wrong.extend(self.lies.iter().map(|lie| format!("told and not so: {lie}")));
        if self.unfinished > 0 {
            wrong.push(format!("{} intents did not come to their end", self.unfinished));
        }
        wrong.extend(self.ended.clone());
        if self.serves && self.under.took.is_empty() {
            wrong.push("no create was answered with OK meanwhile".to_owned());
        }
        let Heard { probes, ready, .. } = self.under;
        if self.serves && ready < probes / 2 {
            wrong.push(format!("only {ready} of {probes} heard that it is ready"));
        }
        if self.after.took.is_empty() {
            wrong.push("no create was answered with OK afterwards".to_owned());
        }
        if let Some(by_itself) = by_itself {
            wrong.extend(self.wrong_measures(by_itself));
        }
        wrong.into_iter().map(|wrong| format!("{}: {wrong}", self.kind)).collect()
    }

    fn wrong_measures(&self, by_itself: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        for thousandth in [500, 990] {
            let (quiet, under) = (self.quiet.took(thousandth), self.under.took(thousandth));
            let bound = LATENCY_FLOOR.max(2 * quiet.unwrap_or_default());
            if self.serves && under.is_none_or(|under| under > bound) {
                wrong
                    .push(format!("calls took {under:?} at {thousandth} ‰, and {quiet:?} without"));
            }
        }
        let Memory { quiet, after, .. } = self.memory;
        let usual = by_itself.max(quiet);
        if after > usual + usual / 5 {
            wrong.push(format!("{after} KiB of memory afterwards, and {by_itself} by itself"));
        }
        wrong
    }
}

/// One table.
pub fn print(rows: &[Row]) -> String {
    let heads = [
        "kind",
        "honest calls",
        "failed with details",
        "failed without",
        "ready under it",
        "false words",
        "p50/p99 ms: quiet",
        "under it",
        "its cores: quiet",
        "under it",
        "memory MiB: quiet",
        "peak",
        "after",
    ];
    let mut text = format!("\n| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(heads.len()));
    for row in rows {
        let sum = |of: fn(&Heard) -> usize| row.all().map(of).into_iter().sum::<usize>();
        let (calls, with) = (sum(|heard| heard.calls), sum(|heard| heard.failed_with_details));
        let without = sum(|heard| heard.failed_without.len());
        let lies = row.lies.len() + row.unfinished;
        let took = |heard: &Heard| {
            let ms = |thousandth| heard.took(thousandth).map(|took| took.as_millis().to_string());
            let ms = |thousandth| ms(thousandth).unwrap_or_else(|| "–".to_owned());
            format!("{}/{}", ms(500), ms(990))
        };
        let mib = |kib: u64| kib / 1024;
        let Memory { quiet, peak, after } = row.memory;
        let [cores, cores_under] = row.cores;
        let _ = writeln!(
            text,
            "| {} | {calls} | {with} | {without} | {} of {} | {lies} | {} | {} \
             | {cores:.2} | {cores_under:.2} | {} | {} | {} |",
            row.kind,
            row.under.ready,
            row.under.probes,
            took(&row.quiet),
            took(&row.under),
            mib(quiet),
            mib(peak),
            mib(after),
        );
    }
    text
}
