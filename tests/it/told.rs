//! What holds for every status.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use settlement_gateway::douyin::codes;
use settlement_gateway::grpc::reasons;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::{DESCRIPTOR_SET, v1};
use settlement_gateway::settle::Reason;
use tonic::{Code, Status};
use tonic_types::pb;

/// A status and all its details.
#[derive(Debug)]
pub struct Told {
    pub code: Code,
    pub message: String,
    pub failure: v1::SettlementFailure,
    pub info: pb::ErrorInfo,
    pub retry_after: Option<Duration>,
    pub bad_request: Option<pb::BadRequest>,
    pub precondition: Option<pb::PreconditionFailure>,
    pub resource: Option<pb::ResourceInfo>,
    pub quota: Option<pb::QuotaFailure>,
    pub douyin: Option<v1::DouyinError>,
    pub request: Option<pb::RequestInfo>,
    pub localized: pb::LocalizedMessage,
    pub help: pb::Help,
}

/// Checks all that holds for every status, of one that a client library has read.
#[track_caller]
pub fn told_status(status: &Status, rpc: Rpc) -> Told {
    told(status.code(), status.message(), status.details(), Some(rpc))
}

/// Checks all that holds for every status, of its three parts.
#[track_caller]
pub fn told(code: Code, message: &str, details: &[u8], rpc: Option<Rpc>) -> Told {
    assert!(!details.is_empty(), "no details: {code:?} {message}");
    assert!(details.len() <= 4096, "{} bytes of details", details.len());
    let inner = pb::Status::decode(details).expect("the details are a google.rpc.Status");
    assert_eq!((Code::from(inner.code), inner.message.as_str()), (code, message));
    let mut found = BTreeMap::new();
    for any in &inner.details {
        let name = any.type_url.strip_prefix("type.googleapis.com/").unwrap();
        assert!(found.insert(name, &any.value[..]).is_none(), "{name} twice");
    }
    let told = Told {
        code,
        message: message.to_owned(),
        failure: take(&mut found, "douyin.settlement.v1.SettlementFailure").expect("a failure"),
        info: take(&mut found, "google.rpc.ErrorInfo").expect("an ErrorInfo"),
        retry_after: take(&mut found, "google.rpc.RetryInfo")
            .map(|retry: pb::RetryInfo| retry.retry_delay.unwrap().try_into().unwrap()),
        bad_request: take(&mut found, "google.rpc.BadRequest"),
        precondition: take(&mut found, "google.rpc.PreconditionFailure"),
        resource: take(&mut found, "google.rpc.ResourceInfo"),
        quota: take(&mut found, "google.rpc.QuotaFailure"),
        douyin: take(&mut found, "douyin.settlement.v1.DouyinError"),
        request: take(&mut found, "google.rpc.RequestInfo"),
        localized: take(&mut found, "google.rpc.LocalizedMessage").expect("a LocalizedMessage"),
        help: take(&mut found, "google.rpc.Help").expect("a Help"),
    };
    assert_eq!(found.keys().collect::<Vec<_>>(), Vec::<&&str>::new(), "of no known kind");
    told.check(rpc);
    told
}

fn take<T: prost::Message + Default>(found: &mut BTreeMap<&str, &[u8]>, name: &str) -> Option<T> {
    found.remove(name).map(|value| T::decode(value).unwrap_or_else(|e| panic!("{name}: {e}")))
}

impl Told {
    pub fn reason(&self) -> &str {
        &self.info.reason
    }

    pub fn metadata(&self, name: &str) -> &str {
        self.info.metadata.get(name).map_or("", String::as_str)
    }

    pub fn outcome(&self) -> &str {
        self.metadata("outcome")
    }

    pub fn fields(&self) -> Vec<&str> {
        let violations = self.bad_request.iter().flat_map(|bad| &bad.field_violations);
        violations.map(|violation| violation.field.as_str()).collect()
    }

