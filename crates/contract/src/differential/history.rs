//! Wide scripts.

use baldur_core::{ListOrder, NotReplayable, ResolutionType, Status, policy::BreakerState};
use proptest::{collection::vec, option, prelude::*, sample::select, strategy::Union};

use super::{
    rounds::rounds,
    words::{free, key, maybe, name, payload},
};
use crate::script::{
    After, Bent, By, Deed, Ending, Flaw, Kept, Limits, More, Moved, Saved, Shown, Step, Taken,
    Terms, Wanted,
};

/// How many ids a script uses.
pub(super) const SLOTS: u8 = 40;

/// How many of them captures use. The others are for imports.
pub(super) const CAPTURED: u8 = 32;

/// How many of these are dealt with over and over.
pub(super) const BUSY: u8 = 16;

/// How many steps, or rounds of steps, a script has after the first.
const STEPS: std::ops::Range<usize> = 1..60;

const DOMAINS: [&str; 4] = ["payment", "payment.card", "payment_card", "stock"];
const LABELS: [&str; 3] = ["a", "a.b", "a_b"];
const IDEMPOTENCY_KEYS: [&str; 4] = ["k", "K", "%", "\\'\""];

pub(super) fn slot() -> impl Strategy<Value = u8> {
    prop_oneof![9 => 0..BUSY, 1 => 0..SLOTS]
}

/// Slots, also the same ones and none.
fn slots() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(slot(), 0..5), 1 => vec(slot(), 40..60)]
}

/// Seconds: mostly so few that they are reached, sometimes more than there are.
pub(super) fn seconds() -> impl Strategy<Value = u64> {
    let absurd = select(&[3_600, 86_400 * 365 * 300, u64::MAX][..]);
    prop_oneof![12 => 0_u64..12, 1 => absurd]
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![12 => 0_usize..7, 2 => select(&[1_000, 1_001, usize::MAX][..])]
}

pub(super) fn kept() -> BoxedStrategy<Kept> {
    let limits = (0_u64..5, 0_u64..10, prop::bool::weighted(0.75))
        .prop_map(|(in_domain, in_all, drop_oldest)| Limits { in_domain, in_all, drop_oldest });
    let budgets = prop_oneof![30 => 1_u32..4, 1 => select(&[0, 1_000, 1_001][..])];
    let unreplayable = option::weighted(0.08, select(&NotReplayable::ALL[..]));
    let slots = prop_oneof![1 => 0..BUSY, 1 => 0..CAPTURED];
    let age = prop_oneof![30 => 0_u64..8, 1 => Just(u64::MAX)];
    (
        (slots, select(&DOMAINS[..]), name(), key(0.35), key(0.3)),
        (budgets, seconds(), age, unreplayable, labels()),
        (option::weighted(0.15, limits), any::<bool>(), payload(), option::weighted(0.6, more())),
    )
        .prop_map(|((slot, domain, dependency, dedup, order), rest, last)| {
            let (budget, delay, age, unreplayable, labels) = rest;
            let (limits, keep_last, request, more) = last;
            Kept {
                slot,
                domain,
                dependency,
                dedup,
                order,
                budget,
                delay,
                age,
                unreplayable,
                labels,
                limits,
                keep_last,
                request,
                more,
            }
        })
        .boxed()
}

fn labels() -> impl Strategy<Value = Vec<(&'static str, crate::script::Text)>> {
    vec((select(&LABELS[..]), name()), 0..3)
}

fn more() -> BoxedStrategy<More> {
    let entity = option::weighted(0.5, (name(), name()));
    let flaw = option::weighted(0.03, select(&[Flaw::Foreign, Flaw::Used][..]));
    let expires_in = option::weighted(0.3, seconds());
    let fingerprint = (any::<u16>(), name());
    (
        (name(), name(), entity, maybe(0.4), select(&IDEMPOTENCY_KEYS[..]), free(), free(), free()),
        (payload(), payload(), payload(), payload(), fingerprint),
        (name(), maybe(0.5), any::<bool>(), expires_in, flaw),
    )
        .prop_map(|(names, payloads, rest)| {
            let (failure_type, origin_service, entity, user_id, key, code, message, hint) = names;
            let (snapshot, response, metadata, entity_refs, fingerprint) = payloads;
            let (actor, reason, traced, expires_in, flaw) = rest;
            More {
                failure_type,
                origin_service,
                entity,
                user_id,
                idempotency_key: key,
                error_code: code,
                error_message: message,
                hint,
                snapshot,
                response,
                metadata,
                entity_refs,
                fingerprint,
                actor,
                reason,
                traced,
                expires_in,
                flaw,
            }
        })
        .boxed()
}

