//! The callbacks from outside: which there are, what came of each, and how to send one by hand.

use http::StatusCode;
use serde_json::{Value, json};

use super::Problem;
use super::actions::known_app;
use super::html::Html;
use super::input::Input;
use super::page::{ROWS_MAX, shown};
use super::views::Window;
use crate::calendar;
use crate::callbacks::{
    Attempt, Callback, CallbackState, Forged, ForgedSignature, check_callback_url,
};
use crate::core::Core;
use crate::keys::PlatformKey;
use crate::settles::Status;
use crate::simulator::Shared;

const TEXT_BYTES_MAX: usize = 256;
const URL_BYTES_MAX: usize = 512;
const PEM_BYTES_MAX: usize = 16 * 1024;

/// The words for the signature of a forged callback.
const SIGNATURES: [&str; 3] = ["good", "wrong", "missing"];
/// What a callback can announce.
const STATUSES: [(&str, Status); 3] =
    [("SUCCESS", Status::Success), ("FAIL", Status::Fail), ("PROCESSING", Status::Processing)];

/// The callbacks, newest first.
pub(super) fn list(shared: &Shared, window: Window) -> Value {
    shared.locked(|core, _| {
        let newest_first = core.outbox.callbacks().rev().skip(window.skip).take(window.limit);
        let page: Vec<Value> = newest_first.map(|callback| view(callback)).collect();
        json!({
            "total": core.outbox.callbacks().len(),
            "turned_away": core.outbox.turned_away(),
            "callbacks": page,
        })
    })
}

/// The key that an app's callbacks can be verified with, in PEM.
pub(super) fn platform_key(shared: &Shared, query: &str) -> Result<String, Problem> {
    let input = Input::form(query)?;
    input.only(&["app_id"])?;
    shared.locked(|core, _| Ok(core.outbox.key(&known_app(core, &input)?).public_pem()))
}

/// Announces the same once more: signed anew, on the ladder.
pub(super) fn resend(shared: &Shared, input: &Input) -> Result<Value, Problem> {
    let id = callback_id(input)?;
    shared.with(|core, now_ms| {
        let sent = core.outbox.resend(now_ms, id);
        sent_view(core, sent, "It is not remembered, or there are too many callbacks.")
    })
}

/// Sends the very bytes again, once.
pub(super) fn replay(shared: &Shared, input: &Input) -> Result<Value, Problem> {
    let id = callback_id(input)?;
    shared.with(|core, now_ms| {
        let sent = core.outbox.replay(now_ms, id);
        sent_view(core, sent, "Nothing of it was sent so far, or it is not remembered.")
    })
}

/// Sends a callback that somebody makes up, once.
pub(super) fn forge(shared: &Shared, input: &Input) -> Result<Value, Problem> {
    let listed =
        ["app_id", "settle_id", "status", "body", "url", "timestamp", "nonce", "signature"];
    input.only(&listed)?;
    let settle_id = input.text("settle_id")?;
    let status = input.word("status", &STATUSES)?;
    let url = input.text("url")?.map(|url| address(&url)).transpose()?;
    let timestamp = short(input, "timestamp")?;
    let nonce = short(input, "nonce")?;
    let signature = signature(input)?;
    // Not trimmed: a signature is over every byte.
    let body = input.value("body").and_then(Value::as_str).map(str::to_owned);
    shared.with(|core, now_ms| {
        let (app_id, body) = match (body, settle_id) {
            (Some(body), _) => (known_app(core, input)?, body.into()),
            (None, Some(settle_id)) => {
                let settle = core.books.settle(&settle_id);
                let app_id = settle.map(|settle| settle.app_id.clone());
                let body = core.callback_body(&settle_id, status.unwrap_or_default());
                let unknown = || Problem::unknown(format!("There is no settle {settle_id:?}."));
                app_id.zip(body).ok_or_else(unknown)?
            }
            (None, None) => {
                return Err(Problem::bad("body is needed, or settle_id with status."));
            }
        };
        let forged = Forged { app_id, url, body, timestamp, nonce, signature };
        let sent = core.outbox.forge(now_ms, &forged);
        sent_view(core, sent, "There are too many callbacks under way.")
    })
}

fn signature(input: &Input) -> Result<ForgedSignature, Problem> {
    let word = input.word("signature", &SIGNATURES.map(|word| (word, word)))?;
    Ok(match word {
        Some("wrong") => ForgedSignature::Wrong,
        Some("missing") => ForgedSignature::Missing,
        Some(_) | None => ForgedSignature::Good,
    })
}

/// An address for callbacks, in the words of whoever asks for it.
pub(super) fn address(url: &str) -> Result<String, Problem> {
    if url.len() > URL_BYTES_MAX {
        return Err(Problem::bad(format!("An address has at most {URL_BYTES_MAX} bytes.")));
    }
    match check_callback_url(url) {
        Ok(()) => Ok(url.to_owned()),
        Err(end) => Err(Problem::bad(format!("{url:?} {end}."))),
    }
}

/// What an app's console is to have: an address, or `none`.
pub(super) fn console_url(input: &Input) -> Result<Option<Option<String>>, Problem> {
    match input.text("callback_url")?.as_deref() {
        None => Ok(None),
        Some("none") => Ok(Some(None)),
        Some(url) => Ok(Some(Some(address(url)?))),
    }
}

