//! What `serve` needs before anything is built: the configuration, and in a sandbox the simulator
//! it points to.

use std::net::SocketAddr;

use crate::cli::Serve;
use crate::config::{Config, Problems};

/// Everything that `serve` starts from.
pub struct Setup {
    pub config: Config,
    /// Tells a person where everything is, once the addresses are known.
    pub banner: Box<dyn FnOnce(SocketAddr) -> String>,
    /// Runs for as long as this lives.
    #[cfg(feature = "sandbox")]
    pub simulator: Option<crate::sim::Simulator>,
}

/// Why there is nothing to start from.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Config(#[from] Problems),
    #[cfg(feature = "sandbox")]
    #[error("cannot start the simulator: {0}")]
    Simulator(std::io::Error),
}

/// Reads the configuration; for a sandbox, starts the simulator and points the gateway to it.
pub async fn prepare(serve: Serve) -> Result<Setup, SetupError> {
    #[cfg(feature = "sandbox")]
    if serve.sandbox {
        return sandbox::prepare(serve).await;
    }
    let config =
        serve.config.as_deref().map(|path| Config::load(path, &|name| std::env::var(name).ok()));
    let mut config = config.unwrap_or_else(|| {
        Err(Problems(vec!["no configuration file was given: use --config FILE".to_owned()]))
    })?;
    overrides(&mut config, &serve);
    let banner = |addr| format!("settlement gateway\n  gRPC       {addr}\n");
    Ok(Setup {
        config,
        banner: Box::new(banner),
        #[cfg(feature = "sandbox")]
        simulator: None,
    })
}

fn overrides(config: &mut Config, serve: &Serve) {
    if let Some(addr) = serve.grpc_addr {
        config.grpc_addr = addr;
    }
    if let Some(dir) = &serve.data_dir {
        config.sqlite_path = dir.join("settlement.db");
    }
}

#[cfg(feature = "sandbox")]
mod sandbox {
    use secrecy::SecretString;

    use super::{Config, Serve, Setup, SetupError, SocketAddr, overrides};
    use crate::clock::Clock;
    use crate::config::Problems;
    use crate::douyin::App;
    use crate::settle::AppId;
    use crate::sim::{SimApp, SimConfig, Simulator};

    const APP_ID: &str = "ttsandbox0000000001";
    const CLIENT_SECRET: &str = "the-sandbox-has-no-secrets";

    /// One app, which is the default one, against a simulator in this process.
    pub async fn prepare(serve: Serve) -> Result<Setup, SetupError> {
        if serve.config.is_some() {
            let problem = "--sandbox takes no --config: it brings its own".to_owned();
            return Err(SetupError::Config(Problems(vec![problem])));
        }
        // Another run must not make the settle ids of settles that the database still holds.
        let seed = u64::try_from(Clock::system().now().as_ms()).unwrap_or(0);
        let (app_id, client_secret) = (APP_ID.to_owned(), CLIENT_SECRET.to_owned());
        let sim = SimConfig::loopback(seed, vec![SimApp { app_id, client_secret }]);
        let simulator = Simulator::start(sim).await.map_err(SetupError::Simulator)?;

        let mut config = Config::default();
        config.douyin.base_url = simulator.url();
        let app_id = AppId::parse(APP_ID).expect("the sandbox's app_id is a valid one");
        let client_secret = SecretString::from(CLIENT_SECRET);
        config.apps = vec![App { app_id: app_id.clone(), client_secret }];
        config.grpc.default_app = Some(app_id);
        config.gateway.seed = seed;
        // No balancer has to notice that a sandbox goes away.
        config.stop.drain_delay = std::time::Duration::ZERO;
        overrides(&mut config, &serve);
        let url = simulator.url();
        let store = config.sqlite_path.display().to_string();
        let banner = move |addr| banner(addr, &url, &store, seed);
        Ok(Setup { config, banner: Box::new(banner), simulator: Some(simulator) })
    }

    /// Commands that work as they are pasted. The number is new in each run, because a number that
    /// was used before is answered from the record.
    fn banner(grpc: SocketAddr, simulator: &str, store: &str, run: u64) -> String {
        let settle = format!(r#""out_settle_no":"settle-{run}""#);
        let create =
            format!(r#"{{{settle},"out_order_no":"order-{run}","settle_desc":"store share","#)
                + r#""settle_params":[{"merchant_uid":"7278924576854329635","amount_fen":120}]}"#;
        let service = "douyin.settlement.v1.SettlementService";
        format!(
            "settlement gateway, sandbox: no account, no money\n\
             \n\
             gRPC       {grpc}\n\
             simulator  {simulator} (seed {run})\n\
             store      {store}\n\
             \n\
             Create a settle, then watch it to its end:\n\
             \n\
             grpcurl -plaintext -d '{create}' {grpc} {service}/CreateSettle\n\
             \n\
             grpcurl -plaintext -d '{{{settle}}}' {grpc} {service}/WatchSettle\n\
             \n\
             An out_order_no that begins with sim- chooses an outcome: sim-fail-1 fails,\n\
             sim-err-23102-1 is refused, sim-slow-1 takes seconds, sim-lost-1 loses the answer.\n\
             Stop with Ctrl-C.\n\n"
        )
    }
}
