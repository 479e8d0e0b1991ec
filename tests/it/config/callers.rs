//! The configuration of callers: the tokens of an app.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::{ONE_APP, checked, load, problems};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn tokens(dir: &TempDir, text: &str) -> String {
    let file = dir.path().join("callers");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    file.to_str().unwrap().to_owned()
}

fn guarded(file: &str) -> String {
    format!("{ONE_APP}caller_tokens_file = {file:?}\n")
}

#[test]
fn the_tokens_of_an_app_are_read() {
    let dir = TempDir::new().unwrap();
    let text = guarded(&tokens(&dir, &format!("# the shop\n{TOKEN}\n")));
    let loaded = load(&text, &[]).map_err(|problems| problems.to_string()).unwrap();
    assert!(loaded.config.apps[0].callers.is_some());
    assert_eq!(loaded.warnings, [] as [&str; 0]);
    let (code, stdout, stderr) = checked(&text, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("in flight, tokens"), "{stdout}");
    assert!(!stdout.contains(TOKEN), "{stdout}");
}

#[test]
fn a_file_without_tokens_is_a_problem_that_repeats_nothing_of_it() {
    let dir = TempDir::new().unwrap();
    let (none, wrong) = ("# none yet\n", format!("{TOKEN}\nshort-secret\n"));
    let of_a_token = "32 to 256 of the characters A-Z, a-z, 0-9, -, ., _, ~, +, / and =";
    for (text, why) in [
        (none, "holds no token".to_owned()),
        (&wrong, format!("has a line 2 that is no token: {of_a_token}")),
    ] {
        let (code, _, stderr) = checked(&guarded(&tokens(&dir, text)), &[]);
        assert_eq!(code, 64);
        let expected =
            format!("gateway.toml:4:1: apps[0].caller_tokens_file names a file that {why}");
        assert_eq!(problems(&stderr), [expected]);
    }
    let (code, _, stderr) = checked(&guarded("missing"), &[]);
    assert_eq!(code, 64);
    assert!(stderr.contains("names a file that cannot be read"), "{stderr}");
}

#[test]
fn tokens_that_others_may_read_and_an_app_that_is_left_open_are_warnings() {
    let dir = TempDir::new().unwrap();
    let file = tokens(&dir, TOKEN);
    fs::set_permissions(Path::new(&file), fs::Permissions::from_mode(0o644)).unwrap();
    let open = ONE_APP.replace("tt1", "tt2");
    let loaded = load(&format!("{}{open}", guarded(&file)), &[]);
    let warnings = loaded.map_err(|problems| problems.to_string()).unwrap().warnings;
    let expected = [
        "gateway.toml:4:1: apps[0].caller_tokens_file names a file that others may read: chmod o-r \
         would do",
        "gateway.toml:5:1: apps[1] has no caller_tokens_file: every peer that reaches the gRPC \
         port can move the money of this app",
    ];
    assert_eq!(warnings, expected);
    assert_eq!(load(&format!("{ONE_APP}{open}"), &[]).unwrap().warnings, [] as [&str; 0]);
}
