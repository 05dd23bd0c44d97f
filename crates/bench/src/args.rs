//! What the bench is asked for.

use clap::Parser;

/// Measures the stores beside their physical limits, in the same run, and prints the ratios.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", version)]
pub(crate) struct Args {
    /// A minute or so: small sizes, three rounds.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Up to a million entries.
    #[arg(long)]
    full: bool,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only figures whose name contains this text.
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Only figures of this store or part: the first column of the table.
    #[arg(long)]
    store: Option<String>,
}

/// How many entries a store holds at most.
const FULL: usize = 1_000_000;

/// How much to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Entries captured in one round of a batch figure.
    pub(crate) batch_ops: usize,
    /// Entries captured one by one in a round.
    pub(crate) single_ops: usize,
    /// How many entries a store holds when it is read.
    pub(crate) sizes: Vec<usize>,
}

impl Plan {
    /// Whether it may take as long as it takes.
    pub(crate) fn is_full(&self) -> bool {
        self.sizes.contains(&FULL)
    }
}

impl Args {
    pub(crate) fn plan(&self) -> Plan {
        if self.quick {
            return Plan { rounds: 3, batch_ops: 5_000, single_ops: 200, sizes: vec![10_000] };
        }
        let mut plan =
            Plan { rounds: 5, batch_ops: 20_000, single_ops: 500, sizes: vec![10_000, 100_000] };
        if self.full {
            plan.sizes.push(FULL);
        }
        plan
    }

    pub(crate) fn wants_store(&self, store: &str) -> bool {
        self.store.as_ref().is_none_or(|only| only == store)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }
}
