//! Everything that may go wrong, by name, and how often it did.

use std::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// One kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Fault { $($(#[$doc])* $name,)+ }

        impl Fault {
            pub const ALL: &'static [Fault] = &[$(Fault::$name,)+];

            pub fn name(self) -> &'static str {
                match self { $(Fault::$name => $text,)+ }
            }
        }
    };
}

faults! {
    // Between callers and gateways.
    CallLost = "call lost",
    CallLate = "call late",
    /// Another copy of the same request, perhaps much later and at another replica.
    CallCopied = "call copied",
    AnswerLost = "answer lost",
    /// The caller gives up before the answer.
    CallerGone = "caller gone",
    StreamCut = "stream cut",
    SlowReader = "slow reader",
    // Between gateways and Douyin.
    /// Nothing leaves the machine.
    Unreachable = "Douyin unreachable",
    SendLost = "request to Douyin lost",
    SendLate = "request to Douyin late",
    /// Two copies arrive one right after the other; the answer is that of either.
    SendCopied = "request to Douyin copied",
    ReplyLost = "answer of Douyin lost",
    ReplyLate = "answer of Douyin late",
    /// The connection is cut at some byte of the answer.
    ReplyCut = "answer of Douyin cut",
    /// The answer ends at some byte and looks whole.
    ReplyTruncated = "answer of Douyin truncated",
    CallbackLost = "callback lost",
    CallbackLate = "callback late",
    CallbackCopied = "callback copied",
    CallbackCut = "callback cut",
    CallbackAnswerLost = "answer to a callback lost",
    // Douyin's own.
    Weather = "bad weather at Douyin",
    Storm = "storm of errors at Douyin",
    Nameless = "acceptance without an id",
    Unlisted = "number in no table",
    Failed = "settle failed",
    Stranger = "stranger under the number",
    /// A callback that tells the opposite of what is in Douyin's books.
    Contradiction = "callback against the books",
    Collision = "two intents with one number",
    TokenStolen = "token stolen",
    TokensEnded = "tokens ended",
    SecretWrong = "secret rejected",
    // People.
    /// Not a fault: an operator stops a settle in doubt.
    Operator = "stop by an operator",
    // The store.
    CommitSlow = "commit slow",
    CommitKept = "commit in doubt, kept",
    CommitLost = "commit in doubt, lost",
    Outage = "store outage",
    // The process.
    /// A task is not run for a while.
    Stall = "task stalled",
    /// Tasks do not run in the order in which they became ready.
    Overtaken = "task overtaken",
    /// The whole process is not run for a while.
    Pause = "process paused",
    Crash = "crash",
    Restart = "restart in order",
    ClockSet = "clock set between starts",
    Restored = "store back to a backup",
    StoreClockSet = "clock of the store set",
    // Callers, again.
    /// A caller repeats in another trade system what is recorded in one.
    Moved = "repeat in another trade system",
}

/// How often each kind happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; Fault::ALL.len()])
    }
}

impl Counts {
    pub fn add(&mut self, fault: Fault) {
        self.0[index(fault)] += 1;
    }

    pub fn of(&self, fault: Fault) -> u64 {
        self.0[index(fault)]
    }

    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum += count;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in Fault::ALL {
            writeln!(f, "  {:>9}  {}", self.of(*fault), fault.name())?;
        }
        Ok(())
    }
}

/// How many of 10 000 chances of each kind are taken.
#[derive(Clone, Debug)]
pub struct Rates(Vec<u32>);

impl Rates {
    pub fn none() -> Self {
        Self(vec![0; Fault::ALL.len()])
    }

    pub fn of(&self, fault: Fault) -> u32 {
        self.0[index(fault)]
    }

    pub fn set(&mut self, fault: Fault, per_10_000: u32) {
        self.0[index(fault)] = per_10_000;
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Fault::ALL.iter().filter(|fault| self.of(**fault) > 0);
        let shown: Vec<_> =
            shown.map(|fault| format!("{} {}", fault.name(), self.of(*fault))).collect();
        f.write_str(&shown.join(", "))
    }
}

fn index(fault: Fault) -> usize {
    Fault::ALL.iter().position(|known| *known == fault).expect("ALL has every fault")
}
