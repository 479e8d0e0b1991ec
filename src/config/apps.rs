//! The apps: each block complete, each app once, each secret read from where it is kept.
//!
//! No problem and no warning repeats a secret, nor the value that should name one, because people
//! put the secret itself there.

use std::collections::BTreeSet;
use std::path::Path;

use secrecy::SecretString;

use super::callers::TokenFile;
use super::environment::Environment;
use super::reading::{Block, Reading, SetBy};
use super::token_files;
use crate::apps::{AppConfig, Budget};
use crate::douyin::{Credentials, PlatformKeys, SigningKey, credentials, limits};
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
/// The largest secret; Douyin's have 40 bytes.
const SECRET_BYTES_MAX: u64 = 4_096;
const KEYS: &str = "platform_public_keys_file";
const CALLBACK_URL: &str = "callback_url";
const CALLERS: &str = "caller_tokens_file";
/// The largest file of public keys; one key has under 1 KiB.
const KEYS_BYTES_MAX: u64 = 64 * 1024;
/// The largest file of tokens.
const TOKENS_BYTES_MAX: u64 = 64 * 1024;

/// A key, and what is wrong with it in words that follow its path.
type Wrong = (&'static str, String);

/// One block while it is completed.
struct Completing<'a> {
    reading: &'a mut Reading,
    warnings: &'a mut Vec<String>,
    block: &'a Block<AppDraft>,
    number: usize,
}

impl Completing<'_> {
    fn path(&self, key: &str) -> String {
        format!("apps[{}].{key}", self.number)
    }

    fn is_bad(&self, key: &str) -> bool {
        self.reading.bad.contains(&self.path(key))
    }

    /// Where a key was set, or the beginning of its block.
    fn at(&self, key: &str) -> SetBy {
        self.reading.set.get(&self.path(key)).unwrap_or(&self.block.at).clone()
    }

    fn problem(&mut self, key: &str, why: &str) {
        let (at, path) = (self.at(key), self.path(key));
        self.reading.problem(&at, format!("{path} {why}"));
    }

    fn warn(&mut self, key: &str, warning: Option<&str>) {
        let (at, path) = (self.at(key), self.path(key));
        self.warnings.extend(warning.map(|warning| format!("{at}: {path} {warning}")));
    }

    /// What was made of some keys. Of a key whose value was refused that has been reported, and
    /// nothing more is said of any of them.
    fn made<T>(&mut self, keys: &[&str], made: Result<Option<T>, Wrong>) -> Option<T> {
        match made {
            Ok(made) => made,
            Err((key, why)) => {
                if !keys.iter().any(|key| self.is_bad(key)) {
                    self.problem(key, &why);
                }
                None
            }
        }
    }

    /// The same of a secret, instead of whose keys a person may have written the secret itself.
    fn secret(
        &mut self,
        names: &Secrets<'_>,
        made: Result<Option<Secret>, Wrong>,
    ) -> Option<SecretString> {
        let (env, file) = (names.env.0, names.file.0);
        self.read(file, &[SYSTEMS, env, file, env.trim_end_matches("_env")], made)
    }

    /// The same of something that was read from a file, perhaps with a warning about that.
    fn read<T>(
        &mut self,
        file: &str,
        keys: &[&str],
        made: Result<Option<(T, Option<&'static str>)>, Wrong>,
    ) -> Option<T> {
        let (made, warning) = self.made(keys, made)?;
        self.warn(file, warning);
        Some(made)
    }
}

