//! The simulator's other wire: it carries callbacks to the developer's address over HTTP/1.1,
//! inside TLS if that is an https address.
//!
//! It sends what the core says when the core says so, and brings the answers back. It does not know
//! what they mean, and repeats nothing by itself.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Uri;
use http::{HeaderValue, Method, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::callbacks::{CallbackAnswer, Delivery, check_callback_url};
use super::http::Payload;
use super::simulator::Shared;

/// Further callbacks wait in the outbox.
const IN_FLIGHT_MAX: usize = 64;
/// A longer answer counts as none.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Sends what is due, when it is due, until the simulator stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    loop {
        let free = tokio::select! {
            () = shared.stop.cancelled() => return,
            slot = slots.acquire() => {
                drop(slot.expect("it is never closed"));
                slots.available_permits()
            }
        };
        let (deliveries, wait) = shared.callbacks_due(free);
        for delivery in deliveries {
            // Taken here, so that no more leave the outbox than can be sent at once.
            let slot = Arc::clone(&slots).try_acquire_owned().ok();
            let carried = carry(Arc::clone(&shared), Arc::clone(&slots), slot, delivery);
            shared.tasks.spawn(carried);
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.something_is_due.notified() => {}
            () = until(wait) => {}
        }
    }
}

async fn until(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => pending().await,
    }
}

/// One delivery, there and back.
async fn carry(
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    mut slot: Option<OwnedSemaphorePermit>,
    delivery: Delivery,
) {
    let there_and_back = async {
        if let Some(gate) = &delivery.hold {
            // A delivery that a test holds does not delay others.
            slot = None;
            gate.opened().await;
        }
        let slot = match slot {
            Some(slot) => slot,
            None => slots.acquire_owned().await.expect("it is never closed"),
        };
        let deadline = Duration::from_millis(delivery.deadline_ms);
        let answer = tokio::time::timeout(deadline, post(&shared, &delivery)).await;
        drop(slot);
        answer.unwrap_or(CallbackAnswer::TimedOut)
    };
    if let Some(answer) = shared.stop.run_until_cancelled(there_and_back).await {
        tracing::debug!(callback = delivery.callback, ?answer, "a callback came back");
        shared.with(|core, now_ms| core.callback_answered(now_ms, delivery.id, &answer));
    }
}

/// On a connection of its own, which is closed afterwards.
async fn post(shared: &Shared, delivery: &Delivery) -> CallbackAnswer {
    match exchange(shared, delivery).await {
        Ok(answer) => answer,
        Err(reason) => CallbackAnswer::Broken(reason),
    }
}

async fn exchange(shared: &Shared, delivery: &Delivery) -> Result<CallbackAnswer, String> {
    check_callback_url(&delivery.url).map_err(|end| format!("{} {end}", delivery.url))?;
    let uri: Uri = delivery.url.parse().map_err(|_| "no address".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
    stream.set_nodelay(true).ok();
    if !is_tls {
        return talk(delivery, &uri, stream).await;
    }
    let Some(authorities) = &shared.callback_authorities else {
        return Err("no TLS: the simulator was told no authority of callback addresses".to_owned());
    };
    talk(delivery, &uri, Box::new(authorities.shake(host, stream).await?)).await
}

async fn talk(
    delivery: &Delivery,
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<CallbackAnswer, String> {
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let conversation = async {
        let response = sender.send_request(request(delivery, uri)?).await;
        let response = response.map_err(|error| format!("no answer: {error}"))?;
        let status = response.status().as_u16();
        match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => Ok(CallbackAnswer::Answered { status, body: body.to_bytes() }),
            Err(error) => Err(format!("the answer is too long or not whole: {error}")),
        }
    };
    // The connection may end before the last of the answer has been read from it.
    let driven = async {
        connection.await.ok();
        pending::<()>().await;
    };
    tokio::select! {
        answer = conversation => answer,
        () = driven => Err("the connection ended".to_owned()),
    }
}

fn request(delivery: &Delivery, uri: &Uri) -> Result<http::Request<Payload>, String> {
    let body: Bytes = delivery.body.clone();
    // Always the full length, so that a cut body is noticed.
    let length = body.len();
    let payload = if delivery.cut { Payload::cut(body) } else { Payload::whole(body) };
    let mut request = http::Request::new(payload);
    *request.method_mut() = Method::POST;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| "no address".to_owned())?;
    let headers = request.headers_mut();
    *headers = delivery.headers.clone();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::try_from(authority).map_err(|_| "no address".to_owned())?;
    headers.insert(header::HOST, host);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}
