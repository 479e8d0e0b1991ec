//! The gateway that the kinds play around: a real process with its simulator and its files.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use douyin_sim::Simulator;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use super::disk::Disk;
use super::kinds::Kind;
use super::logs::Tap;
use crate::harness::{APP_ID, simulator};
use crate::process::{Process, Setting, database};

/// Connections that all honest callers share, and with them what is hostile in a connection.
const CHANNELS: usize = 2;

pub struct Stage {
    kind: &'static Kind,
    pub sim: Simulator,
    pub channels: Vec<Channel>,
    process: Process,
    place: Place,
    log: Option<Tap>,
}

/// Where the files are.
enum Place {
    Folder(TempDir),
    Disk(Disk),
}

impl Place {
    fn path(&self) -> PathBuf {
        match self {
            Place::Folder(dir) => dir.path().to_owned(),
            Place::Disk(disk) => disk.path(),
        }
    }
}

/// What a kind can reach.
#[derive(Clone)]
pub struct Surroundings {
    pub pid: u32,
    pub grpc: SocketAddr,
    pub callbacks: SocketAddr,
    pub admin: SocketAddr,
    pub database: PathBuf,
    pub sim: Simulator,
    pub channels: Vec<Channel>,
    /// Where the log is a pipe that can be stopped.
    pub log: Option<Tap>,
}

impl Stage {
    pub async fn set(kind: &'static Kind) -> Self {
        let sim = simulator().await;
        let place = match kind.on_disk {
            true => Place::Disk(Disk::mount()),
            false => Place::Folder(TempDir::new().unwrap()),
        };
        Self::start(kind, sim, place).await
    }

    async fn start(kind: &'static Kind, sim: Simulator, place: Place) -> Self {
        let dir = place.path();
        let keys = dir.join("platform.pem");
        fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
        let mut setting = Setting {
            log: Some("warn"),
            platform_keys: Some(keys),
            // A call that the gateway does not end, it has forgotten.
            server: "unary_limit_ms = 5_000\n".to_owned(),
            more: "requests_per_second = 10_000\nrequests_in_flight = 1_000\n".to_owned(),
            ..Setting::default()
        };
        (kind.set)(&mut setting, &dir);
        let mut process = Process::start(&sim, &dir, setting).await;
        let log = process.unread[1].take().map(Tap::open);
        sim.set_callback_url(APP_ID, Some(&process.callback_url()));
        let url = format!("http://{}", process.grpc_addr());
        let channel = |_| Endpoint::from_shared(url.clone()).unwrap().connect_lazy();
        let channels = (0..CHANNELS).map(channel).collect();
        Self { kind, sim, channels, process, place, log }
    }

    /// Stops in order, and starts again on the same files. `Err`: how it ended instead.
    pub async fn restart(self) -> Result<Self, String> {
        self.process.signal("TERM").await;
        let (status, log) = self.process.ended().await;
        match status.code() {
            Some(0) => Ok(Self::start(self.kind, self.sim, self.place).await),
            _ => Err(format!("it did not stop in order: {status}, {log}")),
        }
    }

    /// How the process ended without being told to.
    pub async fn ended(self) -> String {
        let (status, log) = self.process.ended().await;
        format!("the process has ended: {status}, {log}")
    }

    pub fn surroundings(&self) -> Surroundings {
        Surroundings {
            pid: self.process.id(),
            grpc: self.process.grpc_addr(),
            callbacks: self.process.callback_addr(),
            admin: self.process.admin_addr(),
            database: database(&self.place.path()),
            sim: self.sim.clone(),
            channels: self.channels.clone(),
            log: self.log.clone(),
        }
    }

    /// Resident; 0 if it has ended.
    pub fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.map_or(0, |kib| kib.parse().expect("the kernel writes a number"))
    }

    /// The time that it has had of the machine's cores; 0 if it has ended.
    pub fn worked(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.unwrap_or_default();
        // The name before it may have blanks. User's and system's are the 14th and the 15th.
        let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        // Linux has always told it in hundredths.
        Duration::from_millis(ticks * 10)
    }

    pub fn lives(&self) -> bool {
        // An ended one has no memory any more.
        self.memory_kib() > 0
    }

    pub async fn clear(self) {
        drop(self.process);
        drop(self.place);
        self.sim.stop().await;
    }
}
