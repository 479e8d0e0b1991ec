//! The configuration of trade systems: those of an app, and what each needs.

use std::path::Path;

use secrecy::ExposeSecret as _;
use settlement_gateway::settle::TradeSystem;

use super::{ONE_APP, SECRET, checked, load, problems};

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
    let one_of = "must be one of general, self_operated, industry, agency, guaranteed";
    let unneeded =
        "is set, and no system of the app needs it: add industry to systems, or remove it";
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

/// What guaranteed payment needs, by files and by variables.
#[test]
fn guaranteed_payment_has_a_salt_and_a_token_and_shows_neither() {
    let secrets = tempfile::tempdir().unwrap();
    let path = secrets.path().join("salt");
    std::fs::write(&path, "the-salt\n").unwrap();
    let text = format!(
        "{ONE_APP}systems = [\"guaranteed\"]\nsalt_file = {path:?}\n\
         callback_token_env = \"TOKEN_HERE\"\ncallback_url = \"https://pay.example/x\"\n"
    );
    let environment = [("TOKEN_HERE", "the-token")];
    let loaded = load(&text, &environment).map_err(|problems| problems.to_string()).unwrap();
    assert!(loaded.config.takes_callbacks(), "those that are signed in the body");
    let app = &loaded.config.apps[0];
    assert_eq!(app.salt.as_ref().unwrap().expose_secret(), "the-salt");
    assert_eq!(app.callback_token.as_ref().unwrap().expose_secret(), "the-token");
    let (code, stdout, stderr) = checked(&text, &environment);
    assert_eq!(code, 0, "{stderr}");
    for shown in [&stdout, &stderr, &format!("{:?}", loaded.config)] {
        assert!(!shown.contains("the-salt") && !shown.contains("the-token"), "{shown}");
    }
}

#[test]
fn what_guaranteed_payment_lacks_is_told_with_what_to_do() {
    let system = "systems = [\"guaranteed\"]\n";
    let missing =
        |other: &str| format!("is missing, and so is {other}: the system guaranteed needs one");
    let unneeded =
        "is set, and no system of the app needs it: add guaranteed to systems, or remove it";
    let long = format!("https://{}", "x".repeat(249));
    let both = "salt_env = \"HERE\"\ncallback_token_env = \"HERE\"\n";
    for (lines, at, why) in [
        (
            format!("{system}callback_token_env = \"HERE\"\n"),
            "1:1: apps[0].salt_env",
            missing("salt_file"),
        ),
        (
            format!("{system}salt_env = \"HERE\"\n"),
            "1:1: apps[0].callback_token_env",
            missing("callback_token_file"),
        ),
        ("salt_env = \"HERE\"\n".to_owned(), "4:1: apps[0].salt_env", unneeded.to_owned()),
        (
            "callback_token_env = \"HERE\"\n".to_owned(),
            "4:1: apps[0].callback_token_env",
            unneeded.to_owned(),
        ),
        (
            format!("{system}{both}callback_url = {long:?}\n"),
            "7:1: apps[0].callback_url",
            "has 257 bytes; the system guaranteed takes at most 256".to_owned(),
        ),
    ] {
        let (code, _, stderr) = checked(&format!("{ONE_APP}{lines}"), &[("HERE", "secret")]);
        assert_eq!(code, 64, "{lines}");
        assert_eq!(problems(&stderr), [format!("gateway.toml:{at} {why}")], "{lines}");
    }
}

/// An access token is fetched with it, and the others show by a signature which app they are of.
#[test]
fn a_client_secret_is_needed_by_the_systems_whose_calls_carry_an_access_token() {
    let key = vector("pkcs8.pem");
    let app = |systems: &[&str]| {
        let mut text = format!("[[apps]]\napp_id = \"tt1\"\nsystems = {systems:?}\n");
        if systems.contains(&"industry") {
            text += &format!("private_key_file = {key:?}\nkey_version = \"1\"\n");
        }
        if systems.contains(&"guaranteed") {
            text += "salt_env = \"HERE\"\ncallback_token_env = \"HERE\"\n";
        }
        text
    };
    let here = [("HERE", "word")];
    for systems in [&["industry"][..], &["guaranteed"], &["guaranteed", "industry"]] {
        let config = load(&app(systems), &here).map_err(|p| p.to_string()).unwrap().config;
        assert!(config.apps[0].client_secret.is_none(), "{systems:?}");
        // One follows the settles of a system that was taken out.
        let text = format!("{}client_secret_env = \"SECRET\"\n", app(systems));
        let config = load(&text, &here).map_err(|p| p.to_string()).unwrap().config;
        assert!(config.apps[0].client_secret.is_some(), "{systems:?}");
    }
    for needing in ["general", "self_operated", "agency"] {
        for systems in [&[needing][..], &["industry", needing], &["guaranteed", needing]] {
            let (code, _, stderr) = checked(&app(systems), &here);
            assert_eq!(code, 64, "{systems:?}");
            let why = format!(
                "gateway.toml:1:1: apps[0].client_secret_env is missing, and so is \
                 client_secret_file: the system {needing} needs one"
            );
            assert_eq!(problems(&stderr), [why]);
        }
    }
    // It is the default.
    let (_, _, stderr) = checked("[[apps]]\napp_id = \"tt1\"\n", &[]);
    assert!(stderr.contains("the system general needs one"), "{stderr}");
}

