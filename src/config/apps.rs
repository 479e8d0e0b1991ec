//! The apps: each block complete, each app once, each secret read from where it is kept.
//!
//! No problem and no warning repeats a secret, nor what should name one: people put the secret
//! itself there.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::SecretString;

use super::environment::Environment;
use super::reading::{Origin, Reading};
use crate::douyin::App;
use crate::gateway::Budget;
use crate::settle::AppId;

/// One block, as far as it was read.
#[derive(Default)]
pub struct AppDraft {
    pub app_id: Option<AppId>,
    pub client_secret_env: Option<String>,
    pub client_secret_file: Option<String>,
    pub budget: Budget,
}

/// One block and where it begins.
pub struct Block {
    pub draft: AppDraft,
    pub at: Origin,
}

impl Block {
    pub fn new(at: Origin) -> Self {
        Self { draft: AppDraft::default(), at }
    }
}

const ENV: &str = "client_secret_env";
const FILE: &str = "client_secret_file";
/// Everything that a person may have taken for the key of a secret.
const SECRET_KEYS: [&str; 3] = [ENV, FILE, "client_secret"];
/// The largest secret; Douyin's have 40 bytes.
const SECRET_BYTES_MAX: u64 = 4_096;

/// Completes the apps; returns the warnings.
pub fn complete(reading: &mut Reading, environment: &Environment) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut known = BTreeSet::new();
    for (i, block) in std::mem::take(&mut reading.apps).into_iter().enumerate() {
        let path = |key: &str| format!("apps[{i}].{key}");
        let at =
            |reading: &Reading, key: &str| reading.set.get(&path(key)).unwrap_or(&block.at).clone();
        let app_id = block.draft.app_id.clone();
        if app_id.is_none() && !reading.bad.contains(&path("app_id")) {
            reading.problem(&block.at, format!("{} is missing", path("app_id")));
        }
        if let Some(app_id) = app_id.clone().filter(|app_id| !known.insert(app_id.clone())) {
            let at = at(reading, "app_id");
            reading.problem(&at, format!("{} is {app_id} a second time", path("app_id")));
        }
        match secret(&block.draft, environment) {
            Ok(Secret { client_secret, warning }) => {
                let (at, path) = (at(reading, FILE), path(FILE));
                warnings.extend(warning.map(|warning| format!("{at}: {path} {warning}")));
                if let Some(app_id) = app_id {
                    reading.config.gateway.budgets.insert(app_id.clone(), block.draft.budget);
                    reading.config.apps.push(App { app_id, client_secret });
                }
            }
            // A key whose value was not taken has been reported.
            Err(_) if SECRET_KEYS.iter().any(|key| reading.bad.contains(&path(key))) => {}
            Err((key, why)) => {
                let at = at(reading, key);
                reading.problem(&at, format!("{} {why}", path(key)));
            }
        }
        reading.apps.push(block);
    }
    if reading.apps.is_empty() && !reading.file_lost {
        let missing = "apps is empty: the gateway serves at least one app".to_owned();
        reading.problem_of_all(missing);
    }
    warnings
}

struct Secret {
    client_secret: SecretString,
    warning: Option<&'static str>,
}

/// The secret of an app, or the key that is to blame and why.
fn secret(app: &AppDraft, environment: &Environment) -> Result<Secret, (&'static str, String)> {
    let one = "must stand alone: client_secret_env and client_secret_file exclude each other";
    let (key, text, warning) = match (&app.client_secret_file, &app.client_secret_env) {
        (Some(path), None) => {
            let (text, warning) = from_file(Path::new(path))
                .map_err(|why| (FILE, format!("names a file that {why}")))?;
            (FILE, text, warning)
        }
        (None, Some(name)) => {
            let why = if environment.is_garbled(name) { "UTF-8" } else { "set" };
            let text = environment.get(name).map(str::to_owned);
            let lost = || (ENV, format!("names a variable that is not {why}"));
            (ENV, text.ok_or_else(lost)?, None)
        }
        (Some(_), Some(_)) => return Err((FILE, one.to_owned())),
        (None, None) => {
            return Err((ENV, "is missing, and so is client_secret_file".to_owned()));
        }
    };
    match text.trim() {
        "" => Err((key, "names an empty secret".to_owned())),
        text if text.chars().any(char::is_control) => {
            Err((key, "names a secret that contains a control character".to_owned()))
        }
        text => Ok(Secret { client_secret: SecretString::from(text.to_owned()), warning }),
    }
}

fn from_file(path: &Path) -> Result<(String, Option<&'static str>), String> {
    let text = super::read_bounded(path, SECRET_BYTES_MAX)?;
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
    let warning = "names a file that others may read: chmod o-r would do";
    let others_read = mode.is_ok_and(|mode| mode & 0o004 != 0);
    Ok((text, others_read.then_some(warning)))
}
