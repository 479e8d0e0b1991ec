//! What Douyin leaves undocumented, one field per question.
//!
//! A test that must hold for any answer draws them from a seed. A test about one answer sets it.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::callbacks::Ladder;
use super::choice_names::{detail_separator, status};

/// The longest time that an accepted settle may stay invisible to queries (a guess).
const VISIBLE_AFTER_MS_MAX: u64 = 600_000;

/// A text that is part of the program. It has another name because serde would try to borrow it.
type Separator = &'static str;

/// The simulator's answers to the open questions about Douyin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choices {
    /// Is 23111 checked before or after the rules of §1.5? Guaranteed payment, which answers a
    /// repeat like the first, looks before.
    pub number_check: NumberCheck,
    /// What a refusal by the rules does to its `out_settle_no`.
    pub number_after_refusal: NumberFate,
    /// What a FAIL does to its `out_settle_no`. In guaranteed payment it never frees it.
    pub number_after_fail: NumberFate,
    /// How long after its acceptance a settle stays invisible to queries, in milliseconds.
    pub visible_after_ms: u64,
    /// May 23111 be answered while the query is still empty? If not, it makes the settle visible.
    pub exists_while_invisible: bool,
    /// A FAIL turns into SUCCESS this long after, if its money is still there. In milliseconds.
    pub fail_turns_success_after_ms: Option<u64>,
    /// HTTP status of refusals by the settlement system: 400 (PAGE) or 200 (sibling pages), §1.7.
    /// This and the next are about the general system; the others answer 200.
    #[serde(with = "status")]
    pub business_status: StatusCode,
    /// HTTP status of refusals by the platform in front of it (tokens, quotas). Undocumented.
    #[serde(with = "status")]
    pub platform_status: StatusCode,
    /// How refusals by the settlement system are wrapped.
    pub business_envelope: Envelope,
    /// How refusals by the platform in front of it are wrapped.
    pub platform_envelope: Envelope,
    /// `error_code` over a sub code in [`Envelope::Extra`]: 2191009, or 2190004 as in one sample.
    pub parent_err_no: i64,
    /// An unknown token: 28001003, 2190002, 10008 or 11002.
    pub token_invalid_err_no: i64,
    /// An expired or superseded token: 28001008, 2190008, 10008 or 11002.
    pub token_expired_err_no: i64,
    /// How long the second newest token of an app lives on, in milliseconds (§4: five minutes).
    pub token_grace_ms: u64,
    /// Where the log id is.
    pub log_id: LogIdPlace,
    /// How the developer's numbers are spelled in query answers.
    pub query_names: QueryNames,
    /// How query answers write amounts and times (§2, last paragraph).
    pub amounts: AmountForm,
    /// Is a body without `app_id` refused (§1.3: three of four SDKs send it)?
    pub app_id_required: bool,
    /// What stands between two receivers in `settle_detail` (§2.1: unknown).
    #[serde(deserialize_with = "detail_separator")]
    pub detail_separator: Separator,
    /// More receivers than this are a parameter error. Guaranteed payment always has 4; none is
    /// documented for the others.
    pub receivers_max: Option<usize>,
    /// Further settles of one order get 23113 (a guess). Guaranteed payment always has 50; none is
    /// documented for the others.
    pub settles_per_order_max: Option<usize>,
    /// Does a create's `notify_url` work while the console has no address? For payments the
    /// documents say no (§3.6).
    pub notify_url_alone: bool,
    /// `version` of a callback of the general system (§3.1); in its siblings it is 2.0.
    pub callback_version: CallbackVersion,
    /// How callbacks write amounts and times.
    pub callback_amounts: AmountForm,
    /// How callbacks spell the developer's number. That they changed with the query is a guess.
    pub callback_names: QueryNames,
    /// Which fields without a value a callback has.
    pub callback_fields: CallbackFields,
    /// What the callback of an automatic settlement has as `out_settle_no` (§3.2).
    pub auto_out_settle_no: AutoNumber,
    /// Is PROCESSING announced too? No document says so.
    pub callback_processing: bool,
    /// When a callback is sent again that was not acknowledged (§3.5).
    pub callback_ladder: Ladder,
    /// Has a retry a time, nonce and signature of its own (§11, question 4)?
    pub callback_retry_signs_anew: bool,
    /// How long the platform waits for the answer to a callback, in milliseconds (§3.4: unknown).
    pub callback_deadline_ms: u64,
    /// What is in the fields that decide nothing. Their types are documented, so no seed draws odd
    /// ones.
    pub informing: Informing,
    /// How guaranteed payment's query names an error: the table of its page and its sample differ.
    pub guaranteed_query_names: GuaranteedNames,
    /// Is a signed request refused whose `nonce_str` was used before? No document says so.
    pub nonce_counts_once: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            number_check: NumberCheck::BeforeRules,
            number_after_refusal: NumberFate::Free,
            number_after_fail: NumberFate::Burned,
            visible_after_ms: 0,
            exists_while_invisible: false,
            fail_turns_success_after_ms: None,
            business_status: StatusCode::BAD_REQUEST,
            platform_status: StatusCode::OK,
            business_envelope: Envelope::Own,
            platform_envelope: Envelope::Own,
            parent_err_no: 2_191_009,
            token_invalid_err_no: 28_001_003,
            token_expired_err_no: 28_001_008,
            token_grace_ms: 300_000,
            log_id: LogIdPlace::Body,
            query_names: QueryNames::New,
            amounts: AmountForm::Number,
            app_id_required: true,
            detail_separator: ",",
            receivers_max: None,
            settles_per_order_max: None,
            notify_url_alone: true,
            callback_version: CallbackVersion::V3,
            callback_amounts: AmountForm::Number,
            callback_names: QueryNames::New,
            callback_fields: CallbackFields::Captured,
            auto_out_settle_no: AutoNumber::SettleId,
            callback_processing: false,
            callback_ladder: Ladder::Own,
            callback_retry_signs_anew: true,
            callback_deadline_ms: 5_000,
            informing: Informing::AsDocumented,
            guaranteed_query_names: GuaranteedNames::Sample,
            nonce_counts_once: true,
        }
    }
}

