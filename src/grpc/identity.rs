//! Who made a call: the caller that its head and its connection show.
//!
//! A token in the head decides alone. Else it is the client certificate of the connection, or what
//! a sidecar tells, if the connection is a sidecar's.
//!
//! Found before the body is read, and again whenever the configuration of callers has changed.
//!
//! What it must not know: what an RPC does.

mod forwarded;
mod origin;

use std::borrow::Cow;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};

use crate::callers::{Caller, Callers, Fingerprint, Known, Now, Right};
use crate::http::peer::{At, Peer};
use crate::settle::{AppId, CallerName, Reason};
use forwarded::Malformed;
pub(super) use origin::Origin;

/// The names of a certificate in one line, and their length.
const SHOWN_MAX: usize = 4;
const SHOWN_BYTES_MAX: usize = 256;

/// Why a call is turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denied {
    /// Nothing in it identifies a caller.
    Unauthenticated,
    /// Its caller has no right to it.
    Forbidden,
}

impl Denied {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Denied::Unauthenticated => Reason::Unauthenticated,
            Denied::Forbidden => Reason::Forbidden,
        }
    }
}

/// Who made a call, as far as is known now.
#[derive(Clone)]
pub(crate) struct Identity {
    evidence: Evidence,
    callers: Callers,
    now: Arc<Now>,
    /// From where the call came; not kept by streams.
    origin: Option<Arc<Origin>>,
}

/// What a call shows of who made it.
#[derive(Clone)]
enum Evidence {
    /// Decides alone. Boxed, because thousands of streams keep one, most of them another one.
    Token(Box<Fingerprint>),
    /// The head says something that is no token.
    Unreadable,
    Connection {
        /// In the verified certificate.
        names: Arc<[String]>,
        /// Only a sidecar can open it.
        of_sidecar: bool,
        /// The names in the certificate that a sidecar has verified, if the head has any. Counts
        /// only if the connection is a sidecar's.
        forwarded: Option<Arc<Result<Vec<String>, Malformed>>>,
    },
}

impl Identity {
    /// The identity of a call with this head, and with what the server knows of its connection.
    pub(super) fn of(headers: &HeaderMap, extensions: &Extensions, callers: &Callers) -> Self {
        let peer = extensions.get();
        let origin = Some(Arc::new(Origin::of(headers, peer)));
        let evidence = Evidence::of(headers, peer);
        Self { evidence, callers: callers.clone(), now: callers.now(), origin }
    }

    /// The same with less to keep, for what lasts.
    pub(super) fn lasting(self) -> Self {
        Self { origin: None, ..self }
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// The caller's name; `None` if the gateway is open to every peer.
    pub(crate) fn name(&self) -> Option<&CallerName> {
        self.caller().map(|caller| &caller.name)
    }

    /// The names in the verified certificate that the call comes with, be they a caller's or not,
    /// as far as a line has room. Through a sidecar those that it has verified, if it tells any.
    pub(crate) fn shown(&self) -> Vec<&str> {
        let of_connection = || self.origin().map(|origin| &*origin.names).unwrap_or_default();
        let names = self.evidence.proven(&self.now.known).unwrap_or_else(of_connection);
        let shown = names.iter().take(SHOWN_MAX);
        shown.map(|name| name.get(..SHOWN_BYTES_MAX).unwrap_or(name)).collect()
    }

    /// Who causes what this call causes, for limits: its caller; else the first name that it shows;
    /// else the network that it comes from.
    pub(crate) fn causer(&self) -> Cow<'_, str> {
        if let Some(name) = self.name() {
            return Cow::Borrowed(name.as_str());
        }
        if let Some(name) = self.shown().first() {
            return Cow::Borrowed(*name);
        }
        let at = self.origin().and_then(|origin| origin.peer);
        at.map_or(Cow::Borrowed("nowhere"), |at| Cow::Owned(at.network()))
    }

    /// Whether it may make such calls for some app.
    pub(crate) fn may(&self, right: Right) -> Result<(), Denied> {
        self.check(|caller| caller.has(right))
    }