/// The private key that an app's callbacks are to be signed with.
pub(super) fn private_key(input: &Input) -> Result<Option<PlatformKey>, Problem> {
    let Some(_) = input.text("platform_key")? else {
        return Ok(None);
    };
    let pem = input.required("platform_key", PEM_BYTES_MAX)?;
    let key = PlatformKey::from_pem(&pem);
    key.map(Some).map_err(|sentence| Problem::bad(format!("platform_key: {sentence}.")))
}

fn short(input: &Input, name: &str) -> Result<Option<String>, Problem> {
    match input.text(name)? {
        None => Ok(None),
        Some(_) => input.required(name, TEXT_BYTES_MAX).map(Some),
    }
}

fn callback_id(input: &Input) -> Result<u64, Problem> {
    input.only(&["callback"])?;
    let id = input.number("callback", &(1..=u64::MAX))?;
    id.ok_or_else(|| Problem::bad("callback is needed: the id of one."))
}

fn sent_view(core: &Core, sent: Option<u64>, otherwise: &str) -> Result<Value, Problem> {
    let callback = sent.and_then(|id| core.outbox.callback(id));
    let missing = || Problem { status: StatusCode::NOT_FOUND, sentence: otherwise.to_owned() };
    callback.map(|callback| view(callback)).ok_or_else(missing)
}

fn view(callback: &Callback) -> Value {
    let next_at_ms = match callback.state {
        CallbackState::Waiting { next_at_ms } => Some(next_at_ms),
        CallbackState::Sending | CallbackState::Acknowledged { .. } | CallbackState::GivenUp => {
            None
        }
    };
    let attempts: Vec<Value> = callback.attempts.iter().map(attempt).collect();
    json!({
        "id": callback.id,
        "app_id": callback.app_id,
        "settle_id": callback.settle_id,
        "out_settle_no": callback.out_settle_no,
        "status": callback.status.map(Status::word),
        "event_id": callback.event_id,
        "notify_url": callback.notify_url,
        "body": String::from_utf8_lossy(&callback.body),
        "announced_at_ms": callback.announced_at_ms,
        "state": state_word(callback.state),
        "next_at_ms": next_at_ms,
        "acknowledged_at_ms": callback.acknowledged_at_ms(),
        "attempts": attempts,
    })
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "at_ms": attempt.at_ms,
        "url": attempt.url,
        "fault": attempt.fault,
        "statuses": attempt.statuses,
        "outcome": attempt.outcome.text(),
    })
}

fn state_word(state: CallbackState) -> &'static str {
    match state {
        CallbackState::Waiting { .. } => "waiting",
        CallbackState::Sending => "sending",
        CallbackState::Acknowledged { .. } => "acknowledged",
        CallbackState::GivenUp => "given up",
    }
}

/// The part of the page that is about callbacks.
pub(super) fn section(html: &mut Html, core: &Core) {
    html.raw("<h2>Callbacks</h2>\n");
    shown(html, core.outbox.callbacks().len());
    html.raw("<table><tr><th>id<th>app_id<th>out_settle_no<th>tells<th>happened<th>state");
    html.raw("<th>attempts<th>the last one<th>send it</tr>\n");
    for callback in core.outbox.callbacks().rev().take(ROWS_MAX) {
        row(html, callback);
    }
    html.raw("</table>\n<form method=\"post\" action=\"/sim/callbacks/forge\">\n");
    html.field("app_id", "").field("settle_id", "");
    html.select("status", &STATUSES.map(|(word, _)| word), "SUCCESS").field("body", "");
    html.field("url", "").field("timestamp", "").field("nonce", "");
    html.select("signature", &SIGNATURES, "good");
    html.raw("<button>Forge</button>\n<p>What a settle could be told to be, or any body; ");
    html.raw("sent once. <a href=\"/sim/callbacks\">As JSON</a>, with every attempt.</p></form>\n");
}

fn row(html: &mut Html, callback: &Callback) {
    let last = callback.attempts.last();
    let fault = last.map(|attempt| attempt.fault.as_str()).filter(|fault| !fault.is_empty());
    let outcome = last.map(|attempt| attempt.outcome.text()).unwrap_or_default();
    let cells: [&str; 8] = [
        &callback.id.to_string(),
        callback.app_id.as_str(),
        &callback.out_settle_no,
        callback.status.map_or("forged", Status::word),
        &calendar::text(callback.announced_at_ms),
        state_word(callback.state),
        &callback.attempts.len().to_string(),
        &fault.map_or(outcome.clone(), |fault| format!("{fault}: {outcome}")),
    ];
    html.raw("<tr>");
    for cell in cells {
        html.raw("<td>").text(cell).raw("</td>");
    }
    html.raw("<td><form method=\"post\" action=\"/sim/callbacks/resend\">");
    hidden_id(html, callback);
    html.raw("<button>anew</button></form>");
    html.raw("<form method=\"post\" action=\"/sim/callbacks/replay\">");
    hidden_id(html, callback);
    html.raw("<button>the same bytes</button></form></td></tr>\n");
}

fn hidden_id(html: &mut Html, callback: &Callback) {
    html.raw("<input type=\"hidden\" name=\"callback\" value=\"");
    html.text(&callback.id.to_string()).raw("\">");
}
