//! What holds for every row of both tables, whatever Douyin's message says.

use prost::Message as _;
use tonic::Code;
use tonic_types::pb;

use super::*;
use crate::douyin::codes::Handling;
use crate::grpc::reasons;
use crate::settle::{
    AppId, Content, ItemOrderId, Key, OutOrderNo, OutSettleNo, SettleDesc, SettleId, TradeSystem,
};

/// The longest texts that a create can name and that Douyin can send.
fn longest() -> (Names, DouyinError) {
    let longest = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    let key = Key {
        app_id: AppId::parse("t".repeat(64)).unwrap(),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse(longest("号", 64)).unwrap(),
    };
    let content = Content {
        out_order_no: OutOrderNo::parse(longest("单", 64)).unwrap(),
        item_order_id: Some(ItemOrderId::parse("i".repeat(64)).unwrap()),
        settle_desc: SettleDesc::parse("d".to_owned()).unwrap(),
        settle_params: Vec::new(),
        ext: None,
        notify_url: None,
    };
    let said = DouyinError {
        err_no: Some(i32::MIN),
        sub_err_no: Some(i32::MIN),
        // It names all fields, too.
        err_msg: longest(
            "app_id out_order_no out_settle_no settle_desc settle_params merchant_uid amount \
             item_order_id ext notify_url 参数错误",
            512,
        ),
        log_id: "l".repeat(512),
        http_status: 400,
    };
    (Names::of_create(&key, &content), said)
}

fn decoded(status: &Status) -> pb::Status {
    pb::Status::decode(status.details()).unwrap()
}

/// Both tables as errors of CreateSettle, with the longest texts.
fn all() -> Vec<Status> {
    let (names, said) = longest();
    let settle_id = SettleId::parse("s".repeat(64)).unwrap();
    let own = reasons::TABLE.iter().map(|row| Problem {
        douyin: Some(DouyinError { err_no: None, ..said.clone() }),
        ..Problem::own(row.reason)
    });
    let douyin = codes::rows(TradeSystem::General).into_iter().chain([codes::other()]).map(|row| {
        let said = DouyinError { err_no: Some(row.err_no), sub_err_no: None, ..said.clone() };
        Problem::of_failure(&Failure::said(row.reason, said))
    });
    let problems = own.chain(douyin).map(|problem| {
        let mut problem = problem.by(Rpc::CreateSettle).about(&names);
        problem.outcome = Some(Outcome::Unknown);
        problem.with("settle_id", settle_id.as_str()).with("cause", &"C".repeat(64))
    });
    problems.map(Problem::status).collect()
}

#[test]
fn the_encoded_status_stays_within_its_bound_with_the_longest_of_everything() {
    for status in all() {
        let bytes = status.details().len();
        assert!(bytes <= DETAILS_BYTES_MAX, "{bytes} bytes: {status:?}");
        assert!(status.message().len() <= 600, "{status:?}");
    }
}

#[test]
fn ten_thousand_violations_become_some_and_a_count() {
    let mut violations = Violations::default();
    for i in 0..10_000 {
        violations.add(format!("settle_params[{i}].merchant_uid"), "必须填写。".repeat(40));
    }
    let status = invalid(violations, Rpc::CreateSettle);
    assert!(status.details().len() <= DETAILS_BYTES_MAX);
    let bad_request = "type.googleapis.com/google.rpc.BadRequest";
    let details = decoded(&status).details;
    let detail = details.iter().find(|any| any.type_url == bad_request).unwrap();
    let fields = pb::BadRequest::decode(&detail.value[..]).unwrap().field_violations;
    let (rest, shown) = fields.split_last().unwrap();
    assert!((5..=20).contains(&shown.len()), "{}", shown.len());
    assert_eq!(rest.description, format!("and {} more", 10_000 - shown.len()));
}

