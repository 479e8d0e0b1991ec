//! What a client is built from, and why building it can fail.

use std::time::Duration;

use super::way::Way;

/// The knobs of the client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Scheme and host of Douyin's platform, perhaps with a path in front of Douyin's own paths.
    pub base_url: String,
    /// The same of the host on which calls are signed.
    pub developer_base_url: String,
    /// How both are reached. Default: directly.
    pub way: Way,
    /// The time to connect, a proxy's tunnel and TLS included. Default 2 s.
    pub connect_timeout: Duration,
    /// The time of one HTTP request, connecting included. Default 5 s.
    pub attempt_timeout: Duration,
    /// The time of a whole call: token, request, one repeat after a token error. No part of a
    /// create is sent later than this after its permission. Default 10 s.
    pub call_timeout: Duration,
    /// The largest answer that is read, after decompression. Default 1 MiB.
    pub answer_bytes_max: usize,
    /// How long an unused connection is kept. Shorter than most servers keep it, because a request
    /// that meets the server's close has an unknown outcome. Default 20 s.
    pub idle_timeout: Duration,
    /// The most unused connections that are kept to each host. Default 768.
    pub idle_connections_max: usize,
    /// How long before its end a token is replaced. Default 4 min: Douyin keeps the token before
    /// the newest one alive for 5 min, so calls that still use the old one succeed.
    pub refresh_ahead: Duration,
    /// The least time between two fetches after a rejected token. Douyin keeps only the newest two
    /// alive, so frequent fetches would end the tokens of other systems. Default 60 s.
    pub refetch_gap: Duration,
    /// The first pause of an app. It doubles with each further pause until a good answer.
    /// Default 1 s.
    pub pause_min: Duration,
    /// The longest pause of an app. Default 10 min.
    pub pause_max: Duration,
    /// Of the nonces of signed requests. No two processes have the same.
    pub seed: u64,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            base_url: "https://open.douyin.com".to_owned(),
            developer_base_url: "https://developer.toutiao.com".to_owned(),
            way: Way::default(),
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            answer_bytes_max: 1024 * 1024,
            idle_timeout: Duration::from_secs(20),
            idle_connections_max: 768,
            refresh_ahead: Duration::from_secs(240),
            refetch_gap: Duration::from_secs(60),
            pause_min: Duration::from_secs(1),
            pause_max: Duration::from_secs(600),
            seed: 0,
        }
    }
}

/// Why a client cannot be built.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BuildError {
    #[error("base_url {base_url:?} is not an http(s) address of a host, without query or user")]
    BaseUrl { base_url: String },
    #[error("the HTTP client cannot be set up: {0}")]
    Http(String),
}
