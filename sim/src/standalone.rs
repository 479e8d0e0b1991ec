//! The simulator as a process of its own: runs it, and tells a person where it is.

use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::str::FromStr;

use serde_json::Value;

use super::choices::Choices;
use super::simulator::Simulator;
use super::{SANDBOX_CALLBACK_TOKEN, SANDBOX_SALT, SimApp, SimConfig};

/// Runs a simulator until `stop` is ready. Calls `started` once it answers; that may print the
/// [`banner`].
///
/// # Errors
/// The address cannot be listened on.
pub async fn run(
    config: SimConfig,
    started: impl FnOnce(&Simulator),
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let simulator = Simulator::start(config).await?;
    started(&simulator);
    stop.await;
    simulator.stop().await;
    Ok(())
}

/// What a person needs to use it and to start the same one again. It has no secrets.
#[must_use]
pub fn banner(simulator: &Simulator) -> String {
    let setting = simulator.setting();
    let url = simulator.url();
    let apps = if setting.apps.is_empty() { "none".to_owned() } else { setting.apps.join(", ") };
    let mut text = format!(
        "Douyin simulator: no account, no money\n\
         \n\
         address    {url}\n\
         page       {}\n\
         apps       {apps}\n\
         systems    all of Douyin's, each at its own paths\n\
         signing    salt {SANDBOX_SALT}, callback token {SANDBOX_CALLBACK_TOKEN}, key_version 1\n\
         seed       {} (the same seed makes the same numbers and faults)\n\
         faults     {} of 10 000\n",
        simulator.page_url(),
        setting.seed,
        setting.faults_per_10_000,
    );
    for (app_id, callback_url) in &setting.callback_urls {
        writeln!(text, "callbacks  of {app_id} to {callback_url}")
            .expect("a string takes everything");
    }
    for (name, value) in differing(&setting.choices) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(text, "choice     {name} = {value}").expect("a string takes everything");
    }
    let first = setting.apps.first().map_or("", String::as_str);
    // Its certificate is of an authority of its owner's, which protects nothing.
    let curl = if url.starts_with("https") { "curl --insecure" } else { "curl" };
    write!(
        text,
        "\n\
         {curl} {url}/sim/books\n\
         {curl} -d '{{\"advance_days\": 3}}' {url}/sim/clock\n\
         {curl} -d '{{\"create\": {{\"apply-then\": \"drop\"}}}}' {url}/sim/faults\n\
         {curl} -o platform-key.pem {url}/sim/platform-key/{first}\n\
         {curl} -o app-key.pem {url}/sim/app-key\n\
         \n\
         An out_order_no that begins with sim- chooses an outcome: sim-fail-1 fails,\n\
         sim-err-23102-1 is refused, sim-slow-1 takes seconds, sim-lost-1 loses the answer,\n\
         sim-hold-1 does not end, sim-quiet-1 ends without a callback.\n\
         Stop with Ctrl-C.\n\n"
    )
    .expect("a string takes everything");
    text
}

/// The choices that differ from the defaults.
fn differing(choices: &Choices) -> Vec<(String, Value)> {
    let usual = Choices::default().named();
    choices.named().into_iter().filter(|(name, value)| usual.get(name) != Some(value)).collect()
}

impl FromStr for SimApp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The problem does not repeat the text, because half of it is a secret.
        match text.split_once('=') {
            Some((app_id, secret)) if !app_id.is_empty() && !secret.is_empty() => {
                Ok(Self::new(app_id, secret))
            }
            Some(_) | None => Err("an app is written APP_ID=SECRET".to_owned()),
        }
    }
}
