//! Who may call: every caller that the configuration names, what it may do, and what identifies it.
//!
//! What it must not know: how a call shows whose it is, and what an RPC does.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use crate::settle::{AppId, CallerName};

/// What a caller may do. No right implies another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Right {
    /// Make a settle, which moves money.
    Create,
    /// Read, watch, list, and ask Douyin.
    Read,
    /// Decide what Douyin's answers leave open.
    Operate,
}

impl Right {
    pub const ALL: [Self; 3] = [Right::Create, Right::Read, Right::Operate];

    pub fn as_str(self) -> &'static str {
        match self {
            Right::Create => "create",
            Right::Read => "read",
            Right::Operate => "operate",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == word)
    }
}

/// The apps that a caller may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// Those that are configured later as well.
    All,
    Only(BTreeSet<AppId>),
}

/// One caller: a service, a job, a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// What the books and the audit call it.
    pub name: CallerName,
    pub apps: Allowed,
    pub rights: BTreeSet<Right>,
}

impl Caller {
    /// Whether it has the right for any app.
    pub fn has(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// Whether it has the right for this app, be it configured or not.
    pub fn may(&self, right: Right, app_id: &AppId) -> bool {
        let allowed = match &self.apps {
            Allowed::All => true,
            Allowed::Only(apps) => apps.contains(app_id),
        };
        allowed && self.has(right)
    }
}

/// What is kept of a token: its SHA-256. The configuration holds no token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fingerprint([u64; 4]);

impl Fingerprint {
    pub fn of(token: &str) -> Self {
        let digest = digest(&SHA256, token.as_bytes());
        Self::of_bytes(digest.as_ref()).expect("SHA-256 has 32 bytes")
    }

    /// As the configuration has it: 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of_bytes(&hex::decode(text).ok()?)
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut words = [0; 4];
        let (parts, rest) = bytes.as_chunks::<8>();
        if parts.len() != words.len() || !rest.is_empty() {
            return None;
        }
        for (word, part) in words.iter_mut().zip(parts) {
            *word = u64::from_be_bytes(*part);
        }
        Some(Self(words))
    }

    /// Takes the same time for every other one.
    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// As the configuration has it.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

/// What identifies a caller; several at once, so that each can be replaced without a gap.
#[derive(Clone, Default, Debug)]
pub struct Credentials {
    pub tokens: Vec<Fingerprint>,
    /// URIs and DNS names in client certificates.
    pub certificate_names: Vec<String>,
}

/// Everything that the configuration says of callers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Known {
    callers: Vec<Arc<Caller>>,
    tokens: Vec<(Fingerprint, Arc<Caller>)>,
    certificates: HashMap<String, Arc<Caller>>,
    sidecars: HashSet<String>,
}

impl Known {
    /// `sidecars`: names in the certificates of sidecars, whose word about a caller is believed.
    pub fn new(
        callers: impl IntoIterator<Item = (Caller, Credentials)>,
        sidecars: impl IntoIterator<Item = String>,
    ) -> Self {
        let sidecars = sidecars.into_iter().map(|name| canonical(&name).into_owned());
        let mut known = Self { sidecars: sidecars.collect(), ..Self::default() };
        for (caller, credentials) in callers {
            let caller = Arc::new(caller);
            let of_caller = |token| (token, Arc::clone(&caller));
            known.tokens.extend(credentials.tokens.into_iter().map(of_caller));
            for name in credentials.certificate_names {
                known.certificates.insert(canonical(&name).into_owned(), Arc::clone(&caller));
            }
            known.callers.push(caller);
        }
        known
    }

    /// No caller is configured: every peer that reaches a port may do everything.
    pub fn is_open(&self) -> bool {
        self.callers.is_empty()
    }

    pub fn callers(&self) -> impl Iterator<Item = &Arc<Caller>> {
        self.callers.iter()
    }

    /// Compares the token with all that are known, so that the time tells nothing of them.
    pub fn of_token(&self, token: &Fingerprint) -> Option<&Arc<Caller>> {
        self.tokens.iter().fold(None, |found, (known, caller)| match known.is(token) {
            true => Some(caller),
            false => found,
        })
    }

    /// The caller that a certificate with these names is of. `None` also if they are the names of
    /// two callers.
    pub fn of_certificate<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<&Arc<Caller>> {
        let found = names.into_iter().filter_map(|name| self.certificates.get(&*canonical(name)));
        let mut found = found.peekable();
        let first = *found.peek()?;
        found.all(|caller| caller.name == first.name).then_some(first)
    }

    /// Whether a certificate with these names is a sidecar's.
    pub fn is_sidecar<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> bool {
        names.into_iter().any(|name| self.sidecars.contains(&*canonical(name)))
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({})", self.callers.len())
    }
}

/// A name as it is compared: DNS names are the same in upper and lower case, URIs are not.
pub fn canonical(name: &str) -> Cow<'_, str> {
    if is_uri(name) || !name.contains(|c: char| c.is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.to_ascii_lowercase())
}

/// Whether a name is a URI and not a DNS name.
pub fn is_uri(name: &str) -> bool {
    name.contains(':')
}

