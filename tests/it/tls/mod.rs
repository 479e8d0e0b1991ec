//! TLS as callers, scrapers and attackers meet it, with authorities and certificates that each
//! test makes for itself.

pub mod authority;
pub mod client;
mod commands;
mod handshakes;
mod identity;
mod rotation;
pub mod sidecar;

use std::path::Path;

use douyin_sim::Simulator;
use tempfile::TempDir;

use crate::process::{Process, Setting};
use authority::{Authority, Issued};

/// What a listener of the tests needs: its authority, and its files.
pub struct Listener {
    pub authority: Authority,
    certificate: String,
    key: String,
}

impl Listener {
    /// Its files are in `dir`, under names that begin with `name`.
    pub fn new(dir: &Path, name: &str) -> Self {
        let path = |what: &str| dir.join(format!("{name}-{what}.pem")).to_str().unwrap().to_owned();
        let (authority, certificate, key) = (Authority::new(), path("certificate"), path("key"));
        let listener = Self { authority, certificate, key };
        listener.present(&listener.authority.issue(&["localhost"]));
        listener
    }

    /// From the next look on it presents this certificate. As an operator does who knows that two
    /// files cannot change at once, in whatever order.
    pub fn present(&self, issued: &Issued) {
        write(&self.key, &issued.key);
        write(&self.certificate, &issued.certificate);
    }

    /// The keys of the configuration.
    pub fn knobs(&self, listener: &str) -> String {
        format!(
            "{listener}_tls_certificate_file = {:?}\n{listener}_tls_key_file = {:?}\n",
            self.certificate, self.key
        )
    }
}

/// In one step, so that no reader sees half of it.
pub fn write(path: &str, text: &str) {
    let new = format!("{path}.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// A process whose gRPC port speaks TLS and believes the clients of `clients`.
pub struct Secured {
    pub process: Process,
    pub listener: Listener,
    pub clients: Authority,
    /// The file of the authorities of clients.
    pub client_ca: String,
    pub dir: TempDir,
}

impl Secured {
    pub async fn start(sim: &Simulator, more: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let (listener, clients) = (Listener::new(dir.path(), "grpc"), Authority::new());
        let client_ca = dir.path().join("client-ca.pem").to_str().unwrap().to_owned();
        write(&client_ca, &clients.pem());
        let knobs = listener.knobs("grpc");
        let server = format!("{knobs}grpc_client_ca_file = {client_ca:?}\n{more}");
        let setting = Setting { server, ..Setting::default() };
        let process = Process::start(sim, dir.path(), setting).await;
        Self { process, listener, clients, client_ca, dir }
    }
}
