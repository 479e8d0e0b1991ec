//! What has begun to arrive and is not whole, per connection and for the whole listener: requests,
//! and their bytes. They take no place from requests that have arrived. Their limits are bytes,
//! time, and the number of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::HeaderMap;

/// What an arriving request costs beside its headers and its body.
const REQUEST_BYTES: usize = 4 * 1024;
/// What a connection may hold even when the listener has no more: more than a callback of Douyin's.
/// So slow peers do not keep out a callback.
const SHARE_BYTES: usize = 16 * 1024;

/// All that is arriving at one listener.
pub(super) struct Arriving {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// One connection.
pub(super) struct Connection {
    arriving: Arc<Arriving>,
    bytes: AtomicUsize,
    /// Requests that have not been answered.
    open: AtomicUsize,
    /// Requests that began, and that were answered.
    moves: AtomicU64,
}

/// A request from its beginning to its answer.
pub(super) struct Open(Arc<Connection>);

/// Bytes of a request that is not whole; given back when dropped.
pub(super) struct Held {
    connection: Arc<Connection>,
    bytes: usize,
}

impl Arriving {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, bytes: AtomicUsize::new(0) })
    }
}

impl Connection {
    pub(super) fn new(arriving: Arc<Arriving>) -> Arc<Self> {
        let (bytes, open, moves) = Default::default();
        Arc::new(Self { arriving, bytes, open, moves })
    }

    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.moves.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Whether no request is open, and none was since the last look.
    pub(super) fn rested(&self, last: &mut Option<u64>) -> bool {
        let now = self.moves.load(Ordering::Relaxed);
        let seen = last.replace(now);
        self.open.load(Ordering::Relaxed) == 0 && seen == Some(now)
    }

    pub(super) fn hold(self: &Arc<Self>) -> Held {
        Held { connection: Arc::clone(self), bytes: 0 }
    }
}

impl Held {
    /// Adds bytes; `false`: there is no room for them.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let Connection { arriving, bytes: own, .. } = &*self.connection;
        let own = own.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = arriving.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        all <= arriving.bytes_max || own <= SHARE_BYTES
    }
}

/// What a request costs before its body.
pub(super) fn cost(head: &HeaderMap) -> usize {
    let bytes = head.iter().map(|(name, value)| name.as_str().len() + value.len());
    REQUEST_BYTES + bytes.sum::<usize>()
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.moves.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.connection.arriving.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bounded_in_all_and_each_connection_has_its_share() {
        let arriving = Arriving::new(2 * SHARE_BYTES);
        let connection = || Connection::new(Arc::clone(&arriving));
        let (greedy, modest) = (connection(), connection());
        let mut all = greedy.hold();
        assert!(all.grow(2 * SHARE_BYTES) && !all.grow(1));
        let (mut first, mut second) = (modest.hold(), modest.hold());
        assert!(first.grow(SHARE_BYTES) && !second.grow(1), "its share, in all of its requests");
        drop((all, second));
        assert!(first.grow(SHARE_BYTES));
        drop(first);
        assert_eq!(arriving.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_connection_rests_while_nothing_is_open() {
        let connection = Connection::new(Arriving::new(1));
        let mut last = None;
        assert!(!connection.rested(&mut last) && connection.rested(&mut last));
        let open = connection.open();
        assert!(!connection.rested(&mut last) && !connection.rested(&mut last));
        drop(open);
        assert!(!connection.rested(&mut last) && connection.rested(&mut last));
    }
}
