//! The control interface, under paths that Douyin does not have: `/` and what begins with `/sim/`.
//!
//! For curious people and for tests in other processes: they see what is in the books, move the
//! clock and choose faults. It speaks JSON, and its page uses the same from a browser. It knows the
//! simulator, and no rule of Douyin's.
//!
//! ```text
//! GET  /                          the page
//! GET  /sim/books                 all that there is to see, of settles, orders and callbacks the
//!                                 newest
//! GET  /sim/books?find={text}     the same, of those that have this text in a number or status
//! GET  /sim/platform-key/{app_id} the public key in PEM that verifies callbacks
//! GET  /sim/app-key               the private key in PEM that signs the requests of every app
//!                                 without a key of its own
//! POST /sim/clock                 {"advance_ms": 1, "advance_days": 3}: moves it forward
//! POST /sim/orders                {"app_id": …, "out_order_no": …, "order": OrderSetup}
//! POST /sim/apps                  {"app_id": …, "callback_url": …, "rules": AppRules}
//! POST /sim/finish                {"settle_id": …, "status": "SUCCESS" or "FAIL"}
//! POST /sim/faults                what goes wrong from now on; what hangs is let go
//! POST /sim/choices               some of the [`Choices`]
//! ```
//!
//! A POST answers what `/sim/books` answers then. One that is refused changes nothing, and answers
//! a sentence.

mod books;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::calendar::DAY_MS;
use super::callbacks::{CallbackScript, check_callback_url};
use super::core::Core;
use super::endpoint::Endpoint;
use super::faults::Script;
use super::http::BODY_BYTES_MAX;
use super::keys::SANDBOX_APP_PRIVATE_KEY_PEM;
use super::orders::OrderSetup;
use super::rules::AppRules;
use super::settles::Status;
use super::simulator::Shared;

/// The page loads nothing from elsewhere, and no text from the books becomes markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
     style-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; \
     require-trusted-types-for 'script'";

/// The files of the page: the path, the type and the text of each.
const FILES: [(&str, &str, &str); 5] = [
    ("/", "text/html; charset=utf-8", include_str!("control/page.html")),
    ("/sim/page.css", "text/css; charset=utf-8", include_str!("control/page.css")),
    ("/sim/page.js", "text/javascript; charset=utf-8", include_str!("control/page.js")),
    ("/sim/tables.js", "text/javascript; charset=utf-8", include_str!("control/tables.js")),
    ("/sim/settings.js", "text/javascript; charset=utf-8", include_str!("control/settings.js")),
];

/// Whether this path belongs to the control interface.
pub(super) fn is_for(path: &str) -> bool {
    path == "/" || path.starts_with("/sim/")
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let with_file = |router: Router<_>, (path, content_type, text)| {
        router.route(path, get(move || async move { shown(content_type, text) }))
    };
    FILES
        .into_iter()
        .fold(Router::new(), with_file)
        .route("/sim/books", get(found))
        .route("/sim/platform-key/{app_id}", get(platform_key))
        .route("/sim/app-key", get(app_key))
        .route("/sim/clock", post(clock))
        .route("/sim/orders", post(order))
        .route("/sim/apps", post(app))
        .route("/sim/finish", post(finish))
        .route("/sim/faults", post(faults))
        .route("/sim/choices", post(choices))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

type Control = State<Arc<Shared>>;
type Answer = Result<Response, Refused>;

/// Why a request is refused: a status, and a sentence for its sender.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

fn bad(sentence: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, sentence.into())
}

fn unknown(what: &str, name: &str) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("There is no {what} {name:?}."))
}

/// The body of a POST. Its content type is ignored, because `curl -d` sends the wrong one.
struct Change<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Change<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        if from_another_site(request.headers()) {
            let sentence = "A page of another site cannot change the simulator.".to_owned();
            return Err(Refused(StatusCode::FORBIDDEN, sentence).into_response());
        }
        let body =
            Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let change = serde_json::from_slice(&body);
        change.map(Self).map_err(|error| bad(format!("{error}.")).into_response())
    }
}

async fn books(State(shared): Control) -> Response {
    look(&shared, "")
}

async fn found(State(shared): Control, RawQuery(query): RawQuery) -> Answer {
    let mut text = String::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "find" {
            return Err(bad(format!("unknown parameter {name:?}, expected find.")));
        }
        text = value.into_owned();
    }
    Ok(look(&shared, &text))
}

