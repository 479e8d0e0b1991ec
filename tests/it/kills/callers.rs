//! Callers that obey the contract: the same number on `not_sent`, `unknown` and no answer; another
//! one for the same intent only after `refused`, REJECTED or FAILED. And they do what callers do:
//! they give up waiting, send copies, come back late, and watch.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use settlement_gateway::proto::v1::{self, ReturnWhen};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::Status;

use super::ledger::{Attempt, End, Ledger};
use super::victim::Client;
use crate::harness::{APP_ID, details, watch_request};

/// Unpaid intents beyond which no new ones are begun: those that wait for a proof wait for a
/// process that lives long enough.
const UNPAID_MAX: usize = 80;
/// How often a caller tries one intent before it turns to another one.
const TRIES: usize = 6;

/// What all callers share.
#[derive(Clone)]
pub struct Market {
    pub ledger: Arc<Ledger>,
    /// The processes that serve now.
    pub gateways: watch::Receiver<Vec<Client>>,
    /// `true`: no new intents; what was begun is finished.
    pub closing: watch::Receiver<bool>,
    pub watchers: Arc<Semaphore>,
}

/// One caller, until the market has closed and everything of its own is paid.
pub async fn caller(market: Market, mut rng: Rng) {
    let mut mine = Vec::new();
    let mut watching = JoinSet::new();
    loop {
        let closing = *market.closing.borrow();
        if !closing && market.ledger.open().unpaid() < UNPAID_MAX {
            mine.push(market.ledger.open().intend(first_order(&mut rng)));
        } else if mine.is_empty() && closing {
            break;
        }
        if mine.is_empty() {
            pause(&mut rng).await;
            continue;
        }
        let place = rng.usize(..mine.len());
        let intent = mine[place];
        if rng.bool()
            && let Ok(seat) = Arc::clone(&market.watchers).try_acquire_owned()
        {
            let number = market.number(intent);
            let (market, rng) = (market.clone(), rng.fork());
            watching.spawn(async move {
                watcher(market, number, rng).await;
                drop(seat);
            });
        }
        if market.pursue(intent, &mut rng).await {
            mine.swap_remove(place);
        }
        while let Some(done) = watching.try_join_next() {
            done.expect("a watcher saw what must not be");
        }
    }
    while let Some(done) = watching.join_next().await {
        done.expect("a watcher saw what must not be");
    }
}

/// A third of all intents begins with something that must end without a payment.
fn first_order(rng: &mut Rng) -> &'static str {
    match rng.u8(..12) {
        0 | 1 => "sim-fail",
        2 => "sim-err-23102",
        3 => "sim-err-23112",
        4 => "sim-lost",
        _ => "order",
    }
}

impl Market {
    fn any_gateway(&self, rng: &mut Rng) -> Option<Client> {
        let gateways = self.gateways.borrow();
        (!gateways.is_empty()).then(|| gateways[rng.usize(..gateways.len())].clone())
    }

    fn number(&self, intent: usize) -> String {
        self.ledger.open().current(intent).request.out_settle_no.clone()
    }

    /// Tries for a while. `true`: the intent is paid.
    async fn pursue(&self, intent: usize, rng: &mut Rng) -> bool {
        for _ in 0..TRIES {
            let ended = self.ledger.open().current(intent).told.end();
            match ended {
                Some(End::Succeeded) => {
                    self.ledger.open().intents[intent].paid = true;
                    return true;
                }
                Some(End::Failed | End::Refused) => {
                    self.ledger.open().attempt(intent, "order");
                }
                None => {}
            }
            self.try_once(intent, rng).await;
            pause(rng).await;
        }
        false
    }

    async fn try_once(&self, intent: usize, rng: &mut Rng) {
        let Some(client) = self.any_gateway(rng) else {
            return;
        };
        let (request, accepted, recorded) = {
            let ledger = self.ledger.open();
            let Attempt { request, told } = ledger.current(intent);
            (request.clone(), told.is_accepted(), told.is_recorded())
        };
        match rng.u8(..20) {
            0..=2 if recorded => self.refresh(client, &request.out_settle_no).await,
            3 if accepted => self.conflict(client, request).await,
            4 | 5 => {
                // As a mesh retries, perhaps at another replica.
                let other = self.any_gateway(rng).unwrap_or_else(|| client.clone());
                let copy = self.create(other, request.clone(), rng.fork());
                tokio::join!(copy, self.create(client, request, rng.fork()));
            }
            6 => self.come_back_late(client, intent, rng).await,
            _ => self.create(client, request, rng.fork()).await,
        }
    }

