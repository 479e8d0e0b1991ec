//! The database, out of the keys of `[store]` and the files that they name.
//!
//! What it must not know: how a database is opened.

use secrecy::SecretString;

use super::apps::{Secrets, secret, secret_in};
use super::certificates::Certificates;
use super::environment::Environment;
use super::reading::Reading;
use super::{Config, way};
use crate::douyin::way::Authorities;
use crate::store::{Password, PostgresAddress, PostgresOptions, SqliteOptions};

/// What the file says of a PostgreSQL database; without a URL there is none.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub url: Option<String>,
    pub password_env: Option<String>,
    pub password_file: Option<String>,
    pub password: Option<SecretString>,
    pub ca_file: Option<String>,
    /// Who may have signed the server's certificate; `None`: the authorities that the operating
    /// system trusts.
    pub authorities: Option<Authorities>,
    pub connections_max: u32,
    pub plain: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: None,
            password_env: None,
            password_file: None,
            password: None,
            ca_file: None,
            authorities: None,
            connections_max: 16,
            plain: false,
        }
    }
}

/// The database that is configured.
pub enum Database {
    Sqlite(SqliteOptions),
    Postgres(Box<PostgresOptions>),
}

impl StoreConfig {
    /// A file is read again for each session.
    fn password(&self) -> Option<Password> {
        let known = self.password.clone()?;
        Some(match self.password_file.clone() {
            None => Password::fixed(known),
            Some(path) => Password::changing(known, move || {
                let read = secret_in(&path).map(|(password, _)| password);
                read.map_err(|why| format!("{PASSWORD_FILE} {why}"))
            }),
        })
    }
}

impl Config {
    pub fn database(&self) -> Database {
        // A value that is no address was refused.
        let address = self.store.url.as_deref().and_then(|url| PostgresAddress::parse(url).ok());
        let Some(address) = address else { return Database::Sqlite(self.sqlite.clone()) };
        Database::Postgres(Box::new(PostgresOptions {
            password: self.store.password(),
            authorities: self.store.authorities.as_ref().map(Authorities::store),
            connections_max: self.store.connections_max,
            plain: self.store.plain,
            sends_last: self.douyin.call_timeout,
            ..PostgresOptions::new(address)
        }))
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Database::Sqlite(options) => options.path.display().fmt(f),
            Database::Postgres(options) => options.address.fmt(f),
        }
    }
}

const URL: &str = "store.url";
const SQLITE: &str = "store.sqlite_path";
const CA: &str = "store.ca_file";
const PASSWORD_ENV: &str = "store.password_env";
const PASSWORD_FILE: &str = "store.password_file";

/// Completes the database; returns the warnings.
pub(super) fn complete(reading: &mut Reading, environment: &Environment) -> Vec<String> {
    let mut warnings = Vec::new();
    let store = reading.config.store.clone();
    let at = |reading: &Reading, path: &str| {
        reading.set.get(path).cloned().expect("a value without a default was set")
    };
    let Some(url) = &store.url else {
        for path in [PASSWORD_ENV, PASSWORD_FILE, CA] {
            if is_set(reading, path) && !reading.bad.contains(URL) {
                problem(reading, path, "is set and store.url is not");
            }
        }
        return warnings;
    };
    if is_set(reading, SQLITE) {
        problem(reading, URL, "and store.sqlite_path (or --data-dir) exclude each other");
    }
    let encrypted = PostgresAddress::parse(url)
        .map(|address| (address.is_encrypted(), address.is_on_this_machine()));
    if let Ok((false, false)) = encrypted {
        let at = at(reading, URL);
        warnings.push(format!(
            "{at}: {URL} says sslmode=disable: a peer that can change what passes between this \
             machine and the server can forge settles"
        ));
    }
    let secrets = Secrets {
        env: (PASSWORD_ENV, store.password_env.as_deref()),
        file: (PASSWORD_FILE, store.password_file.as_deref()),
    };
    match secret(&secrets, environment) {
        Ok(Some((password, warning))) => {
            reading.config.store.password = Some(password);
            warnings.extend(warning.map(|warning| {
                format!("{}: {PASSWORD_FILE} {warning}", at(reading, PASSWORD_FILE))
            }));
        }
        // The server may know the user by other means.
        Ok(None) => {}
        Err((path, why)) => problem(reading, path, &why),
    }
    if let Some(path) = &store.ca_file {
        match way::authorities_of(path) {
            Ok((authorities, all)) => {
                reading.config.store.authorities = Some(authorities);
                reading.certificates.push(Certificates::authorities(CA, all));
            }
            Err(why) => problem(reading, CA, &format!("names a file that {why}")),
        }
        if let Ok((false, _)) = encrypted {
            problem(reading, CA, "is set, and the connection to store.url is not encrypted");
        }
    }
    warnings
}

fn is_set(reading: &Reading, path: &str) -> bool {
    reading.set.contains_key(path)
}

fn problem(reading: &mut Reading, path: &str, why: &str) {
    let at = reading.set.get(path).cloned().expect("a value without a default was set");
    reading.problem(&at, format!("{path} {why}"));
    reading.bad.insert(path.to_owned());
}
