//! The forms in which a person gets a platform key, made and signed by openssl, as `check-callback`
//! and `check-config` take them.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::{ONE_APP, checked, gateway, problems, ran};
use crate::callbacks::openssl;

const BODY: &str = r#"{"msg":"{}","type":"another"}"#;

/// A key pair and a callback that it signed, in files.
struct Signer {
    dir: TempDir,
}

impl Signer {
    fn new() -> Self {
        let signer = Self { dir: TempDir::new().unwrap() };
        let private = signer.path("private.pem");
        openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-out", &private]);
        let (text, signature) = (signer.path("text"), signer.path("signature"));
        fs::write(&text, format!("17\nnonce\n{BODY}\n")).unwrap();
        openssl(&["dgst", "-sha256", "-sign", &private, "-out", &signature, &text]);
        let signature = STANDARD.encode(fs::read(signature).unwrap());
        let headers =
            format!("Byte-Timestamp: 17\nByte-Nonce-Str: nonce\nByte-Signature: {signature}\n");
        fs::write(signer.path("headers.txt"), headers).unwrap();
        fs::write(signer.path("body.json"), BODY).unwrap();
        signer
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// What openssl prints of the private key.
    fn made(&self, more: &[&str]) -> String {
        let private = self.path("private.pem");
        openssl(&[&["rsa", "-in", &private][..], more].concat())
    }

    /// Whether a file of keys verifies the callback: exit code, and all that was said.
    fn check(&self, keys: &str) -> (i32, String) {
        fs::write(self.path("keys"), keys).unwrap();
        let files = ["--key", "keys", "--headers", "headers.txt", "--body", "body.json"];
        let arguments = [&["check-callback"][..], &files].concat();
        let (code, stdout, stderr) = ran(gateway(&arguments, &[]).current_dir(self.dir.path()));
        (code, stdout + &stderr)
    }
}

/// The lines between the first and the last one.
fn bare(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_form_in_which_a_key_is_handed_out_verifies_what_it_signed() {
    let signer = Signer::new();
    let spki = signer.made(&["-pubout"]);
    let pkcs1 = signer.made(&["-RSAPublicKey_out"]);
    assert!(pkcs1.starts_with("-----BEGIN RSA PUBLIC KEY-----"), "{pkcs1}");
    for pem in [spki, pkcs1] {
        let wrapped = bare(&pem);
        let indented: String = pem.lines().map(|line| format!("    {line}\n")).collect();
        for form in [
            pem.clone(),
            format!("\u{feff}{pem}"),
            pem.replace('\n', "\r\n"),
            indented,
            wrapped.replace('\n', ""),
            format!("\u{feff}{}", wrapped.replace('\n', "\r\n")),
            wrapped,
        ] {
            let (code, said) = signer.check(&form);
            assert_eq!(code, 0, "{said}: {form}");
            assert!(said.starts_with("signature: good\n"), "{said}");
        }
    }
}

/// One file at a time, for both commands; nothing of the file is said again.
#[test]
fn what_is_in_the_file_and_is_no_key_is_told_and_not_left_out() {
    let signer = Signer::new();
    let key = signer.made(&["-pubout"]);
    let private = fs::read_to_string(signer.path("private.pem")).unwrap();
    let old_private = signer.made(&["-traditional"]);
    let (certificate, _) = super::callbacks::certificate(signer.dir.path());
    let certificate = fs::read_to_string(Path::new(&certificate)).unwrap();
    let curve = ["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    fs::write(signer.path("curve.pem"), openssl(&curve)).unwrap();
    let curve = openssl(&["pkey", "-pubout", "-in", &signer.path("curve.pem")]);
    let bare_private = bare(&private);
    for (beside, why) in [
        (&private, "holds a private key: the platform's public key is wanted, and nothing else"),
        (
            &old_private,
            "holds a private key: the platform's public key is wanted, and nothing else",
        ),
        (
            &bare_private,
            "holds a private key: the platform's public key is wanted, and nothing else",
        ),
        (&certificate, "holds a certificate (number 2) and not a key"),
        (&curve, "holds a key (number 2) that is not a whole RSA public key"),
        (
            &"platform key of 2026\n".to_owned(),
            "has a line (10) that is neither a key nor a comment",
        ),
    ] {
        let text = format!("{key}{beside}");
        let (code, said) = signer.check(&text);
        assert_eq!(code, 64, "{said}");
        assert!(said.contains(&format!("keys: the file {why}")), "{said}");
        let file = signer.path("keys");
        let config = format!("{ONE_APP}platform_public_keys_file = {file:?}\n");
        let (code, _, stderr) = checked(&config, &[]);
        assert_eq!(code, 64);
        let problem =
            format!("gateway.toml:4:1: apps[0].platform_public_keys_file names a file that {why}");
        assert!(problems(&stderr)[0].starts_with(&problem), "{stderr}");
        for line in text.lines().filter(|line| line.len() > 16 && !line.starts_with('-')) {
            assert!(!said.contains(line) && !stderr.contains(line), "{line}: {said}{stderr}");
        }
    }
}
