//! A failure, with what Douyin answered.

use super::reason::{Reason, RecordedReason};

/// A failure, with its reason from the error tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub reason: RecordedReason,
    /// Douyin's error, if it answered with one.
    pub douyin: Option<DouyinError>,
}

impl Failure {
    /// A failure without an answer of Douyin.
    pub fn own(reason: Reason) -> Self {
        Self { reason: RecordedReason::Known(reason), douyin: None }
    }

    pub fn said(reason: Reason, said: DouyinError) -> Self {
        Self { reason: RecordedReason::Known(reason), douyin: Some(said) }
    }

    /// Whether a caller would treat both alike. If so, the second one is not news.
    pub fn same_kind(&self, other: &Failure) -> bool {
        let numbers =
            |failure: &Failure| failure.douyin.as_ref().map(|said| (said.err_no, said.sub_err_no));
        self.reason == other.reason && numbers(self) == numbers(other)
    }
}

/// Douyin's error as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DouyinError {
    /// `None`: the answer had none, or could not be used.
    pub err_no: Option<i32>,
    pub sub_err_no: Option<i32>,
    pub err_msg: String,
    pub log_id: String,
    pub http_status: u16,
}
