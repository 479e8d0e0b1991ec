//! Which requests the admin edge answers: those that call this machine by an address, `localhost`
//! or a configured name, and that did not come from a page in a browser.
//!
//! *The accident without it:* an operator's browser shows an attacker's page, whose name then
//! resolves to this machine (DNS rebinding). The browser now lets that page read the metrics. But
//! a page cannot hide its name (`Host`), nor that a POST came from it (`Origin`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, StatusCode, header};

use crate::http::listener::{Answer, Request};

/// The names, beside addresses and `localhost`, by which requests may call this machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hosts(BTreeSet<String>);

/// The most names. More are a mistake.
const NAMES_MAX: usize = 64;
/// The longest name that DNS has.
const NAME_BYTES_MAX: usize = 253;
/// The header in which a browser says where a request comes from. Other clients do not send it.
const FETCH_SITE: &str = "sec-fetch-site";

impl Hosts {
    /// On an error the text follows the key's path: "holds …".
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut hosts = BTreeSet::new();
        for name in names {
            if !is_name(name) {
                return Err(format!(
                    "holds {name:?}; each must be the name of a host, without scheme, port and *"
                ));
            }
            hosts.insert(name.to_ascii_lowercase());
        }
        if hosts.len() > NAMES_MAX {
            return Err(format!("holds {} names; at most {NAMES_MAX} are taken", hosts.len()));
        }
        Ok(Self(hosts))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The answer to a request that does not call this machine, or that a page sent.
    pub(super) fn refusal(&self, request: &Request) -> Option<Answer> {
        let (status, why) = if is_of_a_page(&request.headers) {
            (
                StatusCode::FORBIDDEN,
                "pages in a browser are not answered: ask with curl, or with the gateway's own \
                 commands",
            )
        } else {
            match named(request) {
                Some(host) if self.is_ours(host) => return None,
                Some(_) => (
                    StatusCode::MISDIRECTED_REQUEST,
                    "the Host of the request is neither an IP address nor localhost: if this \
                     gateway shall answer to that name, add it to server.admin_hosts",
                ),
                None => (StatusCode::BAD_REQUEST, "the request must name its host, and one only"),
            }
        };
        Some(super::text(status, why))
    }

    /// A page can make any name resolve to this machine, but not an address. Strict, because a text
    /// that this code and a browser read differently would let a page in.
    fn is_ours(&self, authority: &str) -> bool {
        let (ours, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let Some((ip, port)) = rest.split_once(']') else { return false };
                (ip.parse::<Ipv6Addr>().is_ok(), port)
            }
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                let (host, port) = authority.split_at(end);
                let host = host.to_ascii_lowercase();
                let ours = host.parse::<Ipv4Addr>().is_ok() || host == "localhost";
                (ours || self.0.contains(&host), port)
            }
        };
        let port = port.strip_prefix(':').or(port.is_empty().then_some(""));
        ours && port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

/// The one host that a request names: in its URI (HTTP/2, and HTTP/1.1 through a proxy) and in
/// `Host`.
fn named(request: &Request) -> Option<&str> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().ok()?),
        (Some(_), Some(_)) => return None,
    };
    match (request.authority.as_deref(), host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => None,
        (authority, host) => authority.or(host),
    }
}

/// An address that a person typed counts as no page.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all(FETCH_SITE).iter();
    headers.contains_key(header::ORIGIN)
        || sites.any(|site| site != "none" && site != "same-origin")
}

fn is_name(name: &str) -> bool {
    let letters = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_configured_names_are_ours_and_what_only_looks_so_is_not() {
        let hosts = Hosts::parse(["gateway", "Gateway.internal"]).unwrap();
        for ours in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "10.1.2.3:1",
            "[::1]",
            "[::1]:9090",
            "[2001:db8::7]:80",
            "localhost",
            "LocalHost:9090",
            "gateway:9090",
            "GATEWAY.internal",
        ] {
            assert!(hosts.is_ours(ours), "{ours}");
        }
        for strange in [
            "",
            ":9090",
            "attacker.example",
            "attacker.example:9090",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example",
            "localhost.",
            "x.localhost",
            "gateway.attacker.example",
            "gateway.internal.",
            "127.0.0.1@attacker.example",
            "127.0.0.1:80@attacker.example",
            "attacker.example:80@127.0.0.1",
            "[::1].attacker.example",
            "[::1]:80.attacker.example",
            "[::1",
            "::1",
            "[127.0.0.1]",
            "[fe80::1%25eth0]",
            "127.0.0.1:80:80",
            "127.0.0.1, attacker.example",
            "127.1",
            "0x7f000001",
            "2130706433",
        ] {
            assert!(!hosts.is_ours(strange), "{strange}");
        }
    }

    #[test]
    fn a_name_is_one_without_scheme_port_and_wildcard() {
        for wrong in ["", "a:9090", "http://a", "*", "*.a", "a.", ".a", "a b", "分账", "[::1]"] {
            let why = Hosts::parse([wrong]).unwrap_err();
            assert!(why.contains("each must be the name of a host"), "{wrong}: {why}");
        }
        let many: Vec<_> = (0..65).map(|n| format!("host-{n}")).collect();
        let why = Hosts::parse(many.iter().map(String::as_str)).unwrap_err();
        assert_eq!(why, "holds 65 names; at most 64 are taken");
    }
}
