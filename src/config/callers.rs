//! The callers: each block complete, each name, token and certificate name once, each app one of
//! those that are configured.
//!
//! No problem and no warning repeats what stands in `token_sha256`, because people put the token
//! itself there.

use std::collections::{BTreeMap, BTreeSet};

use super::reading::{Block, Reading, SetBy};
use super::token_files::{self, Tokens};
use crate::callers::{Allowed, Caller, Credentials, Fingerprint, Known, Right, canonical};
use crate::settle::{AppId, CallerName, Invalid};

/// One block, as far as it was read. A list that was not written is empty.
#[derive(Default)]
pub(super) struct CallerDraft {
    pub name: Option<String>,
    pub apps: Vec<String>,
    pub rights: Vec<String>,
    pub token_sha256: Vec<String>,
    pub certificate_names: Vec<String>,
}

/// The tokens in the file of one app.
pub(super) struct TokenFile {
    pub app_id: AppId,
    pub tokens: Tokens,
    /// The key that names the file, and where it stands.
    pub path: String,
    pub at: SetBy,
}

const NAME: &str = "name";
const APPS: &str = "apps";
const RIGHTS: &str = "rights";
const TOKENS: &str = "token_sha256";
const CERTIFICATES: &str = "certificate_names";
const SIDECARS: &str = "server.sidecar_names";
const ADDR: &str = "server.grpc_addr";
const CERTIFICATE: &str = "server.grpc_tls_certificate_file";
const CLIENT_CA: &str = "server.grpc_client_ca_file";
pub(super) const SOCKET: &str = "server.sidecar_socket";
/// What stands for every app.
pub(super) const ALL_APPS: &str = "*";
/// The most callers, and the most tokens of all of them: a call is compared with each.
pub(super) const CALLERS_MAX: usize = 256;
pub(super) const TOKENS_MAX: usize = 1_024;

/// What the blocks before have, by what it is: the key's path.
#[derive(Default)]
struct Taken {
    names: BTreeMap<CallerName, String>,
    tokens: BTreeMap<Fingerprint, String>,
    certificates: BTreeMap<String, String>,
}

/// Completes the callers; `files` are the tokens of apps. Returns the warnings.
pub(super) fn complete(reading: &mut Reading, files: &[TokenFile]) -> Vec<String> {
    let mut taken = Taken::default();
    let mut callers = Vec::new();
    let blocks = std::mem::take(&mut reading.callers);
    for (i, block) in blocks.iter().enumerate() {
        callers.extend(caller(reading, i, block, &mut taken));
    }
    reading.callers = blocks;
    for name in reading.config.sidecar_names.clone() {
        if let Some(path) = taken.certificates.get(&*canonical(&name)) {
            let why = "a sidecar that is a caller too would lend its name to callers that it \
                       does not know";
            let text = format!("{SIDECARS} holds {name}, which {path} has too: {why}");
            let at = reading.set.get(SIDECARS).cloned().expect("it has no default");
            reading.problem(&at, text);
        }
    }
    for (what, count, most) in
        [("blocks", reading.callers.len(), CALLERS_MAX), ("tokens", taken.tokens.len(), TOKENS_MAX)]
    {
        if count > most {
            reading.problem_of_all(format!("callers has {count} {what}; at most {most} are taken"));
        }
    }
    match made_of(files) {
        Ok(made) => {
            for (caller, credentials) in made {
                let file = files.iter().find(|file| caller_of(&caller, file));
                let clash = clash(&taken, &caller, &credentials);
                if let (Some(file), Some(clash)) = (file, clash) {
                    let text = format!("{} is set, and {clash}: take it out", file.path);
                    reading.problem(&file.at, text);
                }
                callers.push((caller, credentials));
            }
        }
        Err(invalid) => reading.problem_of_all(format!(
            "one token stands in the caller_tokens_file of several apps, and the name of its \
             caller {invalid}: write a block [[callers]] for it"
        )),
    }
    let mut warnings: Vec<String> = instead(files).into_iter().collect();
    warnings.extend(without_callers(reading, &callers));
    warnings.extend(never_shown(reading));
    warnings.extend(in_plain_text(reading, &callers));
    let sidecars = reading.config.sidecar_names.clone();
    reading.config.callers = Known::new(callers, sidecars);
    warnings
}

