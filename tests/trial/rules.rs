//! What must hold in every run, seen from outside.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// One rule.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Rule { $($(#[$doc])* $name,)+ }

        impl Rule {
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)+];

            fn text(self) -> &'static str {
                match self { $(Rule::$name => $text,)+ }
            }
        }
    };
}

rules! {
    // Money.
    /// Never two settles of one intent that hold money or may come to.
    PaidOnce = "paid once",
    /// No number is recorded, sent or applied with two contents.
    OneContent = "one content",
    // What callers are told of the money.
    NotSentStays = "not sent stays true",
    RefusedStays = "refused stays true",
    /// FAILED and REJECTED free the number's intent: nothing comes to life under it afterwards.
    FreedStays = "a final state stays true",
    /// Accepted, SUCCEEDED, FAILED: a settle with that status is in Douyin's books.
    ToldExists = "what is told exists",
    OutcomeTold = "errors tell the outcome",
    // What lasts.
    /// A later answer never knows less than an earlier one, and every settle told is listed.
    ToldLasts = "what was told lasts",
    AcknowledgedLasts = "acknowledged callbacks last",
    FinalStays = "final stays",
    /// A revision shows the same to every caller and in the history.
    OneState = "one revision, one state",
    // What watchers see.
    RevisionsGrow = "revisions grow",
    EndSeen = "watchers see the end",
    HeartbeatsCome = "heartbeats come",
    /// Once faults have stopped, a stream does not go on for long without what is news.
    NewsCome = "news come",
    // In bounded time and with bounded means.
    /// Some time after faults have stopped, everything recorded has Douyin's final word.
    Ends = "everything ends",
    /// Requests in flight, operations queued, tasks left behind.
    Limits = "limits",
    NoPanics = "no panics",
    /// Nothing that the gateways' own log calls impossible.
    NoAlarms = "no alarms",
}

/// A rule that was seen broken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}
