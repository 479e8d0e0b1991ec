//! The way to Douyin: directly or through a proxy, and which authorities are trusted on it.
//!
//! What it must not know: where its parts are written, and how a connection is made.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};

/// How Douyin's address is reached. All of it can be replaced while the gateway runs.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Way {
    /// `None`: connections go to Douyin directly.
    pub proxy: Option<Proxy>,
    /// Who may have signed Douyin's certificate; `None`: the authorities that the operating system
    /// trusts.
    pub authorities: Option<Authorities>,
}

/// A proxy that opens tunnels (CONNECT). It sees Douyin's name and port, and within TLS nothing
/// else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    pub address: ProxyAddress,
    pub credentials: Option<Credentials>,
}

/// Where a proxy listens, in plain HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProxyAddress(Uri);

/// A user and a password.
#[derive(Clone)]
pub struct Credentials(SecretString);

/// Certificates of authorities, at least one.
#[derive(Clone)]
pub struct Authorities(Arc<RootCertStore>);

/// A text is no address of a proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be http:// with a host and a port, and nothing else: no user and no path")]
pub struct BadProxyAddress;

/// Why a text gives no credentials. It follows the words "names a file that" and repeats nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCredentials {
    #[error("does not hold user:password")]
    NoPair,
    #[error("holds a control character: user:password in one line is wanted")]
    Control,
}

/// Why a text gives no authorities. It follows the words "names a file that".
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadAuthorities {
    #[error("holds no certificate")]
    None,
    #[error("holds a private key: certificates are wanted, and nothing secret")]
    PrivateKey,
    /// Counted from 1.
    #[error("holds a certificate that cannot be read: number {number}")]
    Broken { number: usize },
}

impl ProxyAddress {
    pub fn parse(text: &str) -> Result<Self, BadProxyAddress> {
        // The parser drops a fragment silently.
        let url: Option<Uri> = text.parse().ok().filter(|_| !text.contains('#'));
        let is_plain = |url: &Uri| {
            url.scheme_str() == Some("http")
                && url.host().is_some_and(|host| !host.is_empty())
                && url.port_u16().is_some_and(|port| port > 0)
                && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && url.path_and_query().is_none_or(|path| path.as_str() == "/")
        };
        url.filter(is_plain).map(Self).ok_or(BadProxyAddress)
    }

    pub(super) fn url(&self) -> &Uri {
        &self.0
    }
}

impl Credentials {
    /// White space around them is cut off.
    pub fn parse(text: &str) -> Result<Self, BadCredentials> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(BadCredentials::Control);
        }
        let is_pair = text.split_once(':').is_some_and(|(user, _)| !user.is_empty());
        if is_pair { Ok(Self(text.into())) } else { Err(BadCredentials::NoPair) }
    }

    /// As `Proxy-Authorization` wants them.
    pub(super) fn header(&self) -> HeaderValue {
        let basic = format!("Basic {}", STANDARD.encode(self.0.expose_secret()));
        let mut value = HeaderValue::try_from(basic).expect("base64 is visible ASCII");
        value.set_sensitive(true);
        value
    }
}

impl Authorities {
    /// Reads PEM. Text around the certificates is skipped, as it stands in most bundles.
    pub fn parse(pem: &str) -> Result<Self, BadAuthorities> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(BadAuthorities::PrivateKey);
        }
        let mut store = RootCertStore::empty();
        for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem.as_bytes())) {
            let added = certificate.ok().map(|certificate| store.add(certificate));
            if !matches!(added, Some(Ok(()))) {
                return Err(BadAuthorities::Broken { number });
            }
        }
        if store.is_empty() { Err(BadAuthorities::None) } else { Ok(Self(Arc::new(store))) }
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.authority().map_or("", |authority| authority.as_str()))
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for (text, shown) in [
            ("http://proxy.internal:3128", "proxy.internal:3128"),
            ("http://10.0.0.1:80/", "10.0.0.1:80"),
            ("http://[::1]:3128", "[::1]:3128"),
        ] {
            assert_eq!(ProxyAddress::parse(text).unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "proxy.internal:3128",
            "http://proxy.internal",
            "http://proxy.internal:0",
            "http://:3128",
            "https://proxy.internal:3128",
            "socks5://proxy.internal:1080",
            "http://user:word@proxy.internal:3128",
            "http://proxy.internal:3128/path",
            "http://proxy.internal:3128/?x=1",
            "http://proxy.internal:3128/#x",
        ] {
            assert_eq!(ProxyAddress::parse(wrong), Err(BadProxyAddress), "{wrong}");
        }
    }

    #[test]
    fn credentials_are_a_user_and_a_password_that_do_not_show() {
        let credentials = Credentials::parse(" gateway:pass:word \n").unwrap();
        assert_eq!(credentials.header(), "Basic Z2F0ZXdheTpwYXNzOndvcmQ=");
        assert!(credentials.header().is_sensitive());
        assert_eq!(format!("{credentials:?}"), "Credentials");
        assert_eq!(credentials, Credentials::parse("gateway:pass:word").unwrap());
        assert_ne!(credentials, Credentials::parse("gateway:pass").unwrap());
        for (wrong, why) in [
            ("", BadCredentials::NoPair),
            ("gateway", BadCredentials::NoPair),
            (":password", BadCredentials::NoPair),
            ("gateway:pass\nother:word", BadCredentials::Control),
        ] {
            assert_eq!(Credentials::parse(wrong), Err(why), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_certificates_is_refused_with_its_reason() {
        let block = |what: &str, text: &str| {
            format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
        };
        for (wrong, why) in [
            (String::new(), BadAuthorities::None),
            ("# only a comment\n".to_owned(), BadAuthorities::None),
            (block("PUBLIC KEY", "AAAA"), BadAuthorities::None),
            (block("EC PRIVATE KEY", "AAAA"), BadAuthorities::PrivateKey),
            (block("CERTIFICATE", "AAAA"), BadAuthorities::Broken { number: 1 }),
            (block("CERTIFICATE", "!"), BadAuthorities::Broken { number: 1 }),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(),
                BadAuthorities::Broken { number: 1 },
            ),
        ] {
            assert_eq!(Authorities::parse(&wrong), Err(why), "{wrong}");
        }
    }
}
