//! What tests can see of a callback: what it says, every attempt to deliver it, and its state.
//!
//! It keeps facts and knows no rule.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;

use super::message::Sent;
use crate::faults::{Gate, as_text};
use crate::settles::Status;
use crate::system::System;

/// Something that the platform tells a developer, with its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Callback {
    /// 1, 2, … in the order in which the callbacks came up.
    pub id: u64,
    pub system: System,
    pub app_id: String,
    /// Empty for a forged one; so are the two below.
    pub settle_id: String,
    pub out_settle_no: String,
    pub event_id: String,
    /// What it announces; `None` for a forged one.
    pub status: Option<Status>,
    /// The address of the create. It wins over the app's own.
    pub notify_url: Option<String>,
    /// As it is before anything is signed; a signature of guaranteed payment is part of what is
    /// sent.
    #[serde(serialize_with = "as_text")]
    pub body: Bytes,
    /// When the event happened.
    pub announced_at_ms: u64,
    pub attempts: Vec<Attempt>,
    pub state: CallbackState,
}

impl Callback {
    /// Nothing more will be sent by itself.
    pub(crate) fn is_over(&self) -> bool {
        match self.state {
            CallbackState::Waiting { .. } | CallbackState::Sending => false,
            CallbackState::Acknowledged { .. } | CallbackState::GivenUp => true,
        }
    }

    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.state, CallbackState::Acknowledged { .. })
    }
}

/// The state of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackState {
    /// Its next attempt begins then.
    Waiting {
        next_at_ms: u64,
    },
    /// Sent, and the platform waits for the answer.
    Sending,
    Acknowledged {
        at_ms: u64,
    },
    /// Its ladder has ended, or it has no address, or it was not to be sent.
    GivenUp,
}

/// One try to deliver a callback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    pub at_ms: u64,
    pub url: String,
    /// What was done to it, as in a [`super::CallbackScript`]; empty for nothing.
    pub fault: String,
    /// What left the platform, or would have left.
    #[serde(skip)]
    pub sent: Arc<Sent>,
    /// The HTTP statuses that the receiver answered, one per copy, also those that the platform did
    /// not see.
    pub statuses: Vec<u16>,
    pub outcome: Outcome,
}

/// How one attempt ended, as the platform sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Not known yet.
    Pending,
    Acknowledged,
    /// Answered, but not as documented. The text is the beginning of the answer's body.
    Refused {
        status: u16,
        text: String,
    },
    /// No answer, for this reason.
    Unanswered(String),
}

/// One request for a transport to carry out. Each must be answered once, by
/// [`super::super::Core::callback_answered`].
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Unique in a run.
    pub id: u64,
    /// The [`Callback::id`].
    pub callback: u64,
    /// 1 is the first.
    pub attempt: usize,
    pub app_id: String,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Only half of the body is sent, and then the connection is closed.
    pub cut: bool,
    /// It is sent when this opens.
    pub hold: Option<Gate>,
    /// How long the platform waits for the answer, in milliseconds.
    pub deadline_ms: u64,
}

/// What a transport brings back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackAnswer {
    Answered {
        status: u16,
        body: Bytes,
    },
    /// Nothing within the deadline.
    TimedOut,
    /// No connection, or one that ended without an answer; the text says which.
    Broken(String),
}
