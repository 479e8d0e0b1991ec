//! Why an operation failed, by what is durable of it.

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::super::Error;
use super::super::columns::Unreadable;
use super::super::moving::Closed;

/// Why one statement, or one transaction, failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is no connection: the server was asked nothing.
    Down(String),
    /// The server refused the statement. Nothing of it is durable.
    Refused { code: SqlState, text: String },
    /// The connection was lost, or no answer came in time.
    Lost(String),
    /// No gateway may work on the store. Nothing was changed.
    Closed(Closed),
    /// Names the column and never the value, which may be a caller's.
    Unreadable(String),
}

impl Fault {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(told) => Self::told(told.parsed_severity(), told.code(), text(told)),
            None => Fault::Lost(chain(error)),
        }
    }

    /// An error that ends the session may follow a commit whose answer was on its way. Engines of
    /// another kind, and what stands before a server, also say in an error that they do not know
    /// what became of the commit (40003), or that they lost the server meanwhile (08…).
    fn told(severity: Option<Severity>, code: &SqlState, text: String) -> Self {
        let is_unsure =
            *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN || code.code().starts_with("08");
        if severity == Some(Severity::Error) && !is_unsure {
            Fault::Refused { code: code.clone(), text }
        } else {
            Fault::Lost(text)
        }
    }

    /// The same, if nothing was to be done yet.
    pub(super) fn before_anything(self) -> Self {
        match self {
            Fault::Lost(why) => Fault::Down(why),
            Fault::Down(_) | Fault::Refused { .. } | Fault::Closed(_) | Fault::Unreadable(_) => {
                self
            }
        }
    }

    /// Whether nothing was done and the same statement may succeed now: another writer was in the
    /// way, or the session.
    pub(super) fn is_passing(&self) -> bool {
        let Fault::Refused { code, .. } = self else { return false };
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
            || self.is_of_session()
    }

    /// Whether another connection may have more luck.
    pub(super) fn is_of_session(&self) -> bool {
        match self {
            Fault::Lost(_) => true,
            Fault::Refused { code, .. } => [
                SqlState::READ_ONLY_SQL_TRANSACTION,
                SqlState::UNDEFINED_PSTATEMENT,
                SqlState::DUPLICATE_PSTATEMENT,
                // A migration has changed what a planned statement returns.
                SqlState::FEATURE_NOT_SUPPORTED,
            ]
            .contains(code),
            Fault::Down(_) | Fault::Closed(_) | Fault::Unreadable(_) => false,
        }
    }

    /// Whether a statement that was planned is not there, or another one is.
    pub(super) fn is_of_pooler(&self) -> bool {
        let codes = [SqlState::UNDEFINED_PSTATEMENT, SqlState::DUPLICATE_PSTATEMENT];
        matches!(self, Fault::Refused { code, .. } if codes.contains(code))
    }

    pub(super) fn is_unique_violation(&self) -> bool {
        matches!(self, Fault::Refused { code, .. } if *code == SqlState::UNIQUE_VIOLATION)
    }

    /// What it means after a statement that only reads, or before a transaction was to be
    /// committed.
    pub(super) fn nothing_durable(self) -> Error {
        match self {
            Fault::Down(why) | Fault::Lost(why) => Error::Unavailable(why),
            Fault::Refused { code, text } => Error::Unavailable(advised(&code, text)),
            Fault::Closed(closed) => Error::Unavailable(closed.to_string()),
            Fault::Unreadable(what) => Error::Unreadable(what),
        }
    }

    /// What it means after a statement that writes and commits.
    pub(super) fn perhaps_durable(self) -> Error {
        match self {
            Fault::Lost(why) => Error::InDoubt(why),
            Fault::Down(_) | Fault::Refused { .. } | Fault::Closed(_) | Fault::Unreadable(_) => {
                self.nothing_durable()
            }
        }
    }
}

impl From<Unreadable> for Fault {
    fn from(Unreadable(what): Unreadable) -> Self {
        Fault::Unreadable(what)
    }
}

/// What the operator can do about it.
fn advised(code: &SqlState, text: String) -> String {
    let advice = match *code {
        SqlState::READ_ONLY_SQL_TRANSACTION => "it takes no writes: connect to the primary",
        SqlState::UNDEFINED_PSTATEMENT | SqlState::DUPLICATE_PSTATEMENT => {
            "a pooler is in between: set store.plain"
        }
        SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN => {
            "its schema lacks a part: put back what was taken out of it"
        }
        SqlState::INSUFFICIENT_PRIVILEGE => "the user must own the tables",
        _ => return text,
    };
    format!("{text} ({advice})")
}

/// The server's own words, without its detail, which may quote a value.
pub(super) fn text(told: &DbError) -> String {
    format!("the server says: {} ({})", told.message(), told.code().code())
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_that_is_sure_of_itself_means_that_nothing_is_durable() {
        let means = |severity, code: &str| {
            Fault::told(severity, &SqlState::from_code(code), String::new()).perhaps_durable()
        };
        let [error, fatal] = [Some(Severity::Error), Some(Severity::Fatal)];
        for code in ["23505", "40001", "40P01", "57014", "55P03", "25006", "XX000"] {
            assert!(matches!(means(error, code), Error::Unavailable(_)), "{code}");
            assert!(matches!(means(fatal, code), Error::InDoubt(_)), "{code}");
        }
        // "statement completion unknown", "transaction resolution unknown", "connection failure"
        for code in ["40003", "08007", "08006", "08P01"] {
            assert!(matches!(means(error, code), Error::InDoubt(_)), "{code}");
        }
        assert!(matches!(means(None, "23505"), Error::InDoubt(_)), "a severity of its own");
    }
}
