//! The configuration of trade systems: those of an app, and what each needs.

use std::path::Path;

use settlement_gateway::settle::TradeSystem;

use super::{ONE_APP, checked, load, problems};

fn vector(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/request").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_systems_of_an_app_are_read_in_their_order_with_what_they_need() {
    let config = load(ONE_APP, &[]).unwrap().config;
    assert_eq!(config.apps[0].trade_systems, [TradeSystem::General]);
    for key in ["pkcs8.pem", "pkcs1.pem"] {
        let text = format!(
            "{ONE_APP}systems = [\"industry\", \"general\"]\nprivate_key_file = {:?}\n\
             key_version = \"3\"\n",
            vector(key)
        );
        let config = load(&text, &[]).map_err(|problems| problems.to_string()).unwrap().config;
        let app = &config.apps[0];
        assert_eq!(app.trade_systems, [TradeSystem::Industry, TradeSystem::General]);
        let shown = format!("{:?}", app.signing_key);
        assert_eq!(shown, "Some(SigningKey(version 3))", "and not the key");
        let (code, stdout, stderr) = checked(&text, &[]);
        assert_eq!(code, 0, "{stderr}");
        assert!(!format!("{stdout}{stderr}").contains("PRIVATE"), "{stdout}");
    }
}

#[test]
fn what_is_wrong_with_systems_is_told_with_what_to_do() {
    let (key, public) = (vector("pkcs8.pem"), vector("public.pem"));
    let industry = "systems = [\"industry\"]\n";
    let both = |file: &str, version: &str| {
        format!("{industry}private_key_file = {file:?}\nkey_version = {version:?}\n")
    };
    let one_of = "must be one of general, self_operated, industry, agency";
    let unneeded = "is set, and no system of the app needs it: add one of these to systems \
                    (industry), or remove it";
    for (lines, at, why) in [
        (
            "systems = [\"general\", \"barter\"]\n".to_owned(),
            "4:1: apps[0].systems",
            format!("has an entry (2) that {one_of}"),
        ),
        (
            "systems = [\"agency\", \"agency\"]\n".to_owned(),
            "4:1: apps[0].systems",
            "names agency a second time".to_owned(),
        ),
        (
            "systems = []\n".to_owned(),
            "4:1: apps[0].systems",
            "names no trade system: the app settles in at least one".to_owned(),
        ),
        (
            industry.to_owned(),
            "1:1: apps[0].private_key_file",
            "is missing: calls of the system industry are signed".to_owned(),
        ),
        (
            format!("{industry}private_key_file = {key:?}\n"),
            "1:1: apps[0].key_version",
            "is missing: calls of the system industry are signed".to_owned(),
        ),
        (
            format!("private_key_file = {key:?}\nkey_version = \"1\"\n"),
            "4:1: apps[0].private_key_file",
            unneeded.to_owned(),
        ),
        ("key_version = \"1\"\n".to_owned(), "4:1: apps[0].key_version", unneeded.to_owned()),
        (
            both(&key, "1 2"),
            "6:1: apps[0].key_version",
            "must be 1 to 32 letters and digits".to_owned(),
        ),
        (
            both(&public, "1"),
            "5:1: apps[0].private_key_file",
            "names a file that holds a public key: the app's private key is wanted".to_owned(),
        ),
        (
            both("missing.pem", "1"),
            "5:1: apps[0].private_key_file",
            "names a file that cannot be read: No such file or directory (os error 2)".to_owned(),
        ),
    ] {
        let (code, _, stderr) = checked(&format!("{ONE_APP}{lines}"), &[]);
        assert_eq!(code, 64, "{lines}");
        assert_eq!(problems(&stderr), [format!("gateway.toml:{at} {why}")], "{lines}");
    }
}
