//! Who made a call: the caller that a token in its head names.
//!
//! Found before the body is read, and again whenever the configuration of callers has changed.
//!
//! What it must not know: what an RPC does.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::callers::{Caller, Callers, Fingerprint, Known, Now, Right};
use crate::settle::{AppId, CallerName, Reason};

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
}

/// What a call shows of who made it.
#[derive(Clone)]
enum Evidence {
    /// Decides alone. Boxed, because thousands of streams keep one, most of them another one.
    Token(Box<Fingerprint>),
    /// The head says something that is no token.
    Unreadable,
    Nothing,
}

impl Identity {
    /// The identity of a call with this head.
    pub(super) fn of(headers: &HeaderMap, callers: &Callers) -> Self {
        Self { evidence: Evidence::of(headers), callers: callers.clone(), now: callers.now() }
    }

    /// The caller's name; `None` if the gateway is open to every peer.
    pub(crate) fn name(&self) -> Option<&CallerName> {
        self.caller().map(|caller| &caller.name)
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
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Evidence::Nothing,
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
            Evidence::Unreadable | Evidence::Nothing => None,
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

    fn identity(headers: &[&str], callers: &Callers) -> Identity {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Identity::of(&map, callers)
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
