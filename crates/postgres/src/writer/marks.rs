//! From where claims of a domain look for due entries, while the beginning of its range is full of entries that were
//! claimed long ago and can't be cleaned up.
//!
//! Ordinarily there is no mark: every look begins at the beginning, and claims are in due order. A look that met many
//! useless entries of the index leaves a mark at the last row that it took, and the next looks begin behind it. What
//! becomes due before the mark (an entry whose predecessor was closed, or one that another process gave back) is found
//! by looks from the beginning: there is one each second, and one more when a claim gets fewer than it asked for, as
//! long as such looks take a small part of the time. So nothing is passed over for longer than a second, or four times as
//! long as a look from the beginning takes where that is more; or twice that when one fails. When one meets few useless
//! entries, the mark is gone.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use baldur_core::name::{Domain, ServiceName};
use sqlx::types::Uuid;
use tokio::time::Instant;

/// What a range of the index is of.
pub(super) type Key = (Domain, Option<ServiceName>);

/// A place in due order: when it is due, when it was captured, its id.
pub(super) type Position = (i64, i64, Uuid);

/// Above so many useless entries a look from the beginning is too long: at about half a microsecond for each it costs
/// as much as a round trip. Claims of the same moment lock far fewer.
const USELESS: u64 = 4_000;

/// How long claims look behind the mark only.
const LOOK_BACK: Duration = Duration::from_secs(1);

/// And in how many times of what a look from the beginning takes there is one at most.
const SHARE: u32 = 4;

/// The same for claims that get too little.
const SHARE_OF_SHORT: u32 = 10;

/// The marks of a process.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    marks: HashMap<Key, Mark>,
    /// Grows with each look from the beginning that left a mark.
    turn: u64,
}

#[derive(Debug)]
struct Mark {
    after: Position,
    /// When somebody last looked from the beginning, and how long it took.
    looked: Instant,
    took: Duration,
    turn: u64,
}

/// A look at a range that begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Behind which position; from the beginning when absent.
    pub(super) after: Option<Position>,
    turn: u64,
}

/// What a look saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Entries of the index that led to no row.
    pub(super) useless: u64,
    /// The last row that was taken.
    pub(super) last: Option<Position>,
    pub(super) took: Duration,
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to begin at `now`.
    pub(super) fn begin(&self, key: &Key, now: Instant) -> Look {
        self.lock().begin(key, now, Mark::apart)
    }

    /// A look from the beginning after one behind the mark gave too little; `None` when the last one was just now.
    pub(super) fn begin_again(&self, key: &Key, now: Instant) -> Option<Look> {
        let mut inner = self.lock();
        let look = inner.begin(key, now, |mark| mark.apart().min(mark.took * SHARE_OF_SHORT));
        look.after.is_none().then_some(look)
    }

    /// Learns from a look that began at `began`.
    pub(super) fn end(&self, key: &Key, look: &Look, seen: Seen, began: Instant) {
        self.lock().end(key, *look, seen, began);
    }
}

impl Mark {
    /// How long after a look from the beginning the next one comes.
    fn apart(&self) -> Duration {
        LOOK_BACK.max(self.took * SHARE)
    }
}

impl Inner {
    fn begin(&mut self, key: &Key, now: Instant, apart: impl Fn(&Mark) -> Duration) -> Look {
        let Some(mark) = self.marks.get_mut(key) else { return Look { after: None, turn: 0 } };
        if now.saturating_duration_since(mark.looked) < apart(mark) {
            return Look { after: Some(mark.after), turn: mark.turn };
        }
        // The others go on behind the mark meanwhile.
        mark.looked = now;
        Look { after: None, turn: mark.turn }
    }

