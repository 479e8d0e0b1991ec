//! Places for connections: so many in all, and so many from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

/// Cheap to clone; clones share the places.
#[derive(Clone)]
pub(super) struct Seats(Arc<Inner>);

struct Inner {
    seats_max: usize,
    /// `None`: as many as there are.
    per_peer_max: Option<usize>,
    /// By address; only those with connections.
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when dropped.
pub(super) struct Seat {
    seats: Seats,
    peer: IpAddr,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Full {
    #[error("too many connections")]
    All,
    #[error("too many connections from one address")]
    Peer,
}

impl Full {
    /// As a label.
    pub fn why(self) -> &'static str {
        match self {
            Full::All => "full",
            Full::Peer => "peer",
        }
    }
}

impl Seats {
    pub fn new(seats_max: usize, per_peer_max: Option<usize>) -> Self {
        Self(Arc::new(Inner { seats_max, per_peer_max, taken: Mutex::default() }))
    }

    pub fn take(&self, peer: IpAddr) -> Result<Seat, Full> {
        let mut taken = self.0.taken();
        if taken.all >= self.0.seats_max {
            return Err(Full::All);
        }
        let of_peer = taken.by_peer.get(&peer).copied().unwrap_or_default();
        if self.0.per_peer_max.is_some_and(|peer_max| of_peer >= peer_max) {
            return Err(Full::Peer);
        }
        taken.by_peer.insert(peer, of_peer + 1);
        taken.all += 1;
        Ok(Seat { seats: self.clone(), peer })
    }

    pub fn taken(&self) -> usize {
        self.0.taken().all
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("no code panics while holding this lock")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.taken();
        taken.all -= 1;
        if let Some(count) = taken.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_per_address_and_nothing_of_them_stays() {
        let seats = Seats::new(3, Some(2));
        let [one, other] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let first = (seats.take(one).unwrap(), seats.take(one).unwrap());
        assert_eq!(seats.take(one).err(), Some(Full::Peer));
        let third = seats.take(other).unwrap();
        assert_eq!(seats.take(other).err(), Some(Full::All));
        assert_eq!(seats.taken(), 3);
        drop(first);
        let again = (seats.take(one).unwrap(), seats.take(other).unwrap());
        drop((again, third));
        assert!(seats.0.taken().by_peer.is_empty());
        assert_eq!(seats.taken(), 0);
    }
}
