//! One attempt to deliver a callback: what a script does to it, what is sent, and what its answer
//! means.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::message::{self, Letterhead, Secrets, Sent};
use super::record::{Attempt, CallbackAnswer, CallbackState, Delivery, Outcome};
use super::scripts::CallbackScript;
use super::{Due, Heard, InFlight, Letter, Outbox};
use crate::choices::Choices;
use crate::faults::Gate;
use crate::ids;

/// How long a callback lets others go first.
const BEHIND_MS_MAX: u64 = 10_000;
/// How much of a refusing answer is kept.
const ANSWER_BYTES_MAX: usize = 200;
/// Why an attempt failed.
const NOTHING: &str = "nothing within the deadline";

/// How the copies of one attempt leave.
struct Departure {
    copies: usize,
    heard: Heard,
    cut: bool,
    hold: Option<Gate>,
    /// They arrive this much later. `None`: at once.
    after_ms: Option<u64>,
}

impl Default for Departure {
    fn default() -> Self {
        Self { copies: 1, heard: Heard::Yes, cut: false, hold: None, after_ms: None }
    }
}

impl Outbox {
    /// What must be sent by now: at most `at_most`, or one more if one is sent twice.
    pub(crate) fn due(&mut self, now_ms: u64, choices: &Choices, at_most: usize) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while deliveries.len() < at_most {
            let Some(first) = self.timeline.first_entry().filter(|next| next.key().0 <= now_ms)
            else {
                break;
            };
            match first.remove() {
                Due::Attempt(id) => deliveries.extend(self.attempt(id, now_ms, choices)),
                Due::Copy(delivery) => deliveries.push(*delivery),
            }
        }
        deliveries
    }

    /// Begins the next attempt of a callback.
    fn attempt(&mut self, id: u64, now_ms: u64, choices: &Choices) -> Vec<Delivery> {
        let script = self.script_for(id);
        let mut departure = Departure::default();
        match &script {
            CallbackScript::Delay(delay_ms, rest) => {
                let until_ms = now_ms.saturating_add(*delay_ms);
                return self.put_off(id, until_ms, (**rest).clone());
            }
            CallbackScript::Behind => {
                let app_id = self.entries.get(&id).map(|entry| entry.seen.app_id.clone());
                self.behind.entry(app_id.unwrap_or_default()).or_default().push(id);
                return self.put_off(id, now_ms + BEHIND_MS_MAX, CallbackScript::Normal);
            }
            CallbackScript::Never => {
                self.end(id, CallbackState::GivenUp);
                return Vec::new();
            }
            CallbackScript::Normal | CallbackScript::WrongSignature | CallbackScript::Truncate => {}
            CallbackScript::Lose => departure.copies = 0,
            CallbackScript::LoseAnswer => departure.heard = Heard::Lost,
            CallbackScript::Twice => departure.copies = 2,
            CallbackScript::Wander(after_ms) => {
                departure.heard = Heard::TooLate;
                departure.after_ms = Some(*after_ms);
            }
            CallbackScript::Cut => departure.cut = true,
            CallbackScript::Hold(gate) => departure.hold = Some(gate.clone()),
        }
        self.send(id, now_ms, &script, departure, choices)
    }

    /// The rest of a script, a one-shot or standing one, the weather's, or none.
    fn script_for(&mut self, id: u64) -> CallbackScript {
        let Some(entry) = self.entries.get_mut(&id) else {
            return CallbackScript::Never;
        };
        entry.due = None;
        if let Some(others) = self.behind.get_mut(&entry.seen.app_id) {
            others.retain(|other| *other != id);
        }
        if let Some(rest) = entry.rest.take() {
            return rest;
        }
        let seen = &entry.seen;
        match entry.letter {
            // A forged callback has its faults already.
            Letter::Once(_) => CallbackScript::Normal,
            Letter::Event { .. } => {
                let (number, settle_id) = (&seen.out_settle_no, &seen.settle_id);
                let word = seen.status.map_or("", |status| status.word());
                let weather = self.weather;
                self.scripts
                    .next([number, settle_id])
                    .or_else(|| weather.callback_fault(settle_id, word, seen.attempts.len() + 1))
                    .unwrap_or(CallbackScript::Normal)
            }
        }
    }

    fn put_off(&mut self, id: u64, until_ms: u64, rest: CallbackScript) -> Vec<Delivery> {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.rest = Some(rest);
        }
        self.wait(id, until_ms);
        Vec::new()
    }

    fn send(
        &mut self,
        id: u64,
        now_ms: u64,
        script: &CallbackScript,
        departure: Departure,
        choices: &Choices,
    ) -> Vec<Delivery> {
        let Some(url) = self.url_of(id, choices) else {
            self.end(id, CallbackState::GivenUp);
            return Vec::new();
        };
        let Some(sent) = self.written(id, now_ms, &url, script, choices) else {
            return Vec::new();
        };
        let is_fault = !matches!(script, CallbackScript::Normal);
        let fault = if is_fault { script.to_string() } else { String::new() };
        let Some(entry) = self.entries.get_mut(&id) else {
            return Vec::new();
        };
        entry.open = departure.copies;
        let seen = Arc::make_mut(&mut entry.seen);
        seen.state = CallbackState::Sending;
        seen.attempts.push(Attempt {
            at_ms: now_ms,
            url,
            fault,
            sent,
            statuses: Vec::new(),
            outcome: Outcome::Pending,
        });
        let mut deliveries = self.copies(id, &departure, choices.callback_deadline_ms);
        if departure.copies == 0 || departure.heard == Heard::TooLate {
            let given_up_at_ms = now_ms + choices.callback_deadline_ms;
            self.failed(id, Outcome::Unanswered(NOTHING.to_owned()), given_up_at_ms, choices);
        }
        if let Some(after_ms) = departure.after_ms {
            for copy in deliveries.drain(..) {
                self.schedule(now_ms.saturating_add(after_ms), Due::Copy(Box::new(copy)));
            }
        }
        if let Some(gate) = &departure.hold {
            gate.arrive();
        }
        deliveries
    }

    /// The requests of the last attempt of a callback.
    fn copies(&mut self, id: u64, departure: &Departure, deadline_ms: u64) -> Vec<Delivery> {
        let Some(seen) = self.entries.get(&id).map(|entry| Arc::clone(&entry.seen)) else {
            return Vec::new();
        };
        let Some(last) = seen.attempts.last() else {
            return Vec::new();
        };
        let attempt = seen.attempts.len();
        let mut deliveries = Vec::new();
        for _ in 0..departure.copies {
            self.deliveries_total += 1;
            let sent = InFlight { callback: id, attempt: attempt - 1, heard: departure.heard };
            self.in_flight.insert(self.deliveries_total, sent);
            deliveries.push(Delivery {
                id: self.deliveries_total,
                callback: id,
                attempt,
                app_id: seen.app_id.clone(),
                url: last.url.clone(),
                headers: last.sent.headers.clone(),
                body: last.sent.body.clone(),
                cut: departure.cut,
                hold: departure.hold.clone(),
                deadline_ms,
            });
        }
        deliveries
    }

    fn url_of(&self, id: u64, choices: &Choices) -> Option<String> {
        let entry = self.entries.get(&id)?;
        let (app_id, own) = (&entry.seen.app_id, entry.seen.notify_url.as_deref());
        match entry.letter {
            Letter::Event { .. } => self.address(app_id, own, choices),
            // A forged callback needs no console.
            Letter::Once(_) => own.or(self.console_url(app_id)).map(str::to_owned),
        }
    }

    /// The bytes of the next attempt, changed as the script says.
    fn written(
        &mut self,
        id: u64,
        now_ms: u64,
        url: &str,
        script: &CallbackScript,
        choices: &Choices,
    ) -> Option<Arc<Sent>> {
        let seed = self.seed;
        let seen = &self.entries.get(&id)?.seen;
        let (key, token) = (self.key(&seen.app_id), self.token(&seen.app_id));
        let (secrets, form) = (Secrets { key: &key, token: &token }, message::form_of(seen.system));
        let entry = self.entries.get_mut(&id)?;
        let seen = &entry.seen;
        let (nth, at) = (seen.attempts.len().to_string(), now_ms.to_string());
        let name = [seen.event_id.as_str(), at.as_str(), nth.as_str()];
        let head = Letterhead {
            app_id: &seen.app_id,
            event_id: &seen.event_id,
            url,
            timestamp: (now_ms / 1_000).to_string(),
            nonce: message::nonce(form, seed, &name),
            log_id: ids::callback_log_id(seed, now_ms, &name),
        };
        let good = match &mut entry.letter {
            Letter::Once(sent) => return Some(Arc::clone(sent)),
            Letter::Event { first: Some(first) } if !choices.callback_retry_signs_anew => {
                Arc::clone(first)
            }
            Letter::Event { first } => {
                let signed = message::sent(&head, form, &secrets, seen.body.clone());
                first.get_or_insert_with(|| Arc::clone(&signed));
                signed
            }
        };
        let mut bad = (*good).clone();
        match script {
            CallbackScript::WrongSignature => {
                bad = message::with_signature(bad, form, &secrets.sign_another(form));
            }
            CallbackScript::Truncate => bad.body.truncate(good.body.len() / 2),
            CallbackScript::Normal
            | CallbackScript::Lose
            | CallbackScript::LoseAnswer
            | CallbackScript::Twice
            | CallbackScript::Wander(_)
            | CallbackScript::Behind
            | CallbackScript::Delay(..)
            | CallbackScript::Cut
            | CallbackScript::Never
            | CallbackScript::Hold(_) => return Some(good),
        }
        Some(Arc::new(bad))
    }

    /// Takes the answer to a delivery. If that is not in flight, it is ignored.
    pub(crate) fn answered(
        &mut self,
        now_ms: u64,
        delivery: u64,
        answer: &CallbackAnswer,
        choices: &Choices,
    ) {
        let Some(sent) = self.in_flight.remove(&delivery) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&sent.callback) else {
            return;
        };
        let app_id = entry.seen.app_id.clone();
        if let CallbackAnswer::Answered { status, .. } = answer {
            let seen = Arc::make_mut(&mut entry.seen);
            if let Some(attempt) = seen.attempts.get_mut(sent.attempt) {
                attempt.statuses.push(*status);
            }
        }
        match sent.heard {
            Heard::TooLate => {}
            Heard::Yes => self.heard(now_ms, sent, judge(answer), choices),
            Heard::Lost => {
                let at_ms = entry.seen.attempts.get(sent.attempt).map_or(0, |last| last.at_ms);
                let given_up_at_ms = now_ms.max(at_ms + choices.callback_deadline_ms);
                let outcome = Outcome::Unanswered("the answer got lost".to_owned());
                self.failed(sent.callback, outcome, given_up_at_ms, choices);
            }
        }
        self.let_the_others_go(&app_id, now_ms);
    }

    fn heard(&mut self, now_ms: u64, sent: InFlight, outcome: Outcome, choices: &Choices) {
        let Some(entry) = self.entries.get_mut(&sent.callback) else {
            return;
        };
        entry.open = entry.open.saturating_sub(1);
        if entry.seen.is_over() {
            return;
        }
        if outcome == Outcome::Acknowledged {
            entry.set_outcome(outcome);
            self.end(sent.callback, CallbackState::Acknowledged { at_ms: now_ms });
        } else if entry.open == 0 {
            self.failed(sent.callback, outcome, now_ms, choices);
        }
    }

    /// The last attempt failed: the next rung of the ladder, or the end.
    fn failed(&mut self, id: u64, outcome: Outcome, at_ms: u64, choices: &Choices) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.set_outcome(outcome);
        let next = match entry.letter {
            Letter::Event { .. } => {
                choices.callback_ladder.wait_ms(entry.seen.system, entry.seen.attempts.len())
            }
            Letter::Once(_) => None,
        };
        match next {
            Some(wait_ms) => self.wait(id, at_ms + wait_ms),
            None => self.end(id, CallbackState::GivenUp),
        }
    }

    /// Another callback of the app has gone first.
    fn let_the_others_go(&mut self, app_id: &str, now_ms: u64) {
        for id in self.behind.remove(app_id).unwrap_or_default() {
            let place = self.entries.get(&id).and_then(|entry| entry.due);
            if let Some(place) = place {
                self.timeline.remove(&place);
                self.wait(id, now_ms);
            }
        }
    }
}

impl super::Entry {
    fn set_outcome(&mut self, outcome: Outcome) {
        if let Some(last) = Arc::make_mut(&mut self.seen).attempts.last_mut() {
            last.outcome = outcome;
        }
    }
}

/// Acknowledged is HTTP 200 with `err_no` 0 and `err_tips` "success" (§3.4), and nothing else is.
fn judge(answer: &CallbackAnswer) -> Outcome {
    match answer {
        CallbackAnswer::Answered { status, body } => {
            let said: Value = serde_json::from_slice(body).unwrap_or_default();
            if *status == 200 && said["err_no"] == 0 && said["err_tips"] == "success" {
                Outcome::Acknowledged
            } else {
                Outcome::Refused { status: *status, text: beginning(body) }
            }
        }
        CallbackAnswer::TimedOut => Outcome::Unanswered(NOTHING.to_owned()),
        CallbackAnswer::Broken(reason) => Outcome::Unanswered(reason.clone()),
    }
}

fn beginning(body: &Bytes) -> String {
    let start = body.get(..ANSWER_BYTES_MAX.min(body.len())).unwrap_or_default();
    String::from_utf8_lossy(start).into_owned()
}
