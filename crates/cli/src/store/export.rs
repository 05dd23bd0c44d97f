//! `baldur store export`.

use baldur::{EntryId, ListOrder, ListQuery, PageSize};
use baldur_http::forms::record;

use crate::{exit::Failure, out::Output, progress::Progress, session::Session, text};

/// How many entries are held in memory at a time.
const PAGE: u32 = 100;

pub(super) async fn run(session: &Session, out: &Output) -> Result<(), Failure> {
    let entries = session.baldur.entries();
    let mut query = ListQuery {
        order: ListOrder::OldestFirst,
        limit: PageSize::new(PAGE)
            .map_err(|error| Failure::usage("no page can be asked for", &error))?,
        ..ListQuery::default()
    };
    let mut progress = Progress::new(out, "exported");
    let mut exported: u64 = 0;
    loop {
        let page = entries.list(query.clone()).await?;
        let ids: Vec<EntryId> = page.items.iter().map(|item| item.id).collect();
        let mut lines = String::new();
        // An entry that was purged since the page was read is not there to export.
        for op in entries.get_many(ids).await?.into_iter().flatten() {
            let mut trail = entries.trail(op.id).await?;
            // What happened after the entry was read belongs to a later state than the one exported.
            trail.truncate(usize::try_from(op.state.evidence_count).unwrap_or(usize::MAX));
            lines.push_str(&record(&op, &trail));
            lines.push('\n');
            exported += 1;
        }
        progress.at(exported, 0);
        if !lines.is_empty() {
            progress.suspend(|| out.lines(&lines))?;
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    progress.finish();
    out.message(&format!("exported {}", text::entries(exported)));
    Ok(())
}