#[test]
fn a_message_says_in_one_sentence_what_happened_and_in_one_what_to_do() {
    for status in all() {
        let message = status.message();
        let (before, rest) = message.split_once(" (Douyin says ").unwrap_or((message, ""));
        assert!(before.is_ascii(), "English: {message}");
        let advice = rest
            .rsplit_once("). ")
            .map_or_else(|| before.split_once(". ").unwrap().1, |(_, advice)| advice);
        assert!(advice.ends_with('.') && !advice.contains(". "), "{message}");
    }
}

#[test]
fn an_unknown_outcome_is_worth_coming_back_for_and_a_refused_one_never() {
    for row in codes::rows(TradeSystem::General) {
        let said = DouyinError { err_no: Some(row.err_no), sub_err_no: None, ..longest().1 };
        let failure = Failure::said(row.reason, said);
        let now = |outcome| matches!(words_for(&failure, outcome).retry, Retry::Now(_));
        assert_eq!(now(Outcome::Unknown), row.handling != Handling::Reauthenticate, "{row:?}");
        assert!(!now(Outcome::Refused), "{row:?}");
    }
}

#[test]
fn a_field_is_named_only_if_the_request_has_it() {
    let failure = |err_no, err_msg: &str| {
        let row = codes::row(Some(TradeSystem::General), err_no).unwrap();
        let (sub_err_no, log_id) = (None, String::new());
        let err_msg = err_msg.to_owned();
        let said =
            DouyinError { err_no: Some(err_no), sub_err_no, err_msg, log_id, http_status: 400 };
        Failure::said(row.reason, said)
    };
    let fields = |failure: &Failure, rpc| {
        let mut problem = Problem::of_failure(failure).by(rpc);
        problem.name_fields();
        let fields: Vec<_> = problem.violations.shown.into_iter().map(|it| it.field).collect();
        fields.join(",")
    };
    let by_number = failure(23005, "");
    assert_eq!(fields(&by_number, Rpc::CreateSettle), "settle_desc");
    assert_eq!(fields(&by_number, Rpc::QuerySettles), "", "it has no such field");
    let by_message = failure(10000, "param error: out_settle_no, ext");
    assert_eq!(fields(&by_message, Rpc::CreateSettle), "out_settle_no,ext");
    assert_eq!(fields(&by_message, Rpc::GetSettle), "out_settle_no");
    assert_eq!(fields(&failure(23102, "out_order_no not pay"), Rpc::CreateSettle), "");
}

/// The delay of a pause is what is left of it, not what the table says. There is none if a person
/// must repair the app, because no delay does that.
#[test]
fn a_question_during_a_pause_is_told_when_the_pause_ends() {
    for (err_no, retry) in [(12001, "77"), (28001003, "after_change")] {
        let row = codes::row(Some(TradeSystem::General), err_no).unwrap();
        let failure = Failure::own(row.reason);
        let error = QueryError::Paused { failure, wait: Duration::from_secs(77) };
        let problem = Problem::of_query(error);
        match problem.words.retry {
            Retry::Now(delay) => assert_eq!(delay.as_secs().to_string(), retry),
            Retry::AfterChange => assert_eq!(retry, "after_change"),
            Retry::Never => panic!("{err_no} is worth another try"),
        }
    }
}

#[test]
fn each_code_of_the_tables_has_its_details() {
    for status in all() {
        let details = decoded(&status).details;
        let has = |name: &str| details.iter().any(|any| any.type_url.ends_with(name));
        let code = status.code();
        assert_eq!(has("ResourceInfo"), matches!(code, Code::NotFound | Code::AlreadyExists));
        assert_eq!(
            has("PreconditionFailure"),
            matches!(code, Code::FailedPrecondition | Code::PermissionDenied)
        );
        assert_eq!(has("QuotaFailure"), code == Code::ResourceExhausted);
        assert!(has("Help") && has("LocalizedMessage") && has("ErrorInfo"));
    }
}
