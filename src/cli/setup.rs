//! What `serve` needs before anything is built: the configuration, and in a sandbox the simulator
//! it points to. And what ends it.

#[cfg(feature = "sandbox")]
pub mod sandbox;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use crate::cli::{EX_USAGE, Serve};
use crate::clock::Clock;
use crate::config::{self, Certificates, Config, Environment, Flags, Loaded, Problems, Unfit};
use crate::descriptors;
use crate::log_limit::{error, limited};
use crate::reload::Loader;
use crate::server::Addrs;
#[cfg(feature = "sandbox")]
use crate::store::OpenError;

/// Everything that `serve` starts from.
pub struct Setup {
    pub config: Config,
    /// Loads the configuration again; `None` in a sandbox, which has no file.
    pub loader: Option<Loader>,
    /// Called once the addresses are known: sets them where they are needed, and returns the
    /// banner.
    pub announce: Box<dyn FnOnce(Addrs) -> String>,
    /// Runs for as long as this lives.
    #[cfg(feature = "sandbox")]
    pub simulator: Option<douyin_sim::Simulator>,
}

/// Why there is nothing to start from.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Config(#[from] Problems),
    #[cfg(feature = "sandbox")]
    #[error("cannot start the simulator: {0}")]
    Simulator(std::io::Error),
    #[cfg(feature = "sandbox")]
    #[error("cannot remove the sandbox's database: {0}")]
    Fresh(OpenError),
}

impl SetupError {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            SetupError::Config(_) => ExitCode::from(EX_USAGE),
            #[cfg(feature = "sandbox")]
            SetupError::Simulator(_) | SetupError::Fresh(_) => ExitCode::FAILURE,
        }
    }
}

/// Reads the configuration; for a sandbox, starts the simulator and points the gateway to it.
pub async fn prepare(serve: Serve) -> Result<Setup, SetupError> {
    let environment = Environment::of_process();
    #[cfg(feature = "sandbox")]
    if serve.sandbox {
        return sandbox::prepare(serve, environment).await;
    }
    let flags = flags(&serve, config::DATABASE);
    let (loader, loaded) = Loader::begin(serve.file.config, environment, flags)?;
    let config = taken(loaded, seed());
    if config.rehearsal {
        warn!("{}", config::REHEARSAL);
    }
    config::suffice(descriptors::raise(), &config.descriptors())?;
    let announce = |addrs: Addrs| {
        let callback = addrs.callback.map_or("off".to_owned(), |addr| addr.to_string());
        format!(
            "settlement gateway\n  gRPC       {}\n  callbacks  {callback}\n  admin      {}\n",
            addrs.grpc, addrs.admin,
        )
    };
    Ok(Setup {
        config,
        loader: Some(loader),
        announce: Box::new(announce),
        #[cfg(feature = "sandbox")]
        simulator: None,
    })
}

/// Says what is probably wrong.
fn taken(Loaded { mut config, warnings, certificates, .. }: Loaded, seed: u64) -> Config {
    let now = Clock::system().now();
    let is_fit = |certificates: &&Certificates| certificates.unfit(now).is_none();
    let ending = certificates.iter().filter(is_fit).filter_map(|some| some.warning(now));
    for warning in warnings.into_iter().chain(ending) {
        warn!("{warning}");
    }
    for Unfit { why, .. } in certificates.iter().filter_map(|some| some.unfit(now)) {
        error!("{why}; it is used, because there is no other one and settles must go on");
    }
    config.gateway.seed = seed;
    config
}

fn flags(serve: &Serve, database: &str) -> Flags {
    let database = serve.data_dir.as_ref().map(|dir| dir.join(database));
    Flags { grpc_addr: serve.grpc_addr, database }
}

/// A random number from the operating system. No two processes have the same, and it names this one
/// in every permission that it gives.
pub fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The first SIGTERM or SIGINT; a second one ends the process at once.
///
/// Handled from this call on, not from the first await: an operator who reads the banner may signal
/// at once.
pub fn stop_signal() -> impl Future<Output = ()> {
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
    let mut either = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    async move {
        either().await;
        let at_once = async move {
            either().await;
            #[expect(clippy::exit, reason = "an operator who asks twice wants no drain")]
            std::process::exit(1);
        };
        #[expect(clippy::disallowed_methods, reason = "ends with the process, which it may end")]
        tokio::spawn(at_once);
    }
}

/// From this call on, signals that would end the process without a drain, and that are not sent for
/// that, do not end it: what tools that move log files and a closing terminal send, and the one by
/// which the kernel tells of a file that may not grow (its writer gets an error, as from a full
/// disk). SIGPIPE is ignored by Rust. Returns those by which an operator asks that the
/// configuration is read again.
pub fn outlive_signals() -> Signal {
    use rustix::process::Signal as Name;
    let handled = |name: Name| {
        signal(SignalKind::from_raw(name.as_raw())).expect("these signals can be handled")
    };
    // A handler stays for good.
    drop(handled(Name::XFSZ));
    for (name, text) in [(Name::USR1, "SIGUSR1"), (Name::USR2, "SIGUSR2")] {
        let mut signals = handled(name);
        let ignored = async move {
            while signals.recv().await.is_some() {
                limited!(Stranger, INFO, { signal = text }, "ignored a signal");
            }
        };
        #[expect(clippy::disallowed_methods, reason = "ends with the process")]
        drop(tokio::spawn(ignored));
    }
    handled(Name::HUP)
}
