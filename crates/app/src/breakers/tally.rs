//! Good calls of a calm breaker, counted beside its lock.
//!
//! While a breaker is [calm](baldur_core::policy::Breaker::calm), it lets every call pass and no good call can open it. So a
//! call is let pass by one look at a number that seldom changes, and a good one is counted in one of several stripes, each
//! on a cache line of its own, so that threads don't wait for each other.
//!
//! Nothing is decided here. Whoever holds the breaker's lock takes what was counted, has the breaker absorb it, and only
//! then takes a step. A good call is counted either in a stripe that was open for its generation, and so before the step
//! that closes it, or under the lock. So every sequence of decisions is one that the breaker by itself, asked by one call
//! after another, could have made: it opens at the same failure and not at a later one.
//!
//! A stripe is one word: the generation that it is open for, and the count. A call of another generation, or one that
//! comes when the stripe is closed, finds another word than it expects and goes to the lock.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use baldur_core::policy::Calm;

/// How many bits of a stripe are the count. Sixteen million calls without a lock are enough.
const COUNT_BITS: u32 = 24;
const MOST: u64 = (1 << COUNT_BITS) - 1;

/// So many stripes at most: whoever takes what was counted looks at all of them.
const MOST_STRIPES: usize = 32;

/// The word of a stripe that is open for no generation, and of a breaker that is not calm.
const CLOSED: u64 = 0;

/// Two lines of 64 bytes, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// Read by each call and written when the breaker changes, or a bucket of its window ends.
#[derive(Debug)]
#[repr(align(128))]
struct Terms {
    /// The tag of the generation that is calm, or `CLOSED`.
    tag: AtomicU64,
    /// In nanoseconds, from when on calls are to be recorded under the lock.
    until: AtomicU64,
}

/// The counts. All that changes them but [`good`](Self::good) is called under the breaker's lock.
#[derive(Debug)]
pub(super) struct Tally {
    terms: Terms,
    stripes: Box<[Stripe]>,
}

impl Tally {
    /// Closed.
    pub(super) fn new() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let stripes = (threads * 2).next_power_of_two().min(MOST_STRIPES);
        Self {
            terms: Terms { tag: AtomicU64::new(CLOSED), until: AtomicU64::new(0) },
            stripes: (0..stripes).map(|_| Stripe::default()).collect(),
        }
    }

    /// The generation whose calls pass without being asked for.
    #[inline]
    pub(super) fn generation(&self) -> Option<u64> {
        self.terms.tag.load(Ordering::Acquire).checked_sub(1)
    }

    /// Counts a good call of this generation that ended at `now`. `false` if it is to be recorded under the lock.
    pub(super) fn good(&self, generation: u64, now: impl FnOnce() -> Duration) -> bool {
        let word = word(tag(generation));
        let Some(Stripe(stripe)) = self.stripes.get(place() & (self.stripes.len() - 1)) else {
            return false;
        };
        let mut seen = stripe.load(Ordering::Acquire);
        if seen & !MOST != word {
            return false;
        }
        // Set before the stripe was opened, and only ever later while it is open.
        let until = self.terms.until.load(Ordering::Acquire);
        if until != u64::MAX && nanos(now()) >= until {
            return false;
        }
        while seen & !MOST == word && seen & MOST < MOST {
            // Released, so that who takes the count comes after this call.
            let more =
                stripe.compare_exchange_weak(seen, seen + 1, Ordering::Release, Ordering::Relaxed);
            match more {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Lets calls of this generation pass and be counted from here on, after [`close`](Self::close) for another one; or on
    /// other terms than before.
    pub(super) fn open(&self, calm: Calm) {
        let tag = tag(calm.generation);
        let until = calm.until.map_or(u64::MAX, nanos);
        if self.terms.until.load(Ordering::Relaxed) != until {
            self.terms.until.store(until, Ordering::Release);
        }
        if self.terms.tag.load(Ordering::Relaxed) == tag {
            return;
        }
        for Stripe(stripe) in &self.stripes {
            stripe.store(word(tag), Ordering::Release);
        }
        self.terms.tag.store(tag, Ordering::Release);
    }

    /// Takes what was counted since the last time.
    pub(super) fn take(&self) -> u64 {
        if self.generation().is_none() {
            return 0;
        }
        let take = |Stripe(stripe): &Stripe| {
            // Looked at first: a line that is only read stays with who reads it.
            let is_empty = stripe.load(Ordering::Relaxed) & MOST == 0;
            if is_empty { 0 } else { stripe.fetch_and(!MOST, Ordering::Acquire) & MOST }
        };
        self.stripes.iter().map(take).sum()
    }

    /// Sends every call to the lock from here on, and takes what was counted until now.
    pub(super) fn close(&self) -> u64 {
        if self.generation().is_none() {
            return 0;
        }
        self.terms.tag.store(CLOSED, Ordering::Release);
        let close = |Stripe(stripe): &Stripe| stripe.swap(CLOSED, Ordering::AcqRel) & MOST;
        self.stripes.iter().map(close).sum()
    }
}

/// A number for each generation, none of them `CLOSED`.
fn tag(generation: u64) -> u64 {
    generation.saturating_add(1)
}

/// The empty stripe. A tag comes again after so many changes of state that no call can wait for it.
fn word(tag: u64) -> u64 {
    tag << COUNT_BITS
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The number of this thread.
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    PLACE.with(|place| {
        if place.get() == usize::MAX {
            place.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        place.get()
    })
}
