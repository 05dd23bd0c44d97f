//! Workers that claim entries, handle and settle them, and the book of what they did.

use std::{
    fmt::{self, Write as _},
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use baldur_core::{
    ClaimToken, Clock as _, EntryId, Evidence, FailedOp, ResolutionType, SystemClock,
    command::{ClaimBatch, ClaimSelect, ClaimTerms, Lapse, Settle, SettleOutcome},
    name::{Domain, WorkerName},
    port::ClaimError,
};
use tokio::time::sleep;

use crate::{Failure, place::Store};

/// Between two looks of a worker that finds nothing due.
const PAUSE: Duration = Duration::from_millis(20);

/// One thing that a worker did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It handled an entry, by this claim.
    Handled(EntryId, ClaimToken),
    /// It was told that this claim is settled.
    Settled(EntryId, ClaimToken),
    /// It was told that this claim is somebody else's by now.
    Stale(EntryId, ClaimToken),
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, id, token) = match self {
            Self::Handled(id, token) => ("handled", id, token),
            Self::Settled(id, token) => ("settled", id, token),
            Self::Stale(id, token) => ("stale", id, token),
        };
        write!(f, "{word} {id} {token}")
    }
}

/// A line that a kill cut off.
#[derive(Debug)]
pub(crate) struct Torn;

impl FromStr for Deed {
    type Err = Torn;

    fn from_str(line: &str) -> Result<Self, Torn> {
        let words: Vec<&str> = line.split(' ').collect();
        let [word, id, token] = words[..] else { return Err(Torn) };
        let id = id.parse().map_err(|_| Torn)?;
        let token = ClaimToken(token.parse().map_err(|_| Torn)?);
        match word {
            "handled" => Ok(Self::Handled(id, token)),
            "settled" => Ok(Self::Settled(id, token)),
            "stale" => Ok(Self::Stale(id, token)),
            _ => Err(Torn),
        }
    }
}

/// What was done, in order: a file that is only added to, so that it outlives the process.
#[derive(Debug)]
pub(crate) struct Book(Mutex<File>);

impl Book {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?)))
    }

    /// Adds deeds, in one write.
    fn note(&self, deeds: &[Deed]) -> Result<(), Failure> {
        let mut lines = String::new();
        for deed in deeds {
            writeln!(lines, "{deed}")?;
        }
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.write_all(lines.as_bytes())?)
    }

    /// What is in a book. The last line may be torn.
    pub(crate) fn read(path: &Path) -> Result<Vec<Deed>, Failure> {
        let text = std::fs::read_to_string(path)?;
        // A line without its end was cut off by a kill, even where what is left of it could be read.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let deeds = whole.lines().map(str::parse).collect::<Result<_, Torn>>();
        deeds.map_err(|_| "a book has a line that is none".into())
    }
}

/// How a worker works.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) name: WorkerName,
    pub(crate) lease: Duration,
    pub(crate) batch: usize,
}

/// What the entries are about.
pub(crate) fn domain() -> Result<Domain, Failure> {
    Ok(Domain::parse("payment")?)
}

impl Worker {
    pub(crate) fn new(name: &str, lease: Duration, batch: usize) -> Result<Self, Failure> {
        Ok(Self { name: WorkerName::parse(name)?, lease, batch })
    }

    /// Claims, handles and settles until nothing is due or held any more, or it is told to stop. A failing store is
    /// asked again. `handle` sees each entry before it is settled.
    pub(crate) async fn run(
        &self,
        store: &Store,
        book: &Book,
        stop: &AtomicBool,
        handle: &(dyn Fn(&FailedOp) -> Result<(), Failure> + Sync),
    ) -> Result<(), Failure> {
        while !stop.load(Ordering::Relaxed) {
            let terms = ClaimTerms {
                holder: self.name.clone(),
                lease: self.lease,
                force: false,
                unchanged_since: None,
                evidence: Evidence::system(SystemClock.now()),
            };
            let domains = vec![domain()?];
            let select = ClaimSelect::Due { domains, dependency: None, limit: self.batch };
            let claimed = match store.claims.claim_batch(ClaimBatch { select, terms }).await {
                Ok(outcome) => outcome.claimed,
                Err(ClaimError::Backend(_)) => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(other) => return Err(other.into()),
            };
            if claimed.is_empty() {
                if self.lapse(store).await? {
                    continue;
                }
                if nothing_is_left(store).await {
                    return Ok(());
                }
                sleep(PAUSE).await;
                continue;
            }
            let deeds: Vec<Deed> = claimed
                .iter()
                .map(|claim| Deed::Handled(claim.op.id, claim.op.state.claim_token))
                .collect();
            book.note(&deeds)?;
            for claim in &claimed {
                handle(&claim.op)?;
            }
            self.settle(store, book, &deeds).await?;
        }
        Ok(())
    }

    /// Settles claims, and asks again until it is told how that went.
    async fn settle(&self, store: &Store, book: &Book, deeds: &[Deed]) -> Result<(), Failure> {
        let settle = |deed: &Deed| {
            let (Deed::Handled(id, token) | Deed::Settled(id, token) | Deed::Stale(id, token)) =
                *deed;
            Settle {
                id,
                token,
                outcome: SettleOutcome::Succeeded { note: String::new() },
                trigger: ResolutionType::ManualRetry,
                evidence: Evidence::system(SystemClock.now()),
            }
        };
        let mut left: Vec<Settle> = deeds.iter().map(settle).collect();
        loop {
            let answers = store.claims.settle_batch(left.clone()).await;
            let mut again = Vec::new();
            let mut done = Vec::with_capacity(left.len());
            for (settle, answer) in left.into_iter().zip(answers) {
                match answer {
                    Ok(_) => done.push(Deed::Settled(settle.id, settle.token)),
                    Err(ClaimError::Stale { .. }) => {
                        done.push(Deed::Stale(settle.id, settle.token));
                    }
                    Err(ClaimError::Backend(_)) => again.push(settle),
                    Err(other) => return Err(other.into()),
                }
            }
            book.note(&done)?;
            if again.is_empty() {
                return Ok(());
            }
            left = again;
            sleep(PAUSE).await;
        }
    }

    /// Ends claims that ran out. Whether there were any.
    async fn lapse(&self, store: &Store) -> Result<bool, Failure> {
        let lapse = Lapse {
            limit: 100,
            retry_in: Duration::ZERO,
            evidence: Evidence::system(SystemClock.now()),
        };
        match store.claims.lapse(lapse).await {
            Ok(lapsed) => Ok(!lapsed.lapsed.is_empty()),
            Err(ClaimError::Backend(_)) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }
}

/// Whether the store says so; one that says nothing may have something.
async fn nothing_is_left(store: &Store) -> bool {
    use baldur_core::{Count, Filter, Status};
    let statuses = vec![Status::Pending, Status::Replaying];
    let filter = Filter { statuses, ..Filter::default() };
    let count = store.reader.count(filter, 1).await;
    matches!(count, Ok(Count::Exactly(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_read_back_and_a_torn_one_is_left_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("book");
        let id = EntryId::from_bytes([7; 16]);
        let deeds = [
            Deed::Handled(id, ClaimToken(1)),
            Deed::Settled(id, ClaimToken(23)),
            Deed::Stale(id, ClaimToken(4)),
        ];
        let book = Book::open(&path).expect("a book");
        book.note(&deeds).expect("noted");
        let mut file = OpenOptions::new().append(true).open(&path).expect("the file");
        write!(file, "settled {id} 2").expect("written");
        assert_eq!(Book::read(&path).expect("a book"), deeds);
    }
}
