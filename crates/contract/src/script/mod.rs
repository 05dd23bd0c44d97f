//! The language of random histories: one step for each thing that a store can be asked.
//!
//! Steps are plain data, and their debug form is Rust: a history that found something is pasted into
//! `differential/regressions.rs` as it was printed.

mod capture;
mod coordinate;
mod import;
mod print;
mod read;
mod run;
mod smaller;
mod text;

use baldur_core::{
    EntryId, ListOrder, NotReplayable, ResolutionType, Status, policy::BreakerState,
};

pub(crate) use import::Bent;
pub(crate) use print::rust_of;
pub(crate) use smaller::shortest;
pub(crate) use text::{Text, text};

/// The id of a slot. Histories name entries by slots, few of them, so that they meet again.
pub(crate) fn id_of(slot: u8) -> EntryId {
    let mut bytes = [0x5a; 16];
    // Ids must not sort like slots, or like times of capture.
    bytes[0] = slot.wrapping_mul(167);
    bytes[15] = slot;
    EntryId::from_bytes(bytes)
}

/// One step, before tokens are known. Times are in seconds.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Capture(Vec<Kept>),
    ClaimDue {
        domains: Vec<&'static str>,
        dependency: Option<Text>,
        limit: usize,
        terms: Terms,
    },
    ClaimIds {
        slots: Vec<u8>,
        terms: Terms,
    },
    Settle(Vec<(u8, Shown, Ending, ResolutionType)>),
    Extend {
        slots: Vec<(u8, Shown)>,
        lease: u64,
    },
    Lapse {
        limit: usize,
        retry_in: u64,
    },
    Act(Vec<(u8, Deed)>),
    Import(Vec<Moved>),
    Advance(u64),
    JumpBack(u64),
    Find(Vec<u8>),
    Trail {
        slot: u8,
        after: u64,
        limit: usize,
    },
    List {
        wanted: Wanted,
        order: ListOrder,
        page: u32,
        after: Option<After>,
    },
    Count {
        wanted: Wanted,
        cap: u64,
    },
    /// Lists and counts what is like the entry at this slot, in these respects.
    Alike {
        slot: u8,
        by: Vec<By>,
        order: ListOrder,
        page: u32,
        cap: u64,
    },
    /// What is wanted beyond the four counted dimensions is left out.
    Facets(Wanted),
    Unsealed(usize),
    LoadBreakers(Vec<Text>),
    SaveBreaker(Saved),
    ListBreakers {
        after: Option<Text>,
        limit: usize,
    },
    Take(Taken),
}

/// What a random capture looks like.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) slot: u8,
    pub(crate) domain: &'static str,
    pub(crate) dependency: Text,
    pub(crate) dedup: Option<Text>,
    pub(crate) order: Option<Text>,
    pub(crate) budget: u32,
    pub(crate) delay: u64,
    pub(crate) age: u64,
    pub(crate) unreplayable: Option<NotReplayable>,
    pub(crate) labels: Vec<(&'static str, Text)>,
    pub(crate) limits: Option<Limits>,
    pub(crate) keep_last: bool,
    pub(crate) request: Text,
    pub(crate) more: Option<More>,
}

/// Limits of live entries; 0 is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) in_domain: u64,
    pub(crate) in_all: u64,
    pub(crate) drop_oldest: bool,
}

/// What only some histories care about. Payloads that are no JSON are made a JSON string.
#[derive(Clone, Debug)]
pub(crate) struct More {
    pub(crate) failure_type: Text,
    pub(crate) origin_service: Text,
    pub(crate) entity: Option<(Text, Text)>,
    pub(crate) user_id: Option<Text>,
    pub(crate) idempotency_key: &'static str,
    pub(crate) error_code: Text,
    pub(crate) error_message: Text,
    pub(crate) hint: Text,
    pub(crate) snapshot: Text,
    pub(crate) response: Text,
    pub(crate) metadata: Text,
    pub(crate) entity_refs: Text,
    pub(crate) fingerprint: (u16, Text),
    pub(crate) actor: Text,
    pub(crate) reason: Option<Text>,
    pub(crate) traced: bool,
    pub(crate) expires_in: Option<u64>,
    pub(crate) flaw: Option<Flaw>,
}

