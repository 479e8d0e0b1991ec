//! The sandbox: one app against a simulator in this process, kept away from what is real.
//!
//! What it must not know: what a scenario does, and what is called.

use douyin_sim::{
    SANDBOX_APP_PRIVATE_KEY_PEM, SANDBOX_CALLBACK_TOKEN, SANDBOX_SALT, SimApp, SimConfig, Simulator,
};
use tracing::warn;

use super::super::scenario::{Front, Others, Play, Scenario};
use super::{
    Addrs, Environment, Problems, Serve, Setup, SetupError, config, descriptors, flags, taken,
};
use crate::config::{Config, Flags, Source};
use crate::douyin::{PlatformKeys, SigningKey};
use crate::http::callbacks::PATH;
use crate::server::{BuildError, Server, Stopped};
use crate::settle::TradeSystem;
use crate::store::{Missing, Purpose, Sqlite};

/// The other ends of what goes to Douyin and comes from it, and people who look at its page.
const SIMULATOR_DESCRIPTORS: u64 = 256;
pub(in crate::cli) const APP_ID: &str = "ttsandbox0000000001";
/// Beside a real gateway's, and never the same.
const DATABASE: &str = "sandbox.db";
const CLIENT_SECRET: &str = "the-sandbox-has-no-secrets";
const CLIENT_SECRET_VARIABLE: &str = "SANDBOX_CLIENT_SECRET";

/// A sandbox that has not been served yet.
pub(in crate::cli) struct Sandbox {
    pub(in crate::cli) config: Config,
    pub(in crate::cli) simulator: Simulator,
}

impl Sandbox {
    /// One app, which is the default one, against a simulator in this process. `processing_ms`:
    /// from the acceptance of a settle to its end; `None`: the simulator's default.
    pub(in crate::cli) async fn start(
        environment: Environment,
        flags: Flags,
        processing_ms: Option<u64>,
    ) -> Result<Self, SetupError> {
        keep_out_the_real_one(&environment)?;
        // Another run must not make the settle ids of settles that the database still holds.
        let seed = super::seed();
        let mut sim = SimConfig::loopback(seed, vec![SimApp::new(APP_ID, CLIENT_SECRET)]);
        sim.processing_ms = processing_ms.unwrap_or(sim.processing_ms);
        let simulator = Simulator::start(sim).await.map_err(SetupError::Simulator)?;
        let url = simulator.url();
        // No balancer has to notice that a sandbox goes away, and the simulator soon shows what it
        // took.
        let file = format!(
            "rehearsal = true\ndefault_app = \"{APP_ID}\"\n\
             [server]\ndrain_delay_ms = 0\n\
             callback_addr = \"127.0.0.1:0\"\nadmin_addr = \"127.0.0.1:0\"\n\
             [store]\nsqlite_path = \"data/{DATABASE}\"\n\
             [douyin]\nbase_url = \"{url}\"\ndeveloper_base_url = \"{url}\"\n\
             [settle]\nvisibility_grace_ms = 30_000\n\
             [[apps]]\napp_id = \"{APP_ID}\"\nclient_secret_env = \"{CLIENT_SECRET_VARIABLE}\"\n"
        );
        let environment = environment.with(CLIENT_SECRET_VARIABLE, CLIENT_SECRET);
        let source = Source::Text { name: "the sandbox", text: &file };
        let loaded = Config::load(source, &environment, flags)?;
        let mut config = taken(loaded, seed);
        // It holds nothing that must not be lost.
        config.sqlite.missing = Missing::Create;
        config.sqlite.purpose = Purpose::Sandbox;
        let keys = PlatformKeys::parse(&simulator.platform_public_key_pem(APP_ID));
        let keys = keys.expect("the simulator shows a good key");
        let signing_key = SigningKey::parse(&SANDBOX_APP_PRIVATE_KEY_PEM.to_owned().into(), "1");
        let signing_key = signing_key.expect("the simulator has a good key");
        for app in &mut config.apps {
            app.platform_keys = Some(keys.clone());
            app.trade_systems = TradeSystem::ALL.to_vec();
            app.signing_key = Some(signing_key.clone());
            app.salt = Some(SANDBOX_SALT.into());
            app.callback_token = Some(SANDBOX_CALLBACK_TOKEN.into());
        }
        let mut needs = config.descriptors();
        needs.push(("the simulator", SIMULATOR_DESCRIPTORS));
        config::suffice(descriptors::raise(), &needs)?;
        Ok(Self { config, simulator })
    }
}

/// Tells the simulator where callbacks go.
pub(in crate::cli) fn tell_console(simulator: &Simulator, addrs: Addrs) {
    let callback = addrs.callback.map(|addr| format!("http://{addr}{PATH}{APP_ID}"));
    simulator.set_callback_url(APP_ID, callback.as_deref());
}

/// What `serve --sandbox` starts from.
pub(super) async fn prepare(serve: Serve, environment: Environment) -> Result<Setup, SetupError> {
    let flags = flags(&serve, DATABASE);
    let processing_ms = serve.scenario.map(|scenario| scenario.plan().processing_ms);
    let Sandbox { config, simulator } = Sandbox::start(environment, flags, processing_ms).await?;
    if serve.scenario.is_some() && config.grpc_tls.tls.is_some() {
        let problem = "a scenario speaks plain text: unset SETTLEMENT_SERVER_GRPC_TLS_*";
        return Err(Problems(vec![problem.to_owned()]).into());
    }
    if serve.fresh || serve.scenario.is_some() {
        Sqlite::remove_sandbox(&config.sqlite).map_err(SetupError::Fresh)?;
    }
    let (store, seed) = (config.sqlite.path.display().to_string(), config.gateway.seed);
    let console = simulator.clone();
    let announce = move |addrs: Addrs| {
        tell_console(&console, addrs);
        banner(addrs, &console.url(), &store, seed)
    };
    Ok(Setup { config, loader: None, announce: Box::new(announce), simulator: Some(simulator) })
}

/// Serves a scenario in the place of the gateway alone.
pub async fn play(
    scenario: Scenario,
    setup: Setup,
    stop: impl Future<Output = ()>,
) -> Result<Stopped, BuildError> {
    let Setup { config, announce, simulator, .. } = setup;
    let simulator = simulator.expect("only a sandbox has a scenario");
    let front = Front::new(scenario.plan(), simulator.clone(), APP_ID, Others::TakeTurns);
    let play = Play::new(front, config.grpc_addr).await?;
    let mut announce = Some(announce);
    let started = |addrs| {
        tell_console(&simulator, addrs);
        if let Some(announce) = announce.take() {
            crate::cli::announce(announce(addrs));
        }
    };
    Box::pin(play.run(|| anew(&config), started, stop)).await
}

/// The configuration of one more process: no two of them have the same seed.
pub(in crate::cli) fn anew(config: &Config) -> Config {
    let mut config = config.clone();
    config.gateway.seed = super::seed();
    config
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
        "SETTLEMENT_DOUYIN_DEVELOPER_BASE_URL",
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
    let create = format!(r#"{{{settle},"out_order_no":"order-{run}","settle_desc":"store share","#)
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
