//! `check-config`: everything that is wrong with a configuration, before it is needed.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{ConfigFile, EX_USAGE, complain, print};
use crate::apps::AppConfig;
use crate::callers::Allowed;
use crate::clock::Clock;
use crate::config::{self, Config, Environment, Flags, Loaded};
use crate::douyin::{Callbacks, Credentials, SigningKey, callbacks, credentials, has_create};
use crate::metrics;
use crate::settle::TradeSystem;

#[derive(Debug, Args)]
pub struct CheckConfig {
    #[command(flatten)]
    file: ConfigFile,
    /// Prints all knobs instead: as the tables of docs/configuration.md, or as
    /// examples/gateway.toml.
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "markdown")]
    print_knobs: Option<KnobFormat>,
    /// Prints all limits instead, as the tables of docs/limits.md.
    #[arg(long, conflicts_with = "print_knobs")]
    print_limits: bool,
    /// Prints all metrics instead, as the tables of docs/metrics.md.
    #[arg(long, conflicts_with_all = ["print_knobs", "print_limits"])]
    print_metrics: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KnobFormat {
    Markdown,
    Toml,
}

impl CheckConfig {
    pub fn run(&self) -> ExitCode {
        match self.print_knobs {
            _ if self.print_limits => print(&config::limits()),
            _ if self.print_metrics => print(&metrics::markdown()),
            Some(KnobFormat::Markdown) => print(&config::markdown()),
            Some(KnobFormat::Toml) => print(&config::toml()),
            None => return self.check(),
        }
        ExitCode::SUCCESS
    }

    fn check(&self) -> ExitCode {
        let environment = Environment::of_process();
        match Config::load(self.file.source(), &environment, Flags::default()) {
            Ok(loaded) => {
                let rehearsal = loaded.config.rehearsal.then_some(config::REHEARSAL);
                let now = Clock::system().now();
                let ending = loaded.certificates.iter().filter_map(|some| some.warning(now));
                let warnings = loaded.warnings.iter().cloned().chain(ending);
                for warning in warnings.chain(rehearsal.map(str::to_owned)) {
                    complain(format_args!("warning: {warning}"));
                }
                print(&summary(&loaded));
                ExitCode::SUCCESS
            }
            Err(problems) => {
                complain(problems);
                ExitCode::from(EX_USAGE)
            }
        }
    }
}

/// Where Douyin is, and by which way.
fn douyin(config: &Config) -> String {
    let mut text = config.douyin.base_url.clone();
    if let Some(proxy) = &config.douyin.way.proxy {
        let _ = write!(text, ", through the proxy {}", proxy.address);
        if proxy.credentials.is_some() {
            text += " with credentials";
        }
    }
    if let Some(authorities) = &config.douyin.way.authorities {
        let _ = write!(text, ", trusting the certificates of ca_file ({})", authorities.count());
    }
    text
}

/// What would run. It says where secrets are kept, never what they are.
fn summary(Loaded { config, set, certificates, .. }: &Loaded) -> String {
    let callback = match config.takes_callbacks() {
        true => config.callback.addr.to_string(),
        false => "off: no app has a platform_public_keys_file or a callback token".to_owned(),
    };
    let mut text = format!(
        "ok\n\n\
         gRPC     {}\n\
         callback {}\n\
         admin    {}\n\
         store    {}\n\
         Douyin   {}\n\
         files    up to {} descriptors\n\
         apps     {}\n",
        config.grpc_addr,
        callback,
        config.admin_addr,
        config.database(),
        douyin(config),
        config::total(&config.descriptors()),
        config.apps.len(),
    );
    for app in &config.apps {
        let is_default = config.grpc.default_app.as_ref() == Some(&app.app_id);
        let _ = writeln!(
            text,
            "         {}: {} requests/s, {} in flight{}",
            app.app_id,
            app.budget.requests_per_second,
            app.budget.requests_in_flight,
            if is_default { ", the default app" } else { "" },
        );
        for trade_system in &app.trade_systems {
            let _ = writeln!(text, "           {}", system(app, *trade_system));
        }
    }
    for line in callers(config) {
        text += &line;
    }
    for certificates in certificates {
        let _ = writeln!(text, "ends     {certificates}");
    }
    text += "\nSet (everything else is at its default):\n";
    for (path, value, origin) in set {
        let _ = writeln!(text, "  {path} = {value}  ({origin})");
    }
    text
}

/// A trade system of an app, and what the app has for it.
fn system(app: &AppConfig, trade_system: TradeSystem) -> String {
    let read_only = if has_create(trade_system) { "" } else { " (read only)" };
    let calls = match credentials(trade_system) {
        Credentials::Token => "access tokens by the client secret".to_owned(),
        Credentials::Signature => {
            let version = app.signing_key.as_ref().map_or("none", SigningKey::version);
            format!("calls signed by the private key, version {version}")
        }
        Credentials::Salt => "calls signed by the salt".to_owned(),
    };
    let heard = match (callbacks(trade_system), &app.platform_keys) {
        (None, _) => "Douyin sends no callbacks",
        (Some(Callbacks::Token), _) => "callbacks verified by the callback token",
        (Some(Callbacks::Version2 | Callbacks::Version3), Some(_)) => {
            "callbacks verified by the platform's public keys"
        }
        (Some(Callbacks::Version2 | Callbacks::Version3), None) => {
            "callbacks refused (no platform_public_keys_file)"
        }
    };
    format!("{}{read_only}: {calls}; {heard}", trade_system.as_str())
}

/// Who may call, one line for each.
fn callers(config: &Config) -> Vec<String> {
    if config.callers.is_open() {
        return vec!["callers  none: every peer that reaches gRPC may do everything\n".to_owned()];
    }
    let callers: Vec<_> = config.callers.callers().collect();
    let mut lines = vec![format!("callers  {}\n", callers.len())];
    lines.extend(callers.into_iter().map(|caller| {
        let rights: Vec<&str> = caller.rights.iter().map(|right| right.as_str()).collect();
        let rights = if rights.is_empty() { "nothing".to_owned() } else { rights.join(", ") };
        let apps = match &caller.apps {
            Allowed::All => "every app".to_owned(),
            Allowed::Only(apps) => {
                apps.iter().map(|app_id| app_id.as_str()).collect::<Vec<_>>().join(", ")
            }
        };
        format!("         {}: {rights} on {apps}\n", caller.name)
    }));
    lines
}