fn look(shared: &Shared, find: &str) -> Response {
    let ahead_ms = shared.clock.ahead_ms();
    let books = shared.locked(|core, now_ms| books::found(core, now_ms, ahead_ms, find));
    shown("application/json", format!("{books:#}\n"))
}

async fn platform_key(State(shared): Control, Path(app_id): Path<String>) -> Answer {
    shared.locked(|core, _| {
        let app_id = known_app(core, &app_id)?;
        Ok(shown("application/x-pem-file", core.outbox.key(app_id).public_pem()))
    })
}

async fn app_key() -> Response {
    shown("application/x-pem-file", SANDBOX_APP_PRIVATE_KEY_PEM)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Clock {
    advance_ms: u64,
    advance_days: u64,
}

async fn clock(State(shared): Control, Change(by): Change<Clock>) -> Response {
    let by_ms = by.advance_days.saturating_mul(DAY_MS).saturating_add(by.advance_ms);
    shared.advance(Duration::from_millis(by_ms));
    books(State(shared)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    app_id: String,
    out_order_no: String,
    /// Fields that are left out have their defaults.
    order: OrderSetup,
}

async fn order(State(shared): Control, Change(of): Change<Order>) -> Answer {
    of.order.check().map_err(bad)?;
    shared.with(|core, _| {
        known_app(core, &of.app_id)?;
        match core.books.set_order(&of.app_id, &of.out_order_no, of.order) {
            true => Ok(()),
            false => Err(bad("There are too many orders; start the simulator anew.")),
        }
    })?;
    Ok(books(State(shared)).await)
}

/// Fields that are left out stay as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct App {
    app_id: String,
    /// An http or https address; empty for none.
    callback_url: Option<String>,
    rules: Option<AppRules>,
}

async fn app(State(shared): Control, Change(app): Change<App>) -> Answer {
    let url = app.callback_url.map(|url| Some(url).filter(|url| !url.is_empty()));
    if let Some(Some(url)) = &url {
        check_callback_url(url).map_err(|end| bad(format!("{url:?} {end}.")))?;
    }
    shared.with(|core, _| {
        known_app(core, &app.app_id)?;
        if let Some(url) = url {
            core.outbox.set_console_url(&app.app_id, url);
        }
        if let Some(rules) = app.rules {
            core.books.set_app(&app.app_id, rules);
        }
        Ok::<_, Refused>(())
    })?;
    Ok(books(State(shared)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    settle_id: String,
    status: Status,
}

async fn finish(State(shared): Control, Change(end): Change<Finish>) -> Answer {
    if !end.status.is_final() {
        return Err(bad("status must be SUCCESS or FAIL."));
    }
    if !shared.with(|core, _| core.books.finish(&end.settle_id, end.status)) {
        return Err(unknown("settle", &end.settle_id));
    }
    Ok(books(State(shared)).await)
}

/// The faults that happen by themselves. Those that are left out do not happen.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Faults {
    faults_per_10_000: u32,
    token: Option<Script>,
    create: Option<Script>,
    query: Option<Script>,
    callback: Option<CallbackScript>,
}

async fn faults(State(shared): Control, Change(faults): Change<Faults>) -> Response {
    shared.with(|core, _| {
        core.set_faults_per_10_000(faults.faults_per_10_000);
        core.scripts.set_always(Endpoint::Token, faults.token);
        core.scripts.set_always(Endpoint::Create, faults.create);
        core.scripts.set_always(Endpoint::Query, faults.query);
        core.outbox.scripts.set_always(faults.callback);
        core.release();
    });
    books(State(shared)).await
}

async fn choices(State(shared): Control, Change(some): Change<Map<String, Value>>) -> Answer {
    shared.with(|core, _| {
        core.books.choices =
            core.books.choices.with(some).map_err(|problem| bad(format!("{problem}.")))?;
        Ok::<_, Refused>(())
    })?;
    Ok(books(State(shared)).await)
}

fn known_app<'a>(core: &Core, app_id: &'a str) -> Result<&'a str, Refused> {
    if core.tokens.knows(app_id) { Ok(app_id) } else { Err(unknown("app", app_id)) }
}

fn shown(content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    ];
    (headers, body).into_response()
}

/// A page of another site, open in the same browser, must not be able to change anything.
fn from_another_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| {
        origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
    });
    origin.is_none() || origin != host || !origin.is_some_and(is_address)
}

/// A page can make any name resolve to this machine, but not an address.
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
