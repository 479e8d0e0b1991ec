//! The control page and its endpoints, under a path that Douyin does not have: `/sim/`.
//!
//! For people who are curious and for tests in other processes: they see what is in the books,
//! move the clock and choose what goes wrong. A person's browser gets HTML and is sent back to the
//! page; everybody else gets JSON. It knows HTTP and the simulator, and no rule of Douyin's.
//!
//! ```text
//! GET  /sim/                the page
//! GET  /sim/settles         ?limit=100&skip=0, newest first; and how many creates arrived
//! GET  /sim/orders          ?limit=100&skip=0, newest first
//! GET  /sim/callbacks       ?limit=100&skip=0, newest first
//! GET  /sim/clock           GET /sim/apps, GET /sim/faults
//! GET  /sim/platform-key    ?app_id=…, the public key in PEM
//! POST /sim/clock           advance_ms, advance_days
//! POST /sim/orders          app_id, out_order_no, stage, total_fen, items, promotion
//! POST /sim/apps            app_id, client_secret, timing, automatic_settlement,
//!                           partial_settlement, callback_url, platform_key
//! POST /sim/faults          faults_per_10_000, create, query, token, callback, choices,
//!                           release, and every choice by its name
//! POST /sim/settles/finish  settle_id, status
//! POST /sim/callbacks/resend  callback
//! POST /sim/callbacks/replay  callback
//! POST /sim/callbacks/forge   app_id, body (or settle_id, status), url, timestamp, nonce,
//!                             signature
//! ```
//!
//! What a POST leaves out, or leaves empty, stays as it is. A POST that is refused changes nothing.

mod actions;
mod callbacks;
mod html;
mod input;
mod items;
mod page;
mod views;

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;

use self::input::Input;
use super::core::Request;
use super::simulator::Shared;

/// No scripts and nothing from elsewhere, whatever a name in the books may contain.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Why a request is refused: a sentence for whoever sent it.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    status: StatusCode,
    sentence: String,
}

impl Problem {
    /// 400.
    fn bad(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, sentence: sentence.into() }
    }

    /// 404.
    fn unknown(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, sentence: sentence.into() }
    }
}

/// Is this path one of ours?
pub(super) fn is_for(path: &str) -> bool {
    path == "/sim" || path.starts_with("/sim/")
}

/// Answers one request.
pub(super) fn respond(shared: &Shared, request: &Request, query: &str) -> Response<Bytes> {
    match answer(shared, request, query) {
        Ok(response) => response,
        Err(problem) => {
            let body = format!("{}\n", problem.sentence);
            response(problem.status, "text/plain; charset=utf-8", body)
        }
    }
}

fn answer(shared: &Shared, request: &Request, query: &str) -> Result<Response<Bytes>, Problem> {
    let route = Route::of(&request.path)?;
    match (&request.method, route) {
        (&Method::GET, Route::Page) => Ok(html(page::page(shared))),
        (&Method::GET, Route::Settles) => Ok(json(&views::settles(shared, views::window(query)?))),
        (&Method::GET, Route::Orders) => Ok(json(&views::orders(shared, views::window(query)?))),
        (&Method::GET, Route::Callbacks) => {
            Ok(json(&callbacks::list(shared, views::window(query)?)))
        }
        (&Method::GET, Route::PlatformKey) => {
            let pem = callbacks::platform_key(shared, query)?;
            Ok(response(StatusCode::OK, "application/x-pem-file", pem))
        }
        (&Method::GET, Route::Clock) => Ok(json(&views::clock(shared))),
        (&Method::GET, Route::Apps) => Ok(json(&views::apps(shared))),
        (&Method::GET, Route::Faults) => Ok(json(&views::faults(shared))),
        (&Method::POST, Route::Clock) => post(shared, request, actions::clock),
        (&Method::POST, Route::Orders) => post(shared, request, actions::order),
        (&Method::POST, Route::Apps) => post(shared, request, actions::app),
        (&Method::POST, Route::Faults) => post(shared, request, actions::faults),
        (&Method::POST, Route::Finish) => post(shared, request, actions::finish),
        (&Method::POST, Route::Resend) => post(shared, request, callbacks::resend),
        (&Method::POST, Route::Replay) => post(shared, request, callbacks::replay),
        (&Method::POST, Route::Forge) => post(shared, request, callbacks::forge),
        (method, _) => Err(Problem {
            status: StatusCode::METHOD_NOT_ALLOWED,
            sentence: format!("{} cannot be used with {}.", method, request.path),
        }),
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Route {
    Page,
    Settles,
    Orders,
    Callbacks,
    PlatformKey,
    Clock,
    Apps,
    Faults,
    Finish,
    Resend,
    Replay,
    Forge,
}

impl Route {
    fn of(path: &str) -> Result<Self, Problem> {
        match path.strip_suffix('/').unwrap_or(path) {
            "/sim" => Ok(Self::Page),
            "/sim/settles" => Ok(Self::Settles),
            "/sim/orders" => Ok(Self::Orders),
            "/sim/callbacks" => Ok(Self::Callbacks),
            "/sim/platform-key" => Ok(Self::PlatformKey),
            "/sim/clock" => Ok(Self::Clock),
            "/sim/apps" => Ok(Self::Apps),
            "/sim/faults" => Ok(Self::Faults),
            "/sim/settles/finish" => Ok(Self::Finish),
            "/sim/callbacks/resend" => Ok(Self::Resend),
            "/sim/callbacks/replay" => Ok(Self::Replay),
            "/sim/callbacks/forge" => Ok(Self::Forge),
            _ => Err(Problem::unknown("There is no such page; /sim/ links to all there are.")),
        }
    }
}

/// An action: what it says afterwards, or why it was not done.
type Action = fn(&Shared, &Input) -> Result<Value, Problem>;

fn post(shared: &Shared, request: &Request, action: Action) -> Result<Response<Bytes>, Problem> {
    if from_another_site(&request.headers) {
        return Err(Problem {
            status: StatusCode::FORBIDDEN,
            sentence: "A page of another site cannot change the simulator.".to_owned(),
        });
    }
    let outcome = action(shared, &Input::read(&request.body)?)?;
    if !wants_html(&request.headers) {
        return Ok(json(&outcome));
    }
    // Back to the page, so that reloading it does not send the form again.
    let mut answer = response(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", String::new());
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/sim/"));
    Ok(answer)
}

/// A browser that has this page and another one open must not do what the other one says.
fn from_another_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
    origin.is_none() || origin != host || !origin.is_some_and(is_address)
}

/// Any page can have its own name resolve to this machine; an address it cannot have.
fn is_address(host: &str) -> bool {
    let port = |rest: &str| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    };
    if let Some((ip, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return ip.parse::<Ipv6Addr>().is_ok() && port(rest);
    }
    let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
    (name == "localhost" || name.parse::<Ipv4Addr>().is_ok()) && port(rest)
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn html(body: String) -> Response<Bytes> {
    response(StatusCode::OK, "text/html; charset=utf-8", body)
}

fn json(value: &Value) -> Response<Bytes> {
    response(StatusCode::OK, "application/json", format!("{value:#}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}
