//! This process among the others on its store: it shows that it is alive, and sees who else is.
//!
//! From that follow its portion of every app's budget, whether time may prove something (all must
//! agree on how long), and the pauses that others began. A process beats; the others see that its
//! beat has changed, each by its own clock. A process that cannot beat has no portion and proves
//! nothing, so it can be suspended and wake up at any point.
//!
//! What it must not know: what a settle is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Gateway;
use crate::clock::Uptime;
use crate::log_limit::{error, limited};
use crate::metrics::{
    FOREIGN_SENDS, FOREIGN_SENDS_OLDEST, HINTS_LOST, HINTS_UNHEARD, REPLICAS, REPLICAS_DISAGREE,
};
use crate::settle::{Policy, ProcessId};
use crate::store::{self, Replica};

/// How often a process beats.
const BEAT_INTERVAL: Duration = Duration::from_secs(3);
/// What a beat is good for, by the clock of the process that made it: its portion of the budgets,
/// and its right to prove something by time. Less than [`ALIVE`], which begins later.
const BEAT_LASTS: Duration = Duration::from_secs(10);
/// How long others believe that a process is alive that does not beat.
const ALIVE: Duration = Duration::from_secs(12);
/// When one that does not beat is removed.
const REMOVED_AFTER: Duration = Duration::from_secs(60);

/// What a process knows of the fleet.
pub(super) struct Membership {
    /// `None`: this process is the only one, and agrees with itself.
    agreement: Option<Mutex<Agreement>>,
}

#[derive(Default)]
struct Agreement {
    /// All that are alive have the settings of this process, until then.
    until: Option<Uptime>,
    /// The settings of another process that differ.
    others: Option<String>,
}

/// What operators watch exists from the start, on a store for one gateway too.
pub(super) fn begin_metrics() {
    [&HINTS_LOST, &HINTS_UNHEARD].iter().for_each(|hints| hints.begin([]));
    [&REPLICAS, &REPLICAS_DISAGREE, &FOREIGN_SENDS].iter().for_each(|gauge| gauge.set([], 0));
    FOREIGN_SENDS_OLDEST.set_time([], Duration::ZERO);
}

impl Membership {
    pub(super) fn alone() -> Self {
        Self { agreement: None }
    }

    pub(super) fn of_several() -> Self {
        Self { agreement: Some(Mutex::default()) }
    }

    /// Whether every living process has the settings of this one. If not, none of them proves
    /// anything by time: which of them is wrong, no process can know.
    pub(super) fn agrees(&self, now: Uptime) -> bool {
        let until = |agreement| lock(agreement).until.is_some_and(|until| now < until);
        self.agreement.as_ref().is_none_or(until)
    }

    /// Notes what the last look showed, and tells an operator of what is news.
    fn judge(&self, others: Option<&str>, own: &str, until: Uptime) {
        let Some(agreement) = &self.agreement else { return };
        let mut agreement = lock(agreement);
        match (others, &agreement.others) {
            (Some(others), None) => error!(
                own,
                others,
                "another replica has other settings on which money hangs: no settle in doubt is \
                 rejected until all replicas have the same"
            ),
            (None, Some(_)) => info!("all replicas have the same settings again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        REPLICAS_DISAGREE.set([], u64::from(others.is_some()));
        agreement.until = others.is_none().then_some(until);
        agreement.others = others.map(str::to_owned);
    }
}

fn lock(agreement: &Mutex<Agreement>) -> MutexGuard<'_, Agreement> {
    // No code can panic while holding this lock.
    agreement.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The settings on which replicas must agree: how long time must pass until it proves something.
fn settings(policy: &Policy) -> String {
    let (grace_ms, exists_ms) = (policy.grace.as_millis(), policy.exists_absent_max.as_millis());
    let Policy { grace_proves, .. } = policy;
    format!(
        "visibility_grace_ms = {grace_ms}, grace_proves = {grace_proves}, \
         exists_absent_max_ms = {exists_ms}"
    )
}

/// Which processes are alive, by this one's own clock.
#[derive(Default)]
struct Roll(HashMap<ProcessId, Seen>);

#[derive(Clone, Copy)]
struct Seen {
    beats: u64,
    /// When this process saw these beats first.
    at: Uptime,
}

/// What a roll call found about other processes.
#[derive(Default)]
struct Called<'a> {
    alive: Vec<&'a Replica>,
    /// Silent for so long that they can be removed.
    gone: Vec<&'a Replica>,
}

impl Roll {
    /// `now`: a moment after `replicas` were read.
    fn call<'a>(&mut self, replicas: &'a [Replica], me: ProcessId, now: Uptime) -> Called<'a> {
        self.0.retain(|known, _| replicas.iter().any(|replica| replica.process == *known));
        let mut called = Called::default();
        for replica in replicas.iter().filter(|replica| replica.process != me) {
            let new = Seen { beats: replica.beats, at: now };
            let seen = self.0.entry(replica.process).or_insert(new);
            if seen.beats != replica.beats {
                *seen = new;
            }
            let silent = now.since(seen.at);
            if silent < ALIVE {
                called.alive.push(replica);
            } else if silent >= REMOVED_AFTER {
                called.gone.push(replica);
            }
        }
        called
    }
}

/// What the task that keeps in touch knows.
struct Contact {
    me: Replica,
    /// When the last beat began that became durable.
    beaten: Option<Uptime>,
    roll: Roll,
}

