//! What `src/sync.rs` names, with a scheduling point in every operation.
//!
//! The channel and the asynchronous lock are tokio's own: what they promise (each operation takes
//! effect at one moment) is all that is played here. Tokio tries their insides itself.

use std::ops::Deref;

pub use shuttle::sync::{Mutex, MutexGuard};

/// Another task may run here.
pub fn point() {
    // A test that fails unwinds through destructors, where no task can be switched any more.
    if !std::thread::panicking() {
        shuttle::sync::atomic::AtomicBool::new(false).load(std::sync::atomic::Ordering::SeqCst);
    }
}

/// `std::sync::Arc`: counting is an operation that others see.
pub struct Arc<T>(std::sync::Arc<T>);

impl<T> Arc<T> {
    pub fn new(value: T) -> Self {
        Self(std::sync::Arc::new(value))
    }

    pub fn strong_count(this: &Self) -> usize {
        point();
        std::sync::Arc::strong_count(&this.0)
    }
}

impl<T: Default> Default for Arc<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        point();
        Self(std::sync::Arc::clone(&self.0))
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        point();
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// `tokio::sync::Mutex`.
pub struct AsyncMutex<T>(tokio::sync::Mutex<T>);

impl<T> AsyncMutex<T> {
    pub fn new(value: T) -> Self {
        Self(tokio::sync::Mutex::new(value))
    }

    pub async fn lock(&self) -> tokio::sync::MutexGuard<'_, T> {
        point();
        self.0.lock().await
    }
}

/// The product's bell, played by the channel that it stands in for: what it promises is the same.
pub mod bell {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::watch;

    use super::point;

    thread_local! {
        /// Senders that exist in this world. A world is played on one thread.
        static SENDERS: AtomicUsize = const { AtomicUsize::new(0) };
    }

    /// How many senders exist: an entry left in a map keeps one.
    pub fn senders() -> usize {
        SENDERS.with(|senders| senders.load(Ordering::Relaxed))
    }

    pub struct Sender<T>(watch::Sender<T>);

    pub struct Receiver<T>(watch::Receiver<T>);

    impl<T: Copy> Sender<T> {
        pub fn new(value: T) -> Self {
            SENDERS.with(|senders| senders.fetch_add(1, Ordering::Relaxed));
            Self(watch::Sender::new(value))
        }

        pub fn subscribe(&self) -> Receiver<T> {
            point();
            Receiver(self.0.subscribe())
        }

        pub fn send_modify(&self, modify: impl FnOnce(&mut T)) {
            point();
            self.0.send_modify(modify);
        }

        pub fn get(&self) -> T {
            point();
            *self.0.borrow()
        }

        pub fn receiver_count(&self) -> usize {
            point();
            self.0.receiver_count()
        }
    }

    impl<T: Copy + Default> Default for Sender<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            point();
            SENDERS.with(|senders| senders.fetch_sub(1, Ordering::Relaxed));
        }
    }

    impl<T: Copy> Receiver<T> {
        pub fn get(&self) -> T {
            point();
            *self.0.borrow()
        }

        pub fn get_and_update(&mut self) -> T {
            point();
            *self.0.borrow_and_update()
        }

        pub async fn changed(&mut self) {
            point();
            self.0.changed().await.expect("a listener keeps the sender");
        }

        pub async fn wait_for(&mut self, wanted: impl FnMut(&T) -> bool) -> T {
            point();
            *self.0.wait_for(wanted).await.expect("a listener keeps the sender")
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            point();
        }
    }
}
