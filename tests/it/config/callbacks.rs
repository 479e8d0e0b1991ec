//! The configuration of callbacks: keys, certificate, address.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use settlement_gateway::config::Config;
use settlement_gateway::douyin::PlatformKeys;
use settlement_gateway::settle::NotifyUrl;
use tempfile::TempDir;

use super::{ONE_APP, checked, load, problems};
use crate::callbacks::openssl;

fn vector(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/callback").join(name);
    path.to_str().unwrap().to_owned()
}

/// A certificate for localhost with its key, in two files.
pub fn certificate(dir: &Path) -> (String, String) {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        names,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        &key,
        "-out",
        &certificate,
    ]);
    (certificate, key)
}

#[test]
fn keys_and_address_of_an_app_are_read() {
    let key = vector("platform-public-key.pem");
    let url = "https://pay.example.com/callbacks/douyin/tt1";
    let text = format!("{ONE_APP}platform_public_keys_file = {key:?}\ncallback_url = \"{url}\"\n");
    let config = load(&text, &[]).map_err(|problems| problems.to_string()).unwrap().config;
    let app = &config.apps[0];
    assert_eq!(app.platform_keys.as_ref().map(PlatformKeys::count), Some(1));
    assert_eq!(app.notify_url.as_ref().map(NotifyUrl::as_str), Some(url));
    let (code, stdout, stderr) = checked(&text, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("callback 127.0.0.1:8080"), "{stdout}");
    let general = "general: access tokens by the client secret; callbacks verified by the \
                   platform's public keys\n";
    assert!(stdout.contains(general), "{stdout}");
}

#[test]
fn an_app_without_keys_takes_no_callbacks_and_check_config_says_so() {
    let (code, stdout, _) = checked(ONE_APP, &[]);
    assert_eq!(code, 0);
    assert!(stdout.contains("callback off: no app has a platform_public_keys_file"), "{stdout}");
    assert!(load(ONE_APP, &[]).unwrap().config.apps[0].platform_keys.is_none());
}

#[test]
fn keys_that_are_none_and_an_address_without_keys_are_problems() {
    let dir = TempDir::new().unwrap();
    let private = dir.path().join("private.pem");
    fs::write(&private, openssl(&["genpkey", "-quiet", "-algorithm", "RSA"])).unwrap();
    let (readme, private) = (vector("README.md"), private.to_str().unwrap().to_owned());
    for (key, why) in [
        (
            readme,
            "has a line (3) that is neither a key nor a comment: remove it, or put a # before it",
        ),
        (private, "holds a private key: the platform's public key is wanted, and nothing else"),
        ("missing.pem".to_owned(), "cannot be read: No such file or directory (os error 2)"),
    ] {
        let text = format!("{ONE_APP}platform_public_keys_file = {key:?}\n");
        let (code, _, stderr) = checked(&text, &[]);
        assert_eq!(code, 64);
        let expected =
            format!("gateway.toml:4:1: apps[0].platform_public_keys_file names a file that {why}");
        assert_eq!(problems(&stderr), [expected]);
    }
    let text = format!("{ONE_APP}callback_url = \"https://pay.example.com/\"\n");
    let (code, _, stderr) = checked(&text, &[]);
    assert_eq!(code, 64);
    let expected = "gateway.toml:4:1: apps[0].callback_url is set and platform_public_keys_file is \
                    not: what Douyin sends there would be refused";
    assert_eq!(problems(&stderr), [expected]);
}