impl Choices {
    /// Draws every choice. The same seed gives the same choices.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let one_of = &mut rng;
        Self {
            number_check: pick(one_of, &[NumberCheck::BeforeRules, NumberCheck::AfterRules]),
            number_after_refusal: pick(one_of, &NumberFate::ALL),
            number_after_fail: pick(one_of, &NumberFate::ALL),
            // Half of all seeds show a settle at once, so that both cases are common.
            visible_after_ms: if one_of.bool() { 0 } else { one_of.u64(..=VISIBLE_AFTER_MS_MAX) },
            exists_while_invisible: one_of.bool(),
            fail_turns_success_after_ms: one_of.bool().then(|| one_of.u64(500..=60_000)),
            business_status: pick(one_of, &[StatusCode::BAD_REQUEST, StatusCode::OK]),
            platform_status: pick(
                one_of,
                &[StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED],
            ),
            business_envelope: pick(one_of, &Envelope::ALL),
            platform_envelope: pick(one_of, &Envelope::ALL),
            parent_err_no: pick(one_of, &[2_191_009, 2_190_004]),
            token_invalid_err_no: pick(one_of, &[28_001_003, 2_190_002, 10_008, 11_002]),
            token_expired_err_no: pick(one_of, &[28_001_008, 2_190_008, 10_008, 11_002]),
            token_grace_ms: 300_000,
            log_id: pick(one_of, &[LogIdPlace::Body, LogIdPlace::HeaderOnly]),
            query_names: pick(one_of, &[QueryNames::New, QueryNames::Of2023]),
            amounts: pick(one_of, &[AmountForm::Number, AmountForm::Text]),
            app_id_required: one_of.bool(),
            detail_separator: pick(one_of, &[",", ";", "，", "\n"]),
            receivers_max: pick(one_of, &[None, Some(4)]),
            settles_per_order_max: pick(one_of, &[None, Some(50)]),
            // New choices come last, so that a seed still draws the same values before them.
            notify_url_alone: one_of.bool(),
            callback_version: pick(one_of, &CallbackVersion::ALL),
            callback_amounts: pick(one_of, &[AmountForm::Number, AmountForm::Text]),
            callback_names: pick(one_of, &[QueryNames::New, QueryNames::Of2023]),
            callback_fields: pick(one_of, &CallbackFields::ALL),
            auto_out_settle_no: pick(one_of, &AutoNumber::ALL),
            callback_processing: one_of.bool(),
            callback_ladder: pick(one_of, &Ladder::ALL),
            callback_retry_signs_anew: one_of.bool(),
            callback_deadline_ms: pick(one_of, &[2_000, 5_000, 15_000]),
            informing: Informing::AsDocumented,
            guaranteed_query_names: pick(
                one_of,
                &[GuaranteedNames::Sample, GuaranteedNames::Table],
            ),
            nonce_counts_once: one_of.bool(),
        }
    }
}

