//! The configuration, read again while the gateway runs: on SIGHUP, and whenever a file that it is
//! made of has changed.
//!
//! There is one way. All of it is loaded as at a start. If anything is wrong with it, all that is
//! old stays in force. If it is right, what can be replaced is replaced at once, and what cannot is
//! named.
//!
//! Files are looked at in a thread of its own, because a disk that hangs must stop nothing else.
//!
//! What it must not know: what is done with a certificate, a secret or a key.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, sync_channel};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tracing::{info, warn};

use crate::apps::Apps;
use crate::callers::Callers;
use crate::clock::{Clock, Timestamp};
use crate::config::{
    Attempt, Certificates, Config, Environment, Flags, ListenerTls, Loaded, Problems, Source, Unfit,
};
use crate::douyin::{self, Client};
use crate::http::tls::Tls;
use crate::log_limit::error;
use crate::metrics::{CERTIFICATE_ENDS, RELOADS};
use crate::systemd::Systemd;

/// How often the files are looked at. A change is taken when two looks in a row agree, so that
/// what is being written is not read.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// After so many looks a file that changes all the time is read as it is.
const LOOKS_MAX: u32 = 25;

/// Why a configuration without callers is not taken while the gateway runs.
const OPENED: &str = "no caller is configured any more, which would open the gateway to every \
                      peer: that needs a restart";

/// The keys whose change takes effect at once. A change of any other one needs a restart.
const AT_ONCE: [&str; 26] = [
    "server.grpc_tls_certificate_file",
    "server.grpc_tls_key_file",
    "server.grpc_client_ca_file",
    "server.callback_tls_certificate_file",
    "server.callback_tls_key_file",
    "server.admin_tls_certificate_file",
    "server.admin_tls_key_file",
    "server.sidecar_names",
    "douyin.proxy_url",
    "douyin.proxy_credentials_file",
    "douyin.ca_file",
    "apps.client_secret_env",
    "apps.client_secret_file",
    "apps.private_key_file",
    "apps.key_version",
    "apps.salt_env",
    "apps.salt_file",
    "apps.callback_token_env",
    "apps.callback_token_file",
    "apps.platform_public_keys_file",
    "apps.caller_tokens_file",
    "callers.name",
    "callers.apps",
    "callers.rights",
    "callers.token_sha256",
    "callers.certificate_names",
];

/// Loads a configuration, as often as it is asked to.
pub struct Loader {
    file: Option<PathBuf>,
    environment: Environment,
    flags: Flags,
    /// The files that the last configuration was made of.
    files: BTreeSet<PathBuf>,
    /// How they were before it was loaded.
    seen: Look,
    /// What is set in the configuration by which the gateway runs.
    in_force: Set,
    /// The certificates by which it runs.
    certificates: Vec<Certificates>,
}

/// Every key that is set, with its value.
type Set = BTreeMap<String, String>;

/// How files are; `None`: there is no such file.
type Look = BTreeMap<PathBuf, Option<Stamp>>;

/// What changes when a file does.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    bytes: u64,
    /// Of its content, and of everything, in seconds and nanoseconds.
    changed: [(i64, i64); 2],
}

impl Loader {
    /// Loads the configuration of a start.
    pub fn begin(
        file: Option<PathBuf>,
        environment: Environment,
        flags: Flags,
    ) -> Result<(Self, Loaded), Problems> {
        let (files, seen) = (file.iter().cloned().collect(), Look::new());
        let (in_force, certificates) = (Set::new(), Vec::new());
        let mut loader = Self { file, environment, flags, files, seen, in_force, certificates };
        let loaded = loader.load()?;
        loader.in_force = values(&loaded);
        loader.certificates.clone_from(&loaded.certificates);
        loader.measure();
        Ok((loader, loaded))
    }

    /// Loads it as it is now.
    fn load(&mut self) -> Result<Loaded, Problems> {
        loop {
            self.seen = self.look();
            let source = self.file.as_deref().map_or(Source::None, Source::Path);
            let Attempt { files, outcome } =
                Config::attempt(source, &self.environment, self.flags.clone());
            let known = files.is_subset(&self.files);
            self.files = files;
            if known {
                self.seen.retain(|file, _| self.files.contains(file));
                return outcome;
            }
            // It names files that were not looked at before. A change meanwhile would be missed.
        }
    }

    fn look(&self) -> Look {
        self.files.iter().map(|file| (file.clone(), Stamp::of(file))).collect()
    }

    /// For alerts: nothing else tells of a certificate that ends while the gateway runs.
    fn measure(&self) {
        for (key, end) in self.certificates.iter().filter_map(Certificates::end) {
            CERTIFICATE_ENDS.set_time([key], end.since_epoch());
        }
    }

