//! Floor 3: Douyin's callbacks. A callback is verified, read, recorded and only then acknowledged.
//! One with an error is counted, logged once without its body, and refused, so that Douyin delivers
//! it again.
//!
//! What it must not know: SQL, gRPC, how a settle changes.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tracing::{info, warn};

use crate::apps::{App, Apps};
use crate::douyin::Signed;
use crate::douyin::callback::{Heard, Rejected, hear, log_id};
use crate::douyin::signature::{LOG_ID_HEADER, NONCE_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::gateway::{Callback, Gateway, HearError};
use crate::http::listener::{Answer, Handler, Request, Unread};
use crate::http::peer::At;
use crate::log_limit::limited;
use crate::metrics::{CALLBACK_DELAY, CALLBACKS};
use crate::settle::AppId;

/// What comes before the app's id in the path of a callback.
pub const PATH: &str = "/callbacks/douyin/";

/// Receives callbacks; cheap to clone.
#[derive(Clone)]
pub struct Callbacks(Arc<Inner>);

struct Inner {
    gateway: Gateway,
    apps: Apps,
    other_types: OtherTypes,
}

/// What becomes of a notice that is signed and tells of no settle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherTypes {
    /// Douyin does not deliver it again.
    Acknowledge,
    /// Douyin delivers it again, perhaps to a system that wants it.
    Refuse,
}

/// The verdict on one delivery. Douyin takes 200 with `err_no` 0 for an acknowledgement, and
/// delivers again after anything else (通知分账结果, 3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// It is durable, or changes nothing.
    Acknowledged,
    /// Signed, and of a type that the gateway does not handle.
    OtherType,
    OtherTypeRefused,
    UnknownApp,
    NotACallback,
    /// The app has no platform public key here.
    NoKey,
    BadSignature,
    Malformed,
    Unread(Unread),
    Busy,
    /// It may be of several trade systems, and Douyin shows its settle in none of them now.
    UnknownSystem,
    /// The store failed, so it must not be acknowledged.
    NotDurable,
}

impl Callbacks {
    pub(crate) fn new(gateway: Gateway, apps: Apps, other_types: OtherTypes) -> Self {
        for app in apps.iter() {
            let app_id = app.id();
            Received::ALL.iter().for_each(|verdict| verdict.begin(app_id.as_str()));
            CALLBACK_DELAY.begin([app_id.as_str()]);
            let verifiers = app.verifiers();
            match verifiers.keys.as_deref() {
                Some(keys) => info!(%app_id, keys = keys.count(), "callbacks are accepted"),
                None if verifiers.token.is_some() => {
                    info!(%app_id, "only callbacks of guaranteed payment are accepted");
                }
                None => warn!(%app_id, "callbacks are refused: no platform_public_keys_file"),
            }
        }
        for verdict in [Received::UnknownApp, Received::NotACallback, Received::Busy] {
            verdict.begin(NO_APP);
        }
        Self(Arc::new(Inner { gateway, apps, other_types }))
    }

