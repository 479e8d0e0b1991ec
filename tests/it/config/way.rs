//! The configuration of the way to Douyin: proxy, credentials, authorities.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::callbacks::certificate;
use super::{ONE_APP, checked, load, problems};

const PROXY: &str = "proxy_url = \"http://proxy.example:3128\"\n";

fn douyin(keys: &str) -> String {
    format!("[douyin]\n{keys}{ONE_APP}")
}

#[test]
fn the_way_is_read_and_told_without_its_secret() {
    let dir = TempDir::new().unwrap();
    let (ca, _) = certificate(dir.path());
    let credentials = dir.path().join("credentials");
    fs::write(&credentials, "gateway:the-password\n").unwrap();
    let text =
        douyin(&format!("{PROXY}proxy_credentials_file = {credentials:?}\nca_file = {ca:?}\n"));
    for (mode, warned) in [(0o600, false), (0o644, true)] {
        fs::set_permissions(&credentials, fs::Permissions::from_mode(mode)).unwrap();
        let (code, stdout, stderr) = checked(&text, &[]);
        assert_eq!(code, 0, "{stderr}");
        let warning = "douyin.proxy_credentials_file names a file that others may read";
        assert_eq!(stderr.contains(warning), warned, "{stderr}");
        let way = "https://open.douyin.com, through the proxy proxy.example:3128 with \
                   credentials, trusting the certificates of ca_file (1)";
        assert!(stdout.contains(way), "{stdout}");
        assert!(stdout.contains("ends     douyin.ca_file: 20"), "{stdout}");
        assert!(!stdout.contains("the-password") && !stderr.contains("the-password"));
    }
    let way = load(&text, &[]).map_err(|problems| problems.to_string()).unwrap().config.douyin.way;
    assert!(!format!("{way:?}").contains("the-password"), "{way:?}");
    assert!(way.proxy.is_some_and(|proxy| proxy.credentials.is_some()));
    assert_eq!(way.authorities.map(|authorities| authorities.count()), Some(1));
    // Connections are direct unless the file says otherwise.
    let variables = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"].map(|name| (name, "http://p:1"));
    let (code, stdout, _) = checked(ONE_APP, &variables);
    assert_eq!(code, 0);
    assert!(stdout.contains("Douyin   https://open.douyin.com\n"), "{stdout}");
}

#[test]
fn what_is_no_way_is_a_problem() {
    let dir = TempDir::new().unwrap();
    let (ca, key) = certificate(dir.path());
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        format!("{:?}", path)
    };
    let (good, empty) = (file("good", "user:word"), file("empty", ""));
    let huge = file("huge", &"a:b".repeat(2_000));
    let must = "proxy_url must be http:// with a host and a port, and nothing else: no user and no \
                path";
    let plain = "base_url = \"http://127.0.0.1:1\"\n";
    for (keys, said) in [
        ("proxy_url = \"https://proxy.example:3128\"\n".to_owned(), must),
        ("proxy_url = \"http://user:word@proxy.example:3128\"\n".to_owned(), must),
        (
            format!("proxy_credentials_file = {good}\n"),
            "proxy_credentials_file is set and douyin.proxy_url is not",
        ),
        (
            format!("{PROXY}proxy_credentials_file = {empty}\n"),
            "proxy_credentials_file names a file that does not hold user:password",
        ),
        (
            format!("{PROXY}proxy_credentials_file = {huge}\n"),
            "proxy_credentials_file names a file that is larger than 4096 bytes",
        ),
        (
            format!("{PROXY}proxy_credentials_file = \"missing\"\n"),
            "proxy_credentials_file names a file that cannot be read: No such file or \
                 directory (os error 2)",
        ),
        (
            format!("ca_file = {key:?}\n"),
            "ca_file names a file that holds a private key: certificates are wanted, and \
                 nothing secret",
        ),
        (format!("ca_file = {empty}\n"), "ca_file names a file that holds no certificate"),
        (format!("{plain}ca_file = {ca:?}\n"), "ca_file is set and douyin.base_url is not https"),
        // What was refused is not missing.
        (format!("proxy_url = \"proxy\"\nproxy_credentials_file = {good}\n"), must),
    ] {
        let (code, _, stderr) = checked(&douyin(&keys), &[]);
        assert_eq!(code, 64, "{keys}");
        let told = problems(&stderr);
        assert!(told.len() == 1 && told[0].ends_with(&format!(": douyin.{said}")), "{told:?}");
        assert!(!stderr.contains("word@"), "{stderr}");
    }
}