impl Gateway {
    /// Shows this process to the others and looks at them, until stopped; then takes leave. Not for
    /// the only process on its store.
    pub(crate) async fn keep_in_touch(&self, stop: CancellationToken) {
        let settings = settings(&self.0.config.policy);
        let me = Replica { process: self.0.process, beats: 0, settings };
        let mut contact = Contact { me, beaten: None, roll: Roll::default() };
        while !stop.is_cancelled() {
            if let Err(error) = self.look_around(&mut contact).await {
                limited!(Peer, WARN, { %error }, "cannot look at the other replicas: trying again");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.0.config.look_interval) => {}
            }
        }
        if let Err(error) = self.0.store.remove_replica(&contact.me).await {
            info!(%error, "could not take leave of the other replicas: they notice by themselves");
        }
    }

    async fn look_around(&self, contact: &mut Contact) -> Result<(), store::Error> {
        let (gateway, clock) = (&self.0, &self.0.clock);
        let begun = clock.uptime();
        if contact.beaten.is_none_or(|last| begun.since(last) >= BEAT_INTERVAL) {
            contact.me.beats += 1;
            gateway.store.beat(&contact.me).await?;
            contact.beaten = Some(begun);
        }
        self.tell_pauses().await?;
        let fleet = gateway.store.fleet().await?;
        let (now, me) = (clock.uptime(), &contact.me);
        let called = contact.roll.call(&fleet.replicas, me.process, now);
        let good_until = contact.beaten.map_or(begun, |beaten| beaten.plus(BEAT_LASTS));
        let replicas = u32::try_from(called.alive.len()).unwrap_or(u32::MAX).saturating_add(1);
        gateway.apps.portion().renew(replicas, good_until);
        REPLICAS.set([], u64::from(replicas));
        let mut others = called.alive.iter().map(|replica| replica.settings.as_str());
        let differing = others.find(|settings| *settings != me.settings);
        gateway.fleet.judge(differing, &me.settings, good_until);
        for pause in &fleet.pauses {
            if let Some(app) = gateway.apps.get(&pause.app_id) {
                app.access.hear_pause(pause);
            }
        }
        if !fleet.replicas.iter().any(|replica| replica.process == me.process) {
            // This process was silent for long, and the others removed it.
            contact.beaten = None;
        }
        for replica in called.gone {
            gateway.store.remove_replica(replica).await?;
        }
        Ok(())
    }

    async fn tell_pauses(&self) -> Result<(), store::Error> {
        for app in self.0.apps.iter() {
            if let Some((failure, left)) = app.access.untold_pause() {
                let number = self.0.store.tell_pause(app.id(), &failure, left).await?;
                app.access.told_pause(&failure, number);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    fn replica(process: u64, beats: u64) -> Replica {
        Replica { process: ProcessId(process), beats, settings: String::new() }
    }

    fn alive(roll: &mut Roll, replicas: &[Replica], now: Uptime) -> (Vec<u64>, Vec<u64>) {
        let numbers = |replicas: Vec<&Replica>| -> Vec<u64> {
            replicas.iter().map(|replica| replica.process.0).collect()
        };
        let Called { alive, gone } = roll.call(replicas, ProcessId(0), now);
        (numbers(alive), numbers(gone))
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_is_alive_as_long_as_its_beats_change() {
        let zero = Clock::runtime(Timestamp::from_ms(0)).uptime();
        let secs = |secs| zero.plus(Duration::from_secs(secs));
        let mut roll = Roll::default();
        let all = |beats| [replica(0, 1), replica(1, beats), replica(2, 5)];
        assert_eq!(
            alive(&mut roll, &all(1), secs(0)),
            (vec![1, 2], vec![]),
            "this one not counted"
        );
        assert_eq!(alive(&mut roll, &all(2), secs(11)), (vec![1, 2], vec![]));
        assert_eq!(alive(&mut roll, &all(2), secs(12)), (vec![1], vec![]));
        assert_eq!(alive(&mut roll, &all(3), secs(59)), (vec![1], vec![]));
        assert_eq!(alive(&mut roll, &all(3), secs(60)), (vec![1], vec![2]));
        // A number that was lower counts too: the store went back.
        assert_eq!(alive(&mut roll, &all(1), secs(71)), (vec![1], vec![2]));
        assert_eq!(alive(&mut roll, &[], secs(72)), (vec![], vec![]));
        assert_eq!(alive(&mut roll, &all(1), secs(90)), (vec![1, 2], vec![]), "seen anew");
    }

    /// Else a process that stands still could believe in its portion while the others divide it.
    #[test]
    fn a_beat_lasts_shorter_for_its_process_than_for_the_others() {
        assert!(BEAT_INTERVAL * 2 < BEAT_LASTS && BEAT_LASTS < ALIVE && ALIVE < REMOVED_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn agreement_ends_with_the_beat_and_with_other_settings() {
        let clock = Clock::runtime(Timestamp::from_ms(0));
        let (now, later) = (clock.uptime(), clock.uptime().plus(Duration::from_secs(10)));
        assert!(Membership::alone().agrees(later));
        let member = Membership::of_several();
        assert!(!member.agrees(now), "the others are not known yet");
        member.judge(None, "ours", later);
        assert!(member.agrees(now) && !member.agrees(later));
        member.judge(Some("theirs"), "ours", later);
        assert!(!member.agrees(now));
        member.judge(None, "ours", later);
        assert!(member.agrees(now));
    }

    #[test]
    fn every_setting_with_which_time_proves_something_must_be_equal() {
        let policy = Policy::default();
        let changed = [
            Policy { grace: Duration::from_secs(7), ..policy.clone() },
            Policy { grace_proves: !policy.grace_proves, ..policy.clone() },
            Policy { exists_absent_max: Duration::from_secs(7), ..policy.clone() },
        ];
        for other in changed {
            assert_ne!(settings(&other), settings(&policy));
        }
        // Each permission tells how long it lasts.
        let other = Policy { call_timeout: Duration::from_secs(7), ..policy.clone() };
        assert_eq!(settings(&other), settings(&policy));
    }
}