    fn end(&mut self, key: &Key, look: Look, seen: Seen, began: Instant) {
        let Seen { useless, last, took } = seen;
        if look.after.is_some() {
            // A look from the beginning that ended since may have found rows before; then those behind it come next.
            if let (Some(mark), Some(last)) = (self.marks.get_mut(key), last)
                && mark.turn == look.turn
            {
                mark.after = mark.after.max(last);
            }
            return;
        }
        if useless <= USELESS {
            self.marks.remove(key);
            return;
        }
        let Some(after) = last.or_else(|| self.marks.get(key).map(|mark| mark.after)) else {
            return;
        };
        self.turn += 1;
        let mark = Mark { after, looked: began, took, turn: self.turn };
        self.marks.insert(key.clone(), mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        (Domain::parse("payment").expect("a name"), None)
    }

    fn at(place: i64) -> Position {
        (place, 0, Uuid::nil())
    }

    fn seen(useless: u64, last: Option<i64>) -> Seen {
        Seen { useless, last: last.map(at), took: Duration::from_millis(20) }
    }

    /// Marks after a long look from the beginning, that took rows up to 10 at `start`.
    fn marked(start: Instant) -> Marks {
        let marks = Marks::default();
        let look = marks.begin(&key(), start);
        assert_eq!(look.after, None);
        marks.end(&key(), &look, seen(USELESS + 1, Some(10)), start);
        marks
    }

    #[test]
    fn ordinary_looks_begin_at_the_beginning() {
        let (marks, now) = (Marks::default(), Instant::now());
        for _ in 0..3 {
            let look = marks.begin(&key(), now);
            assert_eq!(look.after, None);
            marks.end(&key(), &look, seen(USELESS, Some(10)), now);
        }
    }

    #[test]
    fn a_long_look_leaves_a_mark_that_moves_on() {
        let start = Instant::now();
        let marks = marked(start);
        let look = marks.begin(&key(), start);
        assert_eq!(look.after, Some(at(10)));
        marks.end(&key(), &look, seen(0, Some(20)), start);
        assert_eq!(marks.begin(&key(), start).after, Some(at(20)));
        // One that found nothing knows no better place.
        marks.end(&key(), &look, seen(0, None), start);
        assert_eq!(marks.begin(&key(), start).after, Some(at(20)));
    }

    #[test]
    fn one_look_each_second_begins_at_the_beginning() {
        let start = Instant::now();
        let marks = marked(start);
        let late = start + LOOK_BACK;
        assert_eq!(marks.begin(&key(), late - Duration::from_millis(1)).after, Some(at(10)));
        assert_eq!(marks.begin(&key(), late).after, None);
        // The others go on meanwhile, until it is time again, whatever became of that look.
        assert_eq!(marks.begin(&key(), late).after, Some(at(10)));
        assert_eq!(marks.begin(&key(), late + LOOK_BACK).after, None);
    }

    #[test]
    fn looks_from_the_beginning_take_a_part_of_the_time() {
        let start = Instant::now();
        let marks = Marks::default();
        let look = marks.begin(&key(), start);
        let took = Duration::from_secs(2);
        let seen = Seen { took, ..seen(USELESS + 1, Some(10)) };
        marks.end(&key(), &look, seen, start);
        let late = start + took * SHARE;
        assert!(marks.begin_again(&key(), late - Duration::from_millis(1)).is_none());
        assert_eq!(marks.begin(&key(), late - Duration::from_millis(1)).after, Some(at(10)));
        assert_eq!(marks.begin(&key(), late).after, None);
    }

    #[test]
    fn too_little_makes_another_look_when_looks_are_cheap_enough() {
        let start = Instant::now();
        let marks = marked(start);
        let soon = start + Duration::from_millis(199);
        assert!(marks.begin_again(&key(), soon).is_none());
        let later = start + Duration::from_millis(200);
        assert_eq!(marks.begin_again(&key(), later).map(|look| look.after), Some(None));
        assert!(marks.begin_again(&key(), later).is_none(), "somebody looks already");
    }

    #[test]
    fn what_was_found_before_the_mark_is_followed_by_what_stands_behind_it() {
        let start = Instant::now();
        let marks = marked(start);
        let ahead = marks.begin(&key(), start);
        let late = start + LOOK_BACK;
        let back = marks.begin(&key(), late);
        marks.end(&key(), &back, seen(USELESS + 1, Some(5)), late);
        // A look that had begun behind the old mark does not move the new one.
        marks.end(&key(), &ahead, seen(0, Some(30)), start);
        assert_eq!(marks.begin(&key(), late).after, Some(at(5)));
    }

    #[test]
    fn the_mark_goes_with_the_useless_entries() {
        let start = Instant::now();
        let marks = marked(start);
        let late = start + LOOK_BACK;
        let look = marks.begin(&key(), late);
        marks.end(&key(), &look, seen(0, None), late);
        assert_eq!(marks.begin(&key(), late).after, None);
    }
}
