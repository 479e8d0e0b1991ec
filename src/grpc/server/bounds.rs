//! What the peers of the gRPC port may hold in this process: a limit for each kind, in all and per
//! connection.
//!
//! When all is taken, a connection that holds little still gets its share. So peers that hold much
//! and read nothing do not keep out a caller that takes its answers.
//!
//! What it must not know: what the amounts are for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Extensions;

/// What is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Watch streams and waits.
    Watches,
    /// Streams of health and reflection.
    Streams,
    /// Bytes of requests that have not arrived whole.
    Arriving,
    /// Bytes of answers that the peer has not taken.
    Answers,
}

const KINDS: usize = 4;

/// The limits of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub process_max: usize,
    pub connection_max: usize,
    /// What a connection may hold even when the process has no more.
    pub share: usize,
}

#[derive(Default)]
struct Amounts([AtomicUsize; KINDS]);

/// All that is held in this process.
pub struct Process {
    bounds: [Bound; KINDS],
    held: Amounts,
}

/// What one connection holds, and what it does.
pub(crate) struct Connection {
    process: Arc<Process>,
    held: Amounts,
    /// Bytes that came from the peer.
    heard: AtomicUsize,
    /// Calls that began, and calls that ended.
    moves: AtomicUsize,
    calls: AtomicUsize,
    /// Parts of answers that HTTP/2 took and has not written, by the period in which it took them.
    unwritten: [AtomicUsize; 2],
    period: AtomicUsize,
}

/// An amount that is held; given back when dropped.
pub(crate) struct Held {
    connection: Arc<Connection>,
    kind: Kind,
    amount: usize,
}

/// A call that runs; it ends when dropped.
pub(crate) struct Running(Arc<Connection>);

/// A part of an answer that HTTP/2 took and has not written. Dropped when it is written or given
/// up.
pub(crate) struct Unwritten {
    connection: Arc<Connection>,
    period: usize,
}

impl Amounts {
    fn of(&self, kind: Kind) -> &AtomicUsize {
        match (kind, &self.0) {
            (Kind::Watches, [watches, ..]) => watches,
            (Kind::Streams, [_, streams, ..]) => streams,
            (Kind::Arriving, [_, _, arriving, _]) => arriving,
            (Kind::Answers, [.., answers]) => answers,
        }
    }
}

impl Process {
    /// The bounds of each kind, in the order of [`Kind`].
    pub fn new(bounds: [Bound; KINDS]) -> Self {
        Self { bounds, held: Amounts::default() }
    }

    pub fn held(&self, kind: Kind) -> usize {
        self.held.of(kind).load(Ordering::Relaxed)
    }

    fn bound(&self, kind: Kind) -> Bound {
        let [watches, streams, arriving, answers] = self.bounds;
        match kind {
            Kind::Watches => watches,
            Kind::Streams => streams,
            Kind::Arriving => arriving,
            Kind::Answers => answers,
        }
    }

    /// Whether the bounds allow this: the connection then holds `own`, and the process `all`.
    fn fits(&self, kind: Kind, own: usize, all: usize) -> bool {
        let bound = self.bound(kind);
        own <= bound.connection_max && (all <= bound.process_max || own <= bound.share)
    }
}

impl Connection {
    pub(crate) fn new(process: Arc<Process>) -> Arc<Self> {
        Arc::new(Self {
            process,
            held: Amounts::default(),
            heard: AtomicUsize::new(0),
            moves: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            unwritten: Default::default(),
            period: AtomicUsize::new(0),
        })
    }

    /// The connection of a request, noted by the server. A caller in this process gets one of its
    /// own.
    pub(crate) fn of(extensions: &Extensions, process: &Arc<Process>) -> Arc<Self> {
        let noted = extensions.get::<Arc<Self>>().cloned();
        noted.unwrap_or_else(|| Self::new(Arc::clone(process)))
    }

    /// Takes an amount; `None`: it is beyond the bounds.
    pub(crate) fn take(self: &Arc<Self>, kind: Kind, amount: usize) -> Option<Held> {
        let held = self.take_anyway(kind, amount);
        let (own, all) = (self.held(kind), self.process.held(kind));
        self.process.fits(kind, own, all).then_some(held)
    }

    /// Takes an amount that is there already, whatever the bounds.
    pub(crate) fn take_anyway(self: &Arc<Self>, kind: Kind, amount: usize) -> Held {
        let held = Held { connection: Arc::clone(self), kind, amount: 0 };
        held.grown(amount)
    }

    /// Whether this much could be taken now.
    pub(crate) fn has_room(&self, kind: Kind, amount: usize) -> bool {
        let (own, all) = (self.held(kind), self.process.held(kind));
        self.process.fits(kind, own.saturating_add(amount), all.saturating_add(amount))
    }

    pub(crate) fn held(&self, kind: Kind) -> usize {
        self.held.of(kind).load(Ordering::Relaxed)
    }