    /// Whether it may make such calls for this app.
    pub(crate) fn may_use(&self, right: Right, app_id: &AppId) -> Result<(), Denied> {
        self.check(|caller| caller.may(right, app_id))
    }

    fn check(&self, may: impl FnOnce(&Caller) -> bool) -> Result<(), Denied> {
        match self.caller() {
            None if self.now.known.is_open() => Ok(()),
            None => Err(Denied::Unauthenticated),
            Some(caller) if may(caller) => Ok(()),
            Some(_) => Err(Denied::Forbidden),
        }
    }

    fn caller(&self) -> Option<&Arc<Caller>> {
        self.evidence.caller(&self.now.known)
    }

    /// Waits until other callers are configured. Then [`Identity::look_again`].
    pub(crate) async fn outdated(&self) {
        self.now.replaced.cancelled().await;
    }

    /// Whose call it is by what is configured now.
    pub(crate) fn look_again(&mut self) {
        self.now = self.callers.now();
    }
}

impl Evidence {
    fn of(headers: &HeaderMap, peer: Option<&Peer>) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Evidence::Connection {
                names: peer.map(|peer| Arc::clone(&peer.names)).unwrap_or_default(),
                of_sidecar: peer.is_some_and(|peer| peer.at == At::Sidecar),
                forwarded: forwarded::names(headers).transpose().map(Arc::new),
            },
            (Some(value), None) => {
                let token = value.to_str().ok().and_then(bearer);
                token.map_or(Evidence::Unreadable, |token| Evidence::Token(Box::new(token)))
            }
            // Which of them counts would be a guess.
            (Some(_), Some(_)) => Evidence::Unreadable,
        }
    }

    fn caller<'k>(&self, known: &'k Known) -> Option<&'k Arc<Caller>> {
        match self {
            Evidence::Token(token) => known.of_token(token),
            Evidence::Unreadable => None,
            Evidence::Connection { .. } => {
                known.of_certificate(self.proven(known)?.iter().map(String::as_str))
            }
        }
    }

    /// The names that a certificate proves: the one of the connection, or the one that a sidecar
    /// has verified. A sidecar that tells none proves none.
    fn proven(&self, known: &Known) -> Option<&[String]> {
        let Evidence::Connection { names, of_sidecar, forwarded } = self else { return None };
        let is_sidecar = *of_sidecar || known.is_sidecar(names.iter().map(String::as_str));
        match (is_sidecar, forwarded.as_deref()) {
            (false, _) => Some(names),
            (true, Some(Ok(told))) => Some(told),
            (true, Some(Err(_)) | None) => None,
        }
    }
}