/// When a create looks at whether its number was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberCheck {
    /// A repeat of an accepted create gets 23111.
    BeforeRules,
    /// A repeat may get 23112 or 23118, because of what its first copy did.
    AfterRules,
}

/// What happens to a number that did not lead to a successful settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberFate {
    /// It can be used again.
    Free,
    /// It answers 23111 from now on.
    Burned,
}

impl NumberFate {
    const ALL: [Self; 2] = [Self::Free, Self::Burned];
}

/// The envelopes of §1.8, last paragraph but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Envelope {
    /// The system's own; the general system's is `{err_no, err_msg, log_id}`.
    Own,
    /// The general system's with `err_tips`.
    ErrTips,
    /// `{data: {error_code, description}, extra: {…, sub_error_code, …, logid, now}}`.
    Extra,
    /// `{data: {error_code, description}, message}`.
    DataMessage,
    /// `{error, message}`.
    ErrorMessage,
}

impl Envelope {
    /// Every envelope, for tests that try them all.
    pub const ALL: [Self; 5] =
        [Self::Own, Self::ErrTips, Self::Extra, Self::DataMessage, Self::ErrorMessage];
}

/// Where an answer carries its log id. The header `x-tt-logid` is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogIdPlace {
    /// In the body too, if the envelope has a place for it.
    Body,
    /// In the header only.
    HeaderOnly,
}

/// The two spellings of the developer's numbers in query answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryNames {
    /// `out_settle_no`, `out_order_no`.
    New,
    /// `out_settle_id`, `out_order_id`; `wallet_settle_id` and `platform_ticket` are left out.
    #[serde(rename = "of-2023")]
    Of2023,
}

/// The two ways to write an int64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AmountForm {
    /// As a JSON number (samples).
    Number,
    /// As a string (the official generator's reading).
    Text,
}

/// The two versions of the envelope of callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackVersion {
    /// General trading system.
    #[serde(rename = "3.0")]
    V3,
    /// Its siblings.
    #[serde(rename = "2.0")]
    V2,
}

impl CallbackVersion {
    pub(super) const ALL: [Self; 2] = [Self::V3, Self::V2];

    /// As it stands in the body.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::V3 => "3.0",
            Self::V2 => "2.0",
        }
    }
}

/// Which fields of `msg` without a value a callback has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackFields {
    /// As captured: all but `item_order_id`, which only a per-item settle has.
    Captured,
    /// `message` and `is_auto_settle` never, `cp_extra` only if there is one.
    Sparse,
    /// All, `item_order_id` too.
    Padded,
}

impl CallbackFields {
    pub(super) const ALL: [Self; 3] = [Self::Captured, Self::Sparse, Self::Padded];
}

/// What stands for the developer's number where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AutoNumber {
    /// Captured so.
    SettleId,
    Blank,
    Absent,
}

impl AutoNumber {
    pub(super) const ALL: [Self; 3] = [Self::SettleId, Self::Blank, Self::Absent];
}

/// The two spellings of an error in guaranteed payment's query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuaranteedNames {
    /// `err_no`, `err_tips`.
    Sample,
    /// `error_no`, `error_tips`.
    Table,
}

/// What is in the fields that decide nothing: amounts, times, texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Informing {
    AsDocumented,
    /// Of any type, and damaged.
    Odd,
}

fn pick<T: Copy>(rng: &mut fastrand::Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}
