//! The bounded history of what happened to an entry's replays.

use std::collections::VecDeque;

use crate::{id::ClaimToken, name::WorkerName, time::Timestamp};

/// How a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// It worked.
    Succeeded,
    /// The target had done it before.
    AlreadyDone,
    /// It failed; a later replay may work.
    Failed,
    /// It failed and will never work.
    Permanent,
    /// A gate put it off.
    Deferred,
    /// It was given back untouched.
    Released,
    /// Its worker's claim ran out.
    Lapsed,
}

impl AttemptOutcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::AlreadyDone,
        Self::Failed,
        Self::Permanent,
        Self::Deferred,
        Self::Released,
        Self::Lapsed,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::AlreadyDone => "already_done",
            Self::Failed => "failed",
            Self::Permanent => "permanent",
            Self::Deferred => "deferred",
            Self::Released => "released",
            Self::Lapsed => "lapsed",
        }
    }

    /// The outcome with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == name)
    }
}

/// One replay that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counts the ended replays of the entry from 1, also those that the history dropped.
    pub number: u64,
    /// The claim under which it ran.
    pub claim_token: ClaimToken,
    /// Who ran it.
    pub holder: WorkerName,
    /// When it was claimed, by the store's clock.
    pub started_at: Timestamp,
    /// When it was settled or lapsed, by the store's clock.
    pub finished_at: Timestamp,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What was said about it: redacted and bounded by whoever settled.
    pub note: String,
}

/// The first three attempts and the last ones. The first show how it began, the last how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    first: Vec<Attempt>,
    last: VecDeque<Attempt>,
    total: u64,
}

impl Attempts {
    /// How many of the oldest attempts are kept for good.
    pub const KEEP_FIRST: usize = 3;
    /// How many of the newest attempts are kept besides.
    pub const KEEP_LAST: usize = 7;

    /// Rebuilds a history from what a store kept. Surplus attempts are dropped from the middle.
    pub fn from_parts(kept: impl IntoIterator<Item = Attempt>, total: u64) -> Self {
        let mut attempts = Self::default();
        for attempt in kept {
            attempts.keep(attempt);
        }
        attempts.total = total.max(attempts.iter().count() as u64);
        attempts
    }

    /// Appends an attempt; its number is given here.
    pub fn push(&mut self, mut attempt: Attempt) {
        self.total += 1;
        attempt.number = self.total;
        self.keep(attempt);
    }

    fn keep(&mut self, attempt: Attempt) {
        if self.first.len() < Self::KEEP_FIRST {
            self.first.push(attempt);
            return;
        }
        if self.last.len() == Self::KEEP_LAST {
            self.last.pop_front();
        }
        self.last.push_back(attempt);
    }

    /// The kept attempts, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.first.iter().chain(&self.last)
    }

    /// The newest attempt.
    pub fn newest(&self) -> Option<&Attempt> {
        self.last.back().or_else(|| self.first.last())
    }

    /// How many attempts there were, kept or not.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        Attempt {
            number: 0,
            claim_token: ClaimToken(1),
            holder: WorkerName::parse("worker").expect("a name"),
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            outcome: AttemptOutcome::Failed,
            note: String::new(),
        }
    }

    #[test]
    fn the_first_three_and_the_last_seven_are_kept() {
        let mut attempts = Attempts::default();
        for _ in 0..25 {
            attempts.push(attempt());
        }
        let numbers: Vec<u64> = attempts.iter().map(|a| a.number).collect();
        assert_eq!(numbers, [1, 2, 3, 19, 20, 21, 22, 23, 24, 25]);
        assert_eq!(attempts.total(), 25);
        assert_eq!(attempts.newest().map(|a| a.number), Some(25));
        let rebuilt = Attempts::from_parts(attempts.iter().cloned(), attempts.total());
        assert_eq!(rebuilt, attempts);
    }
}