    /// Receives one delivery to an app. The verdict depends on the bytes only; `network`, where it
    /// comes from, has a limit of its own for the lines about what is refused.
    pub async fn receive(
        &self,
        app: &App,
        network: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Received {
        let verdict = self.hear(app, network, headers, body).await;
        count(app.id().as_str(), verdict);
        verdict
    }

    async fn hear(&self, app: &App, network: &str, headers: &HeaderMap, body: &[u8]) -> Received {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let signed = Signed {
            timestamp: text(TIMESTAMP_HEADER).unwrap_or_default(),
            nonce: text(NONCE_HEADER).unwrap_or_default(),
            signature: text(SIGNATURE_HEADER).unwrap_or_default(),
            body,
        };
        let log_id = text(LOG_ID_HEADER).map(log_id);
        let log = log_id.as_deref().unwrap_or_default();
        let app_id = app.id();
        let heard = hear(Some(app_id), &app.config.trade_systems, &app.verifiers(), &signed);
        let (trade_systems, reports) = match heard {
            Ok(Heard::Settles { trade_systems, reports }) => (trade_systems, reports),
            Ok(Heard::Other { kind }) => {
                return match self.0.other_types {
                    OtherTypes::Acknowledge => {
                        limited!(Peer, INFO, { %app_id, log_id = log, kind },
                            "acknowledged a callback of a type that the gateway does not handle");
                        Received::OtherType
                    }
                    OtherTypes::Refuse => {
                        limited!(Peer, INFO, { %app_id, log_id = log, kind },
                            "callback refused: the gateway does not handle its type");
                        Received::OtherTypeRefused
                    }
                };
            }
            Err(Rejected::NoKey) => {
                limited!(Stranger of network, WARN, { %app_id, log_id = log, from = network },
                    "callback refused: the app has no platform public key");
                return Received::NoKey;
            }
            Err(error @ Rejected::Signature(_)) => {
                limited!(Stranger of network, WARN,
                    { %app_id, log_id = log, %error, from = network },
                    "callback refused: it is not Douyin's");
                return Received::BadSignature;
            }
            Err(error @ (Rejected::Malformed(_) | Rejected::OtherApp)) => {
                limited!(Peer, WARN, { %app_id, log_id = log, %error },
                    "callback refused: it is signed, and its content cannot be used");
                return Received::Malformed;
            }
        };
        for report in reports {
            let settle_id = report.settle_id.clone();
            let trade_systems = trade_systems.clone();
            let callback = Callback { trade_systems, report, log_id: log_id.clone() };
            match self.0.gateway.hear(app, callback).await {
                Ok(()) => {}
                Err(HearError::UnknownSystem) => {
                    limited!(Peer, INFO, { %app_id, %settle_id, log_id = log },
                        "callback refused: no trade system of the app shows its settle now");
                    return Received::UnknownSystem;
                }
                Err(HearError::Store(error)) => {
                    limited!(Peer, WARN, { %settle_id, log_id = log, %error },
                        "callback refused: the store failed, so Douyin must deliver it again");
                    return Received::NotDurable;
                }
            }
        }
        Received::Acknowledged
    }

    async fn request(&self, request: Request) -> Received {
        let network = &request.at.network();
        let app_id = request.path.strip_prefix(PATH).filter(|_| request.method == Method::POST);
        let Some(app_id) = app_id else {
            limited!(Stranger of network, WARN, { from = network },
                "callback refused: no POST to /callbacks/douyin/<app_id>");
            count(NO_APP, Received::NotACallback);
            return Received::NotACallback;
        };
        let app_id = AppId::parse(app_id).ok();
        let Some(app) = app_id.and_then(|app_id| self.0.apps.get(&app_id)) else {
            limited!(Stranger of network, WARN, { from = network },
                "callback refused: the app of its path is not configured");
            count(NO_APP, Received::UnknownApp);
            return Received::UnknownApp;
        };
        let headers = request.headers.clone();
        match request.body().await {
            Ok(body) => self.receive(app, network, &headers, &body).await,
            Err(Unread::Busy) => too_many(network),
            Err(unread) => {
                limited!(Stranger of network, WARN,
                    { app_id = %app.id(), ?unread, from = network },
                    "callback refused: its body could not be read");
                count(app.id().as_str(), Received::Unread(unread));
                Received::Unread(unread)
            }
        }
    }
}

impl OtherTypes {
    pub(crate) const WORDS: &[&str] = &["acknowledge", "refuse"];

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Acknowledge, Self::Refuse].into_iter().find(|choice| choice.word() == word)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Refuse => "refuse",
        }
    }
}

impl Handler for Callbacks {
    async fn handle(&self, request: Request) -> Answer {
        self.request(request).await.answer()
    }

    fn name(&self) -> &'static str {
        "callbacks"
    }

    fn busy(&self, at: At) -> Answer {
        too_many(&at.network()).answer()
    }
}

fn too_many(network: &str) -> Received {
    limited!(Stranger of network, WARN, { from = network }, "callback refused: too many at once");
    count(NO_APP, Received::Busy);
    Received::Busy
}

impl Received {
    /// Those that a delivery to an app of ours can have.
    const ALL: [Self; 11] = [
        Received::Acknowledged,
        Received::OtherType,
        Received::OtherTypeRefused,
        Received::NoKey,
        Received::BadSignature,
        Received::Malformed,
        Received::Unread(Unread::TooLarge),
        Received::Unread(Unread::TooSlow),
        Received::Unread(Unread::Lost),
        Received::UnknownSystem,
        Received::NotDurable,
    ];

