//! Keeping failed operations.

use std::collections::{BTreeSet, HashMap};

use baldur_core::{
    BackendError, Chain, EntryId, FailedOp, Timestamp,
    command::Capture,
    decide::{self, Room},
    name::Domain,
    port::{CaptureError, Captured, Disposition, Durability, Evicted},
};

use super::{
    Answers, Session, Work,
    effects::Effects,
    gone::Gone,
    limits::Scopes,
    locks::{self, KeyKind},
    look::{Found, look},
    merge::Targets,
    room::RoomBook,
};
use crate::error::StepError;

/// Captures.
pub(crate) struct Capturing;

impl Work for Capturing {
    type Item = Capture;
    type Answer = Captured;
    type Error = CaptureError;

    const OPERATION: &'static str = "capture";
    const IN_ORDER: bool = true;

    async fn run(session: &mut Session, items: &[Capture]) -> Result<Answers<Self>, StepError> {
        let namespace = session.namespace().clone();
        let checked: Vec<Result<&Capture, CaptureError>> = items
            .iter()
            .map(|capture| {
                let check = capture.check(&namespace);
                check.map(|()| capture).map_err(CaptureError::Invalid)
            })
            .collect();
        let valid: Vec<&Capture> =
            checked.iter().filter_map(|c| c.as_ref().ok().copied()).collect();
        // All locks come before anything is read: what is read then stays as it is.
        let scopes = Scopes::of(session.engine(), &valid);
        scopes.lock(session).await?;
        let ns = session.ns;
        locks::keys(session.conn(), ns, valid.iter().flat_map(|capture| keys(&capture.op))).await?;
        let dedup_keys = valid.iter().filter_map(|capture| capture.op.dedup_key.as_ref()).collect();
        let limited = valid.iter().filter(|capture| capture.limits.is_some());
        let domains: BTreeSet<&Domain> = limited.map(|capture| &capture.op.domain).collect();
        let ids = valid.iter().map(|capture| capture.op.id);
        let Found { known, live, live_in_all, targets } =
            look(session, ids, &domains, &dedup_keys).await?;
        let room = (!domains.is_empty()).then(|| RoomBook::of(live, live_in_all));
        if let Some(room) = &room {
            scopes.check(session.engine(), |scope| room.live_in(scope))?;
        }
        let (targets, standings) = Targets::load(session, &valid, targets).await?;
        let now = session.now;
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

    fn chunks(items: &[Capture]) -> Vec<usize> {
        locks::chunks(items, |capture| {
            let mut held: Vec<_> = keys(&capture.op).map(|(kind, key)| (Some(kind), key)).collect();
            // The lock of its domain counts like one of a key.
            let limited = capture.limits.is_some_and(|limits| limits.in_domain.is_some());
            held.extend(limited.then(|| (None, capture.op.domain.as_str())));
            held
        })
    }

    /// Whatever is tried, the database does not take this one.
    fn refuse(error: BackendError) -> CaptureError {
        CaptureError::Invalid(Chain(&error).to_string())
    }
}

/// The keys that whoever adds this entry locks.
pub(super) fn keys(op: &FailedOp) -> impl Iterator<Item = (KeyKind, &str)> {
    let dedup = op.dedup_key.as_ref().map(|key| (KeyKind::Dedup, key.as_str()));
    let order = op.order_key.as_ref().map(|key| (KeyKind::Order, key.as_str()));
    dedup.into_iter().chain(order)
}

/// What a known id stands for.
#[derive(Clone, Copy, Debug)]
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
            return Ok(Ok(captured(session, *id, *occurrence, Disposition::Repeated)));
        }
        if let Some(known) = self.targets.merge(session, &mut self.effects, capture, now).await? {
            self.known.insert(id, known);
            return Ok(Ok(captured(session, known.id, known.occurrence, Disposition::Merged)));
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
        self.effects.insert(op, [record]);
        self.known.insert(id, Known { id, occurrence: 1 });
        Ok(Ok(Captured { live, evicted, ..captured(session, id, 1, Disposition::New) }))
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
            let Some((op, origin)) = victim.and_then(|victim| self.effects.victim(victim)) else {
                // What went makes room for one: the number does not grow.
                let refused = evicted.is_empty().then(|| reached.into());
                return Ok(refused.map_or(Ok(evicted), Err));
            };
            let (gone, record) = decide::evict(&op, capture, reached, now);
            let order_key = op.order_key.clone();
            let told = gone.clone();
            self.effects.evict(Gone { origin, order_key, evicted: gone, at: now }, record);
            self.targets.leaves(session, &mut self.effects, room, &op).await?;
            evicted.push(told);
        }
    }
}

fn captured(session: &Session, id: EntryId, occurrence: u64, disposition: Disposition) -> Captured {
    let durability = Durability::Stored { level: session.engine().level.clone() };
    Captured::new(id, durability, occurrence, disposition)
}
