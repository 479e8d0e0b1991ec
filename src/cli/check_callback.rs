//! `check-callback`: whether this saved callback would be accepted, and what it says.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use secrecy::SecretString;

use super::{EX_USAGE, complain, print};
use crate::douyin::callback::{Heard, Rejected, Verifiers, hear};
use crate::douyin::signature::{NONCE_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::douyin::{PlatformKeys, Signed};
use crate::settle::{AppId, Facts, Fen, Report, TradeSystem};

#[derive(Debug, Args)]
pub struct CheckCallback {
    /// The platform public keys of the app, as in `platform_public_keys_file`.
    #[arg(long, value_name = "FILE", required_unless_present = "token", requires = "headers")]
    key: Option<PathBuf>,
    /// For a callback of guaranteed payment, whose signature stands in its body: the token of the
    /// app, as in `callback_token_file`.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// The headers of the callback, one `Name: value` per line. Only the Byte-… ones are used.
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// The body, byte for byte as it came: not even a line feed more or less.
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// The app that the callback came to. Default: the one that it names is not checked.
    #[arg(long, value_name = "APP_ID")]
    app_id: Option<String>,
}

/// Larger files are not callbacks.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

impl CheckCallback {
    pub fn run(&self) -> ExitCode {
        let (verifiers, headers, body, app_id) = match self.read() {
            Ok(read) => read,
            Err(why) => {
                complain(why);
                return ExitCode::from(EX_USAGE);
            }
        };
        let signed = Signed {
            timestamp: value(&headers, TIMESTAMP_HEADER),
            nonce: value(&headers, NONCE_HEADER),
            signature: value(&headers, SIGNATURE_HEADER),
            body: &body,
        };
        match hear(app_id.as_ref(), &TradeSystem::ALL, &verifiers, &signed) {
            Ok(Heard::Settles { reports, .. }) => {
                let shown: String = reports.iter().map(shown).collect();
                print(&format!("signature: good\nmessage: settle\n{shown}"));
                ExitCode::SUCCESS
            }
            Ok(Heard::Other { kind }) => {
                print(&format!(
                    "signature: good\nmessage: {kind}; acknowledged and not acted on\n"
                ));
                ExitCode::SUCCESS
            }
            Err(rejected @ (Rejected::NoKey | Rejected::Signature(_))) => {
                print(&format!("signature: bad: {rejected}\n"));
                ExitCode::FAILURE
            }
            Err(rejected @ (Rejected::Malformed(_) | Rejected::OtherApp)) => {
                print(&format!("signature: good\nmessage: refused: {rejected}\n"));
                ExitCode::FAILURE
            }
        }
    }

    fn read(&self) -> Result<(Verifiers, String, Vec<u8>, Option<AppId>), String> {
        let text = |path: &Path| {
            let bytes = bytes(path)?;
            String::from_utf8(bytes).map_err(|_| format!("{}: is not UTF-8", path.display()))
        };
        let keys = self.key.as_ref().map(|key| {
            let keys = PlatformKeys::parse(&text(key)?);
            keys.map(Arc::new).map_err(|bad| format!("{}: the file {bad}", key.display()))
        });
        let token = self.token.as_ref().map(|token| {
            let token = text(token)?;
            Ok::<_, String>(Arc::new(SecretString::from(token.trim().to_owned())))
        });
        let verifiers = Verifiers { keys: keys.transpose()?, token: token.transpose()? };
        let headers = self.headers.as_deref().map_or(Ok(String::new()), text)?;
        let app_id = self.app_id.as_deref().map(AppId::parse).transpose();
        let app_id = app_id.map_err(|invalid| format!("--app-id {invalid}"))?;
        Ok((verifiers, headers, bytes(&self.body)?, app_id))
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map(|metadata| metadata.len());
    let read = match size {
        Ok(size) if size > FILE_BYTES_MAX => {
            return Err(format!("{}: is larger than {FILE_BYTES_MAX} bytes", path.display()));
        }
        Ok(_) => fs::read(path),
        Err(error) => Err(error),
    };
    read.map_err(|error| format!("{}: {error}", path.display()))
}

/// The case of header names does not matter. The first header of a name counts; missing is empty.
fn value<'a>(headers: &'a str, name: &str) -> &'a str {
    let pairs = headers.lines().filter_map(|line| line.split_once(':'));
    let mut values = pairs.filter(|(seen, _)| seen.trim().eq_ignore_ascii_case(name));
    values.next().map_or("", |(_, value)| value.trim())
}

fn shown(report: &Report) -> String {
    let Report { settle_id, out_settle_no, facts, .. } = report;
    let Facts { order_id, item_order_id, cp_extra, settle_status, message, .. } = facts;
    let fen = |amount: Option<Fen>| amount.map(|amount| amount.get().to_string());
    let lines = [
        ("settle_id", Some(settle_id.to_string())),
        ("out_settle_no", out_settle_no.as_ref().map(ToString::to_string)),
        ("status", settle_status.clone()),
        ("order_id", order_id.as_ref().map(ToString::to_string)),
        ("item_order_id", item_order_id.as_ref().map(ToString::to_string)),
        ("cp_extra", cp_extra.clone()),
        ("settle_amount_fen", fen(facts.settle_amount)),
        ("rake_fen", fen(facts.rake)),
        ("commission_fen", fen(facts.commission)),
        ("settle_detail", facts.settle_detail.clone()),
        ("message", message.clone()),
        ("event_time_ms", facts.settle_time.map(|time| time.as_ms().to_string())),
        ("is_auto_settle", facts.auto_settle.map(|auto| auto.to_string())),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        // Quoted, because the text comes from outside and goes to a terminal.
        let _ = writeln!(text, "  {name}: {}", value.map_or("–".to_owned(), |v| format!("{v:?}")));
    }
    text
}
