//! One run of a client program: what it is told, and what it reports.
//!
//! What it must not know: what is true.

use std::fmt;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// What a client is to do: pay this order once, under this number.
pub(super) struct Intent {
    pub(super) addr: SocketAddr,
    pub(super) app_id: &'static str,
    pub(super) out_order_no: String,
    pub(super) out_settle_no: String,
}

/// How a run of a client ended.
pub(super) struct Ended {
    /// What it says became of the payment, if it says that.
    pub(super) said: Option<Said>,
    /// `None`: it ran too long, or could not run, or was killed.
    pub(super) exit_code: Option<i32>,
    /// The last of what it printed, its errors too.
    pub(super) printed: String,
}

/// What a client can say of a payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    Succeeded,
    Failed,
    Rejected,
    Refused,
    NotSent,
    Unknown,
}

/// The receiver of every payment, and its amount.
const RECEIVER: &str = "7278924576854329635";
const AMOUNT_FEN: &str = "120";
/// Shorter than the scenario `slow` is slow.
const CREATE_SECONDS: &str = "2";
/// Of what a client has printed, the last bytes that are read, and the last lines that are shown.
const PRINTED_BYTES_MAX: usize = 64 * 1024;
const LINES_SHOWN_MAX: usize = 20;

impl Said {
    const ALL: [Self; 6] = [
        Said::Succeeded,
        Said::Failed,
        Said::Rejected,
        Said::Refused,
        Said::NotSent,
        Said::Unknown,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Said::Succeeded => "SUCCEEDED",
            Said::Failed => "FAILED",
            Said::Rejected => "REJECTED",
            Said::Refused => "REFUSED",
            Said::NotSent => "NOT_SENT",
            Said::Unknown => "UNKNOWN",
        }
    }

    /// It is a state of the settle, which the client has seen. Then its exit code is 0.
    pub(super) fn is_state(self) -> bool {
        match self {
            Said::Succeeded | Said::Failed | Said::Rejected => true,
            Said::Refused | Said::NotSent | Said::Unknown => false,
        }
    }

    /// The word in the last line that has one, alone or as SETTLE_STATE_… .
    fn of(printed: &str) -> Option<Self> {
        let in_line = |line: &str| {
            let mut words = line.split(|sign: char| !sign.is_ascii_alphabetic() && sign != '_');
            words.find_map(|word| {
                let word = word.strip_prefix("SETTLE_STATE_").unwrap_or(word);
                Self::ALL.into_iter().find(|said| said.word() == word)
            })
        };
        printed.lines().rev().find_map(in_line)
    }
}

/// Runs the client, and kills it with all that it has started if it takes too long.
pub(super) async fn run(command: &str, intent: &Intent, log: &Path, time_max: Duration) -> Ended {
    match run_to_end(command, intent, log, time_max).await {
        Ok(exit_code) => {
            let printed = last_of(&fs::read(log).unwrap_or_default());
            Ended { said: Said::of(&printed), exit_code, printed: shown(&printed) }
        }
        Err(error) => Ended { said: None, exit_code: None, printed: error.to_string() },
    }
}

async fn run_to_end(
    command: &str,
    intent: &Intent,
    log: &Path,
    time_max: Duration,
) -> std::io::Result<Option<i32>> {
    let out = File::create(log)?;
    let mut client = Command::new("sh")
        .args(["-c", command])
        .env("GATEWAY_ADDRESS", intent.addr.to_string())
        .env("APP_ID", intent.app_id)
        .env("OUT_ORDER_NO", &intent.out_order_no)
        .env("OUT_SETTLE_NO", &intent.out_settle_no)
        .env("MERCHANT_UID", RECEIVER)
        .env("AMOUNT_FEN", AMOUNT_FEN)
        .env("CREATE_SECONDS", CREATE_SECONDS)
        .stdin(Stdio::null())
        .stderr(out.try_clone()?)
        .stdout(out)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = client.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Ok(ended) = tokio::time::timeout(time_max, client.wait()).await {
        return Ok(ended?.code());
    }
    if let Some(group) = group {
        // If it has just ended by itself, there is no such group.
        let _ = kill_process_group(group, Signal::KILL);
    }
    client.wait().await?;
    Ok(None)
}

fn last_of(bytes: &[u8]) -> String {
    let begin = bytes.len().saturating_sub(PRINTED_BYTES_MAX);
    String::from_utf8_lossy(bytes.split_at(begin).1).into_owned()
}

fn shown(printed: &str) -> String {
    let lines: Vec<_> = printed.lines().collect();
    lines.split_at(lines.len().saturating_sub(LINES_SHOWN_MAX)).1.join("\n")
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.said.map_or("nothing", Said::word))?;
        match self.exit_code {
            Some(code) => write!(f, " (exit code {code})"),
            None => f.write_str(" (it did not end by itself)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_with_a_word_tells_the_end() {
        for (printed, said) in [
            ("SUCCEEDED 120\n", Some(Said::Succeeded)),
            ("SETTLE_STATE_FAILED 0\n", Some(Said::Failed)),
            (
                "trying: UNKNOWN\nError: REFUSED ORDER_NOT_PAID: another\n  at pay",
                Some(Said::Refused),
            ),
            ("UNKNOWNS\nrefused\n", None),
            ("", None),
        ] {
            assert_eq!(Said::of(printed), said, "{printed}");
        }
    }
}