    #[track_caller]
    fn check(&self, rpc: Option<Rpc>) {
        assert_ne!(self.code, Code::Ok);
        let upper = |c: char| c.is_ascii_uppercase() || c == '_';
        assert!(self.reason().chars().all(upper) && !self.reason().is_empty(), "{self:?}");
        self.check_table(rpc);
        self.check_details(rpc);
        self.check_failure();
        self.check_message();
        let outcome = self.info.metadata.get("outcome").map(String::as_str);
        match rpc == Some(Rpc::CreateSettle) {
            true => assert!(["not_sent", "refused", "unknown"].contains(&outcome.unwrap_or(""))),
            false => assert_eq!(outcome, None, "only a create promises something"),
        }
    }

    /// The reason is in a table, with this code, for this RPC and with this outcome.
    #[track_caller]
    fn check_table(&self, rpc: Option<Rpc>) {
        let reason = self.reason();
        let known = Reason::parse(reason).unwrap_or_else(|| panic!("{reason}?"));
        if let Some(row) = reasons::row(known) {
            assert_eq!((self.info.domain.as_str(), self.code), ("douyin.settlement.v1", row.code));
            if let Some(rpc) = rpc {
                assert!(row.rpcs.contains(&rpc), "{reason} from {}", rpc.name());
            }
            if rpc == Some(Rpc::CreateSettle) {
                let outcomes: Vec<_> = row.outcomes.iter().map(|it| it.as_str()).collect();
                assert!(outcomes.contains(&self.outcome()), "{reason} {}", self.outcome());
            }
        } else {
            let row = codes::row_for_reason(known).unwrap_or_else(|| panic!("{reason}?"));
            assert_eq!((self.info.domain.as_str(), self.code), ("open.douyin.com", row.code));
            assert!(rpc.is_some_and(|rpc| Rpc::ASKING.contains(&rpc)), "{reason} from {rpc:?}");
        }
    }

    #[track_caller]
    fn check_details(&self, rpc: Option<Rpc>) {
        for name in self.info.metadata.keys() {
            assert!(DOCUMENTED.contains(name), "{name} is in no comment of the contract");
            assert!(PAGE.contains(&format!("`{name}`")), "{name} is not on the page of errors");
        }
        let retry = self.metadata("retry");
        assert!(["now", "after_change", "never"].contains(&retry), "{self:?}");
        assert_eq!(self.retry_after.is_some(), retry == "now", "{self:?}");
        assert!(self.retry_after.is_none_or(|delay| !delay.is_zero()), "{self:?}");
        let code = self.code;
        assert_eq!(self.resource.is_some(), matches!(code, Code::NotFound | Code::AlreadyExists));
        assert_eq!(
            self.precondition.is_some(),
            matches!(code, Code::FailedPrecondition | Code::PermissionDenied)
        );
        assert_eq!(self.quota.is_some(), code == Code::ResourceExhausted);
        for field in self.fields() {
            assert!(field.is_empty() || has_field(rpc, field), "{field} of {rpc:?}");
        }
        let spoke = ["err_no", "http_status"].map(|name| self.info.metadata.get(name).cloned());
        assert_eq!(self.douyin.is_none(), spoke == [None, None], "{self:?}");
        if let Some(said) = &self.douyin {
            let err_no = said.err_no.map(|err_no| err_no.to_string());
            let instead = err_no.is_none().then(|| said.http_status.to_string());
            assert_eq!(spoke, [err_no, instead]);
            assert!(said.err_msg().starts_with(self.metadata("err_msg")), "{self:?}");
            assert_eq!(
                (said.log_id(), said.reason.as_str()),
                (self.metadata("log_id"), self.reason())
            );
        }
        let log_id = self.request.as_ref().map_or("", |request| request.request_id.as_str());
        assert_eq!(log_id, self.metadata("log_id"), "{self:?}");
        assert_eq!(self.localized.locale, "zh-CN");
        assert!(self.localized.message.ends_with('。'), "{self:?}");
        let anchor = self.reason().to_ascii_lowercase();
        assert_eq!(self.link(), format!("docs/ERRORS.md#{anchor}"));
        assert!(PAGE_ANCHORS.contains(&anchor), "{anchor} leads nowhere");
    }