    /// Why certificates that are not in force cannot take the place of those that are, and when
    /// they can. Those that have ended in force hinder nothing else.
    fn unfit(
        &self,
        certificates: &[Certificates],
        now: Timestamp,
    ) -> Option<(String, Option<Timestamp>)> {
        let new = certificates.iter().filter(|new| !self.certificates.contains(new));
        let unfit: Vec<Unfit> = new.filter_map(|new| new.unfit(now)).collect();
        let from = unfit.iter().filter_map(|unfit| unfit.from).min();
        let why = unfit.into_iter().map(|unfit| unfit.why).collect::<Vec<_>>().join("; ");
        (!why.is_empty()).then_some((why, from))
    }
}

fn values(loaded: &Loaded) -> Set {
    loaded.set.iter().map(|(path, value, _)| (path.clone(), value.clone())).collect()
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let of = std::fs::metadata(file).ok()?;
        let changed = [(of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec())];
        Some(Self { file: (of.dev(), of.ino()), bytes: of.size(), changed })
    }
}

/// The parts of a running gateway that can be replaced.
pub struct Parts {
    pub(crate) apps: Apps,
    pub(crate) callers: Callers,
    pub(crate) douyin: Client,
    pub(crate) grpc_tls: Option<Tls>,
    pub(crate) callback_tls: Option<Tls>,
    pub(crate) admin_tls: Option<Tls>,
    /// Whether a listener for callbacks is there.
    pub(crate) takes_callbacks: bool,
}

impl Parts {
    /// The listeners, with the beginning of their keys.
    fn listeners<'a>(&'a self, config: &'a Config) -> [(&'static str, Listener<'a>); 3] {
        [
            ("server.grpc_", (&self.grpc_tls, &config.grpc_tls)),
            ("server.callback_tls_", (&self.callback_tls, &config.callback.tls)),
            ("server.admin_tls_", (&self.admin_tls, &config.admin_tls)),
        ]
    }

    fn replace(&self, config: Config) -> Result<(), douyin::BuildError> {
        // First, because nothing else can fail.
        self.douyin.go_by(&config.douyin.way)?;
        for (_, (running, new)) in self.listeners(&config) {
            if let (Some(running), Some(new)) = (running, &new.tls) {
                running.replace(new.0.clone());
            }
        }
        self.apps.renew(&config.apps);
        self.callers.replace(config.callers);
        Ok(())
    }

    /// Whether every peer could do everything by this configuration, and cannot by the old one. A
    /// file that was cut off in the middle may say so.
    fn would_open(&self, config: &Config) -> bool {
        !self.callers.now().known.is_open() && config.callers.is_open()
    }

    /// Whether a change of this key takes effect now.
    fn takes(&self, path: &str, config: &Config) -> bool {
        let of_listener = |(prefix, (running, new)): (&str, Listener<'_>)| {
            !path.starts_with(prefix) || running.is_some() == new.tls.is_some()
        };
        let key = without_number(path);
        AT_ONCE.contains(&key.as_str())
            && self.listeners(config).into_iter().all(of_listener)
            && (key != "apps.platform_public_keys_file"
                || self.takes_callbacks
                || !config.takes_callbacks())
    }
}

type Listener<'a> = (&'a Option<Tls>, &'a ListenerTls);

/// `apps[3].app_id` is `apps.app_id`.
fn without_number(path: &str) -> String {
    match path.split_once('[').and_then(|(table, rest)| Some((table, rest.split_once(']')?.1))) {
        Some((table, key)) => format!("{table}{key}"),
        None => path.to_owned(),
    }
}

/// Reads the configuration again for as long as this is not dropped.
pub async fn run(
    loader: Loader,
    parts: Parts,
    systemd: Systemd,
    mut hangups: Signal,
) -> Infallible {
    let (ask, asked) = sync_channel(1);
    let watch = Watch { loader, parts, systemd, again_at: None };
    // It ends soon after this future does, and the process does not wait for it.
    let thread = std::thread::Builder::new().name("reload".to_owned());
    if let Err(error) = thread.spawn(move || watch.run(&asked)) {
        error!(%error, "the configuration will not be read again: there is no thread for it");
    }
    loop {
        hangups.recv().await;
        match ask.try_send(()) {
            // One that waits already is as good.
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => {
                error!("the configuration is not read again: its thread has ended, which is a bug");
            }
        }
    }
}

