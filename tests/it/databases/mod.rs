//! Which database is ours: what happens to its files and its disk while a real process runs on it,
//! or before one starts.
//!
//! Disks are real ones: loop devices, memory disks, bind mounts. So these tests need root, and
//! say so when they are run without.

mod damage;
mod disks;
mod gone;
mod init;
mod log;
mod one_gateway;
mod reader;

use std::path::{Path, PathBuf};
use std::process::Command;

use douyin_sim::Simulator;
use tonic::{Code, Streaming};
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{assert_create_error, create_request, number, within};
use crate::health;
use crate::process::Process;

/// A health watch that has said that the process serves.
async fn serves(gateway: &Process) -> Streaming<HealthCheckResponse> {
    let client = HealthClient::new(gateway.channel.clone());
    let mut statuses = health::watch(&client, health::SERVICE).await;
    health::until(&mut statuses, ServingStatus::Serving).await;
    statuses
}

/// Creates one settle and returns its number.
async fn create(gateway: &Process, what: &str) -> String {
    let number = number(what);
    let mut client = gateway.client.clone();
    let created = client.create_settle(create_request(&number));
    within("CreateSettle", created).await.expect("the store takes it");
    number
}

/// A create must be turned away as not sent, and nothing must have been sent.
async fn turns_away(gateway: &Process, sim: &Simulator) {
    let number = number("away");
    let mut client = gateway.client.clone();
    let created = client.create_settle(create_request(&number));
    let status = within("CreateSettle", created).await.unwrap_err();
    assert_create_error(&status, Code::Unavailable, "STORE_UNAVAILABLE", "not_sent");
    assert_eq!(sim.books().sends(&number), 0);
}

/// The one line with which a process said that it does not serve any more, for this reason.
async fn the_error_of(gateway: &Process, reason: &str) -> String {
    let log = gateway.logged_together(&["not serving: the ", reason]).await;
    let told = |line: &&str| line.contains("not serving: the ") && line.contains(reason);
    let lines: Vec<_> = log.lines().filter(told).collect();
    assert_eq!(lines.len(), 1, "{reason}: {log}");
    assert!(lines[0].contains("\"level\":\"ERROR\""), "{}", lines[0]);
    lines[0].to_owned()
}

async fn stops(gateway: Process) -> String {
    gateway.signal("TERM").await;
    let (status, log) = gateway.ended().await;
    assert!(status.success(), "{log}");
    log
}

/// SIGKILL: no handler runs, nothing is flushed.
async fn killed(gateway: Process) {
    gateway.signal("KILL").await;
    gateway.ended().await;
}

/// A start that must be refused in these words.
fn assert_refused((code, said): &(Option<i32>, String), words: &[&str]) {
    assert_eq!(*code, Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Something mounted for as long as a test lasts.
struct Mount(PathBuf);

impl Mount {
    fn bind(from: &Path, at: &Path) -> Self {
        Self::new(at, &["--bind", from.to_str().unwrap()])
    }

    /// A memory disk.
    fn memory(at: &Path, mib: u32) -> Self {
        std::fs::create_dir(at).unwrap();
        Self::new(at, &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
    }

    /// A disk in a file, as a block device of its own, which can be frozen.
    fn image(at: &Path, mib: u64) -> Self {
        std::fs::create_dir(at).unwrap();
        let image = at.with_extension("image");
        std::fs::File::create(&image).unwrap().set_len(mib * 1024 * 1024).unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        Self::new(at, &["-t", "ext4", "-o", "loop", image.to_str().unwrap()])
    }

    fn new(at: &Path, what: &[&str]) -> Self {
        run("mount", &[what, &[at.to_str().unwrap()]].concat());
        Self(at.to_owned())
    }

    fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}"), self.0.to_str().unwrap()]);
    }

    /// From now on nothing that is written comes to an end.
    fn freeze(&self) {
        run("fsfreeze", &["--freeze", self.0.to_str().unwrap()]);
    }

    fn thaw(&self) {
        run("fsfreeze", &["--unfreeze", self.0.to_str().unwrap()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Fails unless it is frozen: then a test has failed, and its process hangs.
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).output();
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// Runs a tool that only root may use so.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}, as root: {said}");
}
