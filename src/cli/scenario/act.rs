//! What a front does with one call, and what the caller then sees.
//!
//! What it must not know: with which call it is done.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use tonic::body::Body;

use crate::gateway::{CreateError, Ending, NotSent, Unknown};
use crate::grpc::rpc::Rpc;
use crate::grpc::status::{self, Limit, Names};

/// What is done with one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// Nothing: the gateway answers.
    Pass,
    /// The gateway does not even hear of it.
    TurnAway(End),
    /// The gateway answers, and the caller sees this instead.
    Lose(End),
    /// The gateway answers, and the caller hears it so much later.
    Late(Duration),
    /// The call ends after this time, if the gateway has not ended it by then.
    EndAfter(Duration, End),
}

/// How a call ends that the gateway did not end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// As a gateway's error, with all its details.
    Told(Told),
    /// With UNAVAILABLE and no details, as a mesh makes it up.
    Mesh,
    /// With a page of HTML, as a balancer answers.
    Page,
    /// The stream of the call is reset.
    Reset,
    /// The connection breaks, and every call on it.
    Cut,
}

/// An error that a gateway may answer with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// UNAVAILABLE, SERVER_DRAINING: of a create with the outcome `not_sent`.
    Draining,
    /// RESOURCE_EXHAUSTED, OVERLOADED, of a create: `not_sent`.
    Overloaded,
    /// UNAVAILABLE, STORE_UNAVAILABLE: of a create with the outcome `unknown`.
    Store,
    /// UNAVAILABLE: STREAM_ROTATED of a watch, SERVER_DRAINING of a wait.
    Rotated,
}

/// No answer can be given: the call ends without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a scenario ends this call")]
pub(super) struct Broken {
    /// The connection ends too.
    pub(super) cut: bool,
}

impl End {
    /// The answer to a call that has not been answered.
    pub(super) fn answer(self, rpc: Rpc, names: &Names) -> Result<Response<Body>, Broken> {
        match self {
            End::Told(told) => Ok(told.status(rpc, names).into_http()),
            End::Mesh => {
                let mut answer = Response::new(Body::empty());
                *answer.headers_mut() = made_up();
                let grpc = HeaderValue::from_static("application/grpc");
                answer.headers_mut().insert(header::CONTENT_TYPE, grpc);
                Ok(answer)
            }
            End::Page => {
                let page = Bytes::from_static(b"<html><h1>502 Bad Gateway</h1></html>");
                let mut answer = Response::new(Body::new(Full::new(page)));
                *answer.status_mut() = StatusCode::BAD_GATEWAY;
                let html = HeaderValue::from_static("text/html");
                answer.headers_mut().insert(header::CONTENT_TYPE, html);
                Ok(answer)
            }
            End::Reset => Err(Broken { cut: false }),
            End::Cut => Err(Broken { cut: true }),
        }
    }

    /// The end of an answer that has begun.
    pub(super) fn trailers(self, rpc: Rpc, names: &Names) -> Result<HeaderMap, Broken> {
        match self {
            End::Told(told) => {
                let mut trailers = HeaderMap::new();
                let status = told.status(rpc, names);
                status.add_header(&mut trailers).map_err(|_| Broken { cut: false })?;
                Ok(trailers)
            }
            End::Mesh => Ok(made_up()),
            End::Page | End::Reset => Err(Broken { cut: false }),
            End::Cut => Err(Broken { cut: true }),
        }
    }
}

/// The status of a proxy that has lost its upstream, in Envoy's words.
fn made_up() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    let text = HeaderValue::from_static("upstream connect error or disconnect/reset");
    headers.insert("grpc-message", text);
    headers
}

impl Told {
    fn status(self, rpc: Rpc, names: &Names) -> tonic::Status {
        let ending = match (self, rpc) {
            (Told::Draining, Rpc::CreateSettle) => {
                return created(CreateError::NotSent(NotSent::Draining), names);
            }
            (Told::Store, Rpc::CreateSettle) => {
                return created(CreateError::Unknown(Unknown::Store), names);
            }
            (Told::Overloaded, _) => return status::overloaded(names, rpc),
            (Told::Rotated, Rpc::WatchSettle) => Ending::Rotated,
            (Told::Rotated | Told::Draining | Told::Store, _) => Ending::Draining,
        };
        let status = status::of_ending(ending, names, rpc, Duration::ZERO);
        status.expect("only a final state ends a watch well")
    }
}

fn created(error: CreateError, names: &Names) -> tonic::Status {
    status::of_create(error, names, Limit::Caller)
}
