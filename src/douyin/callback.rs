//! A callback of Douyin's, from raw bytes to what it says: verified first, then read.
//!
//! What it must not know: HTTP, and what becomes of a settle because of a callback.

use super::signature::{BadSignature, PlatformKeys, Signed};
use super::wire::{self, Message, SettleMessage, Unreadable};
use crate::settle::{AppId, Report, TradeSystem};

/// What one app was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    Settle {
        trade_system: TradeSystem,
        report: Box<Report>,
    },
    /// A message of another type, which is not ours to act on.
    Other {
        kind: String,
    },
}

/// Why nothing may come of a callback.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejected {
    #[error(transparent)]
    Signature(#[from] BadSignature),
    #[error("the message {0}")]
    Malformed(#[from] Unreadable),
    #[error("the message is signed for this app and names another one")]
    OtherApp,
}

/// Douyin's log id of a callback, as its header has it.
pub fn log_id(header: &str) -> String {
    wire::bounded_log_id(header)
}

/// Reads a callback to `app_id`; to whichever app it names, if that is `None`. Nothing of the body
/// is looked at before one of the app's keys fits its signature.
pub fn hear(
    app_id: Option<&AppId>,
    keys: &PlatformKeys,
    signed: &Signed<'_>,
) -> Result<Heard, Rejected> {
    keys.verify(signed)?;
    let message = match wire::message(signed.body)? {
        Message::Other { kind } => return Ok(Heard::Other { kind }),
        Message::Settle(message) => *message,
    };
    let SettleMessage { app_id: named, trade_system, report } = message;
    if named.is_some() && app_id.is_some() && named.as_ref() != app_id {
        return Err(Rejected::OtherApp);
    }
    Ok(Heard::Settle { trade_system, report: Box::new(report) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = include_bytes!("../../tests/vectors/callback/body.json");
    const HEADERS: &str = include_str!("../../tests/vectors/callback/headers.txt");
    const KEY: &str = include_str!("../../tests/vectors/callback/platform-public-key.pem");

    /// The message made with openssl, told to an app.
    fn heard(app_id: Option<&str>) -> Result<Heard, Rejected> {
        let keys = PlatformKeys::parse(KEY).unwrap();
        let header = |name: &str| {
            let value =
                HEADERS.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.expect("the vector has the header")
        };
        let signed = Signed {
            timestamp: header("Byte-Timestamp"),
            nonce: header("Byte-Nonce-Str"),
            signature: header("Byte-Signature"),
            body: BODY,
        };
        let app_id = app_id.map(|app_id| AppId::parse(app_id).unwrap());
        hear(app_id.as_ref(), &keys, &signed)
    }

    #[test]
    fn a_callback_is_for_the_app_that_it_names() {
        assert_eq!(heard(Some("tt0")), Err(Rejected::OtherApp));
        for app_id in [Some("ttcfdbb96650e33350"), None] {
            assert!(matches!(heard(app_id), Ok(Heard::Settle { .. })), "{app_id:?}");
        }
    }

    #[test]
    fn a_log_id_is_kept_as_it_is_and_never_longer_than_a_line() {
        assert_eq!(log_id("2024-log"), "2024-log");
        assert_eq!(log_id(&"分".repeat(99)).len(), 126);
    }
}
