//! The apps: each block complete, each app once, each secret read from where it is kept.
//!
//! No problem and no warning repeats a secret, nor the value that should name one, because people
//! put the secret itself there.

use std::collections::BTreeSet;
use std::path::Path;

use secrecy::SecretString;

use super::callers::TokenFile;
use super::environment::Environment;
use super::reading::Reading;
use super::token_files;
use crate::apps::{AppConfig, Budget};
use crate::douyin::{PlatformKeys, SigningKey, is_salted, is_signed, limits};
use crate::settle::{AppId, NotifyUrl, TradeSystem};

/// One block, as far as it was read.
pub(super) struct AppDraft {
    pub app_id: Option<AppId>,
    pub trade_systems: Vec<String>,
    pub client_secret_env: Option<String>,
    pub client_secret_file: Option<String>,
    pub private_key_file: Option<String>,
    pub key_version: Option<String>,
    pub salt_env: Option<String>,
    pub salt_file: Option<String>,
    pub callback_token_env: Option<String>,
    pub callback_token_file: Option<String>,
    pub platform_public_keys_file: Option<String>,
    pub callback_url: Option<String>,
    pub caller_tokens_file: Option<String>,
    pub budget: Budget,
}

impl Default for AppDraft {
    fn default() -> Self {
        Self {
            app_id: None,
            trade_systems: vec![TradeSystem::General.as_str().to_owned()],
            client_secret_env: None,
            client_secret_file: None,
            private_key_file: None,
            key_version: None,
            salt_env: None,
            salt_file: None,
            callback_token_env: None,
            callback_token_file: None,
            platform_public_keys_file: None,
            callback_url: None,
            caller_tokens_file: None,
            budget: Budget::default(),
        }
    }
}

const SYSTEMS: &str = "systems";
const PRIVATE_KEY: &str = "private_key_file";
const KEY_VERSION: &str = "key_version";
const ENV: &str = "client_secret_env";
const FILE: &str = "client_secret_file";
/// Every key in which a person may have put a secret.
const SECRET_KEYS: [&str; 3] = [ENV, FILE, "client_secret"];
/// The largest secret; Douyin's have 40 bytes.
const SECRET_BYTES_MAX: u64 = 4_096;
const KEYS: &str = "platform_public_keys_file";
const CALLBACK_URL: &str = "callback_url";
const CALLERS: &str = "caller_tokens_file";
/// The largest file of public keys; one key has under 1 KiB.
const KEYS_BYTES_MAX: u64 = 64 * 1024;
/// The largest file of tokens.
const TOKENS_BYTES_MAX: u64 = 64 * 1024;

/// Completes the apps; returns the warnings, and the tokens of their callers.
pub(super) fn complete(
    reading: &mut Reading,
    environment: &Environment,
) -> (Vec<String>, Vec<TokenFile>) {
    let (mut warnings, mut files) = (Vec::new(), Vec::new());
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
        let trade_systems = match trade_systems(&block.draft) {
            Ok(trade_systems) => trade_systems,
            Err(why) => {
                let at = at(reading, SYSTEMS);
                reading.problem(&at, format!("{} {why}", path(SYSTEMS)));
                Vec::new()
            }
        };
        let client_secret = match client_secret(&block.draft, environment) {
            Ok((client_secret, warning)) => {
                let (at, path) = (at(reading, FILE), path(FILE));
                warnings.extend(warning.map(|warning| format!("{at}: {path} {warning}")));
                Some(client_secret)
            }
            // A key whose value was refused has been reported.
            Err(_) if SECRET_KEYS.iter().any(|key| reading.bad.contains(&path(key))) => None,
            Err((key, why)) => {
                let at = at(reading, key);
                reading.problem(&at, format!("{} {why}", path(key)));
                None
            }
        };
        let signing_key = match signing_key(&block.draft, &trade_systems) {
            Ok(None) => None,
            Ok(Some((signing_key, warning))) => {
                let (at, path) = (at(reading, PRIVATE_KEY), path(PRIVATE_KEY));
                warnings.extend(warning.map(|warning| format!("{at}: {path} {warning}")));
                Some(signing_key)
            }
            // A key whose value was refused has been reported.
            Err(_)
                if [SYSTEMS, PRIVATE_KEY, KEY_VERSION]
                    .iter()
                    .any(|key| reading.bad.contains(&path(key))) =>
            {
                None
            }
            Err((key, why)) => {
                let at = at(reading, key);
                reading.problem(&at, format!("{} {why}", path(key)));
                None
            }
        };
        let mut salted = |names: &Secrets<'_>| match salted(names, environment, &trade_systems) {
            Ok(secret) => secret.map(|(secret, warning)| {
                let (at, path) = (at(reading, names.file.0), path(names.file.0));
                warnings.extend(warning.map(|warning| format!("{at}: {path} {warning}")));
                secret
            }),
            // A key whose value was refused has been reported.
            Err(_)
                if [SYSTEMS, names.env.0, names.file.0]
                    .iter()
                    .any(|key| reading.bad.contains(&path(key))) =>
            {
                None
            }
            Err((key, why)) => {
                let at = at(reading, key);
                reading.problem(&at, format!("{} {why}", path(key)));
                None
            }
        };
        let salt = salted(&Secrets {
            env: ("salt_env", block.draft.salt_env.as_deref()),
            file: ("salt_file", block.draft.salt_file.as_deref()),
        });
        let callback_token = salted(&Secrets {
            env: ("callback_token_env", block.draft.callback_token_env.as_deref()),
            file: ("callback_token_file", block.draft.callback_token_file.as_deref()),
        });
        let callbacks = callbacks(&block.draft, &trade_systems, callback_token.is_some());
        let (platform_keys, notify_url) = match callbacks {
            Ok(parts) => parts,
            // A key whose value was refused has been reported.
            Err(_) if [KEYS, CALLBACK_URL].iter().any(|key| reading.bad.contains(&path(key))) => {
                (None, None)
            }
            Err((key, why)) => {
                let at = at(reading, key);
                reading.problem(&at, format!("{} {why}", path(key)));
                (None, None)
            }
        };
        let tokens = match tokens(&block.draft) {
            Ok(None) => None,
            Ok(Some((tokens, warning))) => {
                let (at, path) = (at(reading, CALLERS), path(CALLERS));
                warnings.extend(warning.map(|warning| format!("{at}: {path} {warning}")));
                Some(tokens)
            }
            Err(why) => {
                let at = at(reading, CALLERS);
                reading.problem(&at, format!("{} names a file that {why}", path(CALLERS)));
                None
            }
        };
        if let (Some(app_id), Some(tokens)) = (app_id.clone(), tokens) {
            let (path, at) = (path(CALLERS), at(reading, CALLERS));
            files.push(TokenFile { app_id, tokens, path, at });
        }
        // Other mistakes have been reported. Then nothing is built from the configuration.
        if let (Some(app_id), Some(client_secret)) = (app_id, client_secret) {
            let budget = block.draft.budget;
            reading.config.apps.push(AppConfig {
                app_id,
                client_secret,
                budget,
                trade_systems,
                notify_url,
                platform_keys,
                signing_key,
                salt,
                callback_token,
            });
        }
        reading.apps.push(block);
    }
    if reading.apps.is_empty() && !reading.file_lost {
        let missing = "apps is empty: the gateway serves at least one app".to_owned();
        reading.problem_of_all(missing);
    }
    (warnings, files)
}

