//! What a worker does next for a settle. Pure; `gateway::turn` does it.

use super::observation::{Learned, Policy, Scope};
use super::record::{Record, StateKind};
use super::state::may_send;
use crate::clock::Timestamp;

/// Who works on the settle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The create that recorded it. Its insert permitted the first send, and its caller waits for
    /// an answer.
    Creator,
    /// The poller. No caller waits, so it asks Douyin before it sends again.
    Poller,
}

/// What one worker has done in this turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    pub role: Role,
    pub sends: u32,
    pub queries: u32,
    pub last: Last,
    /// Calls to Douyin since the settle was created.
    pub attempts: u32,
    /// Waits since the last news, when the turn began.
    pub backoff: u32,
    /// The revision when the turn began. A greater one is news.
    pub revision: i64,
}

/// What a query brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked<'a> {
    Learned(&'a Learned),
    /// It failed, and nothing was learned.
    Failed,
    /// It failed because the app is throttled.
    Throttled,
}

/// What the last call of this turn learned, as far as the next step needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    Nothing,
    Unknown,
    NotSent,
    /// The app is throttled, so not even a query is sent now.
    Throttled,
    Absent,
    /// Accepted, refused, 23111 or reported.
    Definite,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Send the recorded bytes, after the durable permission.
    Send,
    /// Ask Douyin, by number or by `settle_id`.
    Query(Scope),
    /// Give the lease back; the schedule says when to look again.
    Rest,
}

/// Sends in one turn. A second send repairs most lost answers; more would only add doubt.
const SENDS_PER_TURN: u32 = 2;
/// Queries in one turn: one to look, one to find out what a 23111 or a refusal meant.
const QUERIES_PER_TURN: u32 = 2;

impl Progress {
    /// For the create that recorded the settle.
    pub fn of_creator(record: &Record) -> Self {
        Self::begun(Role::Creator, record, 0, 0)
    }

    /// For a worker that claimed the settle.
    pub fn of_poller(record: &Record, attempts: u32, backoff: u32) -> Self {
        Self::begun(Role::Poller, record, attempts, backoff)
    }

    fn begun(role: Role, record: &Record, attempts: u32, backoff: u32) -> Self {
        let (last, revision) = (Last::Nothing, record.revision);
        Self { role, sends: 0, queries: 0, last, attempts, backoff, revision }
    }

    pub fn after_send(&mut self, learned: &Learned) {
        self.sends += 1;
        self.attempts = self.attempts.saturating_add(1);
        self.last = last(learned);
    }

    pub fn after_query(&mut self, asked: Asked<'_>) {
        self.queries += 1;
        self.attempts = self.attempts.saturating_add(1);
        self.last = match asked {
            Asked::Learned(learned) => last(learned),
            Asked::Failed => Last::Unknown,
            Asked::Throttled => Last::Throttled,
        };
    }

    /// Nothing more is asked or sent in this turn.
    pub fn throttled(&mut self) {
        self.last = Last::Throttled;
    }
}

fn last(learned: &Learned) -> Last {
    match learned {
        Learned::Unknown(_) | Learned::Unlisted(_) => Last::Unknown,
        Learned::NotSent(_) => Last::NotSent,
        Learned::Absent | Learned::Elsewhere => Last::Absent,
        Learned::Accepted(_)
        | Learned::Refused(_)
        | Learned::Exists(_)
        | Learned::Reported(_)
        | Learned::Resolved { .. }
        | Learned::Stopped { .. }
        | Learned::Ended(_) => Last::Definite,
    }
}

/// The next step of a turn.
pub fn next_step(record: &Record, progress: &Progress, now: Timestamp, policy: &Policy) -> Step {
    match record.state.kind() {
        StateKind::Submitting => submitting(record, progress, now, policy),
        StateKind::Processing => match progress.role {
            Role::Poller if progress.queries == 0 => Step::Query(scope(record)),
            Role::Poller | Role::Creator => Step::Rest,
        },
        // A final settle has a due row only if it needs one more query.
        StateKind::Succeeded | StateKind::Failed | StateKind::Rejected => {
            if record.owes_a_query() && progress.queries == 0 {
                Step::Query(scope(record))
            } else {
                Step::Rest
            }
        }
    }
}

fn submitting(record: &Record, progress: &Progress, now: Timestamp, policy: &Policy) -> Step {
    let may_send = may_send(record, now, policy) && progress.sends < SENDS_PER_TURN;
    let query =
        if progress.queries < QUERIES_PER_TURN { Step::Query(Scope::Number) } else { Step::Rest };
    match (progress.last, progress.role) {
        (Last::Nothing, Role::Creator) => Step::Send,
        (Last::Nothing, Role::Poller) if !record.evidence.in_doubt() && may_send => Step::Send,
        (Last::Nothing, Role::Poller) => query,
        (Last::Unknown, Role::Creator) if may_send => Step::Send,
        (Last::Unknown, Role::Creator | Role::Poller) if progress.queries == 0 => query,
        (Last::Unknown, Role::Creator | Role::Poller) => Step::Rest,
        (Last::Absent, Role::Poller) if may_send && progress.sends == 0 => Step::Send,
        (Last::Absent, Role::Creator | Role::Poller) => Step::Rest,
        (Last::NotSent | Last::Throttled, Role::Creator | Role::Poller) => Step::Rest,
        (Last::Definite, Role::Creator | Role::Poller) => query,
    }
}

/// By number if a second settle of ours may exist under it, else by the id.
fn scope(record: &Record) -> Scope {
    let has_number = record.request().is_some();
    let recorded = record.state.settle_id();
    let about = record.open_contradiction().map(|claim| &claim.settle_id);
    let other = about.is_some() && about != recorded;
    if has_number && (record.evidence.in_doubt() || recorded.is_none() || other) {
        Scope::Number
    } else {
        Scope::Single
    }
}
