//! From a problem to a `google.rpc.Status`: which details there are, and how large it gets.
//!
//! The details that only some errors have follow from the gRPC code and from what the failure is
//! about. So a reader of the table knows which an error has.

use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb;

use super::super::enums;
use super::super::reasons::Outcome;
use super::super::violations::VIOLATIONS_MAX;
use super::{DETAILS_BYTES_MAX, Problem, TEXT_BYTES_MAX, cut};
use crate::douyin::codes::{About, Retry};
use crate::proto::v1;
use crate::settle::{DouyinError, Reason};

const ERR_MSG_BYTES_MAX: usize = 512;
/// Where the errors are described, with an anchor for each reason: a file of the gateway's source.
const PAGE: &str = "docs/ERRORS.md";
/// Where that source can be read, if Cargo.toml says so (docs/release.md).
const HOME: &str = env!("CARGO_PKG_HOMEPAGE");

impl Problem {
    #[expect(clippy::disallowed_methods, reason = "the one place that builds a status")]
    pub(super) fn status(mut self) -> Status {
        self.name_fields();
        let message = self.message();
        let mut shown = self.violations.shown.len().min(VIOLATIONS_MAX);
        loop {
            let details = self.details(shown);
            let status =
                pb::Status { code: self.words.code.into(), message: message.clone(), details };
            let encoded = status.encode_to_vec();
            if encoded.len() <= DETAILS_BYTES_MAX || shown == 0 {
                return Status::with_details(self.words.code, message, encoded.into());
            }
            shown -= 1;
        }
    }

    /// One sentence about what happened, and one about what to do.
    fn message(&self) -> String {
        let (meaning, advice) = (self.words.meaning, self.words.advice);
        let Some(said) = &self.douyin else {
            return format!("{meaning} {advice}");
        };
        let happened = meaning.trim_end_matches('.');
        let said = match (said.err_no, cut(&said.err_msg, TEXT_BYTES_MAX)) {
            (None, _) => format!("the answer was HTTP {}", said.http_status),
            (Some(err_no), "") => format!("Douyin says {err_no}"),
            (Some(err_no), err_msg) => format!("Douyin says {err_no}: {err_msg}"),
        };
        format!("{happened} ({said}). {advice}")
    }

