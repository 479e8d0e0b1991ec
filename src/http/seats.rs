//! Places for connections to one listener, limited in all and per address. If all are taken and one
//! more peer connects, the connection that has rested longest makes room. So peers that send
//! nothing, or begin requests and do not end them, keep no others out.
//!
//! *The accident without it:* silent connections take all places. Then the orchestrator cannot ask
//! whether the gateway is ready, no callback from Douyin gets in, and no caller can connect.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::metrics::{CONNECTIONS_ALLOWED, CONNECTIONS_OPEN, CONNECTIONS_REFUSED};

/// The most connections that have made room and have not closed yet. It bounds what peers that do
/// not close take beyond the places.
pub(crate) const LEAVING_MAX: usize = 16;

/// The places of one listener.
pub(crate) struct Seats {
    listener: &'static str,
    max: usize,
    /// `None`: no limit.
    per_peer_max: Option<usize>,
    /// Grows with every move on any connection.
    moves: AtomicU64,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    by_number: HashMap<u64, Arc<Activity>>,
    leaving: usize,
    /// Addresses with connections, and how many.
    by_peer: HashMap<IpAddr, usize>,
}

/// What a connection does, as far as its place depends on it.
pub(crate) struct Activity {
    seats: Arc<Seats>,
    number: u64,
    /// `None`: it is on this machine, behind a socket that has no address.
    peer: Option<IpAddr>,
    /// Its last move: when it came, when a request had arrived whole, or when one was done.
    last: AtomicU64,
    at_work: AtomicUsize,
    left: CancellationToken,
}

/// One connection's place; free again when dropped.
pub(crate) struct Seat(Arc<Activity>);

/// A request that has arrived whole and is worked on, until dropped. One that is still arriving
/// does not count, because a peer can begin as many as it likes.
pub(crate) struct AtWork(Arc<Activity>);

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Full {
    #[error("too many connections")]
    All,
    #[error("too many connections from one address")]
    Peer,
}

impl Seats {
    pub(crate) fn new(
        listener: &'static str,
        max: usize,
        per_peer_max: Option<usize>,
    ) -> Arc<Self> {
        CONNECTIONS_ALLOWED.set_len([listener], max);
        CONNECTIONS_OPEN.set([listener], 0);
        ["full", "rested"].iter().for_each(|why| CONNECTIONS_REFUSED.begin([listener, why]));
        let (moves, taken) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { listener, max, per_peer_max, moves, taken })
    }

    /// Counts a connection that gets no place, and one that made room.
    pub(crate) fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Seat, Full> {
        let seat = self.find(peer);
        match seat {
            Ok(_) => {}
            Err(Full::All) => self.count("full"),
            Err(Full::Peer) => self.count("peer"),
        }
        seat
    }

    fn find(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Seat, Full> {
        let mut taken = self.taken();
        let of_peer = peer.and_then(|peer| taken.by_peer.get(&peer).copied()).unwrap_or_default();
        if self.per_peer_max.is_some_and(|peer_max| of_peer >= peer_max) {
            return Err(Full::Peer);
        }
        if taken.by_number.len() >= self.max {
            taken.make_room()?;
            self.count("rested");
        }
        let number = self.move_on();
        let seat = Arc::new(Activity {
            seats: Arc::clone(self),
            number,
            peer,
            last: AtomicU64::new(number),
            at_work: AtomicUsize::new(0),
            left: CancellationToken::new(),
        });
        if let Some(peer) = peer {
            taken.by_peer.insert(peer, of_peer + 1);
        }
        taken.by_number.insert(number, Arc::clone(&seat));
        CONNECTIONS_OPEN.set_len([self.listener], taken.by_number.len());
        Ok(Seat(seat))
    }

    fn count(&self, why: &'static str) {
        CONNECTIONS_REFUSED.count([self.listener, why]);
    }

    #[cfg(test)]
    fn taken_count(&self) -> usize {
        self.taken().by_number.len()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_on(&self) -> u64 {
        self.moves.fetch_add(1, Ordering::Relaxed)
    }
}

impl Taken {
    /// Takes no place from a connection whose request is worked on.
    fn make_room(&mut self) -> Result<(), Full> {
        let resting = self.by_number.values().filter(|seat| seat.rests());
        let longest = resting.min_by_key(|seat| seat.last.load(Ordering::Relaxed));
        let longest = longest.filter(|_| self.leaving < LEAVING_MAX).ok_or(Full::All)?;
        longest.left.cancel();
        let number = longest.number;
        self.by_number.remove(&number);
        self.leaving += 1;
        Ok(())
    }
}

impl Activity {
    pub(crate) fn begin(self: &Arc<Self>) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        self.touch();
        AtWork(Arc::clone(self))
    }

    pub(crate) fn rests(&self) -> bool {
        self.at_work.load(Ordering::Relaxed) == 0
    }

    /// Whether a request has ever arrived whole on it.
    pub(crate) fn has_worked(&self) -> bool {
        self.last.load(Ordering::Relaxed) != self.number
    }

    /// Waits until the connection must make room for another one.
    pub(crate) async fn made_room(&self) {
        self.left.cancelled().await;
    }

    fn touch(&self) {
        self.last.store(self.seats.move_on(), Ordering::Relaxed);
    }
}

