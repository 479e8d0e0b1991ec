//! The configuration of the database.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use settlement_gateway::config::Database;
use tempfile::TempDir;

use super::callbacks::certificate;
use super::{ONE_APP, checked, load};

const URL: &str = "url = \"postgres://gateway@db.example/settlement\"\n";

fn store(keys: &str) -> String {
    format!("[store]\n{keys}{ONE_APP}")
}

#[test]
fn a_postgresql_database_is_read_and_told_without_its_password() {
    let dir = TempDir::new().unwrap();
    let (ca, _) = certificate(dir.path());
    let password = dir.path().join("password");
    fs::write(&password, "the-password\n").unwrap();
    let text = store(&format!("{URL}password_file = {password:?}\nca_file = {ca:?}\n"));
    for (mode, warned) in [(0o600, false), (0o644, true)] {
        fs::set_permissions(&password, fs::Permissions::from_mode(mode)).unwrap();
        let (code, stdout, stderr) = checked(&text, &[]);
        assert_eq!(code, 0, "{stderr}");
        let warning = "store.password_file names a file that others may read";
        assert_eq!(stderr.contains(warning), warned, "{stderr}");
        assert!(stdout.contains("store    postgres://gateway@db.example/settlement\n"), "{stdout}");
        assert!(!stdout.contains("the-password") && !stderr.contains("the-password"));
    }
    let by_variable = store(&format!("{URL}password_env = \"PASSWORD\"\nca_file = {ca:?}\n"));
    for (text, variables) in [(text, vec![]), (by_variable, vec![("PASSWORD", "the-password")])] {
        let loaded = load(&text, &variables).map_err(|problems| problems.to_string()).unwrap();
        assert!(!format!("{:?}", loaded.config).contains("the-password"));
        let Database::Postgres(options) = loaded.config.database() else { panic!("the other one") };
        assert!(options.address.is_encrypted() && options.password.is_some());
        assert_eq!(options.authorities.map(|authorities| authorities.len()), Some(1));
    }
    let plainly = store("url = \"postgres://gateway@db.example/settlement?sslmode=disable\"\n");
    let (_, _, stderr) = checked(&plainly, &[]);
    assert!(stderr.contains("store.url says sslmode=disable"), "{stderr}");
}

#[test]
fn what_is_no_database_is_a_problem() {
    let dir = TempDir::new().unwrap();
    let (ca, _) = certificate(dir.path());
    for (keys, problem) in [
        (format!("{URL}sqlite_path = \"a.db\"\n"), "store.url and store.sqlite_path"),
        ("url = \"data/a.db\"\n".to_owned(), "store.url must be postgres://"),
        ("url = \"postgres://a:the-word@b/c\"\n".to_owned(), "store.url must not hold a password"),
        ("password_env = \"A\"\n".to_owned(), "store.password_env is set and store.url is not"),
        (format!("{URL}password_env = \"A\"\n"), "store.password_env names a variable that is not"),
        (
            format!("{URL}password_env = \"A\"\npassword_file = \"b\"\n"),
            "store.password_env and store.password_file exclude each other",
        ),
        (
            format!("url = \"postgres://a@localhost/b\"\nca_file = {ca:?}\n"),
            "store.ca_file is set, and the connection to store.url is not encrypted",
        ),
        (format!("{URL}ca_file = \"/nothing/there\"\n"), "store.ca_file names a file that"),
    ] {
        let told = load(&store(&keys), &[]).map(drop).unwrap_err().to_string();
        assert!(told.contains(problem), "{keys}: {told}");
        assert!(!told.contains("the-word"), "{told}");
    }
}
