//! Looking at what is there after all.

use std::{collections::BTreeMap, sync::Arc};

use baldur_core::{
    EntryId, ListOrder, ListQuery, PageSize, SystemClock,
    port::{CheckDepth, Spool as _},
};
use baldur_spool::DiskSpool;

use crate::{Failure, place::Place};

/// What is there.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Every entry, and how often it was captured.
    pub(crate) entries: BTreeMap<EntryId, u64>,
    pub(crate) left_in_spool: u64,
    pub(crate) set_aside: u64,
    pub(crate) torn_tails: u64,
}

/// Looks at the store and the spool.
pub(crate) async fn at(place: &Place) -> Result<Seen, Failure> {
    let store = place.open().await?;
    let check = store.admin.check(CheckDepth::Deep).await?;
    if !check.problems.is_empty() {
        return Err(format!("the store is damaged: {}", check.problems.join("; ")).into());
    }
    let mut entries = BTreeMap::new();
    let mut after = None;
    loop {
        let query = ListQuery {
            order: ListOrder::OldestFirst,
            after: after.take(),
            limit: PageSize::new(PageSize::MAX)?,
            ..ListQuery::default()
        };
        let page = store.reader.list(query).await?;
        for item in page.items {
            *entries.entry(item.id).or_default() += item.occurrences;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    store.close().await;
    let spool = DiskSpool::open(place.spool_config(), Arc::new(SystemClock)).await?;
    let status = spool.status();
    spool.close().await;
    Ok(Seen {
        entries,
        left_in_spool: status.records,
        set_aside: status.set_aside,
        torn_tails: status.torn_tails,
    })
}