/// The caller of a block, if all of it is right.
fn caller(
    reading: &mut Reading,
    i: usize,
    block: &Block<CallerDraft>,
    taken: &mut Taken,
) -> Option<(Caller, Credentials)> {
    let path = |key: &str| format!("callers[{i}].{key}");
    let place =
        |reading: &Reading, key: &str| reading.set.get(&path(key)).unwrap_or(&block.at).clone();
    let draft = &block.draft;
    // What was refused has been reported.
    let is_bad = |reading: &Reading, key: &str| reading.bad.contains(&path(key));
    let name = draft.name.as_deref().and_then(|name| CallerName::parse(name).ok());
    if name.is_none() && !is_bad(reading, NAME) {
        reading.problem(&block.at, format!("{} is missing", path(NAME)));
    }
    if let Some(name) = &name
        && taken.names.insert(name.clone(), path(NAME)).is_some()
    {
        let at = place(reading, NAME);
        reading.problem(&at, format!("{} is {name} a second time", path(NAME)));
    }
    let apps = match apps(reading, &draft.apps) {
        Ok(apps) => Some(apps),
        Err(_) if is_bad(reading, APPS) => None,
        Err(why) => {
            let at = place(reading, APPS);
            reading.problem(&at, format!("{} {why}", path(APPS)));
            None
        }
    };
    // An empty list is one: a caller that may do nothing any more.
    if !reading.set.contains_key(&path(RIGHTS)) && !is_bad(reading, RIGHTS) {
        let text = format!(
            "{} is missing: write rights = [\"create\", \"read\"], or those of create, read and \
             operate that it needs",
            path(RIGHTS)
        );
        reading.problem(&block.at, text);
    }
    let rights: BTreeSet<Right> =
        draft.rights.iter().filter_map(|word| Right::parse(word)).collect();
    let hashes = draft.token_sha256.iter().filter_map(|text| Fingerprint::parse(text));
    let tokens: Vec<Fingerprint> = hashes.collect();
    for (number, token) in (1..).zip(&tokens) {
        if let Some(other) = taken.tokens.insert(*token, path(TOKENS)) {
            let at = place(reading, TOKENS);
            let text = format!("{} has an entry ({number}) that {other} has too", path(TOKENS));
            reading.problem(&at, text);
        }
    }
    for name in &draft.certificate_names {
        let other = taken.certificates.insert(canonical(name).into_owned(), path(CERTIFICATES));
        if let Some(other) = other {
            let at = place(reading, CERTIFICATES);
            let text = format!("{} holds {name}, which {other} has too", path(CERTIFICATES));
            reading.problem(&at, text);
        }
    }
    let certificate_names = draft.certificate_names.clone();
    let none = tokens.is_empty() && certificate_names.is_empty();
    if none && !is_bad(reading, TOKENS) && !is_bad(reading, CERTIFICATES) {
        let text = format!(
            "callers[{i}] has neither {TOKENS} nor {CERTIFICATES}, so that no call can show that \
             it is this caller's"
        );
        reading.problem(&block.at, text);
    }
    let credentials = Credentials { tokens, certificate_names };
    Some((Caller { name: name?, apps: apps?, rights }, credentials))
}

/// The apps of a caller; an error follows the key's path.
fn apps(reading: &Reading, written: &[String]) -> Result<Allowed, String> {
    let configured = reading.apps.iter().map(|app| app.draft.app_id.as_ref());
    let configured: Vec<&AppId> = configured.flatten().collect();
    match written {
        // Which others there will be is not known, so nothing is given to them.
        [] => match configured.as_slice() {
            [only] => Ok(Allowed::Only(BTreeSet::from([(*only).clone()]))),
            _ => Err(format!(
                "is missing, and there is more than one app: [\"{ALL_APPS}\"] means \
                              all of them"
            )),
        },
        [all] if all == ALL_APPS => Ok(Allowed::All),
        some => {
            let mut apps = BTreeSet::new();
            for id in some {
                let known = configured.iter().find(|app_id| app_id.as_str() == id);
                let known = known.ok_or_else(|| match id.as_str() {
                    ALL_APPS => format!("holds \"{ALL_APPS}\" beside apps: all are meant, or some"),
                    id => format!("holds {id}, which is not one of apps"),
                })?;
                apps.insert((*known).clone());
            }
            Ok(Allowed::Only(apps))
        }
    }
}

fn made_of(files: &[TokenFile]) -> Result<Vec<(Caller, Credentials)>, Invalid> {
    token_files::callers(files.iter().map(|file| (&file.app_id, &file.tokens)))
}

