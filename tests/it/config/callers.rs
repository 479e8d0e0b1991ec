//! The configuration of callers: the blocks, and the tokens of an app as they were before.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use settlement_gateway::callers::{Allowed, Fingerprint, Right};
use settlement_gateway::settle::AppId;
use tempfile::TempDir;

use super::{ONE_APP, checked, gateway, load, problems, ran};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ANOTHER: &str = "another-0123456789abcdef012345678";

fn tokens(dir: &TempDir, text: &str) -> String {
    let file = tempfile::Builder::new().tempfile_in(dir.path()).unwrap().into_temp_path();
    let file = file.keep().unwrap();
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    file.to_str().unwrap().to_owned()
}

fn guarded(file: &str) -> String {
    format!("{ONE_APP}caller_tokens_file = {file:?}\n")
}

fn two_apps() -> String {
    format!("{ONE_APP}{}", ONE_APP.replace("tt1", "tt2"))
}

fn hash(token: &str) -> String {
    Fingerprint::of(token).to_string()
}

#[test]
fn a_block_names_a_caller_its_apps_and_rights_and_what_identifies_it() {
    let text = format!(
        "[server]\nsidecar_socket = \"/run/sidecar.sock\"\n{}\
         [[callers]]\nname = \"shop\"\napps = [\"tt2\"]\nrights = [\"read\", \"operate\"]\n\
         token_sha256 = [\"{}\", \"{}\"]\ncertificate_names = [\"spiffe://corp/shop\"]\n\
         [[callers]]\nname = \"desk\"\napps = [\"*\"]\nrights = []\n\
         certificate_names = [\"desk.corp\"]\n",
        two_apps(),
        hash(TOKEN),
        hash(ANOTHER).to_uppercase(),
    );
    let loaded = load(&text, &[]).map_err(|problems| problems.to_string()).unwrap();
    let unused = "gateway.toml:3:1: apps[0]: no caller may use this app";
    assert_eq!(loaded.warnings, [unused]);
    let known = loaded.config.callers;
    for token in [TOKEN, ANOTHER] {
        let shop = known.of_token(&Fingerprint::of(token)).unwrap();
        assert_eq!(shop.name.as_str(), "shop");
        assert_eq!(shop.apps, Allowed::Only([AppId::parse("tt2").unwrap()].into()));
        assert_eq!(shop.rights, [Right::Read, Right::Operate].into());
    }
    assert_eq!(known.of_certificate(["spiffe://corp/shop"]).unwrap().name.as_str(), "shop");
    let desk = known.of_certificate(["DESK.corp"]).unwrap();
    assert_eq!((&desk.apps, &desk.rights), (&Allowed::All, &[].into()), "it may do nothing");
    let (code, stdout, stderr) = checked(&text, &[]);
    assert!(code == 0 && stderr.contains(unused), "{stderr}");
    let shown = "callers  2\n         shop: read, operate on tt2\n         desk: nothing on every \
                 app\n";
    assert!(stdout.contains(shown), "{stdout}");
}

#[test]
fn variables_add_a_caller_and_change_one() {
    let block =
        format!("{ONE_APP}[[callers]]\nname = \"shop\"\ntoken_sha256 = [\"{}\"]\n", hash("x"));
    let variables = [
        ("SETTLEMENT_CALLERS_0_RIGHTS", "read"),
        ("SETTLEMENT_CALLERS_1_NAME", "job"),
        ("SETTLEMENT_CALLERS_1_RIGHTS", "create,read"),
        ("SETTLEMENT_CALLERS_1_TOKEN_SHA256", &format!("{}, {}", hash("y"), hash("z"))),
    ];
    let loaded = load(&block, &variables).map_err(|problems| problems.to_string()).unwrap();
    let known = loaded.config.callers;
    assert_eq!(known.of_token(&Fingerprint::of("x")).unwrap().rights, [Right::Read].into());
    for token in ["y", "z"] {
        assert_eq!(known.of_token(&Fingerprint::of(token)).unwrap().name.as_str(), "job");
    }
    let far = [("SETTLEMENT_CALLERS_0_RIGHTS", "read"), ("SETTLEMENT_CALLERS_2_NAME", "far")];
    let (code, _, stderr) = checked(&block, &far);
    assert_eq!(code, 64);
    let why = "callers[2].name is too far: there is 1 caller, and the first one is callers[0]";
    assert_eq!(problems(&stderr), [format!("SETTLEMENT_CALLERS_2_NAME: {why}")]);
}

