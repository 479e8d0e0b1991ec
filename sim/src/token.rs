//! client_token: who may fetch a token, and which tokens are valid.
//!
//! It does not know the books. Every `now_ms` is unix time in milliseconds.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::SimConfig;
use super::answers::Refusal;
use super::choices::Choices;
use super::endpoint::Route;
use super::fields::Fields;
use super::ids;
use super::weather::Weather;

const PARAMETER: i64 = 10_002;
const CLIENT_KEY_UNKNOWN: i64 = 10_003;
const SECRET_WRONG: i64 = 10_013;
const TOO_FREQUENT: i64 = 10_020;

/// More calls than this in the window answer 10020.
const CALLS_MAX: usize = 500;
const CALLS_WINDOW_MS: u64 = 300_000;
/// A bound on memory; a token older than this many is unknown instead of expired.
const REMEMBERED_MAX: usize = 64;

/// The tokens of every app.
#[derive(Debug)]
pub(super) struct Tokens {
    seed: u64,
    expires_in_s: u64,
    /// Some tokens die early because of it.
    pub(super) weather: Weather,
    apps: BTreeMap<String, App>,
}

/// What a token call answers, before it is wrapped.
pub(super) type Fetched = Result<Value, Refusal>;

struct App {
    client_secret: String,
    /// Newest last.
    issued: VecDeque<Issued>,
    issued_total: u64,
    /// When the calls in the window were made.
    calls: VecDeque<u64>,
    fetched: u64,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("issued_total", &self.issued_total).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Issued {
    token: String,
    expires_at_ms: u64,
}

impl Tokens {
    pub(super) fn new(config: &SimConfig) -> Self {
        let mut tokens = Self {
            seed: config.seed,
            expires_in_s: config.token_expires_in_s,
            weather: Weather::new(config),
            apps: BTreeMap::new(),
        };
        for app in &config.apps {
            tokens.add_app(&app.app_id, &app.client_secret);
        }
        tokens
    }

    /// Adds an app, or changes the secret of the one with this id.
    pub(super) fn add_app(&mut self, app_id: &str, client_secret: &str) {
        if let Some(app) = self.apps.get_mut(app_id) {
            client_secret.clone_into(&mut app.client_secret);
            return;
        }
        let app = App {
            client_secret: client_secret.to_owned(),
            issued: VecDeque::new(),
            issued_total: 0,
            calls: VecDeque::new(),
            fetched: 0,
        };
        self.apps.insert(app_id.to_owned(), app);
    }

    /// Answers one call; `Ok` is the answer's `data`.
    pub(super) fn fetch(&mut self, now_ms: u64, body: &[u8], choices: &Choices) -> Fetched {
        let (app_id, client_secret) = read(body)?;
        let app = self.apps.get_mut(&app_id).ok_or_else(|| Refusal::new(CLIENT_KEY_UNKNOWN))?;
        app.count_call(now_ms)?;
        if app.client_secret != client_secret {
            return Err(Refusal::new(SECRET_WRONG));
        }
        app.fetched += 1;
        let expires_in_s = self.expires_in_s;
        let token = self.issue(now_ms, &app_id, choices).unwrap_or_default();
        Ok(json!({ "access_token": token, "expires_in": expires_in_s }))
    }

    /// Another system of the company fetches with the same key. `None`: no such app.
    pub(super) fn steal(&mut self, now_ms: u64, app_id: &str, choices: &Choices) -> Option<String> {
        let app = self.apps.get_mut(app_id)?;
        // Beyond the quota there is no new token for any system; then this one gets none either.
        app.count_call(now_ms).ok()?;
        self.issue(now_ms, app_id, choices)
    }

    /// Ends every token of an app now, as if its time were over.
    pub(super) fn expire_all(&mut self, now_ms: u64, app_id: &str) {
        for issued in self.apps.get_mut(app_id).into_iter().flat_map(|app| &mut app.issued) {
            issued.expires_at_ms = issued.expires_at_ms.min(now_ms);
        }
    }

    /// The app that a good token belongs to.
    pub(super) fn owner(
        &self,
        now_ms: u64,
        token: &str,
        choices: &Choices,
    ) -> Result<String, Refusal> {
        let all = self.apps.iter().flat_map(|(id, app)| app.issued.iter().map(move |i| (id, i)));
        match all.into_iter().find(|(_, issued)| issued.token == token) {
            None => Err(Refusal::new(choices.token_invalid_err_no)),
            Some((_, issued)) if issued.expires_at_ms <= now_ms => {
                Err(Refusal::new(choices.token_expired_err_no))
            }
            Some((app_id, _)) => Ok(app_id.clone()),
        }
    }

    pub(super) fn knows(&self, app_id: &str) -> bool {
        self.apps.contains_key(app_id)
    }

    pub(super) fn app_ids(&self) -> Vec<String> {
        self.apps.keys().cloned().collect()
    }

    /// How many tokens of an app are good now.
    pub(super) fn alive(&self, now_ms: u64, app_id: &str) -> usize {
        let issued = self.apps.get(app_id).into_iter().flat_map(|app| &app.issued);
        issued.filter(|issued| issued.expires_at_ms > now_ms).count()
    }

    /// Per app: tokens fetched over the wire and handed out.
    pub(super) fn fetched(&self) -> BTreeMap<String, u64> {
        self.apps.iter().map(|(id, app)| (id.clone(), app.fetched)).collect()
    }

    /// A new token shortens the life of the last one and ends all older ones.
    fn issue(&mut self, now_ms: u64, app_id: &str, choices: &Choices) -> Option<String> {
        let app = self.apps.get_mut(app_id)?;
        for (age, issued) in app.issued.iter_mut().rev().enumerate() {
            let ends_at_ms = if age == 0 { now_ms + choices.token_grace_ms } else { now_ms };
            issued.expires_at_ms = issued.expires_at_ms.min(ends_at_ms);
        }
        let token = ids::token(self.seed, app_id, app.issued_total);
        let promised_ms = self.expires_in_s * 1000;
        let life_ms = self.weather.token_life_ms(app_id, app.issued_total, promised_ms);
        app.issued_total += 1;
        app.issued.push_back(Issued { token: token.clone(), expires_at_ms: now_ms + life_ms });
        if app.issued.len() > REMEMBERED_MAX {
            app.issued.pop_front();
        }
        Some(token)
    }
}

impl App {
    fn count_call(&mut self, now_ms: u64) -> Result<(), Refusal> {
        while self.calls.front().is_some_and(|&at_ms| at_ms + CALLS_WINDOW_MS <= now_ms) {
            self.calls.pop_front();
        }
        if self.calls.len() >= CALLS_MAX {
            return Err(Refusal::new(TOO_FREQUENT));
        }
        self.calls.push_back(now_ms);
        Ok(())
    }
}

/// The key and the secret. Any error in the body itself is a parameter error.
fn read(body: &[u8]) -> Result<(String, String), Refusal> {
    let listed = ["client_key", "client_secret", "grant_type"];
    let as_parameter = |refusal: Refusal| Refusal::with(PARAMETER, refusal.detail);
    let fields = Fields::read(body, &listed, Route::TOKEN.reading()).map_err(as_parameter)?;
    let client_key = fields.required("client_key", 64).map_err(as_parameter)?;
    let client_secret = fields.required("client_secret", 256).map_err(as_parameter)?;
    let grant_type = fields.required("grant_type", 64).map_err(as_parameter)?;
    if grant_type != "client_credential" {
        return Err(Refusal::with(PARAMETER, "grant_type is not client_credential"));
    }
    Ok((client_key, client_secret))
}