impl Seat {
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Activity { seats, number, peer, .. } = &*self.0;
        let mut taken = seats.taken();
        if taken.by_number.remove(number).is_none() {
            taken.leaving -= 1;
        }
        CONNECTIONS_OPEN.set_len([seats.listener], taken.by_number.len());
        let Some(peer) = peer else { return };
        if let Some(count) = taken.by_peer.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                taken.by_peer.remove(peer);
            }
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.touch();
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn seats(max: usize) -> Arc<Seats> {
        Seats::new("test", max, None)
    }

    fn gone(seat: &Seat) -> bool {
        seat.0.left.is_cancelled()
    }

    #[test]
    fn the_one_that_has_rested_longest_makes_room_and_none_with_a_request() {
        let seats = seats(3);
        let take = || seats.take(PEER);
        let (first, second, third) = (take().unwrap(), take().unwrap(), take().unwrap());
        // The first connection had a request meanwhile.
        drop(first.0.begin());
        let fourth = take().unwrap();
        assert_eq!([&first, &second, &third].map(gone), [false, true, false]);
        let (one, three, four) = (first.0.begin(), third.0.begin(), fourth.0.begin());
        assert_eq!(take().err(), Some(Full::All), "all have a request");
        drop(three);
        let fifth = take().unwrap();
        assert_eq!([&first, &third, &fourth].map(gone), [false, true, false]);
        drop((one, four));
        drop(first);
        // A connection that has made room gives no place back.
        drop(second);
        let sixth = take().unwrap();
        assert_eq!([&fourth, &fifth, &sixth].map(gone), [false; 3]);
        let _seventh = take().unwrap();
        assert!(gone(&fifth), "it rests longer than the one whose request has ended");
    }

    #[test]
    fn places_are_bounded_in_all_and_per_address_and_nothing_of_them_stays() {
        let seats = Seats::new("test", 3, Some(2));
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));
        let first = (seats.take(one).unwrap(), seats.take(one).unwrap());
        assert_eq!(seats.take(one).err(), Some(Full::Peer));
        let third = seats.take(other).unwrap();
        assert_eq!(seats.taken_count(), 3);
        let fourth = seats.take(other).unwrap();
        assert!(gone(&first.0) && seats.taken_count() == 3);
        assert_eq!(seats.take(one).err(), Some(Full::Peer), "it has not gone yet");
        drop(first);
        let again = (seats.take(one).unwrap(), seats.take(one).unwrap());
        drop((again, third, fourth));
        assert!(seats.taken().by_peer.is_empty());
        assert_eq!((seats.taken_count(), seats.taken().leaving), (0, 0));
    }

    #[test]
    fn those_that_made_room_and_do_not_go_are_bounded() {
        let seats = seats(1);
        let mut all: Vec<_> = (0..=LEAVING_MAX).map(|_| seats.take(PEER).unwrap()).collect();
        assert_eq!(seats.take(PEER).err(), Some(Full::All));
        drop(all.remove(0));
        assert!(seats.take(PEER).is_ok());
    }
}