/// All at once, and nothing that may be a token is repeated.
#[test]
fn everything_that_is_wrong_with_callers_is_told() {
    let a = hash("a");
    let text = format!(
        "server.sidecar_names = [\"mesh.corp\"]\n{}\
         [[callers]]\nname = \"a\"\napps = [\"*\"]\nrights = [\"read\"]\n\
         token_sha256 = [\"{a}\", \"{a}\"]\n\
         [[callers]]\nname = \"a\"\napps = [\"tt9\"]\nrights = [\"write\"]\n\
         token_sha256 = [\"{TOKEN}\"]\n\
         [[callers]]\ncertificate_names = [\"Mesh.corp\", \"*.corp\"]\n\
         [[callers]]\nname = \"b\"\napps = [\"*\", \"tt1\"]\ntoken_sha256 = [\"{a}\"]\n\
         certificate_names = [\"MESH.corp\"]\n\
         [[callers]]\nname = \"c\"\napps = [\"tt1\"]\ntoken = \"{TOKEN}\"\n",
        two_apps(),
    );
    let (code, _, stderr) = checked(&text, &[]);
    assert_eq!(code, 64);
    let expected = [
        "gateway.toml:1:8: server.sidecar_names holds mesh.corp, which \
         callers[3].certificate_names has too: a sidecar that is a caller too would lend its name \
         to callers that it does not know",
        "gateway.toml:12:1: callers[0].token_sha256 has an entry (2) that callers[0].token_sha256 \
         has too",
        "gateway.toml:14:1: callers[1].name is a a second time",
        "gateway.toml:15:1: callers[1].apps holds tt9, which is not one of apps",
        "gateway.toml:16:1: callers[1].rights has an entry (1) that must be create, read or \
         operate",
        "gateway.toml:17:1: callers[1].token_sha256 has an entry (1) that must be 64 hexadecimal \
         digits, the SHA-256 of a token",
        "gateway.toml:18:1: callers[2].name is missing",
        "gateway.toml:18:1: callers[2].apps is missing, and there is more than one app: [\"*\"] \
         means all of them",
        "gateway.toml:18:1: callers[2].rights is missing: write rights = [\"create\", \"read\"], \
         or those of create, read and operate that it needs",
        "gateway.toml:19:1: callers[2].certificate_names has an entry (2) that must be a URI or a \
         DNS name, whole and without *",
        "gateway.toml:20:1: callers[3].rights is missing: write rights = [\"create\", \"read\"], \
         or those of create, read and operate that it needs",
        "gateway.toml:22:1: callers[3].apps holds \"*\" beside apps: all are meant, or some",
        "gateway.toml:23:1: callers[3].token_sha256 has an entry (1) that callers[0].token_sha256 \
         has too",
        "gateway.toml:25:1: callers[4].rights is missing: write rights = [\"create\", \"read\"], \
         or those of create, read and operate that it needs",
        "gateway.toml:25:1: callers[4] has neither token_sha256 nor certificate_names, so that no \
         call can show that it is this caller's",
        "gateway.toml:28:1: callers[4].token is no key: a token does not belong into this file: \
         its hash does, as token_sha256, which `settlement-gateway new-token` prints",
    ];
    assert_eq!(problems(&stderr), expected);
    assert!(!stderr.contains(TOKEN), "{stderr}");
}

