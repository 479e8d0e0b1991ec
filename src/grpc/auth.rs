//! Who may call for which app: a bearer token (RFC 6750) in the metadata of a call, held against
//! the tokens of the app that the call is about.
//!
//! What it must not know: what an RPC does.

use std::collections::{HashMap, HashSet};
use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};

use crate::settle::AppId;

/// The shortest token: what nobody guesses.
const TOKEN_BYTES_MIN: usize = 32;
const TOKEN_BYTES_MAX: usize = 256;
/// The most tokens of one app: one for each service that calls, and the next ones of a rotation.
const TOKENS_MAX: usize = 64;

/// The tokens that are good for one app.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerTokens(HashSet<Fingerprint>);

/// What is kept of a token, so that the configuration holds none; and a wrong one that is nearly
/// right takes no longer to look up than any other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Fingerprint([u8; 32]);

/// Why a list of tokens is none. It follows the words "names a file that", and repeats no token.
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

/// The token that a call came with, if it came with one.
#[derive(Clone, Copy)]
pub(super) struct Bearer(Option<Fingerprint>);

/// Why a call is turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// It has no token, or one that is nobody's.
    Unauthenticated,
    /// Its token is another app's.
    Forbidden,
}

impl CallerTokens {
    /// One token in each line. Empty lines, and those that begin with `#`, count for nothing.
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
}

impl CallerTokens {
    /// Those of all the apps; `None` if one of them has no tokens.
    pub(super) fn of_all<'a>(
        apps: impl Iterator<Item = &'a AppId>,
        callers: &HashMap<AppId, CallerTokens>,
    ) -> Option<Self> {
        let mut all = HashSet::new();
        for app_id in apps {
            all.extend(callers.get(app_id)?.0.iter().copied());
        }
        // A token of an app that is not served is known all the same.
        all.extend(callers.values().flat_map(|tokens| tokens.0.iter().copied()));
        Some(Self(all))
    }
}

impl fmt::Debug for CallerTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerTokens({})", self.0.len())
    }
}

impl Fingerprint {
    fn of(token: &str) -> Self {
        let digest = digest(&SHA256, token.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl Bearer {
    /// `authorization: Bearer …`, once.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Self(None) };
        let value = value.to_str().unwrap_or_default();
        let token =
            value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        Self(token.map(|(_, token)| Fingerprint::of(token.trim())))
    }

    /// Whether it is one of these.
    pub(super) fn is_of(self, tokens: &CallerTokens) -> bool {
        self.0.is_some_and(|token| tokens.0.contains(&token))
    }

    /// Whether the call may be about this app. An app without tokens is everybody's.
    pub(super) fn admit(
        self,
        app_id: &AppId,
        callers: &HashMap<AppId, CallerTokens>,
    ) -> Result<(), Denied> {
        let Some(own) = callers.get(app_id) else { return Ok(()) };
        match self.0 {
            Some(token) if own.0.contains(&token) => Ok(()),
            Some(token) if callers.values().any(|others| others.0.contains(&token)) => {
                Err(Denied::Forbidden)
            }
            Some(_) | None => Err(Denied::Unauthenticated),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn token(letter: char) -> String {
        letter.to_string().repeat(TOKEN_BYTES_MIN)
    }

    fn tokens(text: &str) -> CallerTokens {
        CallerTokens::parse(text).unwrap()
    }

    fn admitted(headers: &[&str], app_id: &str) -> Result<(), Denied> {
        let id = |text: &str| AppId::parse(text).unwrap();
        let ours = format!("# shop, before and after\n{}\n\n {} \r\n", token('a'), token('b'));
        let callers = [("tt1", tokens(&ours)), ("tt2", tokens(&token('c')))];
        let callers = callers.map(|(app_id, tokens)| (id(app_id), tokens)).into();
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(AUTHORIZATION, value.parse().unwrap());
        }
        Bearer::of(&map).admit(&id(app_id), &callers)
    }

    #[test]
    fn each_token_of_an_app_is_good_for_it_and_for_no_other() {
        let [a, b, c] = ['a', 'b', 'c'].map(|letter| format!("Bearer {}", token(letter)));
        for good in [&a, &b, &a.replace("Bearer", "bearer"), &a.replace(' ', "   ")] {
            assert_eq!(admitted(&[good], "tt1"), Ok(()), "{good}");
        }
        assert_eq!(admitted(&[&a], "tt2"), Err(Denied::Forbidden));
        assert_eq!(admitted(&[&c], "tt1"), Err(Denied::Forbidden));
        assert_eq!(admitted(&[&c], "tt2"), Ok(()));
    }

    #[test]
    fn whoever_shows_no_token_that_is_known_is_nobody() {
        let a = token('a');
        let no_tokens = [
            a.clone(),
            format!("Basic {a}"),
            format!("Bearer {a}a"),
            "Bearer ".into(),
            String::new(),
        ];
        for nothing in &no_tokens {
            assert_eq!(admitted(&[nothing], "tt1"), Err(Denied::Unauthenticated), "{nothing}");
        }
        assert_eq!(admitted(&[], "tt1"), Err(Denied::Unauthenticated));
        let not_ascii = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
        let map = HeaderMap::from_iter([(AUTHORIZATION, not_ascii)]);
        assert!(Bearer::of(&map).0.is_none());
        let twice = format!("Bearer {a}");
        assert_eq!(admitted(&[&twice, &twice], "tt1"), Err(Denied::Unauthenticated), "which one?");
    }

    #[test]
    fn an_app_without_tokens_is_everybodys() {
        for headers in [&[][..], &["Bearer x"]] {
            assert_eq!(admitted(headers, "tt3"), Ok(()));
        }
    }

    #[test]
    fn a_list_of_tokens_has_some_and_nothing_else() {
        let list =
            |count: usize| (0..count).map(|number| format!("{number:0>32}\n")).collect::<String>();
        assert_eq!(CallerTokens::parse("\n# none\n"), Err(BadTokens::None));
        assert!(CallerTokens::parse(&list(TOKENS_MAX)).is_ok());
        assert_eq!(CallerTokens::parse(&list(TOKENS_MAX + 1)), Err(BadTokens::TooMany));
        let (short, long) = ("x".repeat(TOKEN_BYTES_MIN - 1), "x".repeat(TOKEN_BYTES_MAX + 1));
        for wrong in [&short, &long, &token('é'), &format!("{} #", token('a'))] {
            let text = format!("{}\n{wrong}", token('a'));
            let bad = CallerTokens::parse(&text).unwrap_err();
            assert_eq!(bad, BadTokens::Line { line: 2 }, "{wrong}");
        }
    }
}
