//! Who may call for which app: compares the bearer token (RFC 6750) in the metadata of a call with
//! the tokens of the app that the call is about.
//!
//! What it must not know: what an RPC does.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::apps::{CallerTokens, Fingerprint};

/// The token that a call came with, if it came with one.
#[derive(Clone, Copy)]
pub(super) struct Bearer(Option<Fingerprint>);

/// Why a call is turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denied {
    /// It has no token, or one of no app.
    Unauthenticated,
    /// Its token is one of another app.
    Forbidden,
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

    /// Whether it is one of these tokens.
    pub(super) fn is_of(self, tokens: &CallerTokens) -> bool {
        self.0.is_some_and(|token| tokens.contains(token))
    }

    /// Whether the call may be about the app that has the tokens `own`. `all` are the tokens of all
    /// apps. An app without tokens admits every call.
    pub(super) fn admit<'a>(
        self,
        own: Option<&CallerTokens>,
        mut all: impl Iterator<Item = &'a CallerTokens>,
    ) -> Result<(), Denied> {
        let Some(own) = own else { return Ok(()) };
        match self.0 {
            Some(token) if own.contains(token) => Ok(()),
            Some(token) if all.any(|tokens| tokens.contains(token)) => Err(Denied::Forbidden),
            Some(_) | None => Err(Denied::Unauthenticated),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn token(letter: char) -> String {
        letter.to_string().repeat(32)
    }

    fn tokens(text: &str) -> CallerTokens {
        CallerTokens::parse(text).unwrap()
    }

    fn admitted(headers: &[&str], app_id: &str) -> Result<(), Denied> {
        let ours = format!("# shop, before and after\n{}\n\n {} \r\n", token('a'), token('b'));
        let apps = [("tt1", tokens(&ours)), ("tt2", tokens(&token('c')))];
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(AUTHORIZATION, value.parse().unwrap());
        }
        let own = apps.iter().find(|(owner, _)| *owner == app_id).map(|(_, own)| own);
        Bearer::of(&map).admit(own, apps.iter().map(|(_, tokens)| tokens))
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
    fn a_call_without_a_known_token_is_unauthenticated() {
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
    fn an_app_without_tokens_admits_every_call() {
        for headers in [&[][..], &["Bearer x"]] {
            assert_eq!(admitted(headers, "tt3"), Ok(()));
        }
    }
}
