//! Why a settle does not come to its end, as far as an operator can do something about it. A settle
//! that only waits (for Douyin, for the grace) is not stuck.

use std::time::Duration;

use super::observation::Policy;
use super::record::{Record, StateKind};
use crate::clock::Timestamp;

/// Why a settle does not come to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stuck {
    /// Douyin reported the opposite of the recorded end: an operator decides.
    Contradiction,
    /// An operator stopped it, can end it, and has not done so.
    Stopped,
    /// Douyin's answers about it cannot be read, several times in a row.
    UnreadableAnswer,
    /// Douyin reports a status that no document lists.
    UnlistedStatus,
    /// Douyin answers its sends with a number that no table lists.
    UnlistedAnswer,
    /// Douyin shows a settle under the number that nothing proves to be ours.
    Unproven,
    /// Douyin says that a settle exists under the number, and shows none.
    ExistsButAbsent,
    /// Its submission window is over, and it is neither accepted nor proven absent.
    WindowOver,
    /// A send may have taken effect, and no answer of Douyin resolves that doubt.
    Doubt,
    /// Douyin accepted it, and does not show it.
    NotShown,
    /// A newer version of the gateway wrote its row: this one leaves it alone.
    NewerVersion,
    /// Its app is not in the configuration.
    AppNotConfigured,
    /// Douyin rejects the credentials of its app.
    CredentialsRejected,
}

impl Stuck {
    pub const ALL: [Stuck; 13] = [
        Stuck::Contradiction,
        Stuck::Stopped,
        Stuck::UnreadableAnswer,
        Stuck::UnlistedStatus,
        Stuck::UnlistedAnswer,
        Stuck::Unproven,
        Stuck::ExistsButAbsent,
        Stuck::WindowOver,
        Stuck::Doubt,
        Stuck::NotShown,
        Stuck::NewerVersion,
        Stuck::AppNotConfigured,
        Stuck::CredentialsRejected,
    ];

    /// Its name in metrics, logs and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Stuck::Contradiction => "contradiction",
            Stuck::Stopped => "stopped",
            Stuck::UnreadableAnswer => "unreadable_answer",
            Stuck::UnlistedStatus => "unlisted_status",
            Stuck::UnlistedAnswer => "unlisted_answer",
            Stuck::Unproven => "unproven",
            Stuck::ExistsButAbsent => "exists_but_absent",
            Stuck::WindowOver => "window_over",
            Stuck::Doubt => "doubt",
            Stuck::NotShown => "not_shown",
            Stuck::NewerVersion => "newer_version",
            Stuck::AppNotConfigured => "app_not_configured",
            Stuck::CredentialsRejected => "credentials_rejected",
        }
    }

    /// Its cause is the app, so all open settles of the app have it.
    pub fn is_of_the_app(self) -> bool {
        match self {
            Stuck::AppNotConfigured | Stuck::CredentialsRejected => true,
            Stuck::Contradiction
            | Stuck::Stopped
            | Stuck::UnreadableAnswer
            | Stuck::UnlistedStatus
            | Stuck::UnlistedAnswer
            | Stuck::Unproven
            | Stuck::ExistsButAbsent
            | Stuck::WindowOver
            | Stuck::Doubt
            | Stuck::NotShown
            | Stuck::NewerVersion => false,
        }
    }
}

/// What Douyin last answered about a settle, as far as the record does not show it: a query without
/// a usable answer is not an observation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastAnswers {
    pub kind: AnswerKind,
    /// How many in a row.
    pub times: u32,
    /// When the first of them came.
    pub since: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerKind {
    Unreadable,
    /// There is no such settle.
    Absent,
    /// Settles were shown.
    Shown,
}

/// This many answers of one kind in a row are not a coincidence.
const TIMES_MIN: u32 = 5;

/// What is known besides the record.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    pub now: Timestamp,
    /// When this process began. The grace of what an earlier process sent begins here.
    pub started: Timestamp,
    pub policy: &'a Policy,
    /// The last answers that this process got from Douyin.
    pub last: Option<LastAnswers>,
}