/// What `serve` says beyond loopback if no caller is configured, and what ends that.
#[test]
fn an_address_beyond_this_machine_needs_a_caller_or_a_word_that_says_what_it_means() {
    let open = |addr: &str| format!("{ONE_APP}[server]\ngrpc_addr = \"{addr}\"\n");
    for addr in ["127.0.0.1:50051", "127.8.8.8:1", "[::1]:50051"] {
        assert!(load(&open(addr), &[]).is_ok_and(|loaded| loaded.warnings.is_empty()), "{addr}");
    }
    // Other machines come through a sidecar as well.
    let socket = format!("{ONE_APP}[server]\nsidecar_socket = \"/run/sidecar.sock\"\n");
    let (code, _, stderr) = checked(&socket, &[]);
    let why = "gateway.toml:5:1: server.sidecar_socket is set and no caller is configured";
    assert!(code == 64 && problems(&stderr)[0].starts_with(why), "{stderr}");
    for addr in ["0.0.0.0:50051", "[::]:50051", "10.0.0.1:50051"] {
        let text = open(addr);
        let (code, _, stderr) = checked(&text, &[]);
        assert_eq!(code, 64);
        let told = problems(&stderr);
        let problem = format!(
            "gateway.toml:5:1: server.grpc_addr is {addr} and no caller is configured: every peer \
             that reaches it could move the money of every app. Say who may call, at the end of \
             the configuration file (or, if all that reach it may, set \
             server.allow_anyone_to_move_money = true):"
        );
        assert_eq!(told[0], problem);
        // The lines are good as they are, with a hash in them.
        let (code, new, _) = ran(&mut gateway(&["new-token"], &[]));
        assert_eq!(code, 0);
        let of_hash = new.lines().find(|line| line.starts_with("token_sha256")).unwrap();
        assert!(told[4].starts_with("token_sha256 = [\"…\"]"), "{told:?}");
        let block = ["[[callers]]", "name = \"shop\"", "rights = [\"create\", \"read\"]"];
        assert_eq!((told.len(), &told[1..4]), (5, &block[..]));
        let safe = format!("{text}{}\n{of_hash}\n", block.join("\n"));
        let known = load(&safe, &[]).map_err(|problems| problems.to_string()).unwrap();
        let token = new.lines().next().unwrap();
        let shop = known.config.callers.of_token(&Fingerprint::of(token)).unwrap();
        assert_eq!(shop.name.as_str(), "shop");
        let allowed = format!("{text}allow_anyone_to_move_money = true\n");
        let warnings = load(&allowed, &[]).unwrap().warnings;
        let why = format!(
            "gateway.toml:5:1: server.grpc_addr is {addr} and no caller is configured: every peer \
             that reaches it could move the money of every app"
        );
        assert_eq!(warnings, [why]);
    }
}

/// Each of them starts, and says so: names that no connection can prove, and tokens that others
/// can read.
#[test]
fn callers_that_cannot_be_known_or_can_be_overheard_are_warnings() {
    let dir = TempDir::new().unwrap();
    let (certificate, key) = super::certificate(dir.path());
    let tls = format!("grpc_tls_certificate_file = {certificate:?}\ngrpc_tls_key_file = {key:?}\n");
    let mutual = format!("{tls}grpc_client_ca_file = {certificate:?}\n");
    let (near, far) = ("grpc_addr = \"127.0.0.1:1\"\n", "grpc_addr = \"0.0.0.0:1\"\n");
    let sidecar = "sidecar_names = [\"spiffe://corp/mesh\"]\n";
    let socket = "sidecar_socket = \"/run/sidecar.sock\"\n";
    let by_token = format!("token_sha256 = [\"{}\"]\n", hash(TOKEN));
    let by_name = "certificate_names = [\"shop.corp\"]\n";
    let both = format!("{by_token}{by_name}");
    const UNSHOWN: &str = "callers[0].certificate_names: no call can show these names: gRPC asks \
                           for no client certificate";
    const UNPROVEN: &str = "server.sidecar_names: no sidecar can show these names: gRPC asks for \
                            no client certificate";
    const OVERHEARD: &str = "server.grpc_addr is 0.0.0.0:1, in plain text";
    let of_socket = format!("{near}{socket}");
    let of_sidecar = format!("{near}{sidecar}");
    let secured = format!("{far}{tls}");
    let mutually = format!("{far}{sidecar}{mutual}");
    let everything: &[&str] = &[UNPROVEN, UNSHOWN, OVERHEARD];
    for (server, shown, warned) in [
        (near, by_token.as_str(), &[][..]),
        (near, by_name, &[UNSHOWN]),
        (&*of_socket, by_name, &[]),
        (&*of_sidecar, &*by_token, &[UNPROVEN]),
        (far, &*by_token, &[OVERHEARD]),
        (far, by_name, &[UNSHOWN]),
        (&*secured, &*by_token, &[]),
        (&*secured, &*both, &[UNSHOWN]),
        (&*mutually, &*both, &[]),
        (&*format!("{far}{sidecar}"), &*both, everything),
    ] {
        let text = format!(
            "[server]\n{server}{ONE_APP}[[callers]]\nname = \"shop\"\nrights = [\"read\"]\n{shown}"
        );
        let (code, _, stderr) = checked(&text, &[]);
        let warnings =
            stderr.lines().filter(|line| !line.contains("names a file with a certificate"));
        let warnings: Vec<&str> = warnings.collect();
        assert_eq!((code, warnings.len()), (0, warned.len()), "{text}: {stderr}");
        for (warning, expected) in warnings.iter().zip(warned) {
            assert!(warning.contains(": warning: gateway.toml:"), "{warning}");
            assert!(warning.contains(expected), "{warning}");
        }
    }
}