    async fn create(&self, mut client: Client, request: v1::CreateSettleRequest, mut rng: Rng) {
        let number = request.out_settle_no.clone();
        let return_when = [ReturnWhen::Recorded, ReturnWhen::Accepted, ReturnWhen::Final];
        let return_when = return_when[rng.usize(..3)].into();
        let mut call = tonic::Request::new(v1::CreateSettleRequest { return_when, ..request });
        call.set_timeout(Duration::from_millis(rng.u64(100..2_500)));
        let answer = client.create_settle(call);
        // Some callers die first.
        let patience = if rng.u8(..10) == 0 { rng.u64(1..50) } else { 3_000 };
        let answer = tokio::time::timeout(Duration::from_millis(patience), answer).await;
        match answer {
            Ok(Ok(response)) => {
                let settle = response.into_inner().settle.expect("OK shows the settle");
                self.ledger.open().shown(&settle);
            }
            Ok(Err(status)) => match outcome(&status).as_deref() {
                Some("refused") => self.ledger.open().refused(&number),
                Some("not_sent" | "unknown") | None => {}
                Some(other) => panic!("the outcome {other} is none: {status:?}"),
            },
            Err(_) => {}
        }
    }

    /// Other content under a number that is taken must never be believed.
    async fn conflict(&self, mut client: Client, mut request: v1::CreateSettleRequest) {
        request.settle_params[0].amount_fen += 1;
        if let Err(status) = client.create_settle(request.clone()).await {
            let reason = (!status.details().is_empty()).then(|| details(&status).info.reason);
            let known = ["OUT_SETTLE_NO_CONFLICT", "STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"];
            let honest = reason.as_deref().is_none_or(|reason| known.contains(&reason));
            assert!(honest, "{status:?}");
        } else {
            panic!("OK for another content: {request:?}");
        }
    }

    /// A copy of an old request arrives when its intent has ended or is under way under another
    /// number.
    async fn come_back_late(&self, client: Client, before: usize, rng: &mut Rng) {
        let request = {
            let ledger = self.ledger.open();
            let attempts = &ledger.intents[rng.usize(..=before)].attempts;
            attempts[rng.usize(..attempts.len())].request.clone()
        };
        self.create(client, request, rng.fork()).await;
    }

    async fn refresh(&self, mut client: Client, number: &str) {
        let request = v1::GetSettleRequest {
            app_id: APP_ID.to_owned(),
            key: Some(v1::get_settle_request::Key::OutSettleNo(number.to_owned())),
            refresh: true,
            ..Default::default()
        };
        match client.get_settle(request).await {
            Ok(response) => {
                let settle = response.into_inner().settle.expect("OK shows the settle");
                self.ledger.open().shown(&settle);
            }
            Err(status) => {
                let lost = status.code() == tonic::Code::NotFound;
                assert!(!lost, "{number} was recorded, and is gone: {status:?}");
            }
        }
    }
}

/// Follows one number through every restart: its revisions grow, and the last one is final.
async fn watcher(market: Market, number: String, mut rng: Rng) {
    let mut told = 0;
    loop {
        let client = market.any_gateway(&mut rng);
        if let Some(mut client) = client
            && let Ok(stream) = client.watch_settle(watch_request(&number, told)).await
        {
            let mut stream = stream.into_inner();
            let (resumed, mut last, mut silent) = (told, None, true);
            let ended = loop {
                let message = match stream.message().await {
                    Ok(Some(message)) => message,
                    Ok(None) => break true,
                    Err(_) => break false,
                };
                if let Some(Event::Settle(settle)) = message.event {
                    market.ledger.open().shown(&settle);
                    // Every stream tells the final state, also to a caller that has it already.
                    let again = silent && is_final(&settle) && settle.revision == resumed;
                    let grown = settle.revision > told;
                    assert!(grown || again, "{number}: after {told} came {}", settle.revision);
                    told = settle.revision;
                    (last, silent) = (Some(settle), false);
                }
            };
            if ended {
                let last = last.expect("a watch that ends well carried the final state");
                assert!(is_final(&last), "{number}: the watch ended with {last:?}");
                return;
            }
        }
        pause(&mut rng).await;
    }
}

fn is_final(settle: &v1::Settle) -> bool {
    use v1::SettleState as S;
    matches!(settle.state(), S::Succeeded | S::Failed | S::Rejected)
}

/// What the error of a create promises; `None` if the connection broke before it could.
fn outcome(status: &Status) -> Option<String> {
    if status.details().is_empty() {
        return None;
    }
    details(status).info.metadata.get("outcome").cloned()
}

async fn pause(rng: &mut Rng) {
    tokio::time::sleep(Duration::from_millis(rng.u64(2..40))).await;
}
