//! Configuration: a TOML file, overridden by the environment, overridden by the command line. All
//! problems are reported together, and none of the three holds a secret.
//!
//! ```text
//!   file ──┐
//!   environment ──► reading ──► apps · callers · checks ──► Config
//!   flags ─┘           ▲
//!   table ─────────────┴──► reference (the documents)
//! ```
//!
//! Every knob is one row of `table.rs`; the row is also its documentation.
//!
//! What it must not know: what the knobs do.

mod apps;
mod callers;
mod certificates;
mod checks;
mod descriptors;
mod environment;
mod file;
mod knobs;
mod limits;
mod nearest;
mod reading;
mod reference;
mod store;
mod table;
mod tls;
mod token_files;
mod way;

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::apps::AppConfig;
use crate::callers::Known;
use crate::douyin::ClientConfig;
use crate::gateway::{GatewayConfig, PollerConfig};
use crate::grpc::GrpcConfig;
use crate::http::admin::Hosts;
use crate::http::callbacks::OtherTypes;
use crate::http::listener::Limits;
use crate::store::SqliteOptions;
use crate::telemetry::audit;

pub use certificates::{Certificates, Unfit};
pub use descriptors::{Needs, suffice, total};
pub use environment::{CONFIG_VARIABLE, Environment};
pub use limits::limits;
pub use reading::SetBy;
#[cfg(test)]
pub(crate) use reference::{keys, keys_of_files};
pub use reference::{markdown, toml};
pub use store::{Database, StoreConfig};
pub use tls::{ListenerTls, Tls};
pub use way::WayConfig;

use reading::Reading;

/// What every start of a rehearsal says.
pub const REHEARSAL: &str = "rehearsal is true: keys on which money hangs may be lower than is \
                             safe; never run this gateway for an app that moves real money";

/// What a gateway says that has no callers and listens beyond this machine.
pub const OPEN: &str = "every peer that reaches it could move the money of every app";

/// What the gateway is built from. `table.rs` has its knobs. The other fields are constants that
/// only tests in this process change.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether no real money is moved. Then the floors of the knobs do not apply.
    pub rehearsal: bool,
    pub grpc_addr: SocketAddr,
    pub grpc_tls: ListenerTls,
    pub sqlite: SqliteOptions,
    pub store: StoreConfig,
    pub douyin: ClientConfig,
    pub way: WayConfig,
    pub apps: Vec<AppConfig>,
    /// Who may call.
    pub callers: Known,
    /// Names in the certificates of sidecars, whose word about a caller is believed.
    pub sidecar_names: Vec<String>,
    /// Where a sidecar on this machine connects.
    pub sidecar_socket: Option<String>,
    /// Where the audit goes: `off`, `stdout` or a file.
    pub audit_to: String,
    /// Whether an address that is not loopback may be open to every peer.
    pub open_to_anyone: bool,
    pub gateway: GatewayConfig,
    pub grpc: GrpcConfig,
    pub callback: CallbackConfig,
    pub admin_addr: SocketAddr,
    pub admin_tls: ListenerTls,
    pub admin_hosts: Hosts,
    pub poller: PollerConfig,
    pub stop: StopConfig,
}

/// Where and how callbacks are accepted.
#[derive(Clone, Debug)]
pub struct CallbackConfig {
    /// Faces the internet. Without a platform public key in any app nothing listens there.
    pub addr: SocketAddr,
    pub tls: ListenerTls,
    pub limits: Limits,
    pub other_types: OtherTypes,
}

/// How the gateway stops.
#[derive(Clone, Debug)]
pub struct StopConfig {
    /// How long it keeps serving while balancers notice that it is NOT_SERVING.
    pub drain_delay: Duration,
    /// How long everything in flight may take after that.
    pub grace: Duration,
}

impl Default for Config {
    /// The defaults of every knob, and no app.
    fn default() -> Self {
        Self {
            rehearsal: false,
            grpc_addr: SocketAddr::from(([127, 0, 0, 1], 50051)),
            grpc_tls: ListenerTls::default(),
            sqlite: SqliteOptions::new(Path::new("data").join(DATABASE)),
            store: StoreConfig::default(),
            douyin: ClientConfig::default(),
            way: WayConfig::default(),
            apps: Vec::new(),
            callers: Known::default(),
            sidecar_names: Vec::new(),
            sidecar_socket: None,
            audit_to: audit::OFF.to_owned(),
            open_to_anyone: false,
            gateway: GatewayConfig::default(),
            grpc: GrpcConfig::default(),
            callback: CallbackConfig::default(),
            admin_addr: SocketAddr::from(([127, 0, 0, 1], 9090)),
            admin_tls: ListenerTls::default(),
            admin_hosts: Hosts::default(),
            poller: PollerConfig::default(),
            stop: StopConfig {
                drain_delay: Duration::from_secs(5),
                grace: Duration::from_secs(25),
            },
        }
    }
}

impl Default for CallbackConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: ListenerTls::default(),
            limits: Limits {
                connections_max: 1_024,
                requests_max: 256,
                body_bytes_max: CALLBACK_BYTES_MAX,
                body_time_max: Duration::from_secs(10),
                idle_time_max: Duration::from_secs(60),
            },
            other_types: OtherTypes::Acknowledge,
        }
    }
}