#[test]
fn every_new_token_is_another_one_and_its_lines_fit_the_caller() {
    let made = || ran(&mut gateway(&["new-token", "back office"], &[])).1;
    let (one, other) = (made(), made());
    let (token, rest) = one.split_once('\n').unwrap();
    assert!(token.starts_with("sg_") && token.len() == 46, "{token}");
    assert_ne!(Some(token), other.lines().next());
    assert!(!rest.contains(token), "the token stands in the first line only");
    let block = rest.split_once("[[callers]]").unwrap().1;
    let loaded = load(&format!("{ONE_APP}[[callers]]{block}"), &[]).unwrap();
    let caller = loaded.config.callers.of_token(&Fingerprint::of(token)).unwrap().clone();
    assert_eq!(caller.name.as_str(), "back office");
    let (code, stdout, _) = ran(&mut gateway(&["new-token", &"x".repeat(65)], &[]));
    assert_eq!((code, stdout.as_str()), (64, ""));
}

/// For one more version. The warning has the lines that say the same.
#[test]
fn the_tokens_of_an_app_are_a_caller_that_is_called_like_it() {
    let dir = TempDir::new().unwrap();
    let one = tokens(&dir, &format!("# the shop\n{TOKEN}\n"));
    let text = guarded(&one);
    let loaded = load(&text, &[]).map_err(|problems| problems.to_string()).unwrap();
    let caller = loaded.config.callers.of_token(&Fingerprint::of(TOKEN)).unwrap().clone();
    assert_eq!(caller.name.as_str(), "tt1");
    assert_eq!(caller.apps, Allowed::Only([AppId::parse("tt1").unwrap()].into()));
    assert_eq!(caller.rights, [Right::Create, Right::Read].into());
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    let begin = "gateway.toml:4:1: apps[0].caller_tokens_file: the next version has no such key";
    assert!(warning.starts_with(begin) && !warning.contains(TOKEN), "{warning}");
    let (_, lines) = warning.split_once(":\n").unwrap();
    let same = load(&format!("{ONE_APP}{lines}"), &[]).unwrap();
    assert_eq!(same.config.callers.of_token(&Fingerprint::of(TOKEN)), Some(&caller));
    assert_eq!(same.warnings, [] as [&str; 0]);
    // Both at once would be a caller twice.
    let (code, _, stderr) = checked(&format!("{text}{lines}"), &[]);
    assert_eq!(code, 64);
    let problem = "gateway.toml:4:1: apps[0].caller_tokens_file is set, and \
                   callers[0].token_sha256 has a token of its file: take it out";
    assert_eq!(problems(&stderr), [problem]);
}

#[test]
fn a_token_that_was_good_for_two_apps_stays_good_for_both_and_for_no_third() {
    let dir = TempDir::new().unwrap();
    let (one, both) = (tokens(&dir, TOKEN), tokens(&dir, &format!("{TOKEN}\n{ANOTHER}\n")));
    let third = ONE_APP.replace("tt1", "tt3");
    let other = ONE_APP.replace("tt1", "tt2");
    let text = format!("{}{other}caller_tokens_file = {both:?}\n{third}", guarded(&one));
    let loaded = load(&text, &[]).map_err(|problems| problems.to_string()).unwrap();
    let of = |token: &str| loaded.config.callers.of_token(&Fingerprint::of(token)).unwrap();
    assert_eq!((of(TOKEN).name.as_str(), of(ANOTHER).name.as_str()), ("tt1+tt2", "tt2"));
    let apps = ["tt1", "tt2"].map(|id| AppId::parse(id).unwrap());
    assert_eq!(of(TOKEN).apps, Allowed::Only(apps.into()));
    let unused = "gateway.toml:9:1: apps[2]: no caller may use this app";
    assert_eq!((loaded.warnings.len(), loaded.warnings[1].as_str()), (2, unused));
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
fn tokens_that_others_may_read_are_a_warning() {
    let dir = TempDir::new().unwrap();
    let file = tokens(&dir, TOKEN);
    fs::set_permissions(Path::new(&file), fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = load(&guarded(&file), &[]);
    let warnings = loaded.map_err(|problems| problems.to_string()).unwrap().warnings;
    let expected = "gateway.toml:4:1: apps[0].caller_tokens_file names a file that others may \
                    read: chmod o-r would do";
    assert_eq!(warnings[0], expected);
}
