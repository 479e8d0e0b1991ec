//! The knobs that name a secret. What is in the place that they name, or stands in their own, is in
//! no problem, no warning and no print of the configuration; also if it is malformed.

use std::fs;
use std::path::Path;

use settlement_gateway::config;
use tempfile::TempDir;

use super::callbacks::certificate;
use super::load;
use crate::leaks::forms;

/// Table and key of every knob that names a secret, as the reference marks them.
pub fn knobs() -> Vec<(String, String)> {
    let (mut all, mut table) = (Vec::new(), String::new());
    for line in config::markdown().lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            heading.trim_matches(['`', '[', ']']).clone_into(&mut table);
        }
        let mut cells = line.split(" | ");
        if let (Some(key), Some("path of a secret" | "name of a secret's variable")) =
            (cells.next().and_then(|cell| cell.strip_prefix("| `")), cells.next())
        {
            all.push((table.clone(), key.trim_end_matches('`').to_owned()));
        }
    }
    all
}

/// The tests of secrets look for those that the rows mark.
#[test]
fn a_knob_whose_name_speaks_of_a_secret_is_marked_as_one() {
    let words = ["secret", "salt", "password", "credentials", "token", "private", "_key_", "_env"];
    let marked: Vec<_> = knobs().into_iter().map(|(_, key)| key).collect();
    let page = config::markdown();
    let (page, _) = page.split_once(super::gone::HEADING).unwrap();
    for key in page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        // No token can be guessed from that.
        let speaks = words.iter().any(|word| key.contains(word)) && key != "token_sha256";
        assert_eq!(speaks, marked.iter().any(|known| known == key), "{key}");
    }
}

/// A configuration with a knob that names something, and all else that the knob needs.
fn configured(table: &str, key: &str, value: &str, certificate: &str) -> String {
    let secret = "client_secret_env = \"SECRET\"\n";
    let (beside, app) = match (table, key) {
        ("apps", "client_secret_env" | "client_secret_file") => (String::new(), String::new()),
        ("apps", "private_key_file") => {
            (String::new(), format!("{secret}systems = [\"industry\"]\nkey_version = \"1\"\n"))
        }
        ("apps", "salt_env" | "salt_file") => {
            let token = "callback_token_env = \"SECRET\"\n";
            (String::new(), format!("{secret}systems = [\"guaranteed\"]\n{token}"))
        }
        ("apps", "callback_token_env" | "callback_token_file") => {
            let salt = "salt_env = \"SECRET\"\n";
            (String::new(), format!("{secret}systems = [\"guaranteed\"]\n{salt}"))
        }
        ("apps", "caller_tokens_file") => (String::new(), secret.to_owned()),
        ("server", "grpc_tls_key_file" | "callback_tls_key_file" | "admin_tls_key_file") => {
            let of = key.replace("_key_", "_certificate_");
            (format!("{of} = {certificate:?}\n"), secret.to_owned())
        }
        ("douyin", "proxy_credentials_file") => {
            ("proxy_url = \"http://proxy.example:3128\"\n".to_owned(), secret.to_owned())
        }
        ("store", "password_env" | "password_file") => {
            ("url = \"postgres://gateway@localhost/a\"\n".to_owned(), secret.to_owned())
        }
        _ => panic!("say what {table}.{key} needs beside it"),
    };
    let knob = format!("{key} = {value:?}\n");
    let id = "[[apps]]\napp_id = \"tt1\"\n";
    match table {
        "apps" => format!("{id}{app}{knob}"),
        _ => format!("[{table}]\n{beside}{knob}{id}{app}"),
    }
}

