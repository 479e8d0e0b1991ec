//! Something that went wrong, and what Douyin said of it.

use super::reason::{Reason, RecordedReason};

/// Something that went wrong, in the words of the error table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub reason: RecordedReason,
    /// What Douyin said, if it said something.
    pub douyin: Option<DouyinError>,
}

impl Failure {
    /// A failure of which Douyin said nothing.
    pub fn own(reason: Reason) -> Self {
        Self { reason: RecordedReason::Known(reason), douyin: None }
    }

    pub fn said(reason: Reason, said: DouyinError) -> Self {
        Self { reason: RecordedReason::Known(reason), douyin: Some(said) }
    }

    /// Whether a caller would treat both alike: what decides if a new error is news.
    pub fn same_kind(&self, other: &Failure) -> bool {
        let numbers =
            |failure: &Failure| failure.douyin.as_ref().map(|said| (said.err_no, said.sub_err_no));
        self.reason == other.reason && numbers(self) == numbers(other)
    }
}

/// Douyin's error, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DouyinError {
    /// `None`: the answer had none, or could not be used.
    pub err_no: Option<i32>,
    pub sub_err_no: Option<i32>,
    pub err_msg: String,
    pub log_id: String,
    pub http_status: u16,
}