/// Why no store may keep a capture.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flaw {
    /// It belongs to another namespace.
    Foreign,
    /// Its state is not that of a new entry.
    Used,
}

/// The terms of a claim.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) holder: Text,
    pub(crate) lease: u64,
    pub(crate) force: bool,
    /// Only what did not change in this time.
    pub(crate) unchanged_for: Option<u64>,
}

/// Which token or version a step shows, compared with the one that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    Current,
    Older,
    Newer,
    /// The largest that there is.
    Absurd,
}

/// How a claimed replay ended. The second number is the wait.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Succeeded(Text),
    AlreadyDone(Text),
    Failed(Text, u64),
    Permanent(Text),
    Deferred(Text, u64),
    Released,
}

/// What is done by hand.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Resolve(Text),
    Reject(Text),
    Review,
    Back,
    Escalate,
    Expire,
    Reopen,
}

/// An import of what is at one slot as another one's.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) from: u8,
    pub(crate) to: u8,
    /// The status that it comes with, if not its own.
    pub(crate) status: Option<Status>,
    pub(crate) bent: Option<Bent>,
}

/// A filter. Times are seconds since the start of the history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) statuses: Vec<Status>,
    pub(crate) domain: Option<&'static str>,
    pub(crate) failure_type: Option<Text>,
    pub(crate) dependency: Option<Text>,
    pub(crate) origin_service: Option<Text>,
    pub(crate) entity_type: Option<Text>,
    pub(crate) entity_id: Option<Text>,
    pub(crate) user_id: Option<Text>,
    pub(crate) idempotency_key: Option<&'static str>,
    pub(crate) dedup_key: Option<Text>,
    pub(crate) order_key: Option<Text>,
    pub(crate) fingerprint: Option<Text>,
    pub(crate) labels: Vec<(&'static str, Text)>,
    pub(crate) created_from: Option<i64>,
    pub(crate) created_until: Option<i64>,
}

/// In which respect an entry is like another one: each condition that a filter has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Status,
    Domain,
    FailureType,
    Dependency,
    Origin,
    EntityType,
    EntityId,
    User,
    IdempotencyKey,
    DedupKey,
    OrderKey,
    Fingerprint,
    Labels,
    From,
    Until,
}

impl By {
    /// Every respect.
    pub(crate) const ALL: [Self; 15] = [
        Self::Status,
        Self::Domain,
        Self::FailureType,
        Self::Dependency,
        Self::Origin,
        Self::EntityType,
        Self::EntityId,
        Self::User,
        Self::IdempotencyKey,
        Self::DedupKey,
        Self::OrderKey,
        Self::Fingerprint,
        Self::Labels,
        Self::From,
        Self::Until,
    ];
}

/// A position in a list, of an entry or of none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct After {
    pub(crate) slot: u8,
    /// Seconds since the start of the history.
    pub(crate) created: i64,
    /// Whether the cursor is one of the other direction.
    pub(crate) turned: bool,
}

/// A breaker to save.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) name: Text,
    pub(crate) version: Shown,
    pub(crate) state: BreakerState,
    pub(crate) open_for: Option<u64>,
    pub(crate) reopenings: u32,
    /// Whether it is forced open, or closed, and for how long.
    pub(crate) forced: Option<(bool, Option<u64>)>,
    pub(crate) reason: Option<Text>,
}

/// Permits to take. Rates are in eighths of a permit per second, so that they are exact.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) name: Text,
    pub(crate) permits: u32,
    pub(crate) eighths: u32,
    pub(crate) burst: u32,
    pub(crate) ramp: Option<(u32, u64)>,
}
