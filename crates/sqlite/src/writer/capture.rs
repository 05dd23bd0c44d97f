//! Keeping failed operations.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use baldur_core::{
    BackendError, Chain, EntryId, Timestamp,
    command::Capture,
    decide,
    name::DedupKey,
    port::{CaptureError, Captured, Disposition, Durability},
};

use super::{
    Answers, Session, Work,
    effects::{Effects, MergedId},
};
use crate::{
    columns::Columns,
    error::StepError,
    rows::{Standing, standing_columns},
    sql::json_ids,
    store::LEVEL,
};

/// Captures.
pub(crate) struct Capturing;

impl Work for Capturing {
    type Item = Capture;
    type Answer = Captured;
    type Error = CaptureError;

    const OPERATION: &'static str = "capture";

    async fn run(session: &mut Session, items: &[Capture]) -> Result<Answers<Self>, StepError> {
        let now = session.clock.now();
        let namespace = session.namespace().clone();
        let checked: Vec<Result<&Capture, CaptureError>> = items
            .iter()
            .map(|capture| {
                let check = capture.check(&namespace);
                check.map(|()| capture).map_err(CaptureError::Invalid)
            })
            .collect();
        let valid = || checked.iter().filter_map(|checked| checked.as_ref().ok());
        let known = known_ids(session, valid().map(|capture| capture.op.id)).await?;
        let live = live_with(session, valid().filter_map(|c| c.op.dedup_key.as_ref())).await?;
        let mut desk = Desk::new(known, live);
        let answers = checked
            .into_iter()
            .map(|checked| checked.map(|capture| desk.keep(session, capture, now)))
            .collect();
        desk.effects.write(session).await?;
        Ok(answers)
    }

    /// Whatever is tried, the database does not take this one.
    fn refuse(error: BackendError) -> CaptureError {
        CaptureError::Invalid(Chain(&error).to_string())
    }
}

/// What a known id stands for.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// The entry: the same one, or the one that it merged into.
    id: EntryId,
    occurrence: u64,
}

/// The entry that captures with a dedup key merge into.
#[derive(Clone, Copy)]
enum Target {
    Stored(EntryId),
    New(usize),
}

/// A batch of captures at work.
struct Desk {
    known: HashMap<EntryId, Known>,
    targets: HashMap<DedupKey, Target>,
    effects: Effects,
}

impl Desk {
    fn new(known: HashMap<EntryId, Known>, live: Vec<(DedupKey, Standing)>) -> Self {
        let targets =
            live.iter().map(|(key, standing)| (key.clone(), Target::Stored(standing.id))).collect();
        let effects = Effects::on(live.into_iter().map(|(_, standing)| standing));
        Self { known, targets, effects }
    }

    fn keep(&mut self, session: &mut Session, capture: &Capture, now: Timestamp) -> Captured {
        let id = capture.op.id;
        if let Some(Known { id, occurrence }) = self.known.get(&id) {
            return captured(*id, *occurrence, Disposition::Repeated);
        }
        let target = capture.op.dedup_key.as_ref().and_then(|key| self.targets.get(key).copied());
        if let Some(merged) = target.and_then(|target| self.merge(target, capture, now)) {
            return merged;
        }
        let (op, record) = decide::keep(capture.clone(), now);
        if let Some(key) = op.dedup_key.as_ref().filter(|_| op.state.status.is_live()) {
            self.targets.insert(key.clone(), Target::New(self.effects.new.len()));
        }
        self.effects.insert(session, op, [record]);
        self.known.insert(id, Known { id, occurrence: 1 });
        captured(id, 1, Disposition::New)
    }

    fn merge(&mut self, target: Target, capture: &Capture, now: Timestamp) -> Option<Captured> {
        let (seq, into, state) = match target {
            Target::Stored(id) => {
                let standing = self.effects.standing(id)?;
                (standing.seq, id, &standing.state)
            }
            Target::New(index) => {
                let entry = self.effects.new.get(index)?;
                (entry.seq, entry.op.id, &entry.op.state)
            }
        };
        let change = decide::merge(into, state, &capture.op, capture.evidence.clone(), now);
        let occurrence = change.state.occurrences;
        match target {
            Target::Stored(id) => self.effects.change(id, change),
            Target::New(index) => self.effects.change_new(index, change),
        }
        let id = capture.op.id;
        self.effects.merged.push(MergedId { id, seq, occurrence });
        self.known.insert(id, Known { id: into, occurrence });
        Some(captured(into, occurrence, Disposition::Merged))
    }
}

fn captured(id: EntryId, occurrence: u64, disposition: Disposition) -> Captured {
    let durability = Durability::Stored { level: Cow::Borrowed(LEVEL) };
    Captured::new(id, durability, occurrence, disposition)
}

/// Ids that are there already: of entries, and of captures that merged.
pub(crate) const KNOWN: &str = "SELECT 0, e.id, e.id, 1 \
     FROM json_each(?1) j CROSS JOIN entries e INDEXED BY entries_id \
     ON e.ns = ?2 AND e.id = unhex(j.value) \
     UNION ALL \
     SELECT 0, m.id, e.id, m.occurrence \
     FROM json_each(?1) j CROSS JOIN merged_ids m ON m.ns = ?2 AND m.id = unhex(j.value) \
     CROSS JOIN entries e ON e.seq = m.seq";

/// What is known of these ids.
pub(super) async fn known_ids(
    session: &mut Session,
    ids: impl IntoIterator<Item = EntryId>,
) -> Result<HashMap<EntryId, Known>, StepError> {
    let ns = session.ns;
    let rows = sqlx::query(KNOWN).bind(json_ids(ids)).bind(ns).fetch_all(session.conn()?).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row, "merged_ids");
            let _key: i64 = columns.get()?;
            let asked = columns.id()?;
            let id = columns.id()?;
            Ok((asked, Known { id, occurrence: columns.unsigned("occurrence")? }))
        })
        .collect()
}

/// The oldest live entry of each dedup key.
pub(crate) const LIVE_WITH: &str = concat!(
    "SELECT ",
    standing_columns!(),
    ", j.value FROM json_each(?1) j CROSS JOIN entries e ON e.seq = \
     (SELECT l.seq FROM entries l INDEXED BY entries_dedup_live \
      WHERE l.ns = ?2 AND l.dedup_key = j.value \
      AND l.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
      ORDER BY l.created_at, l.id LIMIT 1)"
);

async fn live_with(
    session: &mut Session,
    keys: impl Iterator<Item = &DedupKey>,
) -> Result<Vec<(DedupKey, Standing)>, StepError> {
    let keys: BTreeSet<&str> = keys.map(DedupKey::as_str).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    // Lists of texts always serialise.
    let list = serde_json::to_string(&keys).unwrap_or_default();
    let ns = session.ns;
    let rows = sqlx::query(LIVE_WITH).bind(list).bind(ns).fetch_all(session.conn()?).await?;
    rows.iter()
        .map(|row| {
            let (standing, mut rest) = Standing::read_with_rest(row)?;
            Ok((rest.name("dedup_key", DedupKey::parse)?, standing))
        })
        .collect()
}