/// Good ones, and those that people get wrong.
fn contents() -> Vec<Vec<u8>> {
    let vector = |name: &str| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/request");
        fs::read_to_string(dir.join(name)).unwrap()
    };
    let bare = |pem: &str| pem.lines().filter(|line| !line.starts_with("--")).collect::<String>();
    let (pkcs8, pkcs1) = (vector("pkcs8.pem"), vector("pkcs1.pem"));
    let word = "sg_not-to-be-seen-anywhere-0123456789abcdef";
    let mut all: Vec<String> = ["elliptic.pem", "encrypted.pem", "short.pem"].map(vector).into();
    all.extend([bare(&pkcs8), bare(&pkcs1)]);
    // Cut off, mixed up, and with something before or behind.
    all.extend([&pkcs8, &bare(&pkcs1)].map(|whole| whole.split_at(800).0.to_owned()));
    all.extend([format!("{pkcs8}{pkcs1}"), format!("{word}\n{pkcs8}"), format!("{pkcs8}{word}\n")]);
    all.extend([pkcs8.replace('M', "*"), pkcs1.replace("BEGIN RSA", "BEGIN"), pkcs8, pkcs1]);
    all.extend([word.to_owned(), format!("{word}:{word}"), format!("{word}\n{word}-2")]);
    all.extend([format!("{word}\u{1}"), format!("= \"{word}"), word.repeat(10_000)]);
    let mut all: Vec<Vec<u8>> = all.into_iter().map(String::into_bytes).collect();
    all.push([word.as_bytes(), b"\xff"].concat());
    all
}

/// Loads a configuration. Fails if a line of the content is in what is told or printed of it.
fn tried(text: &str, variables: &[(&str, &str)], content: &[u8]) -> Result<(), String> {
    let (shown, outcome) = match load(text, variables) {
        Ok(loaded) => {
            let set: Vec<_> = loaded.set.iter().map(|(key, value, _)| (key, value)).collect();
            (format!("{:?}{:?}{set:?}", loaded.config, loaded.warnings), Ok(()))
        }
        Err(problems) => (format!("{problems}{problems:?}"), Err(problems.to_string())),
    };
    let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"--"));
    for line in lines.filter(|line| line.len() >= 16) {
        // Of a long one a piece would be enough.
        for form in forms(&line[..line.len().min(40)]) {
            assert!(!shown.contains(&form), "{text}: {form} is in {shown}");
        }
    }
    outcome
}

#[test]
fn what_a_knob_names_is_never_shown_not_even_what_is_malformed() {
    let dir = TempDir::new().unwrap();
    let (certificate, _) = certificate(dir.path());
    let path = dir.path().join("content").to_str().unwrap().to_owned();
    for (table, key) in knobs() {
        let mut is_refused = false;
        for content in contents() {
            let outcome = if key.ends_with("_env") {
                let Ok(word) = std::str::from_utf8(&content) else { continue };
                let text = configured(&table, &key, "HERE", &certificate);
                tried(&text, &[("HERE", word)], &content)
            } else {
                fs::write(&path, &content).unwrap();
                tried(&configured(&table, &key, &path, &certificate), &[], &content)
            };
            // So it was read.
            is_refused |= outcome.is_err_and(|problems| {
                let whys = ["names a file that", "names a secret that"];
                whys.iter().any(|why| problems.contains(&format!("{key} {why}")))
            });
        }
        assert!(is_refused, "{table}.{key}");
    }
}

/// People write it where its name should be, and under the name that the secret has elsewhere.
#[test]
fn a_secret_that_stands_in_the_configuration_itself_is_refused_and_not_repeated() {
    let dir = TempDir::new().unwrap();
    let (certificate, _) = certificate(dir.path());
    for (table, key) in knobs() {
        // It might be the name of a variable or of a file.
        let word = "e0802NotToBeSeenAnywhere0123456789";
        let text = configured(&table, &key, word, &certificate);
        let itself = key.trim_end_matches("_file").trim_end_matches("_env");
        let unnamed = text.replace(&format!("{key} = "), &format!("{itself} = "));
        for text in [text, unnamed] {
            tried(&text, &[], word.as_bytes()).expect_err(&text);
        }
    }
}
