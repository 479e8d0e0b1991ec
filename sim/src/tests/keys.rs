//! The platform's keys and signatures, compared with openssl and with a vector made elsewhere.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::receiver::verified;
use crate::PlatformKey;
use crate::callbacks::signed_text;

/// Runs openssl, which must be there; `scripts/test tools` installs it.
fn openssl(arguments: &[&str], input: &[u8], dir: &Path) -> (bool, String) {
    let mut child = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is missing: `scripts/test tools` installs it");
    // It may end without reading its input.
    child.stdin.take().expect("a pipe").write_all(input).ok();
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A key pair of this test's own.
pub(super) fn new_private_key() -> String {
    let dir = TempDir::new().expect("a temporary folder");
    let make = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let (made, pem) = openssl(&make, b"", dir.path());
    assert!(made, "openssl makes no keys");
    pem
}

#[test]
fn openssl_finds_the_same_public_key_and_accepts_the_signature() {
    let dir = TempDir::new().expect("a temporary folder");
    let (text, body) = ("17\nn\n", "{\"msg\":\"分账\"}");
    for private_pem in [new_private_key(), include_str!("../platform_key.pem").to_owned()] {
        let key = PlatformKey::from_pem(&private_pem).expect("a key");
        let (read, public_pem) = openssl(&["pkey", "-pubout"], private_pem.as_bytes(), dir.path());
        assert!(read);
        assert_eq!(key.public_pem(), public_pem);
        std::fs::write(dir.path().join("public.pem"), &public_pem).expect("a file");
        let signature = key.sign(&signed_text("17", "n", body.as_bytes()));
        assert_eq!(key.sign(&signed_text("17", "n", body.as_bytes())), signature);
        let bytes = super::receiver::from_base64(&signature);
        std::fs::write(dir.path().join("signature"), bytes).expect("a file");
        let verify = ["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature"];
        let good = format!("{text}{body}\n");
        assert!(openssl(&verify, good.as_bytes(), dir.path()).0);
        assert!(!openssl(&verify, format!("{good}\n").as_bytes(), dir.path()).0);
    }
}

/// A vector that openssl made, with a key that is gone.
#[test]
fn the_text_that_is_signed_is_the_documented_one() {
    let public_pem = "-----BEGIN PUBLIC KEY-----\n\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArIxiJ0+Xts/nYBkx68bG\n\
        AZd5FVa0ZqB3m+okjffCQuOm4vPGp6p5U9chMYCewJDu0kOR9bqTPIfaBCso4w9M\n\
        1I0LkFXxUe995R45higFRRCge1/Xv5wmIbJHTBXjsvT/mJN19STLbXE87Vx9+GZU\n\
        1rVLQNRvLcguACCW52jV3gXKLWKVHPTRQ2MJxxNmwaVyZbsGbyrgvfBh8fNQyuIE\n\
        sRF8ZPoS9TWV7+M/Pq+8uEPofqtJ5wuMvTe/y96oc8pEh5qZkzfcwFlrKtUWY5YI\n\
        SySBKlHWk/kYLT46q3F80GcfwQTdapa74qrmBxMyPPSQelk3aMZOhzgRF8dtpZP0\n\
        jwIDAQAB\n-----END PUBLIC KEY-----\n";
    let body = concat!(
        r#"{"version":"3.0","msg":"{\"app_id\":\"ttcfdbb96650e33350\",\"status\":\"SUCCESS\","#,
        r#"\"order_id\":\"motb72736435031531871160652\",\"cp_extra\":\"\","#,
        r#"\"message\":\"SUCCESS\",\"event_time\":1693540334000,"#,
        r#"\"settle_id\":\"ots72735132864850025400652\","#,
        r#"\"out_settle_no\":\"out_settle_example_1\",\"rake\":0,\"commission\":16,"#,
        r#"\"settle_detail\":\"商户号72789245768543296350-分成金额(分)4\","#,
        r#"\"settle_amount\":20,\"is_auto_settle\":false}","type":"settle"}"#,
    );
    assert_eq!(body.len(), 450);
    let signature = concat!(
        "G7IspZ+5pL5RvwwIumY/p6Z7dDi+HfcplgkxXEjkrLe5JupU44Uyg5AC+3c/DNytd4DTokDmpqw86AX9gJ9L5tfa",
        "N84XTdaqL5lH/wjhxa+ICCg3qHz1yQSnIJn5sCqoxBPP1ANht4f8YbVijDLm39SJavBNrdGTi6Qcso8HGpmSW5Zk",
        "/+4DqeUvwSIkikmEHc9ggHZ2TqMju3t/5cvVcXYSlOLnDlloXEI58bpVgv6A6SyoDwJRws0q+v/JpaRi7X/wm3Ye",
        "4K8a2TyIYcSyDaMfds3pV7CGP2bs/9Uk1XhSMiUJGn+qv6jqWmBu/mkztqZcDDMmg+sKvCnVu5/CdA==",
    );
    let (timestamp, nonce) = ("1700000000", "abcdef1234567890");
    assert!(verified(public_pem, timestamp, nonce, body.as_bytes(), signature));
    let text = [timestamp, "\n", nonce, "\n", body, "\n"].concat();
    assert_eq!(signed_text(timestamp, nonce, body.as_bytes()), text.as_bytes());
}
