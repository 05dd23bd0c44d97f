//! Whether the store is asked.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::metrics;

/// Keeps callers from waiting for a store that failed a moment ago.
#[derive(Debug)]
pub(crate) struct Gate {
    up: watch::Sender<bool>,
    pause: Duration,
    /// When the next caller may try, while the store is down.
    next_trial: Mutex<Instant>,
    /// How often the store wrote what it was given.
    answered: AtomicU64,
    /// One caller may try although the drainer asks, since what it asks for doesn't tell.
    callers_try: AtomicBool,
}

impl Gate {
    pub(super) fn new(pause: Duration) -> Self {
        metrics::gauge(metrics::CAPTURE_STORE_UP, 1);
        Self {
            up: watch::Sender::new(true),
            pause,
            next_trial: Mutex::new(Instant::now()),
            answered: AtomicU64::new(0),
            callers_try: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Whether a caller may ask the store: always while it is up; else one at a time, after a pause, and if `nobody_else` will try.
    pub(super) fn admits(&self, nobody_else: impl Fn() -> bool) -> bool {
        if self.is_up() {
            return true;
        }
        let now = Instant::now();
        let mut next = self.next_trial.lock().unwrap_or_else(PoisonError::into_inner);
        if now < *next {
            return false;
        }
        *next = now + self.pause;
        drop(next);
        nobody_else() || self.callers_try.swap(false, Ordering::Relaxed)
    }

    /// How often the store wrote what it was given. Whoever sees it grow knows that the store was well in between.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether one caller may try a store that is down although somebody else does.
    pub(crate) fn lets_callers_try(&self, may: bool) {
        self.callers_try.store(may, Ordering::Relaxed);
    }

    /// The store wrote what it was given.
    pub(crate) fn up(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if self.set(true) {
            metrics::gauge(metrics::CAPTURE_STORE_UP, 1);
            tracing::info!("spooling.store_came_back");
        }
    }

    /// The store failed.
    pub(crate) fn down(&self) {
        let next = Instant::now() + self.pause;
        *self.next_trial.lock().unwrap_or_else(PoisonError::into_inner) = next;
        if self.set(false) {
            metrics::gauge(metrics::CAPTURE_STORE_UP, 0);
            tracing::warn!("spooling.store_went_down");
        }
    }

    /// Ends when the store is down.
    pub(super) async fn went_down(&self) {
        self.becomes(false).await;
    }

    /// Ends when the store is up.
    pub(crate) async fn came_up(&self) {
        self.becomes(true).await;
    }

    async fn becomes(&self, up: bool) {
        let mut states = self.up.subscribe();
        // The sender is ours and outlives the wait, so waiting can't fail.
        let _ = states.wait_for(|state| *state == up).await;
    }

    fn set(&self, to: bool) -> bool {
        self.up.send_if_modified(|up| std::mem::replace(up, to) != to)
    }
}
