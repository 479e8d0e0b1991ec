//! A task that waits for another task's work sees its result, no task waits for ever, and nothing
//! is remembered of a settle that no task works on.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::thread;

use crate::in_flight::{Finished, InFlight};
use crate::plays::play;
use crate::settle::Key;
use crate::settles::key;
use crate::sync::Mutex;
use crate::sync::bell::senders;

/// The work on one settle, and what the store has of it.
#[derive(Clone)]
struct World {
    in_flight: InFlight,
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
        Self { in_flight: InFlight::default(), key: key("s-1"), record: Arc::default() }
    }

    fn record(&self) -> Record {
        *self.record.lock().unwrap()
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().unwrap());
    }

    /// As `record_and_submit` does for the first one: begin, insert, try, end.
    fn create(&self) {
        let work = self.in_flight.begin(&self.key);
        self.update(|record| record.inserted = true);
        self.update(|record| record.attempts += 1);
        drop(work);
    }

    /// As `repeat` does: cancels its own work, waits for that of others, and if there was none asks
    /// for an attempt and waits for it. Returns the attempts that it knows of at the end.
    fn repeat(&self, wanted: &Sender<()>) -> u32 {
        self.in_flight.begin(&self.key).cancel();
        let mut waiter = self.in_flight.waiter(&self.key);
        let finished = block_on(waiter.until_idle());
        let seen = self.record();
        if finished == Finished::Yes {
            return seen.attempts;
        }
        wanted.send(()).expect("the poller listens while a repeat is there");
        block_on(waiter.until_finished());
        self.record().attempts
    }

    /// As the poller does: an attempt each time that one is wanted.
    fn poll(&self, wanted: &Receiver<()>) {
        while wanted.recv().is_ok() {
            let work = self.in_flight.begin(&self.key);
            self.update(|record| record.attempts += 1);
            drop(work);
        }
    }

    fn assert_forgotten(&self) {
        assert_eq!(senders(), 0, "a settle is remembered that no task works on");
    }
}

#[test]
fn a_task_that_finds_the_record_finds_the_work_and_its_result() {
    play("join", || {
        let world = World::new();
        let creating = {
            let world = world.clone();
            thread::spawn(move || world.create())
        };
        let work = world.in_flight.begin(&world.key);
        let found = world.record().inserted;
        work.cancel();
        if found {
            let mut waiter = world.in_flight.waiter(&world.key);
            block_on(waiter.until_idle());
            assert_eq!(world.record().attempts, 1, "answered before the work had finished");
        }
        creating.join().unwrap();
        world.assert_forgotten();
    });
}

#[test]
fn a_repeat_sees_an_attempt_that_finished_and_takes_no_other_repeat_for_one() {
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
fn a_repeat_during_the_create_is_answered_by_an_attempt_that_it_saw_finish() {
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
fn work_that_finishes_during_a_wait_is_told_and_work_from_before_is_not() {
    play("finished", || {
        let world = World::new();
        world.create();
        let work = world.in_flight.begin(&world.key);
        let mut waiter = world.in_flight.waiter(&world.key);
        let finishing = thread::spawn(move || drop(work));
        assert_eq!(block_on(waiter.until_idle()), Finished::Yes);
        finishing.join().unwrap();
        let mut later = world.in_flight.waiter(&world.key);
        assert_eq!(block_on(later.until_idle()), Finished::No);
        drop((waiter, later));
        world.assert_forgotten();
    });
}

#[test]
fn work_that_finishes_together_is_forgotten() {
    play("finish together", || {
        let world = World::new();
        let working = [(), ()].map(|()| {
            let world = world.clone();
            thread::spawn(move || world.create())
        });
        let waiting = {
            let world = world.clone();
            thread::spawn(move || block_on(world.in_flight.waiter(&world.key).until_idle()))
        };
        for worker in working {
            worker.join().unwrap();
        }
        waiting.join().unwrap();
        world.assert_forgotten();
    });
}

#[test]
fn a_wait_does_not_wait_for_work_on_another_settle() {
    play("another settle", || {
        let world = World::new();
        let other = World { key: key("s-2"), ..world.clone() };
        let (end, may_end) = channel::<()>();
        let working = thread::spawn(move || {
            let work = other.in_flight.begin(&other.key);
            may_end.recv().expect("it is told to end");
            drop(work);
        });
        // If it waited for the other settle, both tasks would wait for ever.
        let finished = block_on(world.in_flight.waiter(&world.key).until_idle());
        assert_eq!(finished, Finished::No);
        end.send(()).expect("the other one is at work");
        working.join().unwrap();
        world.assert_forgotten();
    });
}
