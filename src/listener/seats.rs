//! The connections of a listener. When all seats are taken and one more comes, the connection that
//! has rested longest goes: peers that say nothing keep no other out.
//!
//! *The accident without it:* as many silent connections as there are seats, and no orchestrator
//! hears any more that the gateway is ready, nor does Douyin get a callback in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// At most so many at once.
pub(super) struct Seats {
    max: usize,
    /// Grows with everything that happens on any connection.
    moves: AtomicU64,
    taken: Mutex<HashMap<u64, Arc<Activity>>>,
}

/// What a connection is doing, as far as its seat and its idleness depend on it.
pub(super) struct Activity {
    seats: Arc<Seats>,
    number: u64,
    /// The last move on it: when it came, or when a request began or ended.
    last: AtomicU64,
    in_flight: AtomicUsize,
    /// Its seat is another one's now.
    pub left: CancellationToken,
}

/// Given back when dropped.
pub(super) struct Seat(Arc<Activity>);

/// One request; dropped at its end.
pub(super) struct InFlight(Arc<Activity>);

impl Seats {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, moves: AtomicU64::new(0), taken: Mutex::default() })
    }

    /// `None` if every connection has a request in flight.
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= self.max {
            let resting = taken.values().filter(|seat| seat.rests());
            let longest = resting.min_by_key(|seat| seat.last.load(Ordering::Relaxed))?;
            longest.left.cancel();
            let number = longest.number;
            taken.remove(&number);
        }
        let number = self.move_on();
        let seat = Arc::new(Activity {
            seats: Arc::clone(self),
            number,
            last: AtomicU64::new(number),
            in_flight: AtomicUsize::new(0),
            left: CancellationToken::new(),
        });
        taken.insert(number, Arc::clone(&seat));
        Some(Seat(seat))
    }

    fn move_on(&self) -> u64 {
        self.moves.fetch_add(1, Ordering::Relaxed)
    }
}

impl Activity {
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.touch();
        InFlight(Arc::clone(self))
    }

    /// Whether it rests, and has since the last look.
    pub fn rested(&self, last: &mut Option<u64>) -> bool {
        let now = self.last.load(Ordering::Relaxed);
        let seen = last.replace(now);
        self.rests() && seen == Some(now)
    }

    pub fn rests(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    fn touch(&self) {
        self.last.store(self.seats.move_on(), Ordering::Relaxed);
    }
}

impl Seat {
    pub fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.0.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.0.number);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_rested_longest_makes_room_and_none_with_a_request() {
        let seats = Seats::new(3);
        let take = || seats.take();
        let gone = |seat: &Seat| seat.0.left.is_cancelled();
        let (first, second, third) = (take().unwrap(), take().unwrap(), take().unwrap());
        // The first one has said something since.
        drop(first.0.begin());
        let fourth = take().unwrap();
        assert_eq!([&first, &second, &third].map(gone), [false, true, false]);
        let (one, three, four) = (first.0.begin(), third.0.begin(), fourth.0.begin());
        assert!(take().is_none(), "all have a request");
        drop(three);
        let fifth = take().unwrap();
        assert_eq!([&first, &third, &fourth].map(gone), [false, true, false]);
        drop((one, four));
        drop(first);
        // What has made room already gives nothing back.
        drop(second);
        let sixth = take().unwrap();
        assert_eq!([&fourth, &fifth, &sixth].map(gone), [false; 3]);
        let _seventh = take().unwrap();
        assert!(gone(&fifth), "it rests longer than the one whose request has ended");
    }
}
