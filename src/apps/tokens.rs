//! The tokens of an app's callers, as a file lists them.
//!
//! What it must not know: how a call brings its token.

use std::collections::HashSet;
use std::fmt;

use ring::digest::{SHA256, digest};

/// The shortest token, too long to be guessed.
const TOKEN_BYTES_MIN: usize = 32;
const TOKEN_BYTES_MAX: usize = 256;
/// The most tokens of one app: one for each service that calls, and the next ones of a rotation.
const TOKENS_MAX: usize = 64;

/// The tokens that are good for one app.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerTokens(HashSet<Fingerprint>);

/// What is kept of a token: the configuration holds no token, and a wrong token that is nearly
/// right takes no longer to look up than any other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

/// Why a list of tokens is refused. The text follows the words "names a file that" and repeats no
/// token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadTokens {
    #[error("holds no token")]
    None,
    #[error("holds more than {TOKENS_MAX} tokens")]
    TooMany,
    #[error(
        "has a line {line} that is no token: {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} of the \
         characters A-Z, a-z, 0-9, -, ., _, ~, +, / and ="
    )]
    Line { line: usize },
}

impl CallerTokens {
    /// One token per line. Empty lines and lines that begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, BadTokens> {
        let mut tokens = HashSet::new();
        for (line, token) in (1..).zip(text.lines().map(str::trim)) {
            if token.is_empty() || token.starts_with('#') {
                continue;
            }
            let of_a_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
            let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
            if !fits || !token.chars().all(of_a_token) {
                return Err(BadTokens::Line { line });
            }
            tokens.insert(Fingerprint::of(token));
        }
        match tokens.len() {
            0 => Err(BadTokens::None),
            1..=TOKENS_MAX => Ok(Self(tokens)),
            _ => Err(BadTokens::TooMany),
        }
    }

    /// The tokens of all apps; `None` if one of them has no tokens.
    pub(crate) fn of_all<'a>(apps: impl Iterator<Item = Option<&'a Self>>) -> Option<Self> {
        let mut all = HashSet::new();
        for tokens in apps {
            all.extend(tokens?.0.iter().copied());
        }
        Some(Self(all))
    }

    pub(crate) fn contains(&self, token: Fingerprint) -> bool {
        self.0.contains(&token)
    }
}

impl fmt::Debug for CallerTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerTokens({})", self.0.len())
    }
}

impl Fingerprint {
    pub(crate) fn of(token: &str) -> Self {
        let digest = digest(&SHA256, token.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tokens_has_some_and_nothing_else() {
        let list =
            |count: usize| (0..count).map(|number| format!("{number:0>32}\n")).collect::<String>();
        assert_eq!(CallerTokens::parse("\n# none\n"), Err(BadTokens::None));
        assert!(CallerTokens::parse(&list(TOKENS_MAX)).is_ok());
        assert_eq!(CallerTokens::parse(&list(TOKENS_MAX + 1)), Err(BadTokens::TooMany));
        let (short, long) = ("x".repeat(TOKEN_BYTES_MIN - 1), "x".repeat(TOKEN_BYTES_MAX + 1));
        for wrong in [
            &short,
            &long,
            &"é".repeat(TOKEN_BYTES_MIN),
            &format!("{} #", "a".repeat(TOKEN_BYTES_MIN)),
        ] {
            let text = format!("{}\n{wrong}", "a".repeat(TOKEN_BYTES_MIN));
            let bad = CallerTokens::parse(&text).unwrap_err();
            assert_eq!(bad, BadTokens::Line { line: 2 }, "{wrong}");
        }
    }
}
