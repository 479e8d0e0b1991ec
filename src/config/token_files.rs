//! The files of `caller_tokens_file`, with a token in each line, which callers had before they had
//! names. Taken for one more version: each app's tokens are a caller that is called like the app.
//!
//! What it must not know: how a call brings its token.

use std::collections::{BTreeMap, BTreeSet};

use crate::callers::{Allowed, Caller, Credentials, Fingerprint, Right};
use crate::settle::{AppId, CallerName, Invalid};

/// The shortest token, too long to be guessed.
const TOKEN_BYTES_MIN: usize = 32;
const TOKEN_BYTES_MAX: usize = 256;
/// The most tokens of one app: one for each service that calls, and the next ones of a rotation.
const TOKENS_MAX: usize = 64;

/// The tokens in a file.
pub(super) type Tokens = BTreeSet<Fingerprint>;

/// Why a list of tokens is refused. The text follows the words "names a file that" and repeats no
/// token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadTokens {
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

/// One token per line. Empty lines and lines that begin with `#` are skipped.
pub(super) fn tokens(text: &str) -> Result<Tokens, BadTokens> {
    let mut tokens = Tokens::new();
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
        1..=TOKENS_MAX => Ok(tokens),
        _ => Err(BadTokens::TooMany),
    }
}

/// The callers that the files make: tokens that are good for the same apps are of one caller, whose
/// name is those of the apps.
pub(super) fn callers<'f>(
    files: impl Iterator<Item = (&'f AppId, &'f Tokens)>,
) -> Result<Vec<(Caller, Credentials)>, Invalid> {
    let mut apps: BTreeMap<Fingerprint, BTreeSet<AppId>> = BTreeMap::new();
    for (app_id, tokens) in files {
        for token in tokens {
            apps.entry(*token).or_default().insert(app_id.clone());
        }
    }
    let mut tokens: BTreeMap<BTreeSet<AppId>, Vec<Fingerprint>> = BTreeMap::new();
    for (token, apps) in apps {
        tokens.entry(apps).or_default().push(token);
    }
    let made = tokens.into_iter().map(|(apps, tokens)| {
        let names: Vec<&str> = apps.iter().map(AppId::as_str).collect();
        let name = CallerName::parse(names.join("+"))?;
        let rights = BTreeSet::from([Right::Create, Right::Read]);
        let credentials = Credentials { tokens, ..Credentials::default() };
        Ok((Caller { name, apps: Allowed::Only(apps), rights }, credentials))
    });
    made.collect()
}

/// The lines of the configuration that say the same.
pub(super) fn lines(callers: &[(Caller, Credentials)]) -> String {
    let blocks = callers.iter().map(|(caller, credentials)| {
        let apps: Vec<&str> = match &caller.apps {
            Allowed::All => vec!["*"],
            Allowed::Only(apps) => apps.iter().map(AppId::as_str).collect(),
        };
        let rights: Vec<&str> = caller.rights.iter().map(|right| right.as_str()).collect();
        let hashes: Vec<String> = credentials.tokens.iter().map(ToString::to_string).collect();
        format!(
            "[[callers]]\nname = {:?}\napps = {apps:?}\nrights = {rights:?}\n\
             token_sha256 = {hashes:?}\n",
            caller.name.as_str()
        )
    });
    blocks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tokens_has_some_and_nothing_else() {
        let list =
            |count: usize| (0..count).map(|number| format!("{number:0>32}\n")).collect::<String>();
        assert_eq!(tokens("\n# none\n"), Err(BadTokens::None));
        assert!(tokens(&list(TOKENS_MAX)).is_ok());
        assert_eq!(tokens(&list(TOKENS_MAX + 1)), Err(BadTokens::TooMany));
        let (short, long) = ("x".repeat(TOKEN_BYTES_MIN - 1), "x".repeat(TOKEN_BYTES_MAX + 1));
        for wrong in [
            &short,
            &long,
            &"é".repeat(TOKEN_BYTES_MIN),
            &format!("{} #", "a".repeat(TOKEN_BYTES_MIN)),
        ] {
            let text = format!("{}\n{wrong}", "a".repeat(TOKEN_BYTES_MIN));
            assert_eq!(tokens(&text), Err(BadTokens::Line { line: 2 }), "{wrong}");
        }
    }
}
