//! Hints over LISTEN and NOTIFY. NOTIFY commits one after the other in the whole database, so it is
//! never a part of a write that matters; and a connection that hears cannot be lent to operations.
//!
//! A pooler may take LISTEN and swallow what it is for. So a probe is sent to each connection that
//! hears, and again as long as it lives: what does not arrive is logged once and counted. It costs
//! the time until replicas look by themselves, and statements that are planned each time
//! ([`super::session`]). Probes and hints are sent on other connections, because behind a pooler a
//! connection may hear itself and no other one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::super::words::Word as _;
use super::super::{Error, Hint, Hints};
use super::fault::{Fault, chain};
use super::generation::random;
use super::pool::{Pool, Urgency};
use super::refusal::told;
use crate::clock;
use crate::log_limit::limited;
use crate::metrics::HINTS_UNHEARD;
use crate::settle::{AppId, Key, OutSettleNo, TradeSystem};

/// Where hints of all gateways on the database are told.
const CHANNEL: &str = "settlement_hints";
/// The server takes payloads of less than 8,000 bytes.
const PAYLOAD_BYTES_MAX: usize = 7_900;
/// Payloads that wait to be sent. More are lost.
const UNSENT_MAX: usize = 64;
/// How often a probe is sent, and how long it may be on its way.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_TIME_MAX: Duration = Duration::from_secs(3);
/// How long a listener rests that lost its connection, and one that hears nothing.
const RETRY_GAP: Duration = Duration::from_secs(1);
const DEAF_GAP: Duration = Duration::from_secs(60);

const NOTIFY: &str = "SELECT pg_notify($1, $2)";

/// The sending end, for the operations of the store.
pub(super) struct Notifier {
    unsent: mpsc::Sender<String>,
}

/// The task that hears and sends.
pub(super) struct Listener {
    pool: Arc<Pool>,
    hints: Arc<Hints>,
    unsent: mpsc::Receiver<String>,
    is_deaf: bool,
}

/// Why a connection is of no more use.
enum Ended {
    Closed,
    Lost(String),
    Deaf,
}

impl Notifier {
    pub(super) fn new(pool: Arc<Pool>, hints: Arc<Hints>) -> (Self, Listener) {
        let (sender, unsent) = mpsc::channel(UNSENT_MAX);
        (Self { unsent: sender }, Listener { pool, hints, unsent, is_deaf: false })
    }

    pub(super) fn send(&self, keys: &[Key]) -> Result<(), Error> {
        for payload in payloads(keys) {
            let sent = self.unsent.try_send(payload);
            sent.map_err(|_| Error::Unavailable("hints wait for a connection".to_owned()))?;
        }
        Ok(())
    }
}

