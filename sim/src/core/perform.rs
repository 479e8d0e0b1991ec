//! What becomes of a request whose sender is known: its script, its effect, its answer.
//!
//! It knows no rule and no wire; the books, the systems' readings and `answers.rs` do.

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::{Call, Core, Pending, Reply};
use crate::answers::{Answer, Refusal, Writer};
use crate::create::settle_create;
use crate::endpoint::{Endpoint, Route};
use crate::faults::Script;
use crate::fields::Problem;
use crate::query::settle_query;
use crate::system::Account;
use crate::systems::{amount_left, platform_order};
use crate::{forged, ids};

/// The longest answer that a script can have.
const HUGE_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Core {
    pub(super) fn perform(&mut self, mut call: Call, script: Script) -> Reply {
        match script {
            Script::Normal => Reply::Answer(self.truth(&mut call)),
            Script::ApplyThen(rest) => {
                let truth = self.truth(&mut call);
                call.truth = Some(truth);
                self.perform(call, *rest)
            }
            Script::Delay(delay_ms, rest) => {
                Reply::Wait { delay_ms, then: Box::new(Pending { call, script: *rest }) }
            }
            Script::Hold(gate) => {
                gate.arrive();
                Reply::Hold { gate, then: Box::new(Pending { call, script: Script::Normal }) }
            }
            Script::Drop => Reply::Drop,
            Script::Hang => Reply::Hang { released: self.release.clone() },
            Script::CloseMidAnswer => Reply::CloseMid(self.good_answer(call)),
            Script::Huge(bytes) => {
                let mut answer = self.good_answer(call);
                let mut body = answer.body.to_vec();
                body.resize(body.len().max(bytes.min(HUGE_BYTES_MAX)), b' ');
                answer.body = body.into();
                Reply::Answer(answer)
            }
            Script::Refuse(err_no) => {
                let refusal = Refusal::new(err_no);
                Reply::Answer(self.written(call.route, Err(refusal)))
            }
            Script::Answer { status, body } => {
                let status =
                    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Reply::Answer(self.writer(call.route).raw(status, "application/json", body))
            }
            Script::Html => self.page(StatusCode::BAD_GATEWAY, forged::BAD_GATEWAY_PAGE),
            Script::Empty => self.ok_json(Bytes::new()),
            Script::WrongTypes => self.ok_json(forged::wrong_types().to_string().into()),
            Script::FindNothing => {
                let nothing = (call.route.reading().report)(&[], &self.books.choices);
                Reply::Answer(self.writer(call.route).settlement(nothing))
            }
            Script::AcceptWithoutId => Reply::Answer(match call.route.endpoint {
                Endpoint::Token => self.writer(call.route).token(Ok(forged::without_the_token())),
                Endpoint::Create
                | Endpoint::Query
                | Endpoint::AmountLeft
                | Endpoint::PlatformOrder => self.writer(call.route).success(None),
            }),
        }
    }

    /// Applies the request, unless that has been done, and returns the true answer.
    fn truth(&mut self, call: &mut Call) -> Answer {
        if let Some(answer) = call.truth.take() {
            return answer;
        }
        let books = &mut self.books;
        let account = Account { system: call.route.system, app_id: &call.app_id };
        let result = match call.route.endpoint {
            _ if !call.content_type_is_json => {
                let detail = "content-type is not exactly application/json";
                let number = match call.route.endpoint {
                    Endpoint::Token => 10_002,
                    Endpoint::Create
                    | Endpoint::Query
                    | Endpoint::AmountLeft
                    | Endpoint::PlatformOrder => {
                        (call.route.reading().field_number)("content-type", Problem::Bad)
                    }
                };
                Err(Refusal::with(number, detail))
            }
            Endpoint::Token => self.tokens.fetch(books.now_ms(), &call.body, &books.choices),
            Endpoint::Create => settle_create(books, account, &call.body),
            Endpoint::Query => settle_query(books, account, &call.body),
            Endpoint::AmountLeft => amount_left(books, account, &call.body),
            Endpoint::PlatformOrder => platform_order(books, account, &call.body),
        };
        self.written(call.route, result)
    }

    /// The true answer if the request was applied, else one that only looks true.
    fn good_answer(&mut self, call: Call) -> Answer {
        if let Some(answer) = call.truth {
            return answer;
        }
        let choices = &self.books.choices;
        let data = forged::good_data(call.route, choices, self.seed, &call.app_id);
        self.written(call.route, Ok(data))
    }

    fn written(&mut self, route: Route, result: Result<Value, Refusal>) -> Answer {
        match route.endpoint {
            Endpoint::Token => self.writer(route).token(result),
            Endpoint::Create | Endpoint::Query | Endpoint::AmountLeft | Endpoint::PlatformOrder => {
                self.writer(route).settlement(result)
            }
        }
    }

    pub(super) fn page(&mut self, status: StatusCode, text: &'static str) -> Reply {
        Reply::Answer(self.writer(Route::TOKEN).raw(
            status,
            "text/html",
            Bytes::from_static(text.as_bytes()),
        ))
    }

    fn ok_json(&mut self, body: Bytes) -> Reply {
        Reply::Answer(self.writer(Route::TOKEN).raw(StatusCode::OK, "application/json", body))
    }

    pub(super) fn writer(&mut self, route: Route) -> Writer<'_> {
        self.answers_total += 1;
        let now_ms = self.books.now_ms();
        let log_id = ids::log_id(self.seed, now_ms, self.answers_total);
        Writer { choices: &self.books.choices, route, log_id, now_ms }
    }
}