/// The largest callback. Those seen have under 2 KiB, and `ext` adds at most 2 KiB.
const CALLBACK_BYTES_MAX: usize = 64 * 1024;

/// The name of the database in its folder.
pub const DATABASE: &str = "settlement.db";

/// What the command line overrides.
#[derive(Clone, Default, Debug)]
pub struct Flags {
    pub grpc_addr: Option<SocketAddr>,
    /// The database, in the folder that `--data-dir` names.
    pub database: Option<PathBuf>,
}

/// A configuration without problems.
pub struct Loaded {
    pub config: Config,
    /// What is allowed but probably wrong.
    pub warnings: Vec<String>,
    /// Every key that was set, with its value and where it was set. Secrets are not among them.
    pub set: Vec<(String, String, SetBy)>,
    /// When the certificates in its files end.
    pub certificates: Vec<Certificates>,
}

/// What came of loading a configuration.
pub struct Attempt {
    /// Every file that it names and that is read, itself included.
    pub files: BTreeSet<PathBuf>,
    pub outcome: Result<Loaded, Problems>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// The file of a configuration.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// Environment and flags set everything.
    None,
    Path(&'a Path),
    /// `name` is shown in problems.
    Text {
        name: &'a str,
        text: &'a str,
    },
}

impl Config {
    /// Reads everything and changes nothing.
    pub fn load(
        source: Source<'_>,
        environment: &Environment,
        flags: Flags,
    ) -> Result<Loaded, Problems> {
        Self::attempt(source, environment, flags).outcome
    }

    /// The same, with the files that must change before it would come to another outcome.
    pub fn attempt(source: Source<'_>, environment: &Environment, flags: Flags) -> Attempt {
        let mut reading = read(source, environment, flags);
        let (mut warnings, files) = apps::complete(&mut reading, environment);
        warnings.extend(callers::complete(&mut reading, &files));
        environment::report_unknown(&mut reading, environment);
        if !reading.file_lost {
            warnings.extend(store::complete(&mut reading, environment));
            warnings.extend(way::complete(&mut reading));
            warnings.extend(checks::check(&mut reading));
        }
        let mut files = reference::files(&mut reading);
        if let Source::Path(path) = source {
            files.insert(path.to_owned());
        }
        if reading.has_problems() {
            return Attempt { files, outcome: Err(reading.into_problems()) };
        }
        let set = reference::set(&mut reading);
        let certificates = reading.certificates;
        let mut config = reading.config;
        config.gateway.policy.call_timeout = config.douyin.call_timeout;
        Attempt { files, outcome: Ok(Loaded { config, warnings, set, certificates }) }
    }

    /// Whether an app has what callbacks are verified with. If not, all would be refused.
    pub fn takes_callbacks(&self) -> bool {
        self.apps.iter().any(|app| app.platform_keys.is_some() || app.callback_token.is_some())
    }

    /// Where gRPC listens, and the file of its certificate, even if other values are wrong.
    pub fn load_grpc(
        source: Source<'_>,
        environment: &Environment,
    ) -> Result<(SocketAddr, Option<String>), Problems> {
        load_one(source, environment, Flags::default(), |config| {
            let certificate = config.grpc_tls.certificate_file.clone();
            ("server.grpc_addr", (config.grpc_addr, certificate))
        })
    }

    /// The database, even if other values are wrong: making one needs no app's secret.
    pub fn load_database(
        source: Source<'_>,
        environment: &Environment,
        flags: Flags,
    ) -> Result<Database, Problems> {
        let mut reading = read(source, environment, flags);
        store::complete(&mut reading, environment);
        if reading.file_lost || reading.bad.iter().any(|key| key.starts_with("store.")) {
            return Err(reading.into_problems());
        }
        Ok(reading.config.database())
    }
}

fn load_one<T>(
    source: Source<'_>,
    environment: &Environment,
    flags: Flags,
    of: fn(&Config) -> (&'static str, T),
) -> Result<T, Problems> {
    let reading = read(source, environment, flags);
    let (key, value) = of(&reading.config);
    if reading.file_lost || reading.bad.contains(key) {
        return Err(reading.into_problems());
    }
    Ok(value)
}

fn read(source: Source<'_>, environment: &Environment, flags: Flags) -> Reading {
    let mut reading = Reading::default();
    match source {
        Source::None => {}
        Source::Text { name, text } => file::read(&mut reading, name, text),
        Source::Path(path) => match file::text(path) {
            Ok(text) => file::read(&mut reading, &path.to_string_lossy(), &text),
            Err(why) => {
                reading.file_lost = true;
                reading.problem_of_all(format!("{}: the file {why}", path.display()));
            }
        },
    }
    environment::read(&mut reading, environment);
    reading.flags(flags);
    reading
}

/// The text of a file. `Err` follows the word "file".
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(unread)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unread)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read > bytes_max) {
        return Err(format!("is larger than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// The text of a file that holds a secret, and a warning that follows the file's key.
fn read_secret(path: &Path, bytes_max: u64) -> Result<(String, Option<&'static str>), String> {
    let text = read_bounded(path, bytes_max)?;
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
    let warning = "names a file that others may read: chmod o-r would do";
    let others_read = mode.is_ok_and(|mode| mode & 0o004 != 0);
    Ok((text, others_read.then_some(warning)))
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
