//! The gateway's own commands, as callers of a port that speaks TLS.

use std::process::Output;

use tokio::process::Command;

use super::authority::{Authority, Issued};
use super::{Secured, write};
use crate::harness::{simulator, within};

/// A command that has the configuration of the gateway, and the port that it got.
fn configured(secured: &Secured, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
    command.args(arguments).arg("--config").arg(secured.dir.path().join("gateway.toml"));
    command.env("SETTLEMENT_SERVER_GRPC_ADDR", secured.process.grpc_addr().to_string());
    command
}

/// Exit code and standard error.
async fn ran(command: &mut Command) -> (i32, String) {
    let Output { status, stderr, .. } = within("the command", command.output()).await.unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// On its own machine a gateway is known by the certificate in its configuration, with any issuer
/// and any name.
#[tokio::test]
async fn where_the_configuration_is_the_commands_need_no_option() {
    let secured = Secured::start(&simulator().await, "").await;
    secured.process.logged("the store can commit").await;
    for arguments in [&["healthcheck"][..], &["settle", "list"], &["settle", "stuck"]] {
        assert_eq!(ran(&mut configured(&secured, arguments)).await, (0, String::new()));
    }
    // A server that is not the gateway of the configuration.
    let other = secured.dir.path().join("other.pem").to_str().unwrap().to_owned();
    write(&other, &Authority::new().issue(&["localhost"]).certificate);
    let mut command = configured(&secured, &["settle", "list"]);
    command.env("SETTLEMENT_SERVER_GRPC_TLS_CERTIFICATE_FILE", &other);
    let (code, stderr) = ran(&mut command).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("certificate"), "{stderr}");
    // What is asked about the health is no secret, and such a file may be a change gone wrong.
    let mut command = configured(&secured, &["healthcheck"]);
    command.env("SETTLEMENT_SERVER_GRPC_TLS_CERTIFICATE_FILE", &other);
    assert_eq!(ran(&mut command).await, (0, String::new()));
}

#[tokio::test]
async fn elsewhere_they_need_the_authority_the_name_and_if_wanted_a_certificate() {
    let secured = Secured::start(&simulator().await, "").await;
    let file = |name: &str, text: &str| {
        let path = secured.dir.path().join(name).to_str().unwrap().to_owned();
        write(&path, text);
        path
    };
    let ca = file("ca.pem", &secured.listener.authority.pem());
    let wrong_ca = file("wrong-ca.pem", &Authority::new().pem());
    let pair = |name: &str, issued: &Issued| {
        [("certificate", &issued.certificate), ("key", &issued.key)]
            .map(|(what, pem)| file(&format!("{name}-{what}.pem"), pem))
    };
    let [ours, ours_key] = pair("ours", &secured.clients.issue(&["spiffe://mesh/operator"]));
    let [theirs, theirs_key] = pair("theirs", &Authority::new().issue(&["spiffe://mesh/operator"]));
    let addr = secured.process.grpc_addr().to_string();
    let name = ["--server-name", "localhost"];
    let cases: [(&[&str], bool); 8] = [
        (&["--ca", &ca, name[0], name[1]], true),
        (&["--ca", &ca, name[0], name[1], "--certificate", &ours, "--key", &ours_key], true),
        // The listener believes no client of this authority.
        (&["--ca", &ca, name[0], name[1], "--certificate", &theirs, "--key", &theirs_key], false),
        // The certificate has no IP address.
        (&["--ca", &ca], false),
        (&["--ca", &ca, "--server-name", "another"], false),
        (&["--ca", &wrong_ca, name[0], name[1]], false),
        // The operating system trusts no authority of a test.
        (&["--tls", name[0], name[1]], false),
        (&[], false),
    ];
    for (options, is_good) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
        command.args(["settle", "list", "--addr", &addr, "--format", "json"]).args(options);
        let (code, stderr) = ran(&mut command).await;
        assert_eq!(code, i32::from(!is_good), "{options:?}: {stderr}");
    }
    let mut lone = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
    let lone = lone.args(["settle", "list", "--addr", &addr, "--certificate", &ours]);
    assert_eq!(ran(lone).await.0, 64, "a certificate needs its key");
}
