//! What callers were told, counted by domain.

use baldur_core::{
    Outcome,
    name::Domain,
    port::{CaptureError, Captured, Disposition, Durability},
};

use crate::{labels, metrics::CAPTURES};

/// The domain of operations that were refused before they had one: what they named may be anything.
const REFUSED: &str = "(refused)";

/// Counts the answers of one batch, so that each pair of domain and answer is looked up once.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Vec<(Domain, &'static str, u64)>,
}

impl Tally {
    pub(super) fn add(&mut self, domain: &Domain, answer: &Result<Captured, CaptureError>) {
        let word = word(answer);
        let known = self.counts.iter_mut().find(|(d, w, _)| *w == word && d == domain);
        match known {
            Some((_, _, count)) => *count += 1,
            None => self.counts.push((domain.clone(), word, 1)),
        }
    }

    pub(super) fn tell(self) {
        for (domain, answer, count) in self.counts {
            let domain = labels::domain(&domain);
            metrics::counter!(CAPTURES.name, "domain" => domain, "answer" => answer)
                .increment(count);
        }
    }
}

/// Counts an operation that was refused.
pub(super) fn refused() {
    metrics::counter!(CAPTURES.name, "domain" => REFUSED, "answer" => "rejected").increment(1);
}

fn word(answer: &Result<Captured, CaptureError>) -> &'static str {
    match answer {
        Ok(captured) => match (&captured.durability, captured.disposition) {
            (Durability::Stored { .. }, Disposition::New) => "stored",
            (Durability::Stored { .. }, Disposition::Repeated) => "repeated",
            (Durability::Stored { .. }, Disposition::Merged) => "merged",
            (Durability::Spooled | Durability::Queued | Durability::Enlisted, _) => {
                captured.durability.as_str()
            }
        },
        Err(error) => match error.outcome() {
            Outcome::NotApplied => "rejected",
            Outcome::Unknown => "unknown",
        },
    }
}
