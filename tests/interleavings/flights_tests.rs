//! Whoever waits for somebody else's work sees its result, nobody waits for ever, and nothing is
//! remembered of a settle that nobody works on.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::thread;

use crate::flights::{Flights, Landed};
use crate::plays::play;
use crate::settle::Key;
use crate::settles::key;
use crate::sync::Mutex;
use crate::sync::bell::senders;

/// The flights of one settle, and what the store has of it.
#[derive(Clone)]
struct World {
    flights: Flights,
    key: Key,
    record: Arc<Mutex<Record>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Record {
    /// The settle is recorded.
    inserted: bool,
    /// Attempts that have ended, each with its result in the record.
    attempts: u32,
}

impl World {
    fn new() -> Self {
        Self { flights: Flights::default(), key: key("s-1"), record: Arc::default() }
    }

    fn record(&self) -> Record {
        *self.record.lock().unwrap()
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().unwrap());
    }

    /// As `record_and_submit` does for the first one: enter, insert, try, land.
    fn create(&self) {
        let flight = self.flights.enter(&self.key);
        self.update(|record| record.inserted = true);
        self.update(|record| record.attempts += 1);
        drop(flight);
    }

    /// As `repeat` does: its own flight found nothing to do; wait for the one in the air; if there
    /// was none, ask for an attempt and wait for that. The attempts that it knows of at the end.
    fn repeat(&self, wanted: &Sender<()>) -> u32 {
        self.flights.enter(&self.key).cancel();
        let mut landings = self.flights.landings(&self.key);
        let landed = block_on(landings.none_flying());
        let seen = self.record();
        if landed == Landed::Yes {
            return seen.attempts;
        }
        wanted.send(()).expect("the poller listens while a repeat is there");
        block_on(landings.all_landed());
        self.record().attempts
    }

    /// As the poller does: an attempt each time that one is wanted.
    fn poll(&self, wanted: &Receiver<()>) {
        while wanted.recv().is_ok() {
            let flight = self.flights.enter(&self.key);
            self.update(|record| record.attempts += 1);
            drop(flight);
        }
    }

    fn assert_forgotten(&self) {
        assert_eq!(senders(), 0, "a settle is remembered that nobody works on");
    }
}

#[test]
fn whoever_finds_the_record_finds_the_flight_and_its_result() {
    play("join", || {
        let world = World::new();
        let creating = {
            let world = world.clone();
            thread::spawn(move || world.create())
        };
        let flight = world.flights.enter(&world.key);
        let found = world.record().inserted;
        flight.cancel();
        if found {
            let mut landings = world.flights.landings(&world.key);
            block_on(landings.none_flying());
            assert_eq!(world.record().attempts, 1, "answered before the flight had landed");
        }
        creating.join().unwrap();
        world.assert_forgotten();
    });
}

#[test]
fn a_repeat_sees_an_attempt_that_landed_and_takes_no_other_repeat_for_one() {
    play("repeats", || {
        let world = World::new();
        // The create is long over, without a definite answer.
        world.create();
        let (want, wanted) = channel();
        let repeats = [(), ()].map(|()| {
            let (world, want) = (world.clone(), want.clone());
            thread::spawn(move || world.repeat(&want))
        });
        drop(want);
        world.poll(&wanted);
        for repeat in repeats {
            assert!(repeat.join().unwrap() >= 2, "answered without the attempt it waited for");
        }
        world.assert_forgotten();
    });
}

#[test]
fn a_repeat_during_the_create_is_answered_by_an_attempt_that_it_saw_land() {
    play("during", || {
        let world = World::new();
        let (want, wanted) = channel();
        let creating = {
            let world = world.clone();
            thread::spawn(move || world.create())
        };
        let repeating = {
            let world = world.clone();
            thread::spawn(move || world.repeat(&want))
        };
        world.poll(&wanted);
        assert!(repeating.join().unwrap() >= 1);
        creating.join().unwrap();
        world.assert_forgotten();
    });
}

#[test]
fn a_flight_that_lands_while_somebody_looks_is_told_and_one_from_before_is_not() {
    play("landed", || {
        let world = World::new();
        world.create();
        let flight = world.flights.enter(&world.key);
        let mut landings = world.flights.landings(&world.key);
        let landing = thread::spawn(move || drop(flight));
        assert_eq!(block_on(landings.none_flying()), Landed::Yes);
        landing.join().unwrap();
        let mut later = world.flights.landings(&world.key);
        assert_eq!(block_on(later.none_flying()), Landed::No);
        drop((landings, later));
        world.assert_forgotten();
    });
}

#[test]
fn flights_that_land_together_are_forgotten() {
    play("land together", || {
        let world = World::new();
        let flying = [(), ()].map(|()| {
            let world = world.clone();
            thread::spawn(move || world.create())
        });
        let looking = {
            let world = world.clone();
            thread::spawn(move || block_on(world.flights.landings(&world.key).none_flying()))
        };
        for flight in flying {
            flight.join().unwrap();
        }
        looking.join().unwrap();
        world.assert_forgotten();
    });
}

#[test]
fn flights_of_another_settle_are_nobodys_business() {
    play("another settle", || {
        let world = World::new();
        let other = World { key: key("s-2"), ..world.clone() };
        let (land, may_land) = channel::<()>();
        let flying = thread::spawn(move || {
            let flight = other.flights.enter(&other.key);
            may_land.recv().expect("it is told to land");
            drop(flight);
        });
        // It does not wait for the other one, or both would wait for ever.
        let landed = block_on(world.flights.landings(&world.key).none_flying());
        assert_eq!(landed, Landed::No);
        land.send(()).expect("the other one is in the air");
        flying.join().unwrap();
        world.assert_forgotten();
    });
}