    /// The link in `Help`, without the home page that a distributor may have put into Cargo.toml.
    fn link(&self) -> &str {
        let [link] = &self.help.links[..] else { panic!("not one link: {self:?}") };
        let home = env!("CARGO_PKG_HOMEPAGE").trim_end_matches('/');
        link.url.strip_prefix(home).unwrap_or_default().trim_start_matches('/')
    }

    /// The typed detail says what the others say.
    #[track_caller]
    fn check_failure(&self) {
        let failure = &self.failure;
        let outcome = match failure.outcome() {
            v1::Outcome::Unspecified => "",
            v1::Outcome::NotSent => "not_sent",
            v1::Outcome::Unknown => "unknown",
            v1::Outcome::Refused => "refused",
        };
        let retry = match failure.retry() {
            v1::Retry::Unspecified => "",
            v1::Retry::Now => "now",
            v1::Retry::AfterChange => "after_change",
            v1::Retry::Never => "never",
        };
        let said = (outcome, retry, failure.reason.as_str(), failure.out_settle_no.as_str());
        let names = ["outcome", "retry"].map(|name| self.metadata(name));
        assert_eq!(said, (names[0], names[1], self.reason(), self.metadata("out_settle_no")));
        let delay = failure.retry_delay.map(|delay| Duration::try_from(delay).unwrap());
        assert_eq!(delay, self.retry_after);
        if !self.metadata("settle_id").is_empty() {
            assert_eq!(failure.settle_id, self.metadata("settle_id"));
        }
        if !self.metadata("revision").is_empty() {
            assert_eq!(failure.revision.to_string(), self.metadata("revision"));
        }
        assert_eq!(failure.differing_fields.join(","), self.metadata("differing_fields"));
        // A settle that is recorded has both.
        if failure.state() != v1::SettleState::Unspecified {
            assert!(failure.revision > 0, "{failure:?}");
        }
    }

    /// English, one sentence about what happened and one about what to do; what is not in a table
    /// is in the metadata.
    #[track_caller]
    fn check_message(&self) {
        let mut text = self.message.clone();
        if self.douyin.is_some() {
            let (err_no, err_msg) = (self.metadata("err_no"), self.metadata("err_msg"));
            let said = match (err_no, err_msg) {
                ("", _) => format!(" (the answer was HTTP {})", self.metadata("http_status")),
                (_, "") => format!(" (Douyin says {err_no})"),
                _ => format!(" (Douyin says {err_no}: {err_msg})"),
            };
            let without = text.replacen(&said, "", 1);
            assert_ne!(without, text, "{said:?} is not in {text:?}");
            text = without;
        }
        assert!(text.is_ascii(), "{text}");
        let (happened, advice) = text.split_once(". ").expect("two sentences");
        assert!(advice.ends_with('.') && !advice.contains(". "), "{text}");
        let happened = format!("{happened}.");
        let own = reasons::TABLE.iter().map(|row| row.meaning);
        let douyin = codes::table()
            .into_iter()
            .map(|(row, _)| row)
            .chain([codes::other()])
            .map(|row| row.meaning);
        assert!(own.chain(douyin).any(|meaning| meaning == happened), "{happened}");
    }

