//! Why a settle is where it is, what ends its wait, and when: in words for an operator.
//!
//! The words say what the rules of `state.rs`, `report.rs` and `stuck.rs` will do. They decide
//! nothing: no code reads them.

use super::change::visible_from;
use super::observation::Policy;
use super::reason::RecordedReason;
use super::record::{Record, StateKind};
use super::state::{may_send, refusal};
use super::stuck::Stuck;
use crate::clock::Timestamp;

/// What is known besides the record.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub now: Timestamp,
    pub policy: &'a Policy,
    /// The field of [`super::Context`].
    pub given: Option<Timestamp>,
    /// Why the settle does not come to its end by itself.
    pub stuck: Option<Stuck>,
    /// Why its app is not called at present, if it is not.
    pub paused: Option<&'a RecordedReason>,
}

/// An explanation in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    pub words: String,
    /// The moment that the words call "then".
    pub until: Option<Timestamp>,
}

/// Sentences, and the moment that they call "then".
type Said = (Vec<String>, Option<Timestamp>);

/// Says why the settle is where it is and what happens next.
pub fn explain(record: &Record, known: &Situation<'_>) -> Explanation {
    let (mut words, until) = match record.state.kind() {
        StateKind::Submitting => submitting(record, known),
        StateKind::Processing => processing(record, known),
        StateKind::Succeeded | StateKind::Failed | StateKind::Rejected => ended(record),
    };
    words.extend(known.stuck.map(|kind| trouble(kind).to_owned()));
    if let Some(reason) = known.paused.filter(|_| !record.is_final()) {
        let reason = reason.as_str();
        words.push(format!("At present the gateway does not call Douyin for this app ({reason})."));
    }
    Explanation { words: words.join(" "), until }
}

fn submitting(record: &Record, known: &Situation<'_>) -> Said {
    let Situation { now, policy, given, .. } = *known;
    let evidence = &record.evidence;
    let visible = visible_from(evidence, given, policy);
    let is_proven = policy.grace_proves || !evidence.in_doubt();
    if let Some(since) = evidence.exists_seen {
        return existing(record, since, known);
    }
    if let Some(failure) = refusal(evidence, policy) {
        let mut words = vec![format!("Douyin refused it ({}).", failure.reason.as_str())];
        words.extend(unanswered(record));
        words.push("The gateway sends nothing any more.".to_owned());
        return match is_proven {
            true => {
                words.push(
                    "A query that begins then or later and finds nothing makes it \
                            REJECTED; one that finds it is followed."
                        .to_owned(),
                );
                (words, visible)
            }
            false => (with_operator(words), None),
        };
    }
    if may_send(record, now, policy) {
        let stops = record.request().map(|it| it.submit_before.minus(policy.grace));
        let why = record.last_error.as_ref();
        let why = why.map(|error| format!("The last trouble was {}.", error.reason.as_str()));
        let mut words: Vec<String> = unanswered(record).into_iter().chain(why).collect();
        words.push(match evidence.in_doubt() {
            true => "The gateway asks Douyin, and until then it sends the same bytes again if \
                     Douyin shows nothing."
                .to_owned(),
            false => "Douyin has nothing of it, and until then the gateway sends it as soon as it \
                      can."
                .to_owned(),
        });
        return (words, stops);
    }
    let why_unsent = match (evidence.set_back, evidence.stopped) {
        (true, _) => {
            "The database was restored from a backup while it was open, so the gateway never sends \
             it again."
        }
        (false, true) => {
            "An operator stopped sending, so the gateway never sends it again. `settle end` ends \
             it with what a person learns from Douyin."
        }
        (false, false) => "Its submission window ends, so the gateway sends nothing any more.",
    };
    let mut words = vec![why_unsent.to_owned()];
    words.extend(unanswered(record));
    if !is_proven {
        return (with_operator(words), None);
    }
    words.push(format!(
        "Two queries that begin then or later and find nothing make it REJECTED, once {} calls to \
         Douyin were made for it.",
        policy.expiry_attempts_min
    ));
    let over = record.request().filter(|_| !evidence.set_back).map(|it| it.submit_before);
    (words, visible.map(|visible| over.map_or(visible, |over| over.max(visible))))
}