fn terms() -> BoxedStrategy<Terms> {
    let unchanged_for = option::weighted(0.15, 0_u64..10);
    (name(), seconds(), any::<bool>(), unchanged_for)
        .prop_map(|(holder, lease, force, unchanged_for)| Terms {
            holder,
            lease,
            force,
            unchanged_for,
        })
        .boxed()
}

pub(super) fn shown() -> impl Strategy<Value = Shown> {
    prop_oneof![
        16 => Just(Shown::Current),
        3 => Just(Shown::Older),
        1 => Just(Shown::Newer),
        1 => Just(Shown::Absurd),
    ]
}

pub(super) fn ending() -> BoxedStrategy<Ending> {
    prop_oneof![
        3 => free().prop_map(Ending::Succeeded),
        1 => free().prop_map(Ending::AlreadyDone),
        4 => (free(), seconds()).prop_map(|(error, wait)| Ending::Failed(error, wait)),
        1 => free().prop_map(Ending::Permanent),
        2 => (free(), seconds()).prop_map(|(reason, wait)| Ending::Deferred(reason, wait)),
        2 => Just(Ending::Released),
    ]
    .boxed()
}

fn deed() -> BoxedStrategy<Deed> {
    prop_oneof![
        free().prop_map(Deed::Resolve),
        free().prop_map(Deed::Reject),
        Just(Deed::Review),
        Just(Deed::Back),
        Just(Deed::Escalate),
        Just(Deed::Expire),
        Just(Deed::Reopen),
    ]
    .boxed()
}

pub(super) fn moved() -> BoxedStrategy<Moved> {
    let status = option::weighted(0.3, select(&Status::ALL[..]));
    let bent = select(&Bent::ALL[..]);
    (slot(), prop_oneof![1 => slot(), 3 => CAPTURED..SLOTS], status, option::weighted(0.25, bent))
        .prop_map(|(from, to, status, bent)| Moved { from, to, status, bent })
        .boxed()
}

/// Filters with any of their conditions, few at once: else nothing matches.
fn wanted() -> BoxedStrategy<Wanted> {
    let rare = || maybe(0.08);
    let point = || option::weighted(0.08, -6_i64..12);
    let labels = prop_oneof![8 => Just(Vec::new()), 1 => labels()];
    (
        scope(),
        (rare(), rare(), rare(), rare(), rare(), rare(), rare()),
        (option::weighted(0.08, select(&IDEMPOTENCY_KEYS[..])), labels, point(), point()),
    )
        .prop_map(|(scope, names, rest)| {
            let (origin, kind, id, user_id, dedup_key, order_key, fingerprint) = names;
            let (idempotency_key, labels, created_from, created_until) = rest;
            Wanted {
                origin_service: origin,
                entity_type: kind,
                entity_id: id,
                user_id,
                idempotency_key,
                dedup_key,
                order_key,
                fingerprint,
                labels,
                created_from,
                created_until,
                ..scope
            }
        })
        .boxed()
}

fn scope() -> BoxedStrategy<Wanted> {
    let statuses = prop_oneof![2 => Just(Vec::new()), 1 => vec(select(&Status::ALL[..]), 1..4)];
    let domain = option::weighted(0.2, select(&DOMAINS[..]));
    (statuses, domain, maybe(0.1), maybe(0.1))
        .prop_map(|(statuses, domain, failure_type, dependency)| Wanted {
            statuses,
            domain,
            failure_type,
            dependency,
            ..Wanted::default()
        })
        .boxed()
}

pub(super) fn saved() -> BoxedStrategy<Saved> {
    let state = select(&BreakerState::ALL[..]);
    let reopenings = prop_oneof![8 => 0_u32..4, 1 => Just(u32::MAX)];
    let forced = option::weighted(0.3, (any::<bool>(), option::of(seconds())));
    // Mostly as the state asks for, so that most saves go through.
    let times = (seconds(), prop::bool::weighted(0.1));
    (name(), shown(), state, times, reopenings, forced, maybe(0.3))
        .prop_map(|(name, version, state, (time, wrong), reopenings, forced, reason)| {
            let open_for = ((state == BreakerState::Open) != wrong).then_some(time);
            Saved { name, version, state, open_for, reopenings, forced, reason }
        })
        .boxed()
}