    /// Each type at most once: the first two always, `RetryInfo` exactly if a retry now makes
    /// sense.
    fn details(&self, violations_shown: usize) -> Vec<Any> {
        let mut details = vec![
            any("douyin.settlement.v1.SettlementFailure", &self.failure()),
            any("google.rpc.ErrorInfo", &self.error_info()),
        ];
        if let Some(retry_delay) = self.retry_delay() {
            let retry_delay = Some(retry_delay);
            details.push(any("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay }));
        }
        if !self.violations.is_empty() {
            details.push(any("google.rpc.BadRequest", &self.bad_request(violations_shown)));
        }
        details.extend(self.fitting());
        if let Some(said) = &self.douyin {
            let error = douyin_error(self.words.reason, said);
            details.push(any("douyin.settlement.v1.DouyinError", &error));
            if !said.log_id.is_empty() {
                let request_id = cut(&said.log_id, TEXT_BYTES_MAX).to_owned();
                let info = pb::RequestInfo { request_id, serving_data: String::new() };
                details.push(any("google.rpc.RequestInfo", &info));
            }
        }
        let localized = pb::LocalizedMessage {
            locale: "zh-CN".to_owned(),
            message: self.words.meaning_zh.to_owned(),
        };
        details.push(any("google.rpc.LocalizedMessage", &localized));
        details.push(any("google.rpc.Help", &help(HOME, self.words.reason.as_str())));
        details
    }

    /// All that a program decides by.
    fn failure(&self) -> v1::SettlementFailure {
        let mut failure = self.failure.clone();
        let named = |name: &str| self.metadata.get(name).cloned().unwrap_or_default();
        failure.set_outcome(match self.outcome {
            None => v1::Outcome::Unspecified,
            Some(Outcome::NotSent) => v1::Outcome::NotSent,
            Some(Outcome::Unknown) => v1::Outcome::Unknown,
            Some(Outcome::Refused) => v1::Outcome::Refused,
        });
        failure.set_retry(enums::retry(self.words.retry));
        failure.retry_delay = self.retry_delay();
        failure.reason = self.words.reason.as_str().to_owned();
        failure.out_settle_no = named("out_settle_no");
        if failure.settle_id.is_empty() {
            failure.settle_id = named("settle_id");
        }
        failure
    }

    fn retry_delay(&self) -> Option<prost_types::Duration> {
        match self.words.retry {
            Retry::Now(delay) => prost_types::Duration::try_from(delay).ok(),
            Retry::AfterChange | Retry::Never => None,
        }
    }

    fn error_info(&self) -> pb::ErrorInfo {
        let names = self.metadata.iter();
        let names = names.map(|(name, text)| ((*name).to_owned(), text.clone()));
        let mut metadata: std::collections::HashMap<_, _> = names.collect();
        let retry = retry_word(self.words.retry).to_owned();
        metadata.insert("retry".to_owned(), retry);
        if let Some(outcome) = self.outcome {
            metadata.insert("outcome".to_owned(), outcome.as_str().to_owned());
        }
        if let Some(said) = &self.douyin {
            let (name, number) = match said.err_no {
                Some(err_no) => ("err_no", err_no.to_string()),
                None => ("http_status", said.http_status.to_string()),
            };
            metadata.insert(name.to_owned(), number);
            let err_msg = cut(&said.err_msg, TEXT_BYTES_MAX);
            let texts = [("err_msg", err_msg), ("log_id", cut(&said.log_id, TEXT_BYTES_MAX))];
            for (name, text) in texts {
                if !text.is_empty() {
                    metadata.insert(name.to_owned(), text.to_owned());
                }
            }
        }
        let (reason, domain) = (self.words.reason.as_str(), self.words.domain);
        let (reason, domain) = (reason.to_owned(), domain.to_owned());
        pb::ErrorInfo { reason, domain, metadata }
    }

    fn bad_request(&self, shown: usize) -> pb::BadRequest {
        let violations = self.violations.shown.iter().take(shown);
        let mut field_violations: Vec<_> = violations
            .map(|violation| pb::bad_request::FieldViolation {
                field: cut(&violation.field, TEXT_BYTES_MAX).to_owned(),
                description: cut(&violation.description, TEXT_BYTES_MAX).to_owned(),
                ..Default::default()
            })
            .collect();
        let hidden = self.violations.total - shown;
        if hidden > 0 {
            field_violations.push(pb::bad_request::FieldViolation {
                description: format!("and {hidden} more"),
                ..Default::default()
            });
        }
        pb::BadRequest { field_violations }
    }

    /// The detail that goes with the code, about what the failure is about.
    fn fitting(&self) -> Option<Any> {
        let about = self.words.about;
        let (kind, name) = (kind(about), self.name_of(about));
        let subject = if name.is_empty() { kind.to_owned() } else { format!("{kind}/{name}") };
        let description = self.words.meaning.to_owned();
        match fitting(self.words.code)? {
            Fitting::ResourceInfo => {
                let (resource_type, resource_name) = (kind.to_owned(), name.to_owned());
                let owner = String::new();
                let info = pb::ResourceInfo { resource_type, resource_name, owner, description };
                Some(any("google.rpc.ResourceInfo", &info))
            }
            Fitting::PreconditionFailure => {
                let r#type = self.words.reason.as_str().to_owned();
                let violation =
                    pb::precondition_failure::Violation { r#type, subject, description };
                let failure = pb::PreconditionFailure { violations: vec![violation] };
                Some(any("google.rpc.PreconditionFailure", &failure))
            }
            Fitting::QuotaFailure => {
                let violation =
                    pb::quota_failure::Violation { subject, description, ..Default::default() };
                let failure = pb::QuotaFailure { violations: vec![violation] };
                Some(any("google.rpc.QuotaFailure", &failure))
            }
        }
    }

    /// The name of what the failure is about; empty where it is not known.
    fn name_of(&self, about: About) -> &str {
        let names: &[&str] = match about {
            About::Order => &["out_order_no", "order_id"],
            About::Item => &["item_order_id"],
            About::Settle => &["out_settle_no", "settle_id"],
            About::App => &["app_id"],
            About::Request | About::Gateway | About::Douyin => &[],
        };
        names.iter().find_map(|name| self.metadata.get(name)).map_or("", String::as_str)
    }
}

/// The details that fit some codes only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fitting {
    ResourceInfo,
    PreconditionFailure,
    QuotaFailure,
}

/// Which of them goes with this code.
pub(crate) fn fitting(code: Code) -> Option<Fitting> {
    match code {
        Code::NotFound | Code::AlreadyExists => Some(Fitting::ResourceInfo),
        Code::FailedPrecondition | Code::PermissionDenied => Some(Fitting::PreconditionFailure),
        Code::ResourceExhausted => Some(Fitting::QuotaFailure),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => None,
    }
}

/// The anchor of a reason in the page of errors, as most renderers make it of the heading.
pub(crate) fn anchor(reason: &str) -> String {
    reason.to_ascii_lowercase()
}

/// `retry` in the metadata of `ErrorInfo`.
pub(crate) fn retry_word(retry: Retry) -> &'static str {
    match retry {
        Retry::Now(_) => "now",
        Retry::AfterChange => "after_change",
        Retry::Never => "never",
    }
}

/// What Douyin said, for a detail or a recorded error.
pub(crate) fn douyin_error(reason: Reason, said: &DouyinError) -> v1::DouyinError {
    let text = |text: &str, bytes_max| {
        let text = cut(text, bytes_max);
        (!text.is_empty()).then(|| text.to_owned())
    };
    v1::DouyinError {
        err_no: said.err_no,
        reason: reason.as_str().to_owned(),
        err_msg: text(&said.err_msg, ERR_MSG_BYTES_MAX),
        log_id: text(&said.log_id, TEXT_BYTES_MAX),
        http_status: i32::from(said.http_status),
        sub_err_no: said.sub_err_no,
    }
}

/// Where a reason is described.
pub(crate) fn link(reason: &str) -> String {
    link_at(HOME, reason)
}

fn link_at(home: &str, reason: &str) -> String {
    let home = home.trim_end_matches('/');
    let slash = if home.is_empty() { "" } else { "/" };
    format!("{home}{slash}{PAGE}#{}", anchor(reason))
}

fn help(home: &str, reason: &str) -> pb::Help {
    let file = if home.is_empty() { format!(": see the file {PAGE}") } else { String::new() };
    let description = format!("What {reason} means and what to do{file}");
    let url = link_at(home, reason);
    pb::Help { links: vec![pb::help::Link { description, url }] }
}

/// The word for what a failure is about, in details.
fn kind(about: About) -> &'static str {
    match about {
        About::Request => "request",
        About::Order => "order",
        About::Item => "item_order",
        About::Settle => "settle",
        About::App => "app",
        About::Gateway => "gateway",
        About::Douyin => "douyin",
    }
}

fn any(name: &str, message: &impl prost::Message) -> Any {
    let type_url = format!("type.googleapis.com/{name}");
    Any { type_url, value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_whole_once_there_is_a_home_page_and_names_the_file_until_then() {
        let link = |home| help(home, "ORDER_NOT_PAID").links.remove(0);
        for home in ["https://example.com/gateway", "https://example.com/gateway/"] {
            let link = link(home);
            assert_eq!(link.url, "https://example.com/gateway/docs/ERRORS.md#order_not_paid");
            assert_eq!(link.description, "What ORDER_NOT_PAID means and what to do");
        }
        let link = link("");
        assert_eq!(link.url, "docs/ERRORS.md#order_not_paid");
        assert!(link.description.ends_with("see the file docs/ERRORS.md"), "{link:?}");
    }
}
