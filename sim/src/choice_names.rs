//! The [`Choices`] by name, for people: each has a name and its value as text, both ways.

use http::StatusCode;

use super::callbacks::Ladder;
use super::choices::{
    AmountForm, AutoNumber, CallbackFields, CallbackVersion, Choices, Envelope, Informing,
    LogIdPlace, NumberCheck, NumberFate, QueryNames,
};

/// Keeps the simulator's times within what its clock can tell: ten years.
const MS_MAX: u64 = 10 * 366 * 86_400_000;

impl Choices {
    /// Every choice with its name and value.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let mut choices = self.clone();
        choices.all().into_iter().map(|(name, choice)| (name, choice.text())).collect()
    }

    /// Changes one choice. The error is a sentence for whoever wrote the text.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let found = self.all().into_iter().find(|(known, _)| *known == name);
        let Some((_, choice)) = found else {
            return Err(format!("there is no choice {name}"));
        };
        match choice.set(text) {
            Some(()) => Ok(()),
            None => Err(format!("{name} must be {}, not {text:?}", choice.allowed())),
        }
    }

    /// The names of all choices.
    pub(super) fn names() -> Vec<&'static str> {
        Self::default().named().into_iter().map(|(name, _)| name).collect()
    }

    /// The words that a choice can be; empty if they cannot be counted.
    pub(super) fn words(name: &str) -> &'static [&'static str] {
        let mut choices = Self::default();
        let found = choices.all().into_iter().find(|(known, _)| *known == name);
        found.map_or(&[], |(_, choice)| choice.words())
    }

    fn all(&mut self) -> Vec<(&'static str, &mut dyn Choice)> {
        // Taken apart, so that a new field is missed by the compiler.
        let Self {
            number_check,
            number_after_refusal,
            number_after_fail,
            visible_after_ms,
            exists_while_invisible,
            fail_turns_success_after_ms,
            business_status,
            platform_status,
            business_envelope,
            platform_envelope,
            parent_err_no,
            token_invalid_err_no,
            token_expired_err_no,
            token_grace_ms,
            log_id,
            query_names,
            amounts,
            app_id_required,
            detail_separator,
            receivers_max,
            settles_per_order_max,
            notify_url_alone,
            callback_version,
            callback_amounts,
            callback_names,
            callback_fields,
            auto_out_settle_no,
            callback_processing,
            callback_ladder,
            callback_retry_signs_anew,
            callback_deadline_ms,
            informing,
        } = self;
        vec![
            ("number_check", number_check),
            ("number_after_refusal", number_after_refusal),
            ("number_after_fail", number_after_fail),
            ("visible_after_ms", visible_after_ms),
            ("exists_while_invisible", exists_while_invisible),
            ("fail_turns_success_after_ms", fail_turns_success_after_ms),
            ("business_status", business_status),
            ("platform_status", platform_status),
            ("business_envelope", business_envelope),
            ("platform_envelope", platform_envelope),
            ("parent_err_no", parent_err_no),
            ("token_invalid_err_no", token_invalid_err_no),
            ("token_expired_err_no", token_expired_err_no),
            ("token_grace_ms", token_grace_ms),
            ("log_id", log_id),
            ("query_names", query_names),
            ("amounts", amounts),
            ("app_id_required", app_id_required),
            ("detail_separator", detail_separator),
            ("receivers_max", receivers_max),
            ("settles_per_order_max", settles_per_order_max),
            ("notify_url_alone", notify_url_alone),
            ("callback_version", callback_version),
            ("callback_amounts", callback_amounts),
            ("callback_names", callback_names),
            ("callback_fields", callback_fields),
            ("auto_out_settle_no", auto_out_settle_no),
            ("callback_processing", callback_processing),
            ("callback_ladder", callback_ladder),
            ("callback_retry_signs_anew", callback_retry_signs_anew),
            ("callback_deadline_ms", callback_deadline_ms),
            ("informing", informing),
        ]
    }
}

/// A value that can be written and read.
trait Choice {
    fn text(&self) -> String;

    /// `None`: the text is not one of the allowed ones, and nothing is changed.
    fn set(&mut self, text: &str) -> Option<()>;

    /// The words that are allowed, if they can be counted.
    fn words(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is allowed, as the end of a sentence.
    fn allowed(&self) -> String {
        self.words().join(" or ")
    }
}

/// Values that have words, one each.
trait Worded: Copy + PartialEq + 'static {
    const VALUES: &'static [Self];
    const WORDS: &'static [&'static str];
}

impl<T: Worded> Choice for T {
    fn text(&self) -> String {
        let place = T::VALUES.iter().position(|value| value == self);
        place.and_then(|place| T::WORDS.get(place)).map_or("?", |word| word).to_owned()
    }

