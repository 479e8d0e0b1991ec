//! Places among the watchers: so many in the process, and so many on one connection, which other
//! calls of its caller must still get through.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of this process; cheap to clone.
#[derive(Clone)]
pub struct Seats {
    process: Arc<Semaphore>,
    connections: Arc<Connections>,
}

struct Connections {
    watches_max: usize,
    /// By the other end's address, which no two open connections share. Only those with watchers.
    taken: Mutex<HashMap<SocketAddr, usize>>,
}

/// One watcher's place; free again when dropped.
pub struct Seat {
    _process: OwnedSemaphorePermit,
    _connection: Option<OnConnection>,
}

struct OnConnection {
    connections: Arc<Connections>,
    peer: SocketAddr,
}

impl Seats {
    pub fn new(process_max: usize, connection_max: usize) -> Self {
        let taken = Mutex::default();
        Self {
            process: Arc::new(Semaphore::new(process_max)),
            connections: Arc::new(Connections { watches_max: connection_max, taken }),
        }
    }

    /// A place for a watcher from this address; `None` if there is none, for it or for anybody.
    pub fn take(&self, peer: Option<SocketAddr>) -> Option<Seat> {
        let process = Arc::clone(&self.process).try_acquire_owned().ok()?;
        let connection = match peer {
            Some(peer) => Some(self.on_connection(peer)?),
            // A transport within this process.
            None => None,
        };
        Some(Seat { _process: process, _connection: connection })
    }

    fn on_connection(&self, peer: SocketAddr) -> Option<OnConnection> {
        let mut taken = self.connections.taken();
        let count = taken.entry(peer).or_default();
        if *count >= self.connections.watches_max {
            return None;
        }
        *count += 1;
        Some(OnConnection { connections: Arc::clone(&self.connections), peer })
    }
}

impl Connections {
    fn taken(&self) -> MutexGuard<'_, HashMap<SocketAddr, usize>> {
        self.taken.lock().expect("no code panics while holding this lock")
    }
}

impl Drop for OnConnection {
    fn drop(&mut self) {
        let mut taken = self.connections.taken();
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_per_connection_and_in_all_and_nothing_of_them_stays() {
        let seats = Seats::new(5, 2);
        let peer = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let one: Vec<_> = (0..3).map_while(|_| seats.take(peer(1))).collect();
        let other: Vec<_> = (0..3).map_while(|_| seats.take(peer(2))).collect();
        assert_eq!((one.len(), other.len()), (2, 2));
        // What a refused one had taken of the process's places is free again.
        let last = seats.take(None).expect("the fifth place");
        assert!(seats.take(peer(3)).is_none(), "there is no sixth");
        drop((one, last));
        let again = (seats.take(peer(1)), seats.take(peer(1)), seats.take(peer(1)));
        assert!(again.0.is_some() && again.1.is_some() && again.2.is_none());
        drop((again, other));
        assert!(seats.connections.taken().is_empty());
        assert_eq!(seats.process.available_permits(), 5);
    }
}
