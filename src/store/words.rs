//! How closed enums are stored: one word per variant.
//!
//! The words are the store's own, so that renaming something in the code never changes a file. A
//! word that this version does not know makes its row unreadable, in Rust and (by [`readable_sql`])
//! in SQL. It must not know the other columns.

use crate::settle::{RULES, Source, StateKind, TradeSystem};

/// An enum that is stored as a word.
pub(super) trait Word: Copy + 'static {
    const ALL: &'static [Self];

    fn word(self) -> &'static str;

    /// `None`: a newer version wrote it.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.word() == word)
    }
}

/// One list per enum makes both directions, so that they agree.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal,)* }) => {
        impl Word for $name {
            const ALL: &'static [Self] = &[$($name::$variant),*];

            fn word(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }
    };
}

pub(super) use words;

/// An `Origin` without its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OriginKind {
    Gateway,
    Platform,
}

words!(TradeSystem {
    General = "GENERAL",
    SelfOperated = "SELF_OPERATED",
    Industry = "INDUSTRY",
    Agency = "AGENCY",
    Guaranteed = "GUARANTEED",
});
words!(OriginKind { Gateway = "GATEWAY", Platform = "PLATFORM", });
words!(StateKind {
    Submitting = "SUBMITTING",
    Processing = "PROCESSING",
    Succeeded = "SUCCEEDED",
    Failed = "FAILED",
    Rejected = "REJECTED",
});
words!(Source {
    Create = "CREATE",
    Query = "QUERY",
    Callback = "CALLBACK",
    Gateway = "GATEWAY",
    Operator = "OPERATOR",
});

/// The SQL condition that a row of `settle` holds only words that this version knows, and was not
/// written by newer rules.
pub(super) fn readable_sql() -> String {
    let conditions = [
        format!("settle.rules <= {RULES}"),
        one_of::<TradeSystem>("trade_system"),
        one_of::<OriginKind>("origin"),
        one_of::<StateKind>("state"),
        one_of::<StateKind>("contradiction_claimed"),
        one_of::<Source>("contradiction_source"),
    ];
    conditions.join(" AND ")
}

/// Null passes: a settle without a contradiction has no word there. That is said twice: PostgreSQL
/// would take `IS NOT FALSE` alone for a condition that hardly any settle meets, and would read all
/// that is due before it takes the first few. The SQL does not use `IN`, because SQLite would build
/// an index of the list at every execution, which costs more than the rest of a swap.
fn one_of<W: Word>(column: &str) -> String {
    let equals = |known: &W| format!("settle.{column} = '{}'", known.word());
    let equals: Vec<String> = W::ALL.iter().map(equals).collect();
    format!("(settle.{column} IS NULL OR {}) IS NOT FALSE", equals.join(" OR "))
}

/// The SQL condition that a settle is in one of the states `wanted`. A state that this version does
/// not know is never wanted.
pub(super) fn state_in_sql(wanted: fn(StateKind) -> bool) -> String {
    let states = StateKind::ALL.iter().copied().filter(|state| wanted(*state));
    let equals: Vec<String> =
        states.map(|state| format!("settle.state = '{}'", state.word())).collect();
    format!("({})", equals.join(" OR "))
}