    /// All of it as text, for a document that is compared whole.
    pub fn render(&self, hide: &[(&str, &str)]) -> String {
        let mut text = format!("{:?}: {}\n", self.code, self.message);
        let pb::ErrorInfo { reason, domain, metadata } = &self.info;
        let _ = writeln!(text, "  ErrorInfo {reason} of {domain}");
        for (name, value) in metadata.iter().collect::<BTreeMap<_, _>>() {
            let _ = writeln!(text, "    {name} = {value}");
        }
        if let Some(delay) = self.retry_after {
            let _ = writeln!(text, "  RetryInfo {delay:?}");
        }
        for violation in self.bad_request.iter().flat_map(|it| &it.field_violations) {
            let _ = writeln!(text, "  BadRequest {:?}: {}", violation.field, violation.description);
        }
        for violation in self.precondition.iter().flat_map(|it| &it.violations) {
            let (kind, subject, why) =
                (&violation.r#type, &violation.subject, &violation.description);
            let _ = writeln!(text, "  PreconditionFailure {kind} of {subject}: {why}");
        }
        if let Some(it) = &self.resource {
            let (kind, name) = (&it.resource_type, &it.resource_name);
            let _ = writeln!(text, "  ResourceInfo {kind} {name:?}: {}", it.description);
        }
        for violation in self.quota.iter().flat_map(|it| &it.violations) {
            let (subject, why) = (&violation.subject, &violation.description);
            let _ = writeln!(text, "  QuotaFailure of {subject}: {why}");
        }
        if let Some(said) = &self.douyin {
            let sub = said.sub_err_no.map_or(String::new(), |sub| format!(" below it {sub},"));
            let _ = writeln!(
                text,
                "  DouyinError {} {},{sub} HTTP {}: {} [{}]",
                said.err_no.map_or("no number".to_owned(), |err_no| err_no.to_string()),
                said.reason,
                said.http_status,
                said.err_msg(),
                said.log_id()
            );
        }
        if let Some(request) = &self.request {
            let _ = writeln!(text, "  RequestInfo {}", request.request_id);
        }
        let _ = writeln!(text, "  LocalizedMessage {}", self.localized.message);
        let _ = writeln!(text, "  Help {}", self.link());
        for (shown, instead) in hide.iter().filter(|(shown, _)| !shown.is_empty()) {
            text = text.replace(shown, instead);
        }
        text
    }
}

/// The page that `Help` links to.
const PAGE: &str = include_str!("../../docs/ERRORS.md");

static PAGE_ANCHORS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let headings = PAGE.lines().filter_map(|line| line.strip_prefix("### "));
    headings.map(str::to_ascii_lowercase).collect()
});

/// What the comments of the contract's service call metadata of an error.
static DOCUMENTED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let file = CONTRACT.file.iter().find(|file| file.package() == "douyin.settlement.v1").unwrap();
    let places = file.source_code_info.iter().flat_map(|info| &info.location);
    let comment = places.clone().find(|place| place.path == [6, 0]).unwrap().leading_comments();
    let (_, rest) = comment.split_once("Its metadata has, where known,").unwrap();
    let (list, _) = rest.split_once(". `retry` says").unwrap();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
});

static CONTRACT: LazyLock<FileDescriptorSet> =
    LazyLock::new(|| FileDescriptorSet::decode(DESCRIPTOR_SET).unwrap());

/// Whether the request of the RPC has a field at this path; `key` is a oneof.
fn has_field(rpc: Option<Rpc>, path: &str) -> bool {
    let Some(rpc) = rpc else { return false };
    let files = CONTRACT.file.iter().filter(|file| file.package() == "douyin.settlement.v1");
    let messages: Vec<_> = files.flat_map(|file| &file.message_type).collect();
    let mut message = format!("{}Request", rpc.name());
    for part in path.split('.') {
        let name = part.split('[').next().unwrap();
        let found = messages.iter().find(|it| it.name() == message).unwrap();
        if found.oneof_decl.iter().any(|oneof| oneof.name() == name) {
            return true;
        }
        let Some(field) = found.field.iter().find(|field| field.name() == name) else {
            return false;
        };
        message = field.type_name().rsplit('.').next().unwrap().to_owned();
    }
    true
}