/// Completes the apps; returns the warnings, and the tokens of their callers.
pub(super) fn complete(
    reading: &mut Reading,
    environment: &Environment,
) -> (Vec<String>, Vec<TokenFile>) {
    let (mut warnings, mut files) = (Vec::new(), Vec::new());
    let mut known = BTreeSet::new();
    for (number, block) in std::mem::take(&mut reading.apps).into_iter().enumerate() {
        let (draft, warnings) = (&block.draft, &mut warnings);
        let mut app = Completing { reading: &mut *reading, warnings, block: &block, number };
        if draft.app_id.is_none() && !app.is_bad("app_id") {
            app.problem("app_id", "is missing");
        }
        if let Some(app_id) = draft.app_id.clone().filter(|app_id| !known.insert(app_id.clone())) {
            app.problem("app_id", &format!("is {app_id} a second time"));
        }
        let systems = trade_systems(draft).map(Some);
        let systems = app.made(&[], systems).unwrap_or_default();
        let names = draft.client_secret();
        let client_secret = wanted(&names, needs_token, environment, &systems);
        let client_secret = app.secret(&names, client_secret);
        let key = signing_key(draft, &systems);
        let signing_key = app.read(PRIVATE_KEY, &[SYSTEMS, PRIVATE_KEY, KEY_VERSION], key);
        let names = draft.salt();
        // It also signs the question what is left of an order, which may be asked in every system.
        let salt = match app.reading.config.grpc.unsettled_amount_elsewhere {
            true => wanted(&names, needs_salt, environment, &systems),
            false => wanted_only(&names, needs_salt, environment, &systems),
        };
        let salt = app.secret(&names, salt);
        let names = draft.callback_token();
        let callback_token = wanted_only(&names, needs_salt, environment, &systems);
        let callback_token = app.secret(&names, callback_token);
        let callbacks = callbacks(draft, &systems, callback_token.is_some()).map(Some);
        let callbacks = app.made(&[KEYS, CALLBACK_URL], callbacks);
        let (platform_keys, notify_url) = callbacks.unwrap_or_default();
        let tokens = app.read(CALLERS, &[], tokens(draft));
        if let (Some(app_id), Some(tokens)) = (draft.app_id.clone(), tokens) {
            files.push(TokenFile { app_id, tokens, path: app.path(CALLERS), at: app.at(CALLERS) });
        }
        // Other mistakes have been reported. Then nothing is built from the configuration.
        if let Some(app_id) = draft.app_id.clone() {
            reading.config.apps.push(AppConfig {
                app_id,
                client_secret,
                budget: draft.budget,
                trade_systems: systems,
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

impl AppDraft {
    fn client_secret(&self) -> Secrets<'_> {
        Secrets {
            env: (ENV, self.client_secret_env.as_deref()),
            file: (FILE, self.client_secret_file.as_deref()),
        }
    }

    fn salt(&self) -> Secrets<'_> {
        Secrets {
            env: ("salt_env", self.salt_env.as_deref()),
            file: ("salt_file", self.salt_file.as_deref()),
        }
    }

    fn callback_token(&self) -> Secrets<'_> {
        Secrets {
            env: ("callback_token_env", self.callback_token_env.as_deref()),
            file: ("callback_token_file", self.callback_token_file.as_deref()),
        }
    }
}

/// The trade systems of an app. A name that is none was refused.
fn trade_systems(app: &AppDraft) -> Result<Vec<TradeSystem>, Wrong> {
    let mut all = Vec::new();
    for system in app.trade_systems.iter().filter_map(|name| TradeSystem::parse(name)) {
        if all.contains(&system) {
            return Err((SYSTEMS, format!("names {} a second time", system.as_str())));
        }
        all.push(system);
    }
    let none = "names no trade system: the app settles in at least one";
    if all.is_empty() { Err((SYSTEMS, none.to_owned())) } else { Ok(all) }
}

fn needs_token(system: TradeSystem) -> bool {
    credentials(system) == Credentials::Token
}

fn needs_key(system: TradeSystem) -> bool {
    credentials(system) == Credentials::Signature
}

fn needs_salt(system: TradeSystem) -> bool {
    credentials(system) == Credentials::Salt
}

/// What is said of something that is set and that no system of the app needs.
fn unneeded(needs: fn(TradeSystem) -> bool) -> String {
    let systems = TradeSystem::ALL.into_iter().filter(|system| needs(*system));
    let systems = systems.map(TradeSystem::as_str).collect::<Vec<_>>().join(" or ");
    format!("is set, and no system of the app needs it: add {systems} to {SYSTEMS}, or remove it")
}

/// A key that signs requests, and a warning that follows the key of its file.
type Key = (SigningKey, Option<&'static str>);

/// The key that signs requests, if a trade system of the app needs one.
fn signing_key(app: &AppDraft, trade_systems: &[TradeSystem]) -> Result<Option<Key>, Wrong> {
    let signed = trade_systems.iter().find(|system| needs_key(**system));
    match (signed, &app.private_key_file, &app.key_version) {
        (None, None, None) => Ok(None),
        (None, Some(_), _) => Err((PRIVATE_KEY, unneeded(needs_key))),
        (None, None, Some(_)) => Err((KEY_VERSION, unneeded(needs_key))),
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

/// A secret, and a warning that follows the key of its file.
type Secret = (SecretString, Option<&'static str>);

/// A secret that some trade systems need. If none of the app's does, it may be there all the same:
/// with the client secret, settles of a system that was taken out are followed to their end.
fn wanted(
    names: &Secrets<'_>,
    needs: fn(TradeSystem) -> bool,
    environment: &Environment,
    trade_systems: &[TradeSystem],
) -> Result<Option<Secret>, Wrong> {
    let Secrets { env: (env, _), file: (file, _) } = *names;
    let found = secret(names, environment)?;
    match trade_systems.iter().find(|system| needs(**system)) {
        Some(system) if found.is_none() => {
            let system = system.as_str();
            Err((env, format!("is missing, and so is {file}: the system {system} needs one")))
        }
        Some(_) | None => Ok(found),
    }
}

/// The same for a secret that must be there for them only.
fn wanted_only(
    names: &Secrets<'_>,
    needs: fn(TradeSystem) -> bool,
    environment: &Environment,
    trade_systems: &[TradeSystem],
) -> Result<Option<Secret>, Wrong> {
    let Secrets { env: (env, name), file: (file, _) } = *names;
    let found = wanted(names, needs, environment, trade_systems)?;
    if found.is_some() && !trade_systems.iter().any(|system| needs(*system)) {
        let key = if name.is_some() { env } else { file };
        return Err((key, unneeded(needs)));
    }
    Ok(found)
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
) -> Result<Option<Secret>, Wrong> {
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
) -> Result<CallbackParts, Wrong> {
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
fn tokens(app: &AppDraft) -> Result<Option<(token_files::Tokens, Option<&'static str>)>, Wrong> {
    let Some(path) = &app.caller_tokens_file else { return Ok(None) };
    let names = |why: String| (CALLERS, format!("names a file that {why}"));
    let (text, warning) = super::read_secret(Path::new(path), TOKENS_BYTES_MAX).map_err(names)?;
    let tokens = token_files::tokens(&text).map_err(|bad| names(bad.to_string()))?;
    Ok(Some((tokens, warning)))
}