/// A settle exists under the number, and it is not known to be this one.
fn existing(record: &Record, since: Timestamp, known: &Situation<'_>) -> Said {
    let Situation { policy, given, .. } = *known;
    let evidence = &record.evidence;
    let visible = visible_from(evidence, given, policy);
    let mut words = vec![
        "Douyin says that a settle exists under this number, so the gateway sends nothing any \
         more."
            .to_owned(),
    ];
    words.extend(unanswered(record));
    let failed = !evidence.failed.is_empty();
    if !evidence.in_doubt() {
        let end = if failed { "FAILED" } else { "REJECTED" };
        words.push(format!("If no query shows a settle of ours then or later, it becomes {end}."));
        let long = since.plus(policy.exists_absent_max);
        return (words, visible.map(|visible| visible.max(long)));
    }
    if failed && policy.grace_proves {
        words.push(
            "Douyin reported that it failed: a query that begins then or later and shows \
                    the same makes it FAILED."
                .to_owned(),
        );
        return (words, visible);
    }
    words.push(
        "Only a query that shows it as ours ends this. If none does, it waits for an \
                operator."
            .to_owned(),
    );
    (words, None)
}

fn processing(record: &Record, known: &Situation<'_>) -> Said {
    let Situation { now, policy, given, .. } = *known;
    let evidence = &record.evidence;
    let mut words = vec!["Douyin accepted it and has not told its end.".to_owned()];
    if record.open_contradiction().is_some() {
        words.push(
            "Douyin accepted another send of it too: a query that shows both tells which \
                    of them lives."
                .to_owned(),
        );
    }
    let visible = visible_from(evidence, given, policy);
    let has_failed = record.state.settle_id().is_some_and(|id| evidence.has_failed(id));
    if !evidence.in_doubt() {
        words.push("The gateway asks until Douyin says SUCCESS or FAIL.".to_owned());
        return (words, None);
    }
    words.extend(unanswered(record));
    if has_failed {
        words.push(
            "Douyin reported that this settle failed, and may have accepted another send \
                    under the freed number."
                .to_owned(),
        );
    }
    if !policy.grace_proves {
        words.push("A success ends it; a FAIL does not.".to_owned());
        return (with_operator(words), None);
    }
    if !has_failed && visible.is_some_and(|visible| visible <= now) {
        words.push("The gateway asks until Douyin says SUCCESS or FAIL.".to_owned());
        return (words, None);
    }
    words.push(
        "A success ends it at once; a FAIL only if a query shows it that begins then or \
                later."
            .to_owned(),
    );
    (words, visible)
}

fn ended(record: &Record) -> Said {
    let words = if let Some(claim) = record.open_contradiction() {
        let (state, claimed) = (record.state.kind().as_str(), claim.claimed.as_str());
        format!(
            "It is {state}, and Douyin has told {claimed} as well: an operator decides which \
                 stands."
        )
    } else if record.is_known_in_part() {
        "It has ended. The gateway asks Douyin once more, for what is not known of it.".to_owned()
    } else {
        "It has ended.".to_owned()
    };
    (vec![words], None)
}

/// How many sends have no answer, if any.
fn unanswered(record: &Record) -> Option<String> {
    match record.evidence.unanswered() {
        0 => None,
        1 => Some("One send has no answer and may have taken effect.".to_owned()),
        many => Some(format!("{many} sends have no answer, and each may have taken effect.")),
    }
}

fn with_operator(mut words: Vec<String>) -> Vec<String> {
    words.push(
        "No empty answer of Douyin's proves anything here (grace_proves is off): unless a \
                query shows it, it waits for an operator."
            .to_owned(),
    );
    words
}

/// What keeps the settle from its end.
fn trouble(kind: Stuck) -> &'static str {
    match kind {
        Stuck::Contradiction => "Douyin's words about it contradict each other.",
        Stuck::Stopped => "Nothing of it is on its way any more: its operator can end it.",
        Stuck::UnreadableAnswer => "Douyin's answers about it cannot be read.",
        Stuck::UnlistedStatus => "Douyin calls its state by a word that no document lists.",
        Stuck::UnlistedAnswer => "Douyin answers its sends with a number that no table lists.",
        Stuck::Unproven => {
            "Douyin shows a settle under its number, and nothing proves whether it is this one."
        }
        Stuck::ExistsButAbsent => "Douyin has not shown any settle under its number for long.",
        Stuck::WindowOver => "Its window is long over, and no query has proven that it is absent.",
        Stuck::Doubt => "Nothing that Douyin answers resolves the doubt about it.",
        Stuck::NotShown => "Douyin accepted it, and answers queries as if there were none.",
        Stuck::NewerVersion => "A newer version of the gateway wrote it.",
        Stuck::AppNotConfigured => "Its app is not in the configuration: nothing is asked or sent.",
        Stuck::CredentialsRejected => {
            "Douyin rejects the credentials of its app: nothing can be asked or sent."
        }
    }
}
