//! Which settles do not come to their end, and why: counted by app and kind, logged once when it
//! begins, and listed.
//!
//! A round looks at all settles that are not at their end, page by page. Its findings stand until
//! the next round is complete.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::info;

use super::Gateway;
use crate::apps::Apps;
use crate::clock::Timestamp;
use crate::log_limit::error;
use crate::metrics::{
    FOREIGN_SENDS, FOREIGN_SENDS_OLDEST, OLDEST_OPEN, ROUND_AT, SETTLES_DUE, SETTLES_OPEN, STUCK,
};
use crate::settle::{
    AnswerKind, AppId, Circumstances, Failure, Key, LastAnswers, Learned, Reason, Record,
    StateKind, Stuck, stuck,
};
use crate::store::{self, Unfinished, UnfinishedCursor};

/// Settles whose last answers are remembered; those of others are not.
const ANSWERS_MAX: usize = 20_000;
/// Settles that are listed; more are only counted.
const LISTED_MAX: usize = 10_000;
/// Settles of one app that are counted as due.
const DUE_MAX: u32 = 10_000;
/// Lines of one round about single settles; one more line counts the rest.
const LINES_MAX: usize = 100;

/// A settle that does not come to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StuckSettle {
    pub key: Key,
    pub kind: Stuck,
    /// `None`: the row cannot be read.
    pub state: Option<StateKind>,
    /// When this process first saw it so.
    pub since: Timestamp,
}

/// What the last complete round found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StuckReport {
    /// When it was complete; `None`: there was none yet.
    pub at: Option<Timestamp>,
    /// Kinds without a settle are left out.
    pub counts: BTreeMap<(AppId, Stuck), u32>,
    /// The listed ones, those first that have been stuck longest.
    pub settles: Vec<StuckSettle>,
}

/// What this process knows of stuck settles. It is not durable: the next process finds them again,
/// and logs each once more.
#[derive(Default)]
pub(super) struct StuckBook(Mutex<Book>);

#[derive(Default)]
struct Book {
    answers: HashMap<Key, LastAnswers>,
    last: Round,
    last_at: Option<Timestamp>,
    current: Round,
}

/// What one round finds.
#[derive(Default)]
struct Round {
    /// How many are not at their end, by app and state, and when the oldest one was created.
    open: BTreeMap<(AppId, &'static str), (u64, Timestamp)>,
    counts: BTreeMap<(AppId, Stuck), u32>,
    found: BTreeMap<Key, Found>,
}

#[derive(Clone, Copy)]
struct Found {
    kind: Stuck,
    state: Option<StateKind>,
    since: Timestamp,
}

/// Makes every series that an alert may ask for.
pub(super) fn begin_metrics(apps: &Apps) {
    for app in apps.iter() {
        Stuck::ALL.iter().for_each(|kind| count(app.id(), *kind, 0));
        for state in [StateKind::Submitting, StateKind::Processing] {
            count_open(app.id(), state.as_str(), 0, Duration::ZERO);
        }
        count_open(app.id(), UNREADABLE, 0, Duration::ZERO);
        SETTLES_DUE.set([app.id().as_str()], 0);
    }
    ROUND_AT.set([], 0);
}

impl Round {
    /// A settle that comes twice, because it changed between two pages, counts twice.
    fn note_open(&mut self, app_id: &AppId, state: &'static str, created: Timestamp) {
        let (settles, oldest) = self.open.entry((app_id.clone(), state)).or_insert((0, created));
        *settles += 1;
        *oldest = created.min(*oldest);
    }
}

impl StuckBook {
    /// Remembers what Douyin answered about a settle that is not at its end. `None`, a lost
    /// connection for example, is ignored.
    pub(super) fn note(&self, record: &Record, kind: Option<AnswerKind>, now: Timestamp) {
        let Some(kind) = kind.filter(|_| !record.is_final()) else { return };
        let key = &record.key;
        let answers = &mut self.book().answers;
        let first = LastAnswers { kind, times: 1, since: now };
        if let Some(known) = answers.get_mut(key) {
            *known = match known.kind == kind {
                true => LastAnswers { times: known.times.saturating_add(1), ..*known },
                false => first,
            };
        } else if answers.len() < ANSWERS_MAX {
            answers.insert(key.clone(), first);
        }
    }

