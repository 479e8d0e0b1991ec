//! Load at a fixed rate, whether or not earlier calls are answered. It measures latency when the
//! callers do not wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::Failure;
use crate::load::{self, Client, Plan, Target, connect};
use crate::numbers::{Numbers, create};

const CALLERS: usize = 64;
const CONNECTIONS: usize = 4;
/// With more calls in flight than this, the server does not keep up with the rate.
const IN_FLIGHT_MAX: usize = 8_192;
const TICK: Duration = Duration::from_millis(1);

/// How many calls per second a server answers to callers in a closed loop.
pub fn greatest_rate(url: &str, numbers: &Numbers, threads: usize) -> Result<f64, Failure> {
    let (warm_up, measured) = (Duration::from_secs(1), Duration::from_secs(5));
    let plan = Plan { callers: CALLERS, warm_up, measured, threads };
    Ok(load::run(&Target::Grpc(url.to_owned()), numbers, plan, || Ok(()))?.per_second())
}

pub async fn connections(url: &str) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(connect(url).await?);
    }
    Ok(clients)
}

/// Makes creates at a rate for a time. Returns the latencies in microseconds, sorted; each counts
/// from the moment at which its call should have begun.
pub async fn calls(
    clients: &[Client],
    numbers: &Numbers,
    rate: f64,
    time: Duration,
) -> Result<Vec<f64>, Failure> {
    let count = (rate * time.as_secs_f64()) as usize;
    let (tell, mut told) = mpsc::channel(IN_FLIGHT_MAX);
    let in_flight = Arc::new(AtomicUsize::new(0));
    let mut micros = Vec::with_capacity(count);
    let (began, mut issued) = (Instant::now(), 0_usize);
    let mut ticks = tokio::time::interval(TICK);
    while micros.len() < count {
        tokio::select! {
            _ = ticks.tick(), if issued < count => {
                // The first call is due at the beginning.
                let due = (began.elapsed().as_secs_f64() * rate) as usize + 1;
                while issued < due.min(count) {
                    if in_flight.fetch_add(1, Ordering::Relaxed) >= IN_FLIGHT_MAX {
                        return Err("the server does not keep up with the rate".into());
                    }
                    let planned = began + Duration::from_secs_f64(issued as f64 / rate);
                    let mut client = clients[issued % clients.len()].clone();
                    let request = create(numbers.tag, numbers.next());
                    let (tell, in_flight) = (tell.clone(), in_flight.clone());
                    tokio::spawn(async move {
                        let called = client.create_settle(request).await;
                        let took = planned.elapsed().as_secs_f64() * 1e6;
                        in_flight.fetch_sub(1, Ordering::Relaxed);
                        // The receiver is gone only if the bench has ended with an error.
                        let _ = tell.send(called.map(|_| took)).await;
                    });
                    issued += 1;
                }
            }
            answer = told.recv() => micros.push(answer.ok_or("no call was answered")??),
        }
    }
    micros.sort_by(f64::total_cmp);
    Ok(micros)
}

/// The latency that this part of the calls did not exceed. `sorted` must not be empty.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[(part * (sorted.len() - 1) as f64).round() as usize]
}