    fn set(&mut self, text: &str) -> Option<()> {
        let place = T::WORDS.iter().position(|word| *word == text)?;
        *self = *T::VALUES.get(place)?;
        Some(())
    }

    fn words(&self) -> &'static [&'static str] {
        T::WORDS
    }
}

impl Worded for bool {
    const VALUES: &'static [Self] = &[true, false];
    const WORDS: &'static [&'static str] = &["yes", "no"];
}

impl Worded for NumberCheck {
    const VALUES: &'static [Self] = &[Self::BeforeRules, Self::AfterRules];
    const WORDS: &'static [&'static str] = &["before-rules", "after-rules"];
}

impl Worded for NumberFate {
    const VALUES: &'static [Self] = &[Self::Free, Self::Burned];
    const WORDS: &'static [&'static str] = &["free", "burned"];
}

impl Worded for Envelope {
    const VALUES: &'static [Self] = &Self::ALL;
    const WORDS: &'static [&'static str] =
        &["err-msg", "err-tips", "extra", "data-message", "error-message"];
}

impl Worded for LogIdPlace {
    const VALUES: &'static [Self] = &[Self::Body, Self::HeaderOnly];
    const WORDS: &'static [&'static str] = &["body", "header-only"];
}

impl Worded for QueryNames {
    const VALUES: &'static [Self] = &[Self::New, Self::Of2023];
    const WORDS: &'static [&'static str] = &["new", "of-2023"];
}

impl Worded for AmountForm {
    const VALUES: &'static [Self] = &[Self::Number, Self::Text];
    const WORDS: &'static [&'static str] = &["number", "text"];
}

impl Worded for CallbackVersion {
    const VALUES: &'static [Self] = &Self::ALL;
    const WORDS: &'static [&'static str] = &["3.0", "2.0"];
}

impl Worded for CallbackFields {
    const VALUES: &'static [Self] = &Self::ALL;
    const WORDS: &'static [&'static str] = &["captured", "sparse", "padded"];
}

impl Worded for AutoNumber {
    const VALUES: &'static [Self] = &Self::ALL;
    const WORDS: &'static [&'static str] = &["settle-id", "blank", "absent"];
}

impl Worded for Informing {
    const VALUES: &'static [Self] = &[Self::AsDocumented, Self::Odd];
    const WORDS: &'static [&'static str] = &["as-documented", "odd"];
}

impl Worded for Ladder {
    const VALUES: &'static [Self] = &Self::ALL;
    const WORDS: &'static [&'static str] =
        &["general", "general-2024", "industry", "guaranteed", "once"];
}

/// What stands between two receivers. Any other text would have to live as long as the program.
impl Worded for &'static str {
    const VALUES: &'static [Self] = &[",", ";", "，", "\n"];
    const WORDS: &'static [&'static str] = &["comma", "semicolon", "chinese-comma", "newline"];
}

impl Choice for u64 {
    fn text(&self) -> String {
        self.to_string()
    }

    fn set(&mut self, text: &str) -> Option<()> {
        *self = text.parse().ok().filter(|ms| *ms <= MS_MAX)?;
        Some(())
    }

    fn allowed(&self) -> String {
        format!("milliseconds up to {MS_MAX}")
    }
}

impl Choice for i64 {
    fn text(&self) -> String {
        self.to_string()
    }

    fn set(&mut self, text: &str) -> Option<()> {
        *self = text.parse().ok()?;
        Some(())
    }

    fn allowed(&self) -> String {
        "a number".to_owned()
    }
}

impl Choice for StatusCode {
    fn text(&self) -> String {
        self.as_str().to_owned()
    }

    fn set(&mut self, text: &str) -> Option<()> {
        // 1xx would not be the answer, and 204 or 304 would lose its body.
        let status =
            text.parse().ok().filter(|status: &Self| matches!(status.as_u16(), 200 | 400..=599))?;
        *self = status;
        Some(())
    }

    fn allowed(&self) -> String {
        "200 or 400 to 599".to_owned()
    }
}

impl Choice for Option<u64> {
    fn text(&self) -> String {
        self.map_or_else(|| "never".to_owned(), |ms| ms.to_string())
    }

    fn set(&mut self, text: &str) -> Option<()> {
        *self = match text {
            "never" => None,
            ms => Some(ms.parse().ok().filter(|ms| *ms <= MS_MAX)?),
        };
        Some(())
    }

    fn allowed(&self) -> String {
        format!("never or milliseconds up to {MS_MAX}")
    }
}

impl Choice for Option<usize> {
    fn text(&self) -> String {
        self.map_or_else(|| "none".to_owned(), |max| max.to_string())
    }

    fn set(&mut self, text: &str) -> Option<()> {
        *self = match text {
            "none" => None,
            max => Some(max.parse().ok()?),
        };
        Some(())
    }

    fn allowed(&self) -> String {
        "none or a number".to_owned()
    }
}