/// The trade systems of an app. A name that is none was refused.
fn trade_systems(app: &AppDraft) -> Result<Vec<TradeSystem>, String> {
    let mut all = Vec::new();
    for system in app.trade_systems.iter().filter_map(|name| TradeSystem::parse(name)) {
        if all.contains(&system) {
            return Err(format!("names {} a second time", system.as_str()));
        }
        all.push(system);
    }
    match all.is_empty() {
        true => Err("names no trade system: the app settles in at least one".to_owned()),
        false => Ok(all),
    }
}

/// A key that signs requests, and a warning that follows the key of its file.
type Key = (SigningKey, Option<&'static str>);

/// The key that signs requests, if a trade system of the app needs one; on an error
/// the key at fault, and why.
fn signing_key(
    app: &AppDraft,
    trade_systems: &[TradeSystem],
) -> Result<Option<Key>, (&'static str, String)> {
    let signed = trade_systems.iter().find(|system| is_signed(**system));
    match (signed, &app.private_key_file, &app.key_version) {
        (None, None, None) => Ok(None),
        (None, set, _) => {
            let key = if set.is_some() { PRIVATE_KEY } else { KEY_VERSION };
            let needing = TradeSystem::ALL.into_iter().filter(|system| is_signed(*system));
            let names: Vec<_> = needing.map(TradeSystem::as_str).collect();
            let (names, are) = (names.join(", "), "is set, and no system of the app needs it");
            Err((key, format!("{are}: add one of these to {SYSTEMS} ({names}), or remove it")))
        }
        (Some(_), Some(path), Some(version)) => {
            let names = |why: String| (PRIVATE_KEY, format!("names a file that {why}"));
            let (text, warning) =
                super::read_secret(Path::new(path), KEYS_BYTES_MAX).map_err(names)?;
            let key = SigningKey::parse(&text.into(), version);
            Ok(Some((key.map_err(|bad| names(bad.to_string()))?, warning)))
        }
        (Some(system), file, _) => {
            let key = if file.is_none() { PRIVATE_KEY } else { KEY_VERSION };
            Err((key, format!("is missing: calls of the system {} are signed", system.as_str())))
        }
    }
}

/// A secret for the trade systems whose calls are salted, and a warning; on an error the key at
/// fault, and why.
fn salted(
    names: &Secrets<'_>,
    environment: &Environment,
    trade_systems: &[TradeSystem],
) -> Result<Option<Secret>, (&'static str, String)> {
    let Secrets { env: (env, name), file: (file, _) } = *names;
    let needing = trade_systems.iter().find(|system| is_salted(**system));
    match (secret(names, environment)?, needing) {
        (found @ Some(_), Some(_)) | (found @ None, None) => Ok(found),
        (Some(_), None) => {
            let key = if name.is_some() { env } else { file };
            let systems = TradeSystem::ALL.into_iter().filter(|system| is_salted(*system));
            let systems: Vec<_> = systems.map(TradeSystem::as_str).collect();
            let (systems, are) = (systems.join(", "), "is set, and no system of the app needs it");
            Err((key, format!("{are}: add {systems} to {SYSTEMS}, or remove it")))
        }
        (None, Some(system)) => {
            let system = system.as_str();
            Err((env, format!("is missing, and so is {file}: the system {system} needs one")))
        }
    }
}

/// A secret, and a warning that follows the key of its file.
type Secret = (SecretString, Option<&'static str>);

/// The secret of an app; on an error the key at fault, and why.
fn client_secret(
    app: &AppDraft,
    environment: &Environment,
) -> Result<Secret, (&'static str, String)> {
    let env = (ENV, app.client_secret_env.as_deref());
    let secrets = Secrets { env, file: (FILE, app.client_secret_file.as_deref()) };
    let missing = || (ENV, format!("is missing, and so is {FILE}"));
    secret(&secrets, environment)?.ok_or_else(missing)
}

/// The two keys that can name a secret, with their values.
pub(super) struct Secrets<'a> {
    pub env: (&'static str, Option<&'a str>),
    pub file: (&'static str, Option<&'a str>),
}

/// The secret, if one is named; on an error the key at fault, and why.
pub(super) fn secret(
    Secrets { env: (env, name), file: (file, path) }: &Secrets<'_>,
    environment: &Environment,
) -> Result<Option<Secret>, (&'static str, String)> {
    match (path, name) {
        (Some(path), None) => secret_in(path).map(Some).map_err(|why| (*file, why)),
        (None, Some(name)) => {
            let why = if environment.is_garbled(name) { "UTF-8" } else { "set" };
            let lost = || (*env, format!("names a variable that is not {why}"));
            let text = environment.get(name).ok_or_else(lost)?;
            sound(text).map(|secret| Some((secret, None))).map_err(|why| (*env, why))
        }
        (Some(_), Some(_)) => {
            let one = format!("must stand alone: {env} and {file} exclude each other");
            Err((file, one))
        }
        (None, None) => Ok(None),
    }
}

/// The secret in a file; on an error what is wrong, in words that follow the key.
pub(super) fn secret_in(path: &str) -> Result<Secret, String> {
    let read = super::read_secret(Path::new(path), SECRET_BYTES_MAX);
    let (text, warning) = read.map_err(|why| format!("names a file that {why}"))?;
    Ok((sound(&text)?, warning))
}

fn sound(text: &str) -> Result<SecretString, String> {
    match text.trim() {
        "" => Err("names an empty secret".to_owned()),
        text if text.chars().any(char::is_control) => {
            Err("names a secret that contains a control character".to_owned())
        }
        text => Ok(SecretString::from(text.to_owned())),
    }
}

type CallbackParts = (Option<PlatformKeys>, Option<NotifyUrl>);

/// What an app needs for callbacks; on an error the key at fault, and why.
fn callbacks(
    app: &AppDraft,
    trade_systems: &[TradeSystem],
    has_token: bool,
) -> Result<CallbackParts, (&'static str, String)> {
    let keys = app.platform_public_keys_file.as_ref().map(|path| {
        let text = super::read_bounded(Path::new(path), KEYS_BYTES_MAX)?;
        PlatformKeys::parse(&text).map_err(|bad| bad.to_string())
    });
    let keys = keys.transpose().map_err(|why| (KEYS, format!("names a file that {why}")))?;
    // A value that is no address was refused.
    let url = app.callback_url.as_deref().and_then(|url| NotifyUrl::parse(url).ok());
    let limit = trade_systems.iter().filter_map(|it| Some((it, limits(*it).notify_url_bytes_max?)));
    let bytes = url.as_ref().map_or(0, |url| url.as_str().len());
    if let Some((system, bytes_max)) = limit.min_by_key(|(_, bytes_max)| *bytes_max)
        && bytes > bytes_max
    {
        let system = system.as_str();
        let why = format!("has {bytes} bytes; the system {system} takes at most {bytes_max}");
        return Err((CALLBACK_URL, why));
    }
    if url.is_some() && keys.is_none() && !has_token {
        let why = format!("is set and {KEYS} is not: what Douyin sends there would be refused");
        return Err((CALLBACK_URL, why));
    }
    Ok((keys, url))
}

/// The tokens of an app's callers, if there are any, and a warning.
fn tokens(app: &AppDraft) -> Result<Option<(token_files::Tokens, Option<&'static str>)>, String> {
    let Some(path) = &app.caller_tokens_file else { return Ok(None) };
    let (text, warning) = super::read_secret(Path::new(path), TOKENS_BYTES_MAX)?;
    let tokens = token_files::tokens(&text).map_err(|bad| bad.to_string())?;
    Ok(Some((tokens, warning)))
}
