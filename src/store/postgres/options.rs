//! Where a PostgreSQL database is, how it is reached, and the limits of what waits for it.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::RootCertStore;
use secrecy::SecretString;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::log_limit::limited;

/// How long a session waits for its password.
const PASSWORD_TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct PostgresOptions {
    pub address: PostgresAddress,
    pub password: Option<Password>,
    /// Who may have signed the server's certificate. Default: the authorities that the operating
    /// system trusts.
    pub authorities: Option<Arc<RootCertStore>>,
    /// Connections of this gateway. Default 16.
    pub connections_max: u32,
    /// Operations that may wait for a connection or run; one more is `Unavailable` at once. Default
    /// 4096.
    pub operations_max: usize,
    /// How long an operation waits for a connection that another one uses. Default 5 s.
    pub connection_wait: Duration,
    /// Uses nothing that not every engine that speaks PostgreSQL's protocol has, and no statement
    /// that outlives its transaction. Default: no.
    pub plain: bool,
    /// How long a permission to send lasts in every gateway on this store. Default 10 s.
    pub sends_last: Duration,
    /// Spaces attempts to reach a server that is down. Default: the machine's.
    pub clock: Clock,
    /// The store's time, instead of the server's, for tests. Default: none.
    pub time: Option<Clock>,
}

impl PostgresOptions {
    pub fn new(address: PostgresAddress) -> Self {
        Self {
            address,
            password: None,
            authorities: None,
            connections_max: 16,
            operations_max: 4_096,
            connection_wait: Duration::from_secs(5),
            plain: false,
            sends_last: Duration::from_secs(10),
            clock: Clock::system(),
            time: None,
        }
    }
}

/// The password of the moment. Each session asks for it, because it may be changed while the
/// gateway runs.
#[derive(Clone)]
pub struct Password {
    last: Arc<Mutex<SecretString>>,
    /// One thread at a time asks, so that a disk that hangs holds up no more than one.
    again: Option<Arc<tokio::sync::Mutex<Again>>>,
}

/// Tells the password of the moment, or why it cannot.
type Again = Box<dyn Fn() -> Result<SecretString, String> + Send>;

impl Password {
    pub fn fixed(password: SecretString) -> Self {
        Self { last: Arc::new(Mutex::new(password)), again: None }
    }

    /// `again` is asked before each session. If it cannot tell, the last password goes on to count.
    pub fn changing(
        password: SecretString,
        again: impl Fn() -> Result<SecretString, String> + Send + 'static,
    ) -> Self {
        let again: Again = Box::new(again);
        Self { again: Some(Arc::new(tokio::sync::Mutex::new(again))), ..Self::fixed(password) }
    }

    pub(super) async fn now(&self) -> SecretString {
        if let Some(again) = &self.again {
            match ask(Arc::clone(again)).await {
                Ok(password) => *self.last() = password,
                Err(why) => limited!(Peer, WARN, { %why },
                    "cannot read the password of the database again: using the last one"),
            }
        }
        self.last().clone()
    }

    fn last(&self) -> MutexGuard<'_, SecretString> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(again: Arc<tokio::sync::Mutex<Again>>) -> Result<SecretString, String> {
    let asking = async {
        let again = again.lock_owned().await;
        let asked = move || {
            let again: &Again = &again;
            again()
        };
        TaskTracker::new().spawn_blocking(asked).await
    };
    match timeout(PASSWORD_TIME_MAX, asking).await {
        Ok(told) => told.unwrap_or_else(|panic| Err(panic.to_string())),
        Err(_) => Err(format!("no answer within {} s", PASSWORD_TIME_MAX.as_secs())),
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// A URL that names a server, a user and a database, and holds no password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresAddress {
    url: String,
    config: Config,
    is_encrypted: bool,
}

/// Why a text is no [`PostgresAddress`]. It follows the key's path and repeats nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadAddress {
    #[error("must be postgres://user@host:port/database")]
    NoUrl,
    #[error("must name a user, a host and a database: postgres://user@host:port/database")]
    Incomplete,
    #[error("must not hold a password: it belongs into the file that store.password_file names")]
    Password,
    #[error("must say sslmode=verify-full or sslmode=disable")]
    SslMode,
    #[error("cannot be understood: {0}")]
    Other(String),
}