/// What a gateway does with SIGHUP that has nothing to read again.
pub async fn ignore(mut hangups: Signal) -> Infallible {
    loop {
        hangups.recv().await;
        info!("ignored SIGHUP: a sandbox has no configuration to read again");
    }
}

struct Watch {
    loader: Loader,
    parts: Parts,
    systemd: Systemd,
    /// When a certificate begins that was refused because it has not begun. Its file does not
    /// change then.
    again_at: Option<Timestamp>,
}

impl Watch {
    fn run(mut self, asked: &Receiver<()>) {
        let mut last = self.loader.seen.clone();
        loop {
            match asked.recv_timeout(LOOK_INTERVAL) {
                Ok(()) => {
                    self.systemd.is_reloading();
                    self.until_written(asked);
                    self.read_again_or_go_on();
                    self.systemd.is_ready();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.loader.measure();
                    let now = self.loader.look();
                    let has_changed = now == last && now != self.loader.seen;
                    let has_begun = |at| Clock::system().now() >= at;
                    if has_changed || self.again_at.is_some_and(has_begun) {
                        self.read_again_or_go_on();
                    }
                    last = now;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits until two looks agree: SIGHUP may come while a file is being written.
    fn until_written(&self, asked: &Receiver<()>) {
        let mut last = self.loader.look();
        for _ in 0..LOOKS_MAX {
            // One more SIGHUP meanwhile is answered by the same reading.
            let _ = asked.recv_timeout(LOOK_INTERVAL);
            let now = self.loader.look();
            if now == last {
                return;
            }
            last = now;
        }
    }

    /// A panic, which only a bug can cause, ends no later reading: a right that is taken away must
    /// not stay in force.
    fn read_again_or_go_on(&mut self) {
        if catch_unwind(AssertUnwindSafe(|| self.read_again())).is_err() {
            refuse("reading it panicked, which is a bug", "");
        }
    }

    fn read_again(&mut self) {
        self.again_at = None;
        let before = self.loader.seen.clone();
        let loaded = self.loader.load();
        let has_changed = |file: &&PathBuf| before.get(*file) != self.loader.seen.get(*file);
        let changed = before.keys().filter(has_changed).map(|file| file.display().to_string());
        let changed = changed.collect::<Vec<_>>().join(", ");
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(Problems(problems)) => return refuse(&problems.join("; "), &changed),
        };
        let set = values(&loaded);
        let Loaded { config, warnings, certificates, .. } = loaded;
        if self.parts.would_open(&config) {
            return refuse(OPENED, &changed);
        }
        let now = Clock::system().now();
        if let Some((why, from)) = self.loader.unfit(&certificates, now) {
            self.again_at = from;
            return refuse(&why, &changed);
        }
        let left = self.left(&set, &config);
        if let Err(error) = self.parts.replace(config) {
            return refuse(&error.to_string(), &changed);
        }
        count("applied");
        info!(changed, "the configuration was read again");
        let ending = certificates.iter().filter_map(|certificate| certificate.warning(now));
        for warning in warnings.into_iter().chain(ending) {
            warn!("{warning}");
        }
        if !left.is_empty() {
            let keys = left.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            warn!(keys, "these keys have changed, and need a restart");
        }
        self.loader.certificates = certificates;
        let in_force = &mut self.loader.in_force;
        in_force.retain(|path, _| left.contains(path));
        in_force.extend(set.into_iter().filter(|(path, _)| !left.contains(path)));
    }

    /// The keys whose change is left for a restart.
    fn left(&self, set: &Set, config: &Config) -> BTreeSet<String> {
        let old = &self.loader.in_force;
        let changed = old.keys().chain(set.keys()).filter(|path| old.get(*path) != set.get(*path));
        changed.filter(|path| !self.parts.takes(path, config)).cloned().collect()
    }
}

fn refuse(problem: &str, changed: &str) {
    count("refused");
    error!(problem, changed, "the configuration is not taken: all that was read before stays");
}

fn count(result: &'static str) {
    RELOADS.count([result]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is read again takes effect again, and a key that takes effect is one.
    #[test]
    fn every_file_is_taken_at_once_and_every_key_that_is_taken_is_one() {
        let (keys, files) = (crate::config::keys(), crate::config::keys_of_files());
        // The database is opened once, with the files that it needs.
        for file in files.iter().filter(|file| !file.starts_with("store.")) {
            assert!(AT_ONCE.contains(&file.as_str()), "{file}");
        }
        for key in AT_ONCE {
            assert!(keys.iter().any(|known| known == key), "{key}");
        }
        assert_eq!(without_number("apps[12].client_secret_file"), "apps.client_secret_file");
    }
}