fn caller_of(caller: &Caller, file: &TokenFile) -> bool {
    matches!(&caller.apps, Allowed::Only(apps) if apps.contains(&file.app_id))
}

/// What of this caller a block has too.
fn clash(taken: &Taken, caller: &Caller, credentials: &Credentials) -> Option<String> {
    let token = credentials.tokens.iter().find_map(|token| taken.tokens.get(token));
    let token = token.map(|path| format!("{path} has a token of its file"));
    let name =
        taken.names.get(&caller.name).map(|path| format!("{path} is the name of its caller"));
    token.or(name)
}

/// What to write instead of the files.
fn instead(files: &[TokenFile]) -> Option<String> {
    let first = files.first()?;
    let made = made_of(files).ok()?;
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    Some(format!(
        "{}: {}: the next version has no such key and knows callers by name. Take it out and write \
         these lines; no caller notices the change:\n{}",
        first.at,
        paths.join(", "),
        token_files::lines(&made)
    ))
}

/// An operator who names callers has probably forgotten the apps that none of them may use.
fn without_callers(reading: &Reading, callers: &[(Caller, Credentials)]) -> Vec<String> {
    if callers.is_empty() {
        return Vec::new();
    }
    let unused = |app_id: &AppId| {
        let may = |caller: &Caller| Right::ALL.iter().any(|right| caller.may(*right, app_id));
        !callers.iter().any(|(caller, _)| may(caller))
    };
    let apps = reading.apps.iter().enumerate();
    let apps = apps.filter(|(_, app)| app.draft.app_id.as_ref().is_some_and(unused));
    apps.map(|(i, app)| format!("{}: apps[{i}]: no caller may use this app", app.at)).collect()
}

/// Names that no connection can prove: a certificate is shown to a listener that asks for one, and
/// a sidecar that has verified one shows its own, or has a socket of its own.
fn never_shown(reading: &Reading) -> Vec<String> {
    if reading.config.grpc_tls.client_ca_file.is_some() {
        return Vec::new();
    }
    let why = format!("gRPC asks for no client certificate, because {CLIENT_CA} is not set");
    let mut warnings = Vec::new();
    if let Some(at) = reading.set.get(SIDECARS) {
        warnings.push(format!("{at}: {SIDECARS}: no sidecar can show these names: {why}"));
    }
    if reading.config.sidecar_socket.is_none() {
        for (i, block) in reading.callers.iter().enumerate() {
            if block.draft.certificate_names.is_empty() {
                continue;
            }
            let path = format!("callers[{i}].{CERTIFICATES}");
            let at = reading.set.get(&path).unwrap_or(&block.at);
            warnings.push(format!(
                "{at}: {path}: no call can show these names: {why}, and no sidecar has a \
                 {SOCKET}"
            ));
        }
    }
    warnings
}

/// Tokens that a peer on the way can read.
fn in_plain_text(reading: &Reading, callers: &[(Caller, Credentials)]) -> Option<String> {
    let addr = reading.config.grpc_addr;
    let tokens = callers.iter().any(|(_, credentials)| !credentials.tokens.is_empty());
    let exposed = !addr.ip().is_loopback() && reading.config.grpc_tls.certificate_file.is_none();
    // Loopback is the default: another address was set.
    let at = reading.set.get(ADDR).filter(|_| tokens && exposed)?;
    Some(format!(
        "{at}: {ADDR} is {addr}, in plain text: a peer on the way can read the tokens of callers \
         and move money with them, unless something in front encrypts. {CERTIFICATE} makes it TLS"
    ))
}

/// Whether anything was written that names callers, be it right or wrong.
pub(super) fn are_named(reading: &Reading) -> bool {
    !reading.callers.is_empty()
        || reading.apps.iter().any(|app| app.draft.caller_tokens_file.is_some())
}

/// What makes a gateway safe that has no callers: one block.
pub(super) fn example(apps: usize) -> Vec<String> {
    let mut lines = vec!["[[callers]]".to_owned(), "name = \"shop\"".to_owned()];
    if apps > 1 {
        lines.push(format!("apps = [\"{ALL_APPS}\"]"));
    }
    lines.push("rights = [\"create\", \"read\"]".to_owned());
    lines.push("token_sha256 = [\"…\"]   # printed by: settlement-gateway new-token".to_owned());
    lines
}