    /// Makes its series.
    fn begin(self, app_id: &str) {
        CALLBACKS.begin([app_id, self.word()]);
    }

    fn status(self) -> StatusCode {
        match self {
            Received::Acknowledged | Received::OtherType => StatusCode::OK,
            Received::UnknownApp | Received::NotACallback => StatusCode::NOT_FOUND,
            Received::NoKey | Received::BadSignature => StatusCode::UNAUTHORIZED,
            Received::Malformed => StatusCode::BAD_REQUEST,
            // Not 5xx, for which a proxy in front may take the gateway for broken.
            Received::OtherTypeRefused => StatusCode::UNPROCESSABLE_ENTITY,
            Received::UnknownSystem => StatusCode::FAILED_DEPENDENCY,
            Received::Unread(unread) => unread.status(),
            Received::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Received::NotDurable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Its name in metrics and answers.
    fn word(self) -> &'static str {
        match self {
            Received::Acknowledged => "acknowledged",
            Received::OtherType => "other_type",
            Received::OtherTypeRefused => "other_type_refused",
            Received::UnknownApp => "unknown_app",
            Received::NotACallback => "not_a_callback",
            Received::NoKey => "no_key",
            Received::BadSignature => "bad_signature",
            Received::Malformed => "malformed",
            Received::Unread(Unread::TooLarge) => "too_large",
            Received::Unread(Unread::TooSlow) => "too_slow",
            Received::Unread(Unread::Lost) => "lost",
            Received::Busy | Received::Unread(Unread::Busy) => "busy",
            Received::UnknownSystem => "unknown_system",
            Received::NotDurable => "not_durable",
        }
    }

    /// The answer, in the form that Douyin reads.
    pub fn answer(self) -> Answer {
        let status = self.status();
        let body = match status {
            StatusCode::OK => Bytes::from_static(br#"{"err_no":0,"err_tips":"success"}"#),
            refused => {
                let (err_no, word) = (refused.as_u16(), self.word());
                format!(r#"{{"err_no":{err_no},"err_tips":"{word}"}}"#).into()
            }
        };
        Answer { status, content_type: "application/json", body }
    }
}

/// The label of requests to no app of ours. A name from the internet never becomes a label.
const NO_APP: &str = "none";

fn count(app_id: &str, verdict: Received) {
    CALLBACKS.count([app_id, verdict.word()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Douyin takes 200 and `err_no` 0 for an acknowledgement. After anything else it delivers
    /// again.
    #[test]
    fn only_what_is_durable_or_not_ours_is_acknowledged() {
        let verdicts = [
            (Received::Acknowledged, 200, "acknowledged"),
            (Received::OtherType, 200, "other_type"),
            (Received::OtherTypeRefused, 422, "other_type_refused"),
            (Received::UnknownApp, 404, "unknown_app"),
            (Received::NotACallback, 404, "not_a_callback"),
            (Received::NoKey, 401, "no_key"),
            (Received::BadSignature, 401, "bad_signature"),
            (Received::Malformed, 400, "malformed"),
            (Received::Unread(Unread::TooLarge), 413, "too_large"),
            (Received::Unread(Unread::TooSlow), 408, "too_slow"),
            (Received::Unread(Unread::Lost), 400, "lost"),
            (Received::Unread(Unread::Busy), 503, "busy"),
            (Received::Busy, 503, "busy"),
            (Received::UnknownSystem, 424, "unknown_system"),
            (Received::NotDurable, 500, "not_durable"),
        ];
        for (verdict, status, word) in verdicts {
            assert_eq!((verdict.status().as_u16(), verdict.word()), (status, word));
            let answer = verdict.answer();
            assert_eq!(answer.status.as_u16(), status);
            let body = std::str::from_utf8(&answer.body).unwrap();
            let success = body == r#"{"err_no":0,"err_tips":"success"}"#;
            assert_eq!(success, status == 200, "{word}: {body}");
            assert!(success || body.contains(word), "{word}: {body}");
        }
    }
}
