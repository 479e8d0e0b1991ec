//! What keeps a settle from its end, as far as an operator can do something about it. A settle that
//! only waits (for Douyin, for the grace) is not stuck.

use std::time::Duration;

use super::observation::Policy;
use super::record::{Record, StateKind};
use crate::clock::Timestamp;

/// Why a settle does not come to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stuck {
    /// Douyin's word contradicts the recorded one: an operator decides.
    Contradiction,
    /// Douyin's answers about it cannot be understood, again and again.
    UnreadableAnswer,
    /// Douyin calls its state by a word that no document lists.
    UnlistedStatus,
    /// Douyin answers its sends with a number that no table lists.
    UnlistedAnswer,
    /// Douyin shows a settle under the number, and nothing proves it to be ours.
    Unproven,
    /// Douyin says that something exists under the number, and shows nothing.
    ExistsButAbsent,
    /// Its submission window is over, and it is neither accepted nor proven absent.
    WindowOver,
    /// A send may have taken effect, and nothing that Douyin answers ends that doubt.
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
    pub const ALL: [Stuck; 12] = [
        Stuck::Contradiction,
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

    /// The word for it in metrics, logs and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Stuck::Contradiction => "contradiction",
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

    /// It is the app's trouble, and every open settle of the app shares it.
    pub fn is_of_the_app(self) -> bool {
        match self {
            Stuck::AppNotConfigured | Stuck::CredentialsRejected => true,
            Stuck::Contradiction
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

/// What Douyin last answered about a settle, where that leaves no trace in the record: a question
/// without a usable answer is no observation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastAnswers {
    pub kind: AnswerKind,
    /// In a row.
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

/// As many answers of one kind in a row are no chance.
const TIMES_MIN: u32 = 5;

/// What is known besides the record.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    pub now: Timestamp,
    /// When this process began: what an earlier one sent is waited for anew.
    pub started: Timestamp,
    pub policy: &'a Policy,
    /// Douyin's last answers to this process.
    pub last: Option<LastAnswers>,
}

/// Why the settle does not come to its end by itself; `None`: it does, or it has.
pub fn stuck(record: &Record, known: &Circumstances<'_>) -> Option<Stuck> {
    if record.open_contradiction().is_some() {
        return Some(Stuck::Contradiction);
    }
    if record.is_final() {
        return None;
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
    // The empty queries that end it take a while.
    let is_over = |end: Timestamp| now >= known.proven_from(end).plus(policy.grace);
    if record.request().is_some_and(|request| is_over(request.submit_before)) {
        return Some(Stuck::WindowOver);
    }
    lasting_doubt(record, known)
}

/// A doubt that would end with the grace, if that proved anything.
fn lasting_doubt(record: &Record, known: &Circumstances<'_>) -> Option<Stuck> {
    let evidence = &record.evidence;
    let waits = evidence.refused.is_some() || evidence.fail_seen.is_some();
    let sent = evidence.last_permission.map_or(known.started, |last| last.time);
    let is_late = known.now >= known.proven_from(sent);
    let is_stuck = !known.policy.grace_proves && evidence.in_doubt() && waits && is_late;
    is_stuck.then_some(Stuck::Doubt)
}

impl Circumstances<'_> {
    /// Whether Douyin has answered so, and only so, for this long.
    fn keeps_answering(&self, kind: AnswerKind, patience: Duration) -> bool {
        self.last.is_some_and(|last| {
            let lasts = self.now >= last.since.plus(patience);
            last.kind == kind && last.times >= TIMES_MIN && lasts
        })
    }

    /// From sending to being visible.
    fn whole_grace(&self) -> Duration {
        self.policy.call_timeout + self.policy.grace
    }

    /// When an empty query proves something about what was sent at a moment.
    fn proven_from(&self, sent: Timestamp) -> Timestamp {
        sent.max(self.started).plus(self.whole_grace())
    }
}

fn is_unlisted(status: &str) -> bool {
    !matches!(status, "INIT" | "PROCESSING" | "SUCCESS" | "FAIL")
}