    fn forget(&self, key: &Key) {
        self.book().answers.remove(key);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // No code can panic while holding this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer to a send says about being stuck.
pub(super) fn answer_kind(learned: &Learned) -> Option<AnswerKind> {
    match learned {
        Learned::Unknown(failure) => unreadable(failure),
        Learned::Reported(_) => Some(AnswerKind::Shown),
        Learned::Absent | Learned::Elsewhere => Some(AnswerKind::Absent),
        Learned::Accepted(_)
        | Learned::Refused(_)
        | Learned::Unlisted(_)
        | Learned::NotSent(_)
        | Learned::Exists(_)
        | Learned::Resolved { .. }
        | Learned::Stopped { .. }
        | Learned::Ended(_) => None,
    }
}

/// The error page of a proxy in front of Douyin (5xx) is no answer about a settle.
pub(super) fn unreadable(failure: &Failure) -> Option<AnswerKind> {
    let status = failure.douyin.as_ref().map_or(0, |said| said.http_status);
    let is_page = failure.reason == Reason::UpstreamHttpError && (400..500).contains(&status);
    (is_page || failure.reason == Reason::UpstreamBadAnswer).then_some(AnswerKind::Unreadable)
}

impl Gateway {
    /// Looks at one page. `None`: the round is complete.
    pub(super) async fn look_for_stuck(
        &self,
        from: UnfinishedCursor,
        rows_max: u32,
    ) -> Result<Option<UnfinishedCursor>, store::Error> {
        let page = self.0.store.unfinished(from, rows_max).await?;
        for settle in page.settles {
            self.judge(settle);
        }
        if page.next.is_none() {
            self.count_due().await?;
            self.close_round();
        }
        Ok(page.next)
    }

    /// Counts what waits for the poller.
    async fn count_due(&self) -> Result<(), store::Error> {
        for app in self.0.apps.iter() {
            let due = self.0.store.due(app.id(), DUE_MAX).await?;
            SETTLES_DUE.set([app.id().as_str()], u64::from(due));
        }
        Ok(())
    }

    /// What the last complete round found, as far as it is still so.
    pub(crate) fn stuck(&self) -> StuckReport {
        let book = self.0.stuck.book();
        let settle = |(key, found): (&Key, &Found)| StuckSettle {
            key: key.clone(),
            kind: found.kind,
            state: found.state,
            since: found.since,
        };
        let mut settles: Vec<StuckSettle> = book.last.found.iter().map(settle).collect();
        settles.sort_by(|a, b| (a.since, &a.key).cmp(&(b.since, &b.key)));
        StuckReport { at: book.last_at, counts: book.last.counts.clone(), settles }
    }

    fn judge(&self, settle: Unfinished) {
        let now = self.0.clock.now();
        let (key, kind, state) = match settle {
            Unfinished::Unreadable(key) => {
                self.0.stuck.book().current.note_open(&key.app_id, UNREADABLE, now);
                (key, Some(Stuck::NewerVersion), None)
            }
            Unfinished::Settle(record) => {
                if !record.is_final() {
                    let (app_id, state) = (&record.key.app_id, record.state.kind().as_str());
                    self.0.stuck.book().current.note_open(app_id, state, record.create_time);
                }
                // Another process may die that sent for this settle. The sooner this one has seen
                // that permission, the sooner it can prove something.
                let _ = self.given(&record);
                let kind = self.stuck_kind(&record, now);
                (record.key, kind, Some(record.state.kind()))
            }
        };
        let Some(kind) = kind else { return };
        let mut book = self.0.stuck.book();
        let before = book.last.found.get(&key).filter(|before| before.kind == kind);
        let since = before.map_or(now, |before| before.since);
        let Round { counts, found, .. } = &mut book.current;
        if found.len() < LISTED_MAX
            && found.insert(key.clone(), Found { kind, state, since }).is_some()
        {
            // It changed between two pages, and came twice.
            return;
        }
        *counts.entry((key.app_id, kind)).or_default() += 1;
    }

    /// Why the settle does not come to its end by itself, as far as this process knows.
    pub(super) fn stuck_kind(&self, record: &Record, now: Timestamp) -> Option<Stuck> {
        let last = self.0.stuck.book().answers.get(&record.key).copied();
        let (started, policy) = (self.0.started, &self.0.config.policy);
        let kind = stuck(record, &Circumstances { now, started, policy, last });
        kind.or_else(|| self.trouble_of(&record.key.app_id).filter(|_| !record.is_final()))
    }

    fn trouble_of(&self, app_id: &AppId) -> Option<Stuck> {
        let Some(app) = self.0.apps.get(app_id) else { return Some(Stuck::AppNotConfigured) };
        let pause = app.access.pause()?;
        let is_rejected = pause.failure.reason == Reason::UpstreamCredentialsRejected;
        is_rejected.then_some(Stuck::CredentialsRejected)
    }

    /// Counts what the round found, and tells of what is new.
    fn close_round(&self) {
        let now = self.0.clock.now();
        self.close_round_of_sights(now);
        let mut book = self.0.stuck.book();
        let round = std::mem::take(&mut book.current);
        let last = std::mem::replace(&mut book.last, round);
        book.last_at = Some(now);
        ROUND_AT.set_time([], now.since_epoch());
        for (app_id, state) in last.open.keys() {
            count_open(app_id, state, 0, Duration::ZERO);
        }
        for ((app_id, state), (settles, oldest)) in &book.last.open {
            count_open(app_id, state, *settles, now.since(*oldest));
        }
        for (app_id, kind) in last.counts.keys() {
            count(app_id, *kind, 0);
        }
        for ((app_id, kind), settles) in &book.last.counts {
            count(app_id, *kind, *settles);
            if kind.is_of_the_app() && !last.counts.contains_key(&(app_id.clone(), *kind)) {
                let kind = kind.as_str();
                error!(%app_id, kind, settles, "the settles of an app do not come to their end");
            }
        }
        let is_new = |(key, found): &(&Key, &Found)| {
            let before = last.found.get(*key).map(|before| before.kind);
            !found.kind.is_of_the_app() && before != Some(found.kind)
        };
        let mut new = book.last.found.iter().filter(is_new);
        for (key, found) in new.by_ref().take(LINES_MAX) {
            let state = found.state.map_or("UNKNOWN", StateKind::as_str);
            error!(%key, kind = found.kind.as_str(), state, "a settle does not come to its end");
        }
        let more = new.count();
        if more > 0 {
            error!(more, "more settles do not come to their end");
        }
        let ended = last.found.keys().filter(|key| !book.last.found.contains_key(*key)).count();
        if ended > 0 {
            info!(settles = ended, "settles are no longer stuck");
        }
    }

    /// Makes room where a settle has ended elsewhere, and shows how old the oldest sight is.
    fn close_round_of_sights(&self, now: Timestamp) {
        let (settles, oldest) = {
            let mut first_seen = self.first_seen();
            first_seen.end_round();
            first_seen.remembered()
        };
        if self.0.store.has_one_process() {
            return;
        }
        FOREIGN_SENDS.set_len([], settles);
        FOREIGN_SENDS_OLDEST.set_time([], oldest.map_or(Duration::ZERO, |first| now.since(first)));
    }

    /// The answers that count begin anew when a settle changes its state or ends.
    pub(super) fn forget_answers(&self, key: &Key) {
        self.0.stuck.forget(key);
    }
}

fn count(app_id: &AppId, kind: Stuck, settles: u32) {
    STUCK.set([app_id.as_str(), kind.as_str()], u64::from(settles));
}

/// The state of a settle that a newer version wrote, in the metrics.
const UNREADABLE: &str = "UNREADABLE";

fn count_open(app_id: &AppId, state: &str, settles: u64, oldest: Duration) {
    SETTLES_OPEN.set([app_id.as_str(), state], settles);
    OLDEST_OPEN.set_time([app_id.as_str(), state], oldest);
}
