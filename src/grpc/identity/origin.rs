//! From where a call came, for the audit: the peer of its connection, and the trace that it is part
//! of.
//!
//! What it must not know: who made the call. Of what is here only the certificate is proven.

use std::sync::Arc;

use http::HeaderMap;

use crate::http::peer::{At, Peer};
use crate::trace::{self, TraceParent};

/// The longest `x-request-id` that is kept.
const REQUEST_ID_BYTES_MAX: usize = 128;

pub(crate) struct Origin {
    /// `None`: the call was made in this process.
    pub peer: Option<At>,
    pub trace: Option<TraceParent>,
    /// `x-request-id`.
    pub request_id: Option<String>,
    /// In the verified certificate of the connection.
    pub names: Arc<[String]>,
}

impl Origin {
    pub(super) fn of(headers: &HeaderMap, peer: Option<&Peer>) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let trace = text(trace::HEADER).and_then(TraceParent::parse);
        let request_id = text("x-request-id").filter(|id| is_plain(id)).map(str::to_owned);
        let names = peer.map(|peer| Arc::clone(&peer.names)).unwrap_or_default();
        Self { peer: peer.map(|peer| peer.at), trace, request_id, names }
    }

    /// The trace that the call is part of, else its request id.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        let trace = self.trace.as_ref().map(TraceParent::trace_id);
        trace.or(self.request_id.as_deref())
    }
}

fn is_plain(id: &str) -> bool {
    let graphic = id.bytes().all(|byte| byte.is_ascii_graphic());
    graphic && (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_named_by_its_own_header_or_by_the_request_id() {
        let of = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            Origin::of(&map, None).trace_id().map(str::to_owned)
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{id}-00f067aa0ba902b7-01");
        let request = ("x-request-id", "r-1");
        assert_eq!(of(&[("traceparent", &parent), request]).as_deref(), Some(id));
        let zeros = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        for wrong in [&zeros, &parent.to_uppercase(), &parent.replace("4bf", "4b"), "", "00"] {
            assert_eq!(of(&[("traceparent", wrong), request]).as_deref(), Some("r-1"), "{wrong}");
        }
        for wrong in ["", "a b", &"x".repeat(129)] {
            assert_eq!(of(&[("x-request-id", wrong)]), None, "{wrong}");
        }
        assert_eq!(of(&[]), None);
    }
}
