//! `simulate`: the Douyin simulator as a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use douyin_sim::{Authorities, Certificate, Choices, PlatformKey, SimApp, SimConfig, Simulator};

use super::{announce, complain, setup};

#[derive(Debug, Args)]
pub struct Simulate {
    /// Where it listens. Port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The certificate chain (PEM) with which it speaks https. Default: it speaks http.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Every number that it makes up and every fault that it draws come from here. Default: another
    /// one in each run, which is printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many of 10 000 requests, settles, tokens and callbacks meet a fault drawn from the seed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    faults: u32,
    /// What Douyin does where its documents leave it open; may be repeated. A name that there is
    /// not tells them all.
    #[arg(long = "choice", value_name = "NAME=VALUE")]
    choices: Vec<String>,
    /// An app and its client secret; may be repeated. A simulator's secrets protect nothing, so
    /// they may stand on a command line.
    #[arg(long = "app", value_name = "APP_ID=SECRET")]
    #[arg(default_value = "ttsandbox0000000001=the-sandbox-has-no-secrets")]
    apps: Vec<SimApp>,
    /// Where the callbacks of an app go, an http or https address; may be repeated. Without it an
    /// app has callbacks only for creates that name a notify_url.
    #[arg(long = "callback-url", value_name = "APP_ID=URL")]
    callback_urls: Vec<String>,
    /// The CA certificates (PEM) that the certificates of https addresses of callbacks must come
    /// from. Without it callbacks reach no https address.
    #[arg(long, value_name = "FILE")]
    callback_ca: Option<PathBuf>,
    /// The file with the private key (RSA, PKCS#8, PEM) that signs an app's callbacks; may be
    /// repeated. Default: a key that is the same in every simulator and no secret.
    #[arg(long = "platform-key", value_name = "APP_ID=FILE")]
    platform_keys: Vec<String>,
}

impl Simulate {
    pub async fn run(self) -> ExitCode {
        let mut config =
            SimConfig::at(self.listen, self.seed.unwrap_or_else(setup::seed), self.apps.clone());
        config.faults_per_10_000 = self.faults;
        for choice in &self.choices {
            if let Err(problem) = choose(&mut config.choices, choice) {
                complain(format_args!("--choice {choice}: {problem}"));
                return ExitCode::from(super::EX_USAGE);
            }
        }
        if let Err(problem) = self.callbacks(&mut config.apps).and_then(|()| self.tls(&mut config))
        {
            complain(format_args!("{problem}"));
            return ExitCode::from(super::EX_USAGE);
        }
        let started = |simulator: &Simulator| announce(douyin_sim::banner(simulator));
        match douyin_sim::run(config, started, setup::stop_signal()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(format_args!("cannot listen on {}: {error}", self.listen));
                ExitCode::FAILURE
            }
        }
    }

    fn tls(&self, config: &mut SimConfig) -> Result<(), String> {
        if let (Some(chain), Some(key)) = (&self.tls_certificate, &self.tls_key) {
            let pem = (read("--tls-certificate", chain)?, read("--tls-key", key)?);
            let certificate = Certificate::from_pem(&pem.0, &pem.1);
            let told = |problem| format!("--tls-certificate {}: {problem}", chain.display());
            config.certificate = Some(certificate.map_err(told)?);
        }
        if let Some(file) = &self.callback_ca {
            let authorities = Authorities::from_pem(&read("--callback-ca", file)?);
            let told = |problem| format!("--callback-ca {}: {problem}", file.display());
            config.callback_authorities = Some(authorities.map_err(told)?);
        }
        Ok(())
    }

    /// Gives each app its address and its key.
    fn callbacks(&self, apps: &mut [SimApp]) -> Result<(), String> {
        for text in &self.callback_urls {
            let told = |problem| format!("--callback-url {text}: {problem}");
            let (app, url) = of_app(apps, text).map_err(told)?;
            douyin_sim::check_callback_url(url)
                .map_err(|end| told(format!("the address {end}")))?;
            app.callback_url = Some(url.to_owned());
        }
        for text in &self.platform_keys {
            let told = |problem| format!("--platform-key {text}: {problem}");
            let (app, file) = of_app(apps, text).map_err(told)?;
            let pem = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
            app.platform_key = PlatformKey::from_pem(&pem).map_err(told)?;
        }
        Ok(())
    }
}

fn read(option: &str, file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file);
    text.map_err(|error| format!("{option} {}: {error}", file.display()))
}

/// The app that `APP_ID=…` names, and what is behind it.
fn of_app<'a, 'b>(
    apps: &'a mut [SimApp],
    text: &'b str,
) -> Result<(&'a mut SimApp, &'b str), String> {
    let (app_id, value) = text.split_once('=').ok_or("it must begin with APP_ID=")?;
    let app = apps.iter_mut().find(|app| app.app_id == app_id);
    Ok((app.ok_or_else(|| format!("there is no --app {app_id}"))?, value))
}

fn choose(choices: &mut Choices, text: &str) -> Result<(), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    choices.set(name, value)
}