/// Why the settle does not come to its end by itself; `None`: it does, or it has ended.
pub fn stuck(record: &Record, known: &Circumstances<'_>) -> Option<Stuck> {
    if record.open_contradiction().is_some() {
        return Some(Stuck::Contradiction);
    }
    if record.is_final() {
        return None;
    }
    if waits_for_its_operator(record, known) {
        return Some(Stuck::Stopped);
    }
    if record.facts.settle_status.as_deref().is_some_and(is_unlisted) {
        return Some(Stuck::UnlistedStatus);
    }
    if record.state.kind() == StateKind::Submitting && record.evidence.unlisted.is_some() {
        return Some(Stuck::UnlistedAnswer);
    }
    if known.keeps_answering(AnswerKind::Unreadable, known.policy.grace) {
        return Some(Stuck::UnreadableAnswer);
    }
    match record.state.kind() {
        StateKind::Submitting => submitting(record, known),
        StateKind::Processing if known.keeps_answering(AnswerKind::Absent, known.policy.grace) => {
            Some(Stuck::NotShown)
        }
        StateKind::Processing => lasting_doubt(record, known),
        StateKind::Succeeded | StateKind::Failed | StateKind::Rejected => None,
    }
}

fn submitting(record: &Record, known: &Circumstances<'_>) -> Option<Stuck> {
    let Circumstances { now, policy, .. } = *known;
    if let Some(since) = record.evidence.exists_seen {
        if known.keeps_answering(AnswerKind::Shown, known.whole_grace()) {
            return Some(Stuck::Unproven);
        }
        let is_absent = known.keeps_answering(AnswerKind::Absent, known.whole_grace());
        if is_absent && now >= since.plus(policy.exists_absent_max) {
            return Some(Stuck::ExistsButAbsent);
        }
    }
    // The empty queries that end it need some time.
    let is_over = |end: Timestamp| now >= known.proven_from(end).plus(policy.grace);
    if record.request().is_some_and(|request| is_over(request.submit_before)) {
        return Some(Stuck::WindowOver);
    }
    lasting_doubt(record, known)
}

/// Whether an operator stopped it and can end it now.
fn waits_for_its_operator(record: &Record, known: &Circumstances<'_>) -> bool {
    let is_open = record.state.kind() == StateKind::Submitting || record.evidence.in_doubt();
    record.evidence.stopped && is_open && known.is_visible(record)
}

/// A doubt that the grace would end, if the grace proved anything.
fn lasting_doubt(record: &Record, known: &Circumstances<'_>) -> Option<Stuck> {
    let evidence = &record.evidence;
    let waits = evidence.refused.is_some() || !evidence.failed.is_empty();
    let proves = known.policy.grace_proves;
    let is_stuck = !proves && evidence.in_doubt() && waits && known.is_visible(record);
    is_stuck.then_some(Stuck::Doubt)
}

impl Circumstances<'_> {
    /// Whether Douyin has given only this kind of answer for this long.
    fn keeps_answering(&self, kind: AnswerKind, patience: Duration) -> bool {
        self.last.is_some_and(|last| {
            let lasts = self.now >= last.since.plus(patience);
            last.kind == kind && last.times >= TIMES_MIN && lasts
        })
    }

    /// From a send until queries must show it.
    fn whole_grace(&self) -> Duration {
        self.policy.call_timeout + self.policy.grace
    }

    /// Whether queries must show by now what was sent.
    fn is_visible(&self, record: &Record) -> bool {
        let sent = record.evidence.last_permission.map_or(self.started, |last| last.time);
        self.now >= self.proven_from(sent)
    }

    /// From when on an empty query proves something about what was sent at `sent`.
    fn proven_from(&self, sent: Timestamp) -> Timestamp {
        sent.max(self.started).plus(self.whole_grace())
    }
}

fn is_unlisted(status: &str) -> bool {
    !matches!(status, "INIT" | "PROCESSING" | "SUCCESS" | "FAIL")
}
