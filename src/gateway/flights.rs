//! Who works on which settle right now, on this replica: lets a repeated create join the call in
//! flight instead of starting another one.

use std::collections::HashMap;

use crate::settle::Key;
use crate::sync::{Arc, Mutex, MutexGuard, bell};

/// The work in flight; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<Key, bell::Sender<Count>>>>);

/// How many workers are on a settle, and how many have been since somebody looks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Count {
    pub flying: u32,
    pub landed: u64,
}

/// One worker on one settle; lands when dropped.
pub(super) struct Flight {
    flights: Flights,
    key: Key,
    /// What its end adds to the landed ones.
    landing: u64,
}

/// Sees the flights of one settle end.
pub(super) struct Landings {
    flights: Flights,
    key: Key,
    /// `None` only while dropping.
    counts: Option<bell::Receiver<Count>>,
    /// Flights that had landed when this began to look.
    landed_before: u64,
}

/// Whether a flight has landed since somebody began to look. If so, its result is in whatever is
/// read from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Landed {
    Yes,
    No,
}

impl Flights {
    /// Takes off. Enter before the settle becomes visible to others, so that nobody who sees it
    /// misses the flight.
    pub(super) fn enter(&self, key: &Key) -> Flight {
        self.map().entry(key.clone()).or_default().send_modify(|count| count.flying += 1);
        Flight { flights: self.clone(), key: key.clone(), landing: 1 }
    }

    /// Begins to look at one settle's flights.
    pub(super) fn landings(&self, key: &Key) -> Landings {
        let counts = self.map().entry(key.clone()).or_default().subscribe();
        let landed_before = counts.get().landed;
        let counts = Some(counts);
        Landings { flights: self.clone(), key: key.clone(), counts, landed_before }
    }

    fn forget_if_idle(&self, key: &Key) {
        let mut map = self.map();
        if let Some(counts) = map.get(key)
            && counts.receiver_count() == 0
            && counts.get().flying == 0
        {
            map.remove(key);
        }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Key, bell::Sender<Count>>> {
        self.0.lock().expect("no code panics while holding this lock")
    }
}

impl Flight {
    /// Ends a flight that found nothing to do: nobody was waiting for that.
    pub(super) fn cancel(mut self) {
        self.landing = 0;
    }
}

impl Landings {
    /// Waits until nobody works on the settle; at once if nobody does. What it tells holds for that
    /// moment: asked for later, it could speak of a flight that landed after the caller had read.
    pub(super) async fn none_flying(&mut self) -> Landed {
        self.until(|count| count.flying == 0).await
    }

    /// Waits until at least one flight has landed since this began, and none is in the air.
    pub(super) async fn all_landed(&mut self) {
        let before = self.landed_before;
        self.until(|count| count.flying == 0 && count.landed > before).await;
    }

    async fn until(&mut self, wanted: impl FnMut(&Count) -> bool) -> Landed {
        let counts = self.counts.as_mut().expect("it looks until it is dropped");
        let count = counts.wait_for(wanted).await;
        if count.landed > self.landed_before { Landed::Yes } else { Landed::No }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(counts) = self.flights.map().get(&self.key) {
            counts.send_modify(|count| {
                count.flying -= 1;
                count.landed += self.landing;
            });
        }
        self.flights.forget_if_idle(&self.key);
    }
}

impl Drop for Landings {
    fn drop(&mut self) {
        self.counts = None;
        self.flights.forget_if_idle(&self.key);
    }
}