/// The callers that are known now; cheap to clone, and replaced for all clones at once.
#[derive(Clone, Debug)]
pub struct Callers(Arc<ArcSwap<Now>>);

/// What was known when it was read.
#[derive(Debug)]
pub struct Now {
    pub known: Known,
    /// Cancelled when newer knowledge has taken its place.
    pub replaced: CancellationToken,
}

impl Callers {
    pub fn new(known: Known) -> Self {
        Self(Arc::new(ArcSwap::from(Now::of(known))))
    }

    pub fn now(&self) -> Arc<Now> {
        self.0.load_full()
    }

    /// From now on these are the callers. Streams that were opened before look again, if anything
    /// has changed: tens of thousands of them at once cost what calls would have.
    pub fn replace(&self, known: Known) {
        if self.now().known != known {
            self.0.swap(Now::of(known)).replaced.cancel();
        }
    }
}

impl Now {
    fn of(known: Known) -> Arc<Self> {
        Arc::new(Self { known, replaced: CancellationToken::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, apps: &[&str], rights: &[Right]) -> Caller {
        let apps = match apps {
            ["*"] => Allowed::All,
            apps => Allowed::Only(apps.iter().map(|id| AppId::parse(*id).unwrap()).collect()),
        };
        let name = CallerName::parse(name).unwrap();
        Caller { name, apps, rights: rights.iter().copied().collect() }
    }

    fn known() -> Known {
        let of = |tokens: &[&str], names: &[&str]| Credentials {
            tokens: tokens.iter().map(|token| Fingerprint::of(token)).collect(),
            certificate_names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let shop = caller("shop", &["tt1"], &[Right::Create]);
        let desk = caller("desk", &["*"], &[Right::Operate]);
        let callers = [
            (shop, of(&["old", "new"], &["spiffe://corp/Shop", "Shop.corp"])),
            (desk, of(&["desk"], &["desk.corp"])),
        ];
        Known::new(callers, ["Mesh.corp".to_owned()])
    }

    fn name(caller: Option<&Arc<Caller>>) -> &str {
        caller.map_or("", |caller| caller.name.as_str())
    }

    #[test]
    fn no_right_implies_another_and_no_app_another() {
        let apps = ["tt1", "tt2"].map(|id| AppId::parse(id).unwrap());
        for own in Right::ALL {
            let (one, all) = (caller("a", &["tt1"], &[own]), caller("b", &["*"], &[own]));
            for right in Right::ALL {
                assert_eq!(one.may(right, &apps[0]), right == own);
                assert!(!one.may(right, &apps[1]));
                assert_eq!(all.may(right, &apps[1]), right == own);
            }
        }
    }

    #[test]
    fn each_token_of_a_caller_is_its_own() {
        let known = known();
        for (token, whose) in
            [("old", "shop"), ("new", "shop"), ("desk", "desk"), ("newer", ""), ("", "")]
        {
            assert_eq!(name(known.of_token(&Fingerprint::of(token))), whose, "{token}");
        }
        assert!(Known::default().of_token(&Fingerprint::of("old")).is_none());
    }

    #[test]
    fn a_certificate_is_of_the_one_caller_that_its_names_name() {
        let known = known();
        for (names, whose) in [
            (&["spiffe://corp/Shop"][..], "shop"),
            (&["spiffe://corp/shop"], ""),
            (&["SHOP.corp"], "shop"),
            (&["other.corp", "shop.corp", "spiffe://corp/Shop"], "shop"),
            (&["shop.corp", "desk.corp"], ""),
            (&[], ""),
        ] {
            assert_eq!(name(known.of_certificate(names.iter().copied())), whose, "{names:?}");
        }
        assert!(known.is_sidecar(["x", "mesh.CORP"]) && !known.is_sidecar(["desk.corp"]));
    }

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = Fingerprint::of("a token");
        let text = hash.to_string();
        assert_eq!(text, "e3316e2bafebb6103a3418e8778c0adc960d40213a03a7e7f4fcd3426ed807bf");
        assert_eq!(Fingerprint::parse(&text), Some(hash));
        assert_eq!(Fingerprint::parse(&text.to_uppercase()), Some(hash));
        let (cut, long) = (text.split_at(63).0, format!("{text}00"));
        for wrong in ["", "00", cut, &long, &"g".repeat(64)] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_stream_that_read_before_is_told_and_later_calls_find_the_newer_ones() {
        let callers = Callers::new(Known::default());
        let before = callers.clone().now();
        callers.replace(known());
        assert!(before.replaced.is_cancelled() && before.known.is_open());
        let after = callers.now();
        assert!(!after.replaced.is_cancelled() && !after.known.is_open());
        callers.replace(known());
        assert!(!after.replaced.is_cancelled(), "nothing has changed");
        let changes: [fn(&mut Known); 3] = [
            |known| known.tokens.truncate(1),
            |known| known.certificates.clear(),
            |known| known.sidecars.clear(),
        ];
        for change in changes {
            let (mut other, before) = (callers.now().known.clone(), callers.now());
            change(&mut other);
            callers.replace(other);
            assert!(before.replaced.is_cancelled());
        }
    }
}
