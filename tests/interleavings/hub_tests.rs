//! No watcher misses the last change, and no slot stays behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use crate::clock::Timestamp;
use crate::hub::{Hub, Joined, Subscription};
use crate::plays::{play, play_all};
use crate::settle::Key;
use crate::settles::{at_revision, key};
use crate::store::Store;
use crate::sync::bell::senders;

/// A hub, a store and one settle, as its tasks share them.
#[derive(Clone)]
struct World {
    hub: Hub,
    store: Arc<Store>,
    key: Key,
}

impl World {
    /// The settle is recorded, at revision 1.
    fn new() -> Self {
        let (store, key) = (Arc::new(Store::default()), key("s-1"));
        store.commit(at_revision(&key, 1));
        Self { hub: Hub::default(), store, key }
    }

    /// As `observe` does: first durable, then hinted.
    fn change(&self, revision: i64) {
        self.store.commit(at_revision(&self.key, revision));
        self.hub.hint(&self.key);
    }

    async fn read(&self, seat: &mut Subscription) -> i64 {
        // A read of any age counts, so that no resync hides a lost hint.
        let record = seat.read(&self.store, Duration::MAX).await.expect("this store never fails");
        record.expect("the settle is recorded").revision
    }

    /// As `Watch::next` does, to the end.
    async fn watch_until(&self, seat: &mut Subscription, last: i64) {
        let mut told = 0;
        loop {
            let revision = self.read(seat).await;
            assert!(revision >= told, "from revision {told} back to {revision}");
            told = revision;
            if told == last {
                return;
            }
            seat.hinted().await;
        }
    }

    fn watcher(&self, last: i64) -> impl FnOnce() + Send + 'static {
        let world = self.clone();
        move || {
            let (mut seat, _) = world.hub.subscribe(&world.key);
            block_on(world.watch_until(&mut seat, last));
        }
    }

    /// No watcher is left.
    fn assert_forgotten(&self) {
        assert!(!self.hub.is_watched(&self.key));
        assert_eq!(senders(), 0, "a slot stayed behind");
    }
}

#[test]
fn a_change_between_subscribing_and_reading_leaves_a_hint() {
    play_all("subscribe and read", || {
        let world = World::new();
        let watching = thread::spawn(world.watcher(2));
        world.change(2);
        watching.join().unwrap();
        world.assert_forgotten();
    });
}

/// Another replica changes the settle, and its hint is lost. This one compares what it knows with
/// the store, again and again. A watcher that comes later reads the change by itself.
#[test]
fn a_change_without_a_hint_reaches_all_watchers_by_comparing() {
    play("a lost hint", || {
        let world = World::new();
        let done = Arc::new(AtomicUsize::new(0));
        let watching = [1, 2, 3].map(|_| {
            let (watch, done) = (world.watcher(2), Arc::clone(&done));
            thread::spawn(move || {
                watch();
                done.fetch_add(1, Ordering::SeqCst);
            })
        });
        world.store.commit(at_revision(&world.key, 2));
        while done.load(Ordering::SeqCst) < watching.len() {
            for known in world.hub.known() {
                if world.store.version(&known.key) != Some(known.version) {
                    world.hub.hint(&known.key);
                }
            }
            thread::yield_now();
        }
        for watcher in watching {
            watcher.join().unwrap();
        }
        world.assert_forgotten();
    });
}

#[test]
fn the_last_of_several_changes_reaches_all_watchers_with_one_read_per_hint() {
    play("two watchers", || {
        let world = World::new();
        // The slot lives from the first watcher to the last one, so its reads can be counted.
        let (seat, joined) = world.hub.subscribe(&world.key);
        assert_eq!(joined, Joined::First);
        let watching = [thread::spawn(world.watcher(3)), thread::spawn(world.watcher(3))];
        world.change(2);
        world.change(3);
        for watcher in watching {
            watcher.join().unwrap();
        }
        let reads = world.store.reads();
        assert!(reads <= 3, "{reads} reads for a first look and two hints");
        drop(seat);
        world.assert_forgotten();
    });
}