/// `Bearer …` (RFC 6750).
fn bearer(value: &str) -> Option<Fingerprint> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let is_token = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
    is_token.then(|| Fingerprint::of(token))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::callers::{Allowed, Credentials};

    fn app(id: &str) -> AppId {
        AppId::parse(id).unwrap()
    }

    fn callers() -> Callers {
        let caller = |name: &str, apps: &[&str], rights: &[Right], tokens: &[&str]| {
            let name = CallerName::parse(name).unwrap();
            let apps = Allowed::Only(apps.iter().map(|id| app(id)).collect());
            let rights = rights.iter().copied().collect();
            let tokens = tokens.iter().map(|token| Fingerprint::of(token)).collect();
            let credentials = Credentials { tokens, ..Credentials::default() };
            (Caller { name, apps, rights }, credentials)
        };
        Callers::new(Known::new(
            [
                caller("shop", &["tt1"], &[Right::Create, Right::Read], &["old", "new"]),
                caller("desk", &["tt2"], &[Right::Read], &["desk"]),
            ],
            [],
        ))
    }

    /// By certificates: two callers, and a sidecar.
    fn certified() -> Callers {
        let caller = |name: &str, certificate: &str, tokens: &[&str]| {
            let name = CallerName::parse(name).unwrap();
            let caller = Caller { name, apps: Allowed::All, rights: [Right::Read].into() };
            let certificate_names = vec![certificate.to_owned()];
            let tokens = tokens.iter().map(|token| Fingerprint::of(token)).collect();
            (caller, Credentials { certificate_names, tokens })
        };
        let callers =
            [caller("shop", "spiffe://corp/shop", &[]), caller("desk", "desk.corp", &["token"])];
        Callers::new(Known::new(callers, ["spiffe://corp/mesh".to_owned()]))
    }

    /// Whose call it is that comes so.
    fn whose(at: At, names: &[&str], forwarded: &[&str], token: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(forwarded::HEADER, value.parse().unwrap());
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        let mut extensions = Extensions::new();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        extensions.insert(Peer { at, names });
        let identity = Identity::of(&headers, &extensions, &certified());
        let name = identity.name().map(|name| name.as_str().to_owned());
        assert_eq!(identity.may(Right::Read).is_ok(), name.is_some());
        name
    }

    #[test]
    fn a_certificate_is_an_identity_and_a_token_decides_alone() {
        let at = At::Address(([10, 0, 0, 1], 1).into());
        let of = |names: &[&str], token| whose(at, names, &[], token);
        assert_eq!(of(&["spiffe://corp/shop"], None).as_deref(), Some("shop"));
        assert_eq!(of(&["other", "desk.corp"], None).as_deref(), Some("desk"));
        assert_eq!(of(&["spiffe://corp/shop"], Some("token")).as_deref(), Some("desk"));
        for (names, token) in [
            (&["spiffe://corp/shop"][..], Some("unknown")),
            (&["spiffe://corp/shop", "desk.corp"], None),
            (&["spiffe://corp/SHOP"], None),
            (&["spiffe://corp/mesh"], None),
            (&[], None),
        ] {
            assert_eq!(of(names, token), None, "{names:?} {token:?}");
        }
    }

    /// Who a call would be of, in the audit and for limits, if no caller is known.
    #[test]
    fn what_a_stranger_has_proven_is_shown_and_tells_it_from_others() {
        let far = At::Address(([10, 0, 0, 1], 1).into());
        let of = |at: At, names: &[&str], headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            let mut extensions = Extensions::new();
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            extensions.insert(Peer { at, names });
            let identity = Identity::of(&map, &extensions, &certified());
            (identity.shown().join(" "), identity.causer().into_owned())
        };
        let of_both = |text: &str, causer: &str| (text.to_owned(), causer.to_owned());
        let wrong = ("authorization", "Bearer stolen");
        let told = (forwarded::HEADER, "URI=spiffe://corp/stranger");
        assert_eq!(of(far, &[], &[]), of_both("", "10.0.0.1"));
        assert_eq!(of(far, &[], &[told]), of_both("", "10.0.0.1"), "its word is not believed");
        assert_eq!(of(far, &["a.corp", "b.corp"], &[]), of_both("a.corp b.corp", "a.corp"));
        assert_eq!(of(far, &["a.corp"], &[wrong]), of_both("a.corp", "a.corp"));
        assert_eq!(of(far, &["desk.corp"], &[]), of_both("desk.corp", "desk"), "a caller");
        assert_eq!(of(At::Sidecar, &[], &[]), of_both("", "sidecar"));
        let mesh = ["spiffe://corp/mesh"];
        for (at, names) in [(At::Sidecar, &[][..]), (far, &mesh)] {
            let stranger = "spiffe://corp/stranger";
            assert_eq!(of(at, names, &[told]), of_both(stranger, stranger));
        }
        assert_eq!(of(far, &mesh, &[]), of_both(mesh[0], mesh[0]));
        let (long, many) = ("x".repeat(1_000), ["a.corp"; 9]);
        assert_eq!(of(far, &[&long], &[]).0.len(), SHOWN_BYTES_MAX);
        assert_eq!(of(far, &many, &[]).0.split(' ').count(), SHOWN_MAX);
    }

    #[test]
    fn a_sidecar_is_believed_and_no_other_peer_is() {
        let (near, far) = (At::Sidecar, At::Address(([10, 0, 0, 1], 1).into()));
        let (mesh, shop) = ("spiffe://corp/mesh", "URI=spiffe://corp/shop");
        let desk = "By=spiffe://corp/mesh;DNS=Desk.corp";
        for (at, names) in [(near, &[][..]), (far, &[mesh])] {
            let of = |forwarded: &[&str], token| whose(at, names, forwarded, token);
            assert_eq!(of(&[shop], None).as_deref(), Some("shop"));
            assert_eq!(of(&[shop, desk], None).as_deref(), Some("desk"));
            assert_eq!(of(&[&format!("{desk},{shop}")], None).as_deref(), Some("shop"));
            assert_eq!(of(&[shop], Some("token")).as_deref(), Some("desk"), "a token decides");
            for unproven in [&[][..], &["nonsense"], &["Hash=00"], &[shop, "nonsense"]] {
                assert_eq!(of(unproven, None), None, "{unproven:?}");
            }
            assert_eq!(of(&[shop], Some("unknown")), None);
            assert_eq!(of(&[&format!("{shop};{desk}")], None), None, "two callers");
        }
        // Forged: from a peer without a certificate, and from a caller that would be another one.
        for (names, whose_it_is) in
            [(&[][..], None), (&["desk.corp"], Some("desk")), (&["stranger.corp"], None)]
        {
            for forwarded in [&[shop][..], &["nonsense"]] {
                assert_eq!(whose(far, names, forwarded, None).as_deref(), whose_it_is);
            }
        }
    }

    fn identity(headers: &[&str], callers: &Callers) -> Identity {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Identity::of(&map, &Extensions::new(), callers)
    }

    #[test]
    fn each_token_of_a_caller_gives_its_rights_and_no_others() {
        let callers = callers();
        for good in ["Bearer old", "Bearer new", "bearer old", "BEARER   new "] {
            let shop = identity(&[good], &callers);
            assert_eq!(shop.name().map(CallerName::as_str), Some("shop"), "{good}");
            assert_eq!(shop.may_use(Right::Create, &app("tt1")), Ok(()));
            assert_eq!(shop.may_use(Right::Create, &app("tt2")), Err(Denied::Forbidden));
            assert_eq!(shop.may_use(Right::Operate, &app("tt1")), Err(Denied::Forbidden));
        }
        let desk = identity(&["Bearer desk"], &callers);
        assert_eq!(desk.may(Right::Create), Err(Denied::Forbidden));
        assert_eq!(desk.may(Right::Read), Ok(()));
        assert_eq!(desk.may_use(Right::Read, &app("tt3")), Err(Denied::Forbidden), "no such app");
    }

    #[test]
    fn a_call_without_a_known_token_is_unauthenticated() {
        let callers = callers();
        let wrong = ["old", "Basic old", "Bearer older", "Bearer ", "Bearer", "", "Bearer é"];
        let wrong = wrong.iter().map(|value| vec![*value]);
        for headers in wrong.chain([vec![], vec!["Bearer old", "Bearer old"]]) {
            let stranger = identity(&headers, &callers);
            assert_eq!(stranger.may(Right::Read), Err(Denied::Unauthenticated), "{headers:?}");
            assert_eq!(stranger.name(), None);
        }
    }

    #[test]
    fn an_open_gateway_admits_every_call() {
        let open = Callers::new(Known::default());
        for headers in [&[][..], &["Bearer x"], &["nonsense"]] {
            let anyone = identity(headers, &open);
            assert_eq!(anyone.may_use(Right::Operate, &app("tt3")), Ok(()));
            assert_eq!(anyone.name(), None);
        }
    }

    #[tokio::test]
    async fn what_is_configured_later_counts_once_it_is_looked_at() {
        let callers = callers();
        let mut shop = identity(&["Bearer old"], &callers);
        callers.replace(Known::default());
        shop.outdated().await;
        assert_eq!(shop.name().map(CallerName::as_str), Some("shop"));
        shop.look_again();
        assert_eq!((shop.name(), shop.may(Right::Operate)), (None, Ok(())));
    }
}
