//! Who is at the other end of a connection: where it is, and which names its certificate proves.
//! Made once for each connection, and given to each of its calls.
//!
//! What it must not know: which caller has such a name.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The other end of a connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Peer {
    pub at: At,
    /// The names in its verified certificate; none if it has shown no certificate. A URI has a
    /// colon, and a DNS name has none and is in lower case.
    pub names: Arc<[String]>,
}

/// Where a peer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    Address(SocketAddr),
    /// On this machine, behind the Unix socket that only a sidecar can open.
    Sidecar,
}

/// The most names of one certificate that count. A certificate with more names no caller.
const NAMES_MAX: usize = 64;

impl Peer {
    /// A peer that has shown no certificate.
    pub(crate) fn nameless(at: At) -> Self {
        Self { at, names: Arc::new([]) }
    }

    /// A peer that has shown these certificates, its own first, all of them verified.
    pub(crate) fn certified(at: At, chain: &[CertificateDer<'_>]) -> Self {
        Self { at, names: chain.first().and_then(names).unwrap_or_default().into() }
    }
}

impl At {
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            At::Address(addr) => Some(addr.ip()),
            At::Sidecar => None,
        }
    }

    /// The network that it is in, for limits: an address; of IPv6 the 64 bits that one peer may
    /// have all addresses of.
    pub(crate) fn network(self) -> String {
        match self.ip().map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => ip.to_string(),
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, ..] = ip.segments();
                format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            None => self.to_string(),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Address(addr) => addr.fmt(f),
            At::Sidecar => f.write_str("sidecar"),
        }
    }
}

/// The names that a certificate is for (RFC 5280, 4.2.1.6). A name that could be mistaken for one
/// of the other kind, or for two, is none.
fn names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let (_, names) = certificate.tbs_certificate.get::<SubjectAltName>().ok()??;
    if names.0.len() > NAMES_MAX {
        return None;
    }
    let name = |name: GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => {
            Some(uri.as_str().to_owned()).filter(|uri| uri.contains(':'))
        }
        GeneralName::DnsName(name) => {
            Some(name.as_str().to_ascii_lowercase()).filter(|name| !name.contains(':'))
        }
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    };
    let is_plain =
        |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    Some(names.0.into_iter().filter_map(name).filter(is_plain).collect())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn named(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    fn uri(uri: &str) -> SanType {
        SanType::URI(uri.try_into().unwrap())
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn seen(certificate: CertificateDer<'static>) -> Vec<String> {
        Peer::certified(At::Sidecar, &[certificate]).names.to_vec()
    }

    #[test]
    fn the_uris_and_dns_names_of_a_certificate_are_its_names() {
        let mixed = vec![
            uri("spiffe://corp/ns/pay/sa/Shop"),
            dns("Shop.internal"),
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::Rfc822Name("shop@corp".try_into().unwrap()),
        ];
        assert_eq!(seen(named(mixed)), ["spiffe://corp/ns/pay/sa/Shop", "shop.internal"]);
        assert_eq!(seen(named(vec![])), Vec::<String>::new());
        assert_eq!(seen(CertificateDer::from(vec![0x30, 0])), Vec::<String>::new());
        assert_eq!(Peer::certified(At::Sidecar, &[]).names.len(), 0);
    }

    #[test]
    fn one_peer_with_many_addresses_is_in_one_network() {
        let network = |addr: &str| At::Address(addr.parse().unwrap()).network();
        assert_eq!(network("10.0.0.9:1"), "10.0.0.9");
        assert_eq!(network("[::ffff:10.0.0.9]:1"), "10.0.0.9");
        for addr in ["[2001:db8:1:2::9]:1", "[2001:db8:1:2:ffff::1]:2"] {
            assert_eq!(network(addr), "2001:db8:1:2::/64");
        }
        assert_eq!(At::Sidecar.network(), "sidecar");
    }

    #[test]
    fn a_name_that_looks_like_another_kind_or_like_two_is_none() {
        let odd =
            vec![dns("spiffe://corp/admin"), uri("shop.internal"), uri("spiffe://a b"), dns("")];
        assert_eq!(seen(named(odd)), Vec::<String>::new());
        let many = (0..=NAMES_MAX).map(|n| dns(&format!("host-{n}"))).collect();
        assert_eq!(seen(named(many)), Vec::<String>::new());
    }
}
