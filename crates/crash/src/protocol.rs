//! What a victim says on its standard output: one line for each thing, so that a kill cuts off at most the last one.

use std::{fmt, str::FromStr};

use baldur_core::EntryId;

/// One line of a victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is up.
    Ready,
    /// A caller was told this level for this entry.
    Acknowledged(Level, EntryId),
    /// The first so many `queued` entries that it said are flushed.
    Flushed(u64),
    /// It stands at a fail point, and stays there until it is killed.
    Held(FailPoint),
    /// Everything is in the store; it ends.
    Settled,
    /// It can't go on.
    Failed(String),
}

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Stored,
    Spooled,
    Queued,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Acknowledged(level, id) => write!(f, "{} {id}", level.as_str()),
            Self::Flushed(count) => write!(f, "flushed {count}"),
            Self::Held(point) => write!(f, "held {}", point.as_str()),
            Self::Settled => f.write_str("settled"),
            Self::Failed(why) => write!(f, "failed {}", why.replace('\n', " ")),
        }
    }
}

/// A line that is none of ours: torn by the kill.
#[derive(Debug)]
pub(crate) struct Torn;

impl FromStr for Said {
    type Err = Torn;

    fn from_str(line: &str) -> Result<Self, Torn> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "ready" => Ok(Self::Ready),
            "settled" => Ok(Self::Settled),
            "failed" => Ok(Self::Failed(rest.to_owned())),
            "flushed" => rest.parse().map(Self::Flushed).map_err(|_| Torn),
            "held" => FailPoint::ALL
                .into_iter()
                .find(|point| point.as_str() == rest)
                .map(Self::Held)
                .ok_or(Torn),
            level => {
                let level =
                    Level::ALL.into_iter().find(|known| known.as_str() == level).ok_or(Torn)?;
                rest.parse().map(|id| Self::Acknowledged(level, id)).map_err(|_| Torn)
            }
        }
    }
}

impl Level {
    const ALL: [Self; 3] = [Self::Stored, Self::Spooled, Self::Queued];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Spooled => "spooled",
            Self::Queued => "queued",
        }
    }
}

/// Where a victim can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailPoint {
    /// The store is about to be asked.
    StoreBefore,
    /// The store has committed, and nobody knows yet.
    StoreAfter,
    /// The spool is about to be asked.
    AppendBefore,
    /// The spool has synced, and nobody knows yet.
    AppendAfter,
    /// Records were read from the spool and are on their way to the store.
    PeekAfter,
    /// The store has them; the spool doesn't know yet.
    RemoveBefore,
    /// The spool has removed them.
    RemoveAfter,
}

impl FailPoint {
    pub(crate) const ALL: [Self; 7] = [
        Self::StoreBefore,
        Self::StoreAfter,
        Self::AppendBefore,
        Self::AppendAfter,
        Self::PeekAfter,
        Self::RemoveBefore,
        Self::RemoveAfter,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::StoreBefore => "store-before",
            Self::StoreAfter => "store-after",
            Self::AppendBefore => "append-before",
            Self::AppendAfter => "append-after",
            Self::PeekAfter => "peek-after",
            Self::RemoveBefore => "remove-before",
            Self::RemoveAfter => "remove-after",
        }
    }
}

/// How a victim captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// The store first, the spool where it fails.
    Sync,
    /// The outbox.
    Async,
    /// The spool first.
    Durable,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::Sync, Self::Async, Self::Durable];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::Durable => "durable",
        }
    }
}

/// A mistake that the harness must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Twin {
    /// The store says `stored`, and commits later.
    AckBeforeCommit,
    /// The spool removes what it hands out, before the store has it.
    RemoveBeforeStored,
}

impl Twin {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => "ack-before-commit",
            Self::RemoveBeforeStored => "remove-before-stored",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back() {
        let id = EntryId::from_bytes([7; 16]);
        let said = [
            Said::Ready,
            Said::Acknowledged(Level::Stored, id),
            Said::Acknowledged(Level::Spooled, id),
            Said::Acknowledged(Level::Queued, id),
            Said::Flushed(3),
            Said::Settled,
            Said::Failed("no disk".to_owned()),
        ];
        for said in said.into_iter().chain(FailPoint::ALL.map(Said::Held)) {
            assert_eq!(said.to_string().parse::<Said>().ok(), Some(said));
        }
        assert!("stored 0190".parse::<Said>().is_err());
    }
}