#[test]
fn the_certificate_of_a_listener_and_its_key_go_together() {
    let dir = TempDir::new().unwrap();
    let (certificate, key) = certificate(dir.path());
    let other = TempDir::new().unwrap();
    let (_, other_key) = super::callbacks::certificate(other.path());
    for listener in ["grpc", "callback", "admin"] {
        let text = |certificate: &str, key: &str| {
            format!(
                "[server]\n{listener}_tls_certificate_file = {certificate:?}\n\
                 {listener}_tls_key_file = {key:?}\n{ONE_APP}"
            )
        };
        let loaded = load(&text(&certificate, &key), &[]).map_err(|p| p.to_string()).unwrap();
        assert_eq!(loaded.warnings, [] as [&str; 0]);
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        let warning = format!(
            "gateway.toml:3:1: server.{listener}_tls_key_file names a file that others may read: \
             chmod o-r would do"
        );
        assert_eq!(load(&text(&certificate, &key), &[]).unwrap().warnings, [warning]);
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        let Config { grpc_tls, callback, admin_tls, .. } = loaded.config;
        let secured = [("grpc", grpc_tls), ("callback", callback.tls), ("admin", admin_tls)]
            .map(|(name, tls)| (name, tls.tls.is_some()));
        assert!(secured.iter().all(|(name, is)| *is == (*name == listener)), "{secured:?}");
        for (certificate, key, blamed) in [
            (&key, &key, "certificate_file names a file that holds no certificate"),
            (&certificate, &certificate, "key_file names a file that holds no private key"),
            (&certificate, &other_key, "key_file does not fit the certificate"),
            (&certificate, &"missing".to_owned(), "key_file names a file that cannot be read"),
        ] {
            let (code, _, stderr) = checked(&text(certificate, key), &[]);
            assert_eq!(code, 64);
            assert!(stderr.contains(&format!("server.{listener}_tls_{blamed}")), "{stderr}");
        }
        for (one, other) in [("certificate_file", "key_file"), ("key_file", "certificate_file")] {
            let text = format!("[server]\n{listener}_tls_{one} = {key:?}\n{ONE_APP}");
            let (code, _, stderr) = checked(&text, &[]);
            assert_eq!(code, 64);
            let expected = format!(
                "gateway.toml:2:1: server.{listener}_tls_{one} is set and \
                 server.{listener}_tls_{other} is not"
            );
            assert_eq!(problems(&stderr), [expected]);
        }
    }
}

#[test]
fn client_authorities_are_certificates_and_need_a_certificate_of_the_listener() {
    let dir = TempDir::new().unwrap();
    let (certificate, key) = certificate(dir.path());
    let server = format!(
        "[server]\ngrpc_tls_certificate_file = {certificate:?}\ngrpc_tls_key_file = {key:?}\n"
    );
    let text = |file: &str| format!("{server}grpc_client_ca_file = {file:?}\n{ONE_APP}");
    let loaded = load(&text(&certificate), &[]).map_err(|p| p.to_string()).unwrap();
    assert_eq!(loaded.config.grpc_tls.client_ca_file, Some(certificate.clone()));
    for (file, why) in [
        (&key, "names a file that holds no certificate"),
        (&"missing".to_owned(), "names a file that cannot be read"),
    ] {
        let (code, _, stderr) = checked(&text(file), &[]);
        assert_eq!(code, 64);
        assert!(stderr.contains(&format!("server.grpc_client_ca_file {why}")), "{stderr}");
    }
    let alone = format!("[server]\ngrpc_client_ca_file = {certificate:?}\n{ONE_APP}");
    let (code, _, stderr) = checked(&alone, &[]);
    let expected = "gateway.toml:2:1: server.grpc_client_ca_file is set and \
                    server.grpc_tls_certificate_file is not";
    assert_eq!((code, problems(&stderr)), (64, vec![expected]));
}

#[test]
fn check_config_says_when_certificates_end_and_warns_in_time() {
    // Of the two days for which it is good, one is left at least.
    let dir = TempDir::new().unwrap();
    let (certificate, key) = certificate(dir.path());
    let text = format!(
        "[server]\ngrpc_tls_certificate_file = {certificate:?}\ngrpc_tls_key_file = {key:?}\n\
         grpc_client_ca_file = {certificate:?}\n{ONE_APP}"
    );
    let (code, stdout, stderr) = checked(&text, &[]);
    assert_eq!(code, 0, "{stderr}");
    for named in ["server.grpc_tls_certificate_file", "server.grpc_client_ca_file"] {
        assert!(stdout.contains(&format!("ends     {named}: 20")), "{stdout}");
        let warning =
            format!("warning: {named} names a file with a certificate that ends in 1 days");
        assert!(stderr.contains(&warning), "{stderr}");
    }
}