impl Listener {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let ended = match stop.run_until_cancelled(self.listen()).await {
                None => Ended::Closed,
                Some(ended) => ended,
            };
            // What was told meanwhile is lost, and so is what the others told.
            while self.unsent.try_recv().is_ok() {}
            self.hints.send(Hint::Lost);
            let rest = match ended {
                Ended::Closed => return,
                Ended::Lost(why) => {
                    limited!(
                        Peer,
                        WARN,
                        { why },
                        "the connection for hints is lost: replicas look by themselves until it is \
                         back"
                    );
                    RETRY_GAP
                }
                Ended::Deaf => {
                    HINTS_UNHEARD.count([]);
                    self.pool.dialer().keep_no_statements();
                    if !self.is_deaf {
                        warn!(
                            "hints do not arrive, probably because of a pooler: replicas look by \
                             themselves, which takes a second longer. Connect directly, or set \
                             store.plain"
                        );
                    }
                    self.is_deaf = true;
                    DEAF_GAP
                }
            };
            let _ = stop.run_until_cancelled(tokio::time::sleep(rest)).await;
        }
    }

    /// One connection until it is of no more use.
    async fn listen(&mut self) -> Ended {
        let (heard, mut hearing) = mpsc::channel(UNSENT_MAX);
        let client = match self.pool.dialer().dial_to_listen(heard).await {
            Ok(client) => client,
            Err(why) => return Ended::Lost(why),
        };
        let listen = format!("LISTEN {CHANNEL}");
        match timeout(PROBE_TIME_MAX, client.batch_execute(&listen)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ended::Lost(chain(&error)),
            Err(_) => return Ended::Lost("no answer to LISTEN".to_owned()),
        }
        let name = random();
        let (mut probes, mut probe_at, mut answer_by) = (0_u64, Instant::now(), None);
        loop {
            let probe = format!("probe {name} {probes}");
            let payload = tokio::select! {
                biased;
                payload = hearing.recv() => match payload {
                    None => return Ended::Lost("the connection ended".to_owned()),
                    Some(payload) if payload == probe => {
                        answer_by = None;
                        self.pool.dialer().keep_statements();
                        if std::mem::take(&mut self.is_deaf) {
                            info!("hints arrive again");
                        }
                        continue;
                    }
                    Some(payload) => {
                        if let Some(keys) = keys(&payload) {
                            self.hints.send(Hint::Changed(keys));
                        }
                        continue;
                    }
                },
                () = clock::at(answer_by) => return Ended::Deaf,
                () = sleep_until(probe_at) => {
                    probes += 1;
                    probe_at = Instant::now() + PROBE_INTERVAL;
                    answer_by = Some(Instant::now() + PROBE_TIME_MAX);
                    format!("probe {name} {probes}")
                }
                Some(payload) = self.unsent.recv() => payload,
            };
            if let Err(fault) = self.send(&payload).await {
                return Ended::Lost(told(fault));
            }
        }
    }

    async fn send(&self, payload: &str) -> Result<(), Fault> {
        let mut lent = self.pool.lend(Urgency::Ordinary).await?;
        let sent = lent.session().run(NOTIFY, &[CHANNEL.into(), payload.into()]).await;
        if sent.as_ref().is_err_and(Fault::is_of_session) {
            lent.spoil();
        }
        sent.map(drop)
    }
}

/// As many keys in each as fit.
fn payloads(keys: &[Key]) -> Vec<String> {
    let mut payloads = vec![String::new()];
    for key in keys {
        let Key { app_id, trade_system, out_settle_no } = key;
        let names = [app_id.as_str(), trade_system.word(), out_settle_no.as_str()];
        let line = serde_json::json!(names).to_string();
        let last = payloads.last_mut().expect("there is one from the start");
        if last.is_empty() {
            *last = line;
        } else if last.len() + 1 + line.len() <= PAYLOAD_BYTES_MAX {
            last.push('\n');
            last.push_str(&line);
        } else {
            payloads.push(line);
        }
    }
    payloads.retain(|payload| !payload.is_empty());
    payloads
}

/// `None`: it is no hint of this version's, or the probe of another gateway.
fn keys(payload: &str) -> Option<Vec<Key>> {
    let key = |line: &str| {
        let [app_id, trade_system, number]: [String; 3] = serde_json::from_str(line).ok()?;
        Some(Key {
            app_id: AppId::parse(app_id).ok()?,
            trade_system: TradeSystem::from_word(&trade_system)?,
            out_settle_no: OutSettleNo::reported(number).ok()?,
        })
    };
    payload.lines().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract_tests::fixtures::{key, key_of};

    #[test]
    fn any_number_of_settles_fits_into_payloads_that_the_server_takes() {
        let longest = |n: usize| key(&format!("{n:0>64}"));
        let mut all: Vec<Key> = (0..1_000).map(longest).collect();
        all.push(key_of("tt02", "结算\"\\'1"));
        let payloads = payloads(&all);
        assert!(payloads.iter().all(|payload| payload.len() < 8_000));
        assert!(payloads.len() > 1);
        let read: Vec<Key> = payloads.iter().flat_map(|payload| keys(payload).unwrap()).collect();
        assert_eq!(read, all);
        assert!(super::payloads(&[]).is_empty());
    }

    #[test]
    fn what_is_no_hint_is_none() {
        for text in ["probe 17 3", "[\"tt01\",\"general\"]", "[\"tt01\",\"other\",\"1\"]", "{"] {
            assert_eq!(keys(text), None, "{text}");
        }
    }
}