impl PostgresAddress {
    pub fn parse(url: &str) -> Result<Self, BadAddress> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(BadAddress::NoUrl);
        }
        // The library knows fewer words for it than PostgreSQL's own programs.
        let (before, parameters) = url.split_once('?').unwrap_or((url, ""));
        let (mode, others): (Vec<&str>, Vec<&str>) =
            parameters.split('&').partition(|parameter| parameter.starts_with("sslmode="));
        let rest = format!("{before}?{}", others.join("&"));
        let config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            BadAddress::Other(source.unwrap_or_else(|| error.to_string()))
        })?;
        if config.get_password().is_some() {
            return Err(BadAddress::Password);
        }
        let is_complete = config.get_user().is_some()
            && config.get_dbname().is_some()
            && !config.get_hosts().is_empty();
        if !is_complete {
            return Err(BadAddress::Incomplete);
        }
        let is_encrypted = match mode.as_slice() {
            [] => !config.get_hosts().iter().all(is_on_this_machine),
            ["sslmode=verify-full"] => true,
            ["sslmode=disable"] => false,
            _ => return Err(BadAddress::SslMode),
        };
        Ok(Self { url: url.to_owned(), config, is_encrypted })
    }

    /// Whether the server is proven by its certificate and nothing is sent in the clear. Only a
    /// server on this machine is reached without, unless the address says so.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether what is sent stays on this machine.
    pub fn is_on_this_machine(&self) -> bool {
        self.config.get_hosts().iter().all(is_on_this_machine)
    }

    /// With everything that a connection needs but a password.
    pub(super) fn config(&self) -> Config {
        let mut config = self.config.clone();
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        config
            .ssl_mode(if self.is_encrypted { SslMode::Require } else { SslMode::Disable })
            .application_name("settlement-gateway")
            .connect_timeout(DIAL_TIME_MAX)
            .tcp_user_timeout(SILENCE_MAX)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVES_MAX);
        config
    }
}

/// How long the way to one host of the server may take.
const DIAL_TIME_MAX: Duration = Duration::from_secs(2);

// A peer that is gone is noticed by the kernel within this time, with or without something on its
// way to it.
const SILENCE_MAX: Duration = Duration::from_secs(8);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(4);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVES_MAX: u32 = 4;

fn is_on_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
    }
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_user_host_and_database_and_no_password() {
        for (url, is_encrypted) in [
            ("postgres://gateway@db.internal:5432/settlement", true),
            ("postgres://gateway@db1,db2/settlement?sslmode=verify-full", true),
            ("postgres://gateway@db.internal/settlement?sslmode=disable", false),
            ("postgres://gateway@127.0.0.1/settlement", false),
            ("postgres://gateway@localhost,db2/settlement", true),
            ("postgres://gateway@127.0.0.1/settlement?sslmode=verify-full", true),
            ("postgresql://gateway@%2Frun%2Fpostgresql/settlement", false),
            ("postgresql:///settlement?host=/run/postgresql&user=gateway", false),
        ] {
            let address = PostgresAddress::parse(url).unwrap();
            assert_eq!((address.is_encrypted(), address.to_string().as_str()), (is_encrypted, url));
        }
        let refused = |url| PostgresAddress::parse(url).unwrap_err();
        assert_eq!(refused("data/settlement.db"), BadAddress::NoUrl);
        assert_eq!(refused("postgres://db.internal/settlement"), BadAddress::Incomplete);
        assert_eq!(refused("postgres://gateway@db.internal"), BadAddress::Incomplete);
        assert_eq!(refused("postgres://gateway:word@db/settlement"), BadAddress::Password);
        assert_eq!(refused("postgres://gateway@db/settlement?password=word"), BadAddress::Password);
        for mode in ["require", "prefer", "verify-ca", "disable&sslmode=disable", ""] {
            let url = format!("postgres://gateway@db/settlement?sslmode={mode}");
            assert_eq!(PostgresAddress::parse(&url), Err(BadAddress::SslMode), "{mode}");
        }
        let other = refused("postgres://gateway@db/settlement?novelty=1");
        assert!(other.to_string().contains("novelty"), "{other}");
    }

    #[test]
    fn the_kernel_notices_within_ten_seconds_that_a_server_is_gone() {
        let config = PostgresAddress::parse("postgres://gateway@db/settlement").unwrap().config();
        let (idle, more) = (config.get_keepalives_idle(), config.get_keepalives_interval());
        let silence = idle + more.unwrap() * config.get_keepalives_retries().unwrap();
        // With nothing on the way, with something on it, and while connecting.
        assert!(config.get_keepalives() && silence < Duration::from_secs(10), "{silence:?}");
        for longest in [config.get_tcp_user_timeout(), config.get_connect_timeout()] {
            assert!(longest.is_some_and(|longest| *longest < Duration::from_secs(10)));
        }
    }
}