    pub(crate) fn hear(&self, bytes: usize) {
        self.heard.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_call(self: &Arc<Self>) -> Running {
        self.moves.fetch_add(1, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// How many calls began and ended so far, if no call runs and no answer waits to be taken.
    pub(crate) fn rests(&self) -> Option<usize> {
        let busy = self.calls.load(Ordering::Relaxed) > 0 || self.held(Kind::Answers) > 0;
        (!busy).then(|| self.moves.load(Ordering::Relaxed))
    }

    pub(crate) fn hand_over(self: &Arc<Self>) -> Unwritten {
        let period = self.period.load(Ordering::Relaxed) % 2;
        self.unwritten_of(period).fetch_add(1, Ordering::Relaxed);
        Unwritten { connection: Arc::clone(self), period }
    }

    /// Begins another period. `true`: a part that HTTP/2 took in the period before the last one is
    /// not written yet. Only the end of the connection frees it.
    pub(crate) fn begin_period(&self) -> bool {
        let next = self.period.fetch_add(1, Ordering::Relaxed).wrapping_add(1) % 2;
        self.unwritten_of(next).load(Ordering::Relaxed) > 0
    }

    fn unwritten_of(&self, period: usize) -> &AtomicUsize {
        let [even, odd] = &self.unwritten;
        if period == 0 { even } else { odd }
    }
}

impl Held {
    /// Takes more of it. `false`: that is beyond the bounds, and taken all the same.
    pub(crate) fn grow(&mut self, amount: usize) -> bool {
        let connection = &self.connection;
        let own = connection.held.of(self.kind).fetch_add(amount, Ordering::Relaxed) + amount;
        let all = &connection.process.held;
        let all = all.of(self.kind).fetch_add(amount, Ordering::Relaxed) + amount;
        self.amount += amount;
        connection.process.fits(self.kind, own, all)
    }

    /// Moves up to `amount` of it into another.
    pub(crate) fn split(&mut self, amount: usize) -> Held {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        Held { connection: Arc::clone(&self.connection), kind: self.kind, amount }
    }

    fn grown(mut self, amount: usize) -> Self {
        self.grow(amount);
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Self { connection, kind, amount } = self;
        connection.held.of(*kind).fetch_sub(*amount, Ordering::Relaxed);
        connection.process.held.of(*kind).fetch_sub(*amount, Ordering::Relaxed);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.moves.fetch_add(1, Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.connection.unwritten_of(self.period).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(process_max: usize, connection_max: usize, share: usize) -> Arc<Process> {
        Arc::new(Process::new([Bound { process_max, connection_max, share }; KINDS]))
    }

    #[test]
    fn places_are_bounded_per_connection_and_in_all_and_nothing_of_them_stays() {
        let process = process(5, 2, 0);
        let [one, other, third] = [(); 3].map(|()| Connection::new(Arc::clone(&process)));
        let take = |on: &Arc<Connection>| on.take(Kind::Watches, 1);
        let ones: Vec<_> = (0..3).map_while(|_| take(&one)).collect();
        let others: Vec<_> = (0..3).map_while(|_| take(&other)).collect();
        assert_eq!((ones.len(), others.len()), (2, 2));
        // The place that a refused connection had taken of the process is free again.
        let last = take(&third).expect("the fifth place");
        assert!(take(&third).is_none(), "there is no sixth");
        assert_eq!(process.held(Kind::Watches), 5);
        drop((ones, last));
        assert!(take(&one).is_some());
        drop(others);
        assert_eq!((process.held(Kind::Watches), other.held(Kind::Watches)), (0, 0));
    }

    #[test]
    fn a_connection_that_holds_little_gets_a_share_of_what_others_have_taken() {
        let process = process(10, 10, 2);
        let [greedy, modest] = [(); 2].map(|()| Connection::new(Arc::clone(&process)));
        let all = greedy.take(Kind::Answers, 10).unwrap();
        assert!(!greedy.has_room(Kind::Answers, 1));
        let share = modest.take(Kind::Answers, 2).unwrap();
        assert!(!modest.has_room(Kind::Answers, 1), "and no more than that");
        assert!(modest.take(Kind::Arriving, 10).is_some(), "of another kind there is more");
        drop((all, share));
        assert!(modest.take(Kind::Answers, 10).is_some());
    }

    #[test]
    fn a_part_is_given_back_alone() {
        let process = process(10, 10, 0);
        let connection = Connection::new(Arc::clone(&process));
        let mut held = connection.take(Kind::Answers, 10).unwrap();
        drop(held.split(4));
        assert_eq!(process.held(Kind::Answers), 6);
        drop(held.split(100));
        assert_eq!(process.held(Kind::Answers), 0);
        assert!(held.grow(10) && !held.grow(1), "held, and said to be too much");
        drop(held);
        assert_eq!((process.held(Kind::Answers), connection.held(Kind::Answers)), (0, 0));
    }

    #[test]
    fn what_is_not_written_within_a_whole_period_is_noticed() {
        let connection = Connection::new(process(1, 1, 0));
        let early = connection.hand_over();
        assert!(!connection.begin_period(), "its period has just ended");
        drop(connection.hand_over());
        assert!(connection.begin_period());
        drop(early);
        assert!(!connection.begin_period());
    }

    #[test]
    fn a_connection_rests_once_no_call_runs_and_no_answer_waits() {
        let connection = Connection::new(process(10, 10, 0));
        assert_eq!(connection.rests(), Some(0));
        let call = connection.begin_call();
        let answer = connection.take(Kind::Answers, 1);
        assert_eq!(connection.rests(), None);
        drop(call);
        assert_eq!(connection.rests(), None);
        drop(answer);
        assert_eq!(connection.rests(), Some(2));
    }
}
