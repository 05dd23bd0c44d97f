//! Keeping failed operations.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use baldur_core::{
    BackendError, Chain, EntryId, Timestamp,
    command::Capture,
    decide::{self, Room},
    name::Domain,
    port::{CaptureError, Captured, Disposition, Durability, Evicted},
};

use super::{Answers, Session, Work, effects::Effects, gone::Gone, merge::Targets, room::RoomBook};
use crate::{columns::Columns, error::StepError, sql::json_ids, store::LEVEL};

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
        let (targets, standings) = Targets::load(session, valid().copied()).await?;
        let limited = valid().filter(|capture| capture.limits.is_some());
        let limited: BTreeSet<&Domain> = limited.map(|capture| &capture.op.domain).collect();
        let mut room = None;
        if !limited.is_empty() {
            room = Some(RoomBook::open(session, limited).await?);
        }
        let effects = Effects::on(standings);
        let mut desk = Desk { known, targets, room, effects };
        let mut answers = Vec::with_capacity(items.len());
        for (n, checked) in checked.into_iter().enumerate() {
            answers.push(match checked {
                Ok(capture) => desk.keep(session, capture, items.len() - n, now).await?,
                Err(error) => Err(error),
            });
        }
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
    pub(super) id: EntryId,
    pub(super) occurrence: u64,
}

/// A batch of captures at work.
struct Desk {
    known: HashMap<EntryId, Known>,
    targets: Targets,
    /// `None` when no capture of the batch names limits.
    room: Option<RoomBook>,
    effects: Effects,
}

impl Desk {
    /// `left` is how many captures of the batch are left, with this one.
    async fn keep(
        &mut self,
        session: &mut Session,
        capture: &Capture,
        left: usize,
        now: Timestamp,
    ) -> Result<Result<Captured, CaptureError>, StepError> {
        let id = capture.op.id;
        if let Some(Known { id, occurrence }) = self.known.get(&id) {
            return Ok(Ok(captured(*id, *occurrence, Disposition::Repeated)));
        }
        if let Some(known) = self.targets.merge(session, &mut self.effects, capture, now).await? {
            self.known.insert(id, known);
            return Ok(Ok(captured(known.id, known.occurrence, Disposition::Merged)));
        }
        let evicted = match self.make_room(session, capture, left, now).await? {
            Ok(evicted) => evicted,
            Err(error) => return Ok(Err(error)),
        };
        let (op, record) = decide::keep(capture.clone(), now);
        let index = self.effects.new.len();
        self.targets.enters(&op, index);
        let mut live = None;
        if let Some(room) = &mut self.room {
            room.enters(&op, index);
            live = capture.limits.map(|_| room.live(&op.domain));
        }
        self.effects.insert(session, op, [record]);
        self.known.insert(id, Known { id, occurrence: 1 });
        Ok(Ok(Captured { live, evicted, ..captured(id, 1, Disposition::New) }))
    }

    /// Lets entries go until the capture's limits leave room for it.
    async fn make_room(
        &mut self,
        session: &mut Session,
        capture: &Capture,
        left: usize,
        now: Timestamp,
    ) -> Result<Result<Vec<Evicted>, CaptureError>, StepError> {
        let mut evicted = Vec::new();
        let (Some(limits), Some(room)) = (&capture.limits, &mut self.room) else {
            return Ok(Ok(evicted));
        };
        loop {
            let domain = &capture.op.domain;
            let reached = match decide::room(limits, room.live(domain), evicted.len()) {
                Room::Enough => return Ok(Ok(evicted)),
                Room::None(reached) => return Ok(Err(reached.into())),
                Room::Evict(reached) => reached,
            };
            let victim = room.take_oldest(session, reached.scope, domain, left).await?;
            let Some((op, seq, origin)) = victim.and_then(|victim| self.effects.victim(victim))
            else {
                // What went makes room for one: the number does not grow.
                let refused = evicted.is_empty().then(|| reached.into());
                return Ok(refused.map_or(Ok(evicted), Err));
            };
            let (gone, record) = decide::evict(&op, capture, reached, now);
            let (order_key, labels) = (op.order_key.clone(), op.labels.clone());
            let told = gone.clone();
            self.effects
                .evict(Gone { seq, origin, order_key, labels, evicted: gone, at: now }, record);
            self.targets.leaves(session, &mut self.effects, room, &op).await?;
            evicted.push(told);
        }
    }
}

fn captured(id: EntryId, occurrence: u64, disposition: Disposition) -> Captured {
    let durability = Durability::Stored { level: Cow::Borrowed(LEVEL) };
    Captured::new(id, durability, occurrence, disposition)
}

/// Ids that are there already, or were: of entries, and of captures that merged.
pub(crate) const KNOWN: &str = "SELECT 0, e.id, e.id, 1 \
     FROM json_each(?1) j CROSS JOIN entries e INDEXED BY entries_id \
     ON e.ns = ?2 AND e.id = unhex(j.value) \
     UNION ALL \
     SELECT 0, g.id, g.id, 1 \
     FROM json_each(?1) j CROSS JOIN gone g INDEXED BY gone_id \
     ON g.ns = ?2 AND g.id = unhex(j.value) \
     UNION ALL \
     SELECT 0, m.id, coalesce((SELECT e.id FROM entries e WHERE e.seq = m.seq), \
      (SELECT g.id FROM gone g WHERE g.seq = m.seq)), m.occurrence \
     FROM json_each(?1) j CROSS JOIN merged_ids m ON m.ns = ?2 AND m.id = unhex(j.value)";

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
