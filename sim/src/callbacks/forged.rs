//! Callbacks without an event in the books: forged or replayed.

use std::sync::Arc;

use bytes::Bytes;

use super::message::{self, Letterhead, Secrets};
use super::record::{Callback, CallbackState, Outcome};
use super::{Letter, Outbox};
use crate::ids;
use crate::system::System;

/// A made-up callback. It is sent once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forged {
    /// As whose callback it is written and signed.
    pub system: System,
    pub app_id: String,
    /// `None`: the address of the app's console.
    pub url: Option<String>,
    /// The exact bytes; in guaranteed payment without a time, a nonce and a signature, which are
    /// put in.
    pub body: Bytes,
    /// In seconds; `None`: now.
    pub timestamp: Option<String>,
    /// `None`: a nonce like the platform's.
    pub nonce: Option<String>,
    pub signature: ForgedSignature,
}

/// The signature of a forged callback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ForgedSignature {
    /// The platform's own, as if it were not forged.
    #[default]
    Good,
    /// The signature of other bytes.
    Wrong,
    Missing,
    Exactly(String),
}

impl Outbox {
    /// Sends a made-up callback now and returns its id. `None`: too many are under way.
    pub(crate) fn forge(&mut self, now_ms: u64, forged: &Forged) -> Option<u64> {
        let url = forged.url.as_deref().or(self.console_url(&forged.app_id)).unwrap_or_default();
        let nth = (self.announced_total + 1).to_string();
        let name = ["forged", nth.as_str()];
        let event_id = format!("forged_{nth}");
        let now = (now_ms / 1_000).to_string();
        let nonce = message::nonce(message::form_of(forged.system), self.seed, &name);
        let head = Letterhead {
            app_id: &forged.app_id,
            event_id: &event_id,
            url,
            timestamp: forged.timestamp.clone().unwrap_or(now),
            nonce: forged.nonce.clone().unwrap_or(nonce),
            log_id: ids::callback_log_id(self.seed, now_ms, &name),
        };
        let form = message::form_of(forged.system);
        let (key, token) = (self.key(&forged.app_id), self.token(&forged.app_id));
        let secrets = Secrets { key: &key, token: &token };
        let good = message::sent(&head, form, &secrets, forged.body.clone());
        let instead = match &forged.signature {
            ForgedSignature::Good => None,
            ForgedSignature::Wrong => Some(secrets.sign_another(form)),
            ForgedSignature::Missing => Some(String::new()),
            ForgedSignature::Exactly(text) => Some(text.clone()),
        };
        let sent = match instead {
            None => good,
            Some(text) => Arc::new(message::with_signature((*good).clone(), form, &text)),
        };
        let callback = Callback {
            id: 0,
            system: forged.system,
            app_id: forged.app_id.clone(),
            settle_id: String::new(),
            out_settle_no: String::new(),
            event_id,
            status: None,
            notify_url: forged.url.clone(),
            body: forged.body.clone(),
            announced_at_ms: now_ms,
            attempts: Vec::new(),
            state: CallbackState::Waiting { next_at_ms: now_ms },
        };
        self.enter(callback, Letter::Once(sent))
    }

    /// Sends the acknowledged bytes again, else those of the last attempt, as an attacker could who
    /// has read them. Returns the id of the copy. `None`: nothing was sent so far, or too many are
    /// under way.
    pub(crate) fn replay(&mut self, now_ms: u64, id: u64) -> Option<u64> {
        let seen = self.callback(id)?;
        let good = seen.attempts.iter().find(|sent| sent.outcome == Outcome::Acknowledged);
        let sent = Arc::clone(&good.or(seen.attempts.last())?.sent);
        let copy = Callback {
            announced_at_ms: now_ms,
            attempts: Vec::new(),
            state: CallbackState::Waiting { next_at_ms: now_ms },
            ..(**seen).clone()
        };
        self.enter(copy, Letter::Once(sent))
    }
}