/// What is left of an order is asked with the salt in every system, if the operator wants that.
#[test]
fn a_salt_may_be_there_for_another_system_if_orders_of_every_system_are_asked_for() {
    let salted = format!("{ONE_APP}salt_env = \"HERE\"\n");
    for (text, code) in
        [(&salted, 64), (&format!("[douyin]\nunsettled_amount_elsewhere = true\n{salted}"), 0)]
    {
        assert_eq!(checked(text, &[("HERE", "word")]).0, code, "{text}");
    }
}

/// An acceptance proves nothing there, and not every create brings an `ext` of its own.
#[test]
fn guaranteed_payment_without_marks_is_refused() {
    let app = "systems = [\"general\", \"guaranteed\"]\nsalt_env = \"HERE\"\n\
               callback_token_env = \"HERE\"\n";
    let here = [("HERE", "word")];
    let text = format!("[settle]\nmark = false\n{ONE_APP}{app}");
    let (code, _, stderr) = checked(&text, &here);
    assert_eq!(code, 64);
    let why = "gateway.toml:2:1: settle.mark is false, and the app tt1 has the system guaranteed, \
               where nothing but the mark shows whose a settle is: set it to true, or take \
               guaranteed out of the systems of the app";
    assert_eq!(problems(&stderr), [why]);
    for fitting in [format!("{ONE_APP}{app}"), format!("[settle]\nmark = false\n{ONE_APP}")] {
        assert_eq!(checked(&fitting, &here).0, 0, "{fitting}");
    }
}

#[test]
fn check_config_tells_the_systems_of_each_app_and_what_each_has() {
    let key = vector("pkcs8.pem");
    let platform = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/callback/platform-public-key.pem");
    let text = format!(
        "[[apps]]\napp_id = \"tt1\"\nclient_secret_env = \"SECRET\"\n\
         systems = [\"industry\", \"general\", \"self_operated\", \"agency\", \"guaranteed\"]\n\
         private_key_file = {key:?}\nkey_version = \"3\"\n\
         salt_env = \"SALT\"\ncallback_token_env = \"TOKEN\"\n\
         platform_public_keys_file = {platform:?}\n\
         [[apps]]\napp_id = \"tt2\"\nclient_secret_env = \"SECRET\"\n"
    );
    let (code, stdout, stderr) = checked(&text, &[("SALT", "the-salt"), ("TOKEN", "the-token")]);
    assert_eq!(code, 0, "{stderr}");
    let (_, apps) = stdout.split_once("apps     2\n").unwrap();
    let (apps, _) = apps.split_once("\ncallers").unwrap();
    let lines: Vec<_> = apps.lines().map(str::trim).collect();
    let (token, keys) =
        ("access tokens by the client secret", "callbacks verified by the platform's public keys");
    let expected = [
        "tt1: 20 requests/s, 64 in flight".to_owned(),
        format!("industry: calls signed by the private key, version 3; {keys}"),
        format!("general: {token}; {keys}"),
        format!("self_operated: {token}; {keys}"),
        format!("agency (read only): {token}; Douyin sends no callbacks"),
        "guaranteed: calls signed by the salt; callbacks verified by the callback token".to_owned(),
        "tt2: 20 requests/s, 64 in flight".to_owned(),
        format!("general: {token}; callbacks refused (no platform_public_keys_file)"),
    ];
    assert_eq!(lines, expected);
    for secret in ["the-salt", "the-token", SECRET] {
        assert!(!stdout.contains(secret), "{stdout}");
    }
}