#[test]
fn a_task_that_hinted_reads_at_least_what_was_hinted() {
    play("two writers", || {
        let world = World::new();
        let (mut seat, _) = world.hub.subscribe(&world.key);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                let (mut seat, _) = world.hub.subscribe(&world.key);
                world.change(2);
                assert!(block_on(world.read(&mut seat)) >= 2, "the hint came before this read");
            })
        };
        block_on(world.read(&mut seat));
        other.join().unwrap();
        // That read of the past must not stand for this one.
        assert_eq!(block_on(world.read(&mut seat)), 2);
        drop(seat);
        world.assert_forgotten();
    });
}

#[test]
fn a_watcher_that_comes_while_the_last_one_leaves_is_hinted() {
    play("come and go", || {
        let world = World::new();
        let (seat, _) = world.hub.subscribe(&world.key);
        let watching = thread::spawn(world.watcher(2));
        let leaving = thread::spawn(move || drop(seat));
        world.change(2);
        leaving.join().unwrap();
        watching.join().unwrap();
        world.assert_forgotten();
    });
}

#[test]
fn watchers_that_leave_together_leave_no_slot_behind() {
    play("leave together", || {
        let world = World::new();
        let (one, joined) = world.hub.subscribe(&world.key);
        assert_eq!(joined, Joined::First);
        let (other, joined) = world.hub.subscribe(&world.key);
        assert_eq!(joined, Joined::Later);
        let third = world.clone();
        let third = thread::spawn(move || drop(third.hub.subscribe(&third.key)));
        let leaving = thread::spawn(move || drop(one));
        assert!(world.hub.is_watched(&world.key), "a watcher is there");
        drop(other);
        leaving.join().unwrap();
        third.join().unwrap();
        world.assert_forgotten();
    });
}

#[test]
fn a_wait_that_is_given_up_loses_no_hint() {
    play("given up", || {
        let world = World::new();
        let (mut seat, _) = world.hub.subscribe(&world.key);
        let changing = {
            let world = world.clone();
            thread::spawn(move || world.change(2))
        };
        block_on(async {
            assert!(world.read(&mut seat).await >= 1);
            // A heartbeat or the end of a stream's life comes first.
            let mut waiting = Box::pin(seat.hinted());
            std::future::poll_fn(|context| {
                let _ = waiting.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
            drop(waiting);
            world.watch_until(&mut seat, 2).await;
        });
        changing.join().unwrap();
        drop(seat);
        world.assert_forgotten();
    });
}

#[test]
fn settles_do_not_disturb_each_other() {
    play("two settles", || {
        let world = World::new();
        let other = World { key: key("s-2"), ..world.clone() };
        other.store.commit(at_revision(&other.key, 1));
        let watching = [thread::spawn(world.watcher(2)), thread::spawn(other.watcher(2))];
        let changing = {
            let other = other.clone();
            thread::spawn(move || other.change(2))
        };
        world.change(2);
        changing.join().unwrap();
        for watcher in watching {
            watcher.join().unwrap();
        }
        world.assert_forgotten();
        other.assert_forgotten();
    });
}

#[test]
fn what_douyin_last_said_is_seen_by_all_who_watch_and_goes_with_them() {
    play("confirmed", || {
        let (world, now) = (World::new(), Timestamp::from_ms(1));
        world.hub.confirm(&world.key, now);
        let (seat, _) = world.hub.subscribe(&world.key);
        assert_eq!(seat.confirmed(), None, "there was no watcher then");
        let confirming = {
            let world = world.clone();
            thread::spawn(move || world.hub.confirm(&world.key, now))
        };
        let (later, _) = world.hub.subscribe(&world.key);
        drop(seat);
        confirming.join().unwrap();
        assert_eq!((later.key(), later.confirmed()), (&world.key, Some(now)));
        drop(later);
        world.assert_forgotten();
    });
}