pub(super) fn taken() -> BoxedStrategy<Taken> {
    let permits = prop_oneof![8 => 0_u32..20, 1 => select(&[1_000, 1_001, u32::MAX][..])];
    let rates = || prop_oneof![8 => 1_u32..200, 1 => select(&[0, u32::MAX][..])];
    let ramp = option::weighted(0.3, (rates(), seconds()));
    let burst = prop_oneof![8 => 1_u32..30, 1 => select(&[0, u32::MAX][..])];
    (name(), permits, rates(), burst, ramp)
        .prop_map(|(name, permits, eighths, burst, ramp)| Taken {
            name,
            permits,
            eighths,
            burst,
            ramp,
        })
        .boxed()
}

/// A script: some entries first, so that there is something to do, then anything.
pub(super) fn a_script() -> impl Strategy<Value = Vec<Step>> {
    let first = vec(kept(), 8..20).prop_map(Step::Capture);
    let one = |steps: BoxedStrategy<Step>| steps.prop_map(|step| vec![step]).boxed();
    let steps = Union::new_weighted(vec![
        (8, one(changes())),
        (4, one(reads())),
        (1, one(agreements())),
        (6, rounds()),
    ]);
    (first, vec(steps, STEPS)).prop_map(|(first, steps)| {
        std::iter::once(first).chain(steps.into_iter().flatten()).collect()
    })
}

fn changes() -> BoxedStrategy<Step> {
    let batches =
        prop_oneof![8 => vec(kept(), 1..4), 1 => vec(kept(), 0..1), 1 => vec(kept(), 10..30)];
    let domains = vec(select(&DOMAINS[..]), 0..5);
    let due = (domains, maybe(0.15), limit(), terms());
    let settle = || (slot(), shown(), ending(), select(&ResolutionType::ALL[..]));
    let settles = prop_oneof![8 => vec(settle(), 0..5), 1 => vec(settle(), 10..30)];
    let extend = (vec((slot(), shown()), 0..4), seconds());
    prop_oneof![
        6 => batches.prop_map(Step::Capture),
        5 => due.prop_map(|(domains, dependency, limit, terms)| Step::ClaimDue { domains, dependency, limit, terms }),
        4 => (slots(), terms()).prop_map(|(slots, terms)| Step::ClaimIds { slots, terms }),
        6 => settles.prop_map(Step::Settle),
        2 => extend.prop_map(|(slots, lease)| Step::Extend { slots, lease }),
        3 => (limit(), seconds()).prop_map(|(limit, retry_in)| Step::Lapse { limit, retry_in }),
        6 => vec((slot(), deed()), 0..6).prop_map(Step::Act),
        2 => vec(moved(), 0..4).prop_map(Step::Import),
        4 => (0_u64..12).prop_map(Step::Advance),
        1 => (1_u64..20).prop_map(Step::JumpBack),
    ]
    .boxed()
}

fn reads() -> BoxedStrategy<Step> {
    let orders = || select(&[ListOrder::NewestFirst, ListOrder::OldestFirst][..]);
    let after = (slot(), -6_i64..12, prop::bool::weighted(0.2))
        .prop_map(|(slot, created, turned)| After { slot, created, turned });
    let pages = prop_oneof![8 => 1_u32..6, 1 => Just(1_000)];
    let list = (wanted(), orders(), pages, option::weighted(0.4, after));
    let trail = (slot(), prop_oneof![8 => 0_u64..4, 1 => Just(u64::MAX)], limit());
    let caps = || prop_oneof![8 => 0_u64..6, 1 => Just(u64::MAX)];
    let alike = (slot(), vec(select(&By::ALL[..]), 1..3), orders(), 1_u32..4, caps());
    prop_oneof![
        2 => slots().prop_map(Step::Find),
        2 => trail.prop_map(|(slot, after, limit)| Step::Trail { slot, after, limit }),
        3 => list.prop_map(|(wanted, order, page, after)| Step::List { wanted, order, page, after }),
        2 => (wanted(), caps()).prop_map(|(wanted, cap)| Step::Count { wanted, cap }),
        8 => alike.prop_map(|(slot, by, order, page, cap)| Step::Alike { slot, by, order, page, cap }),
        2 => scope().prop_map(Step::Facets),
        1 => limit().prop_map(Step::Unsealed),
    ]
    .boxed()
}

fn agreements() -> BoxedStrategy<Step> {
    let list = (maybe(0.5), limit());
    prop_oneof![
        4 => saved().prop_map(Step::SaveBreaker),
        1 => vec(name(), 0..6).prop_map(Step::LoadBreakers),
        1 => list.prop_map(|(after, limit)| Step::ListBreakers { after, limit }),
        4 => taken().prop_map(Step::Take),
    ]
    .boxed()
}
