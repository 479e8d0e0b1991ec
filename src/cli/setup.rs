//! What `serve` needs before anything is built: the configuration, and in a sandbox the simulator
//! it points to. And what ends it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, warn};

use crate::cli::{EX_USAGE, Serve};
use crate::clock::Clock;
use crate::config::{self, Certificates, Config, Environment, Flags, Loaded, Problems, Unfit};
use crate::descriptors;
use crate::log_limit::limited;
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

#[cfg(feature = "sandbox")]
pub use sandbox::tell_of_earlier_run;

#[cfg(feature = "sandbox")]
mod sandbox {
    use douyin_sim::{SimApp, SimConfig, Simulator};
    use tracing::warn;

    use super::{
        Addrs, Environment, Problems, Serve, Setup, SetupError, config, descriptors, flags, taken,
    };
    use crate::config::{Config, Source};
    use crate::douyin::PlatformKeys;
    use crate::http::callbacks::PATH;
    use crate::server::Server;
    use crate::store::{Missing, Purpose, Sqlite};

    /// The other ends of what goes to Douyin and comes from it, and people who look at its page.
    const SIMULATOR_DESCRIPTORS: u64 = 256;
    const APP_ID: &str = "ttsandbox0000000001";
    /// Beside a real gateway's, and never the same.
    const DATABASE: &str = "sandbox.db";
    const CLIENT_SECRET: &str = "the-sandbox-has-no-secrets";
    const CLIENT_SECRET_VARIABLE: &str = "SANDBOX_CLIENT_SECRET";

    /// One app, which is the default one, against a simulator in this process.
    pub(super) async fn prepare(
        serve: Serve,
        environment: Environment,
    ) -> Result<Setup, SetupError> {
        keep_out_the_real_one(&environment)?;
        // Another run must not make the settle ids of settles that the database still holds.
        let seed = super::seed();
        let sim = SimConfig::loopback(seed, vec![SimApp::new(APP_ID, CLIENT_SECRET)]);
        let simulator = Simulator::start(sim).await.map_err(SetupError::Simulator)?;
        let url = simulator.url();
        // No balancer has to notice that a sandbox goes away.
        let file = format!(
            "rehearsal = true\ndefault_app = \"{APP_ID}\"\n\
             [server]\ndrain_delay_ms = 0\n\
             callback_addr = \"127.0.0.1:0\"\nadmin_addr = \"127.0.0.1:0\"\n\
             [store]\nsqlite_path = \"data/{DATABASE}\"\n\
             [douyin]\nbase_url = \"{url}\"\n\
             [[apps]]\napp_id = \"{APP_ID}\"\nclient_secret_env = \"{CLIENT_SECRET_VARIABLE}\"\n"
        );
        let environment = environment.with(CLIENT_SECRET_VARIABLE, CLIENT_SECRET);
        let source = Source::Text { name: "the sandbox", text: &file };
        let loaded = Config::load(source, &environment, flags(&serve, DATABASE))?;
        let mut config = taken(loaded, seed);
        // It holds nothing that must not be lost.
        config.sqlite.missing = Missing::Create;
        config.sqlite.purpose = Purpose::Sandbox;
        if serve.fresh {
            Sqlite::remove_sandbox(&config.sqlite).map_err(SetupError::Fresh)?;
        }
        let keys = PlatformKeys::parse(&simulator.platform_public_key_pem(APP_ID));
        let keys = keys.expect("the simulator shows a good key");
        config.apps.iter_mut().for_each(|app| app.platform_keys = Some(keys.clone()));
        let mut needs = config.descriptors();
        needs.push(("the simulator", SIMULATOR_DESCRIPTORS));
        config::suffice(descriptors::raise(), &needs)?;
        let store = config.sqlite.path.display().to_string();
        let console = simulator.clone();
        let announce = move |addrs: Addrs| {
            let callback = addrs.callback.map(|addr| format!("http://{addr}{PATH}{APP_ID}"));
            console.set_callback_url(APP_ID, callback.as_deref());
            banner(addrs, &url, &store, seed)
        };
        Ok(Setup { config, loader: None, announce: Box::new(announce), simulator: Some(simulator) })
    }

    /// Warns of open settles: the simulator begins empty, and the database does not.
    pub async fn tell_of_earlier_run(server: &Server) {
        match server.open_settles().await {
            Ok(0) => {}
            Ok(settles) => warn!(
                settles,
                "open settles of an earlier run: this simulator has never heard of them, so they \
                 may never end. To begin anew: serve --sandbox --fresh"
            ),
            Err(error) => warn!(%error, "cannot count the open settles"),
        }
    }

    /// Refuses variables that would connect a sandbox to the real Douyin. An operator who set them
    /// for a real gateway and starts a sandbox in the same shell would play with real money.
    fn keep_out_the_real_one(environment: &Environment) -> Result<(), Problems> {
        let own = [
            "SETTLEMENT_DEFAULT_APP",
            "SETTLEMENT_DOUYIN_BASE_URL",
            "SETTLEMENT_DOUYIN_CA_FILE",
            "SETTLEMENT_DOUYIN_PROXY_CREDENTIALS_FILE",
            "SETTLEMENT_DOUYIN_PROXY_URL",
            "SETTLEMENT_STORE_URL",
        ];
        let ours = |name: &&str| own.contains(name) || name.starts_with("SETTLEMENT_APPS_");
        let problem = |name| format!("{name}: a sandbox brings its own; unset it");
        let problems: Vec<String> = environment.names().filter(ours).map(problem).collect();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Commands that work as they are pasted. The number is new in each run, because a number that
    /// was used before is answered from the record.
    fn banner(addrs: Addrs, simulator: &str, store: &str, run: u64) -> String {
        let Addrs { grpc, callback, admin } = addrs;
        let callback = callback.map_or("off".to_owned(), |addr| addr.to_string());
        let settle = format!(r#""out_settle_no":"settle-{run}""#);
        let create =
            format!(r#"{{{settle},"out_order_no":"order-{run}","settle_desc":"store share","#)
                + r#""settle_params":[{"merchant_uid":"7278924576854329635","amount_fen":120}]}"#;
        let history = format!(r#"{{{settle},"include_history":true}}"#);
        let service = "douyin.settlement.v1.SettlementService";
        format!(
            "settlement gateway, sandbox: no account, no money\n\
             \n\
             gRPC       {grpc}\n\
             callbacks  {callback}\n\
             admin      {admin}\n\
             simulator  {simulator} (seed {run})\n\
             store      {store}\n\
             \n\
             Create a settle, then watch it to its end:\n\
             \n\
             grpcurl -plaintext -d '{create}' {grpc} {service}/CreateSettle\n\
             \n\
             grpcurl -plaintext -d '{{{settle}}}' {grpc} {service}/WatchSettle\n\
             \n\
             What told the end (Douyin's callback, unless a query was first):\n\
             \n\
             grpcurl -plaintext -d '{history}' {grpc} {service}/GetSettle\n\
             \n\
             Douyin's side, and what can go wrong there: open {simulator} in a browser.\n\
             \n\
             An out_order_no that begins with sim- chooses an outcome: sim-fail-1 fails,\n\
             sim-err-23102-1 is refused, sim-slow-1 takes seconds, sim-lost-1 loses the answer.\n\
             Stop with Ctrl-C.\n\n"
        )
    }
}
