//! Dense histories.

use baldur_core::{ListOrder, NotReplayable, ResolutionType, Status};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::script::{Deed, Ending, Kept, Limits, Shown, Step, Terms, Text, Wanted, text};

/// How many ids a history uses.
pub(super) const SLOTS: u8 = 14;

/// How many steps a history has after the first.
const STEPS: std::ops::Range<usize> = 1..60;

const DOMAINS: [&str; 3] = ["payment", "payment.card", "stock"];
const DEPENDENCIES: [&str; 2] = ["gateway", "Gateway"];
const KEYS: [&str; 3] = ["a", "A", "a%"];
/// One more than an entry may have.
const LABELS: [&str; 17] = [
    "l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8", "l9", "l10", "l11", "l12", "l13", "l14",
    "l15", "l16",
];

fn slot() -> impl Strategy<Value = u8> {
    0..SLOTS
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = Text> {
    select(texts).prop_map(text)
}

fn kept() -> impl Strategy<Value = Kept> {
    let keys = || option::weighted(0.4, one_of(&KEYS));
    let rarely = option::weighted(0.05, Just(NotReplayable::RequestTooLarge));
    let labels = prop_oneof![9 => 0_usize..3, 1 => Just(LABELS.len())];
    let labels = labels.prop_map(|n| LABELS[..n].iter().map(|name| (*name, text("x"))).collect());
    // Low enough to be reached.
    let limits = (0_u64..4, 0_u64..7, prop::bool::weighted(0.75))
        .prop_map(|(in_domain, in_all, drop_oldest)| Limits { in_domain, in_all, drop_oldest });
    let limits = option::weighted(0.3, limits);
    let request = (0_u32..9).prop_map(|amount| text(format!(r#"{{"amount": {amount}}}"#)));
    (
        (slot(), select(&DOMAINS[..]), one_of(&DEPENDENCIES), keys(), keys()),
        (0_u32..4, 0_u64..4, 0_u64..6, rarely, labels),
        (limits, any::<bool>(), request),
    )
        .prop_map(|((slot, domain, dependency, dedup, order), rest, overflow)| {
            let (budget, delay, age, unreplayable, labels) = rest;
            let (limits, keep_last, request) = overflow;
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
                more: None,
            }
        })
}

fn shown() -> impl Strategy<Value = Shown> {
    prop_oneof![8 => Just(Shown::Current), 2 => Just(Shown::Older), 1 => Just(Shown::Newer)]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => Just(Ending::Succeeded(text("200 OK"))),
        1 => Just(Ending::AlreadyDone(text("seen"))),
        4 => Just(Ending::Failed(text("503"), 10)),
        1 => Just(Ending::Permanent(text("422"))),
        2 => Just(Ending::Deferred(text("circuit open"), 10)),
        2 => Just(Ending::Released),
        1 => Just(Ending::Permanent(text("\0"))),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        Just(Deed::Resolve(text("done by hand"))),
        Just(Deed::Reject(text("not ours"))),
        Just(Deed::Review),
        Just(Deed::Back),
        Just(Deed::Escalate),
        Just(Deed::Expire),
        Just(Deed::Reopen),
    ]
}

fn scope() -> impl Strategy<Value = Wanted> {
    let statuses = vec(select(&Status::ALL[..]), 0..3);
    let domain = option::of(select(&DOMAINS[..]));
    let dependency = option::of(one_of(&DEPENDENCIES));
    (statuses, domain, dependency).prop_map(|(statuses, domain, dependency)| Wanted {
        statuses,
        domain,
        dependency,
        ..Wanted::default()
    })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let keys = || option::weighted(0.2, one_of(&KEYS));
    let label = option::weighted(0.2, select(&LABELS[..3]));
    (scope(), keys(), keys(), label).prop_map(|(scope, dedup_key, order_key, label)| {
        let labels = label.into_iter().map(|name| (name, text("x"))).collect();
        Wanted { dedup_key, order_key, labels, ..scope }
    })
}

fn terms() -> impl Strategy<Value = Terms> {
    (0_u64..8, any::<bool>()).prop_map(|(lease, force)| Terms {
        holder: text("worker"),
        lease,
        force,
        unchanged_for: None,
    })
}

/// A history: some entries first, so that there is something to do, then anything.
pub(super) fn a_history() -> impl Strategy<Value = Vec<Step>> {
    let first = vec(kept(), 4..10).prop_map(Step::Capture);
    (first, vec(a_step(), STEPS)).prop_map(|(first, mut steps)| {
        steps.insert(0, first);
        steps
    })
}

/// Any step; those that change something come more often.
fn a_step() -> impl Strategy<Value = Step> {
    let orders = || select(&[ListOrder::NewestFirst, ListOrder::OldestFirst][..]);
    let domains = vec(select(&DOMAINS[..]), 0..4);
    let dependency = option::weighted(0.3, one_of(&DEPENDENCIES));
    let due = (domains, dependency, 0_usize..6, terms());
    let settle = (slot(), shown(), ending(), Just(ResolutionType::ScheduledBatch));
    prop_oneof![
        6 => vec(kept(), 1..4).prop_map(Step::Capture),
        4 => due.prop_map(|(domains, dependency, limit, terms)| Step::ClaimDue { domains, dependency, limit, terms }),
        4 => (vec(slot(), 0..4), terms()).prop_map(|(slots, terms)| Step::ClaimIds { slots, terms }),
        6 => vec(settle, 1..4).prop_map(Step::Settle),
        1 => (vec((slot(), shown()), 1..3), 0_u64..20).prop_map(|(slots, lease)| Step::Extend { slots, lease }),
        4 => (0_usize..5).prop_map(|limit| Step::Lapse { limit, retry_in: 10 }),
        4 => vec((slot(), deed()), 1..3).prop_map(Step::Act),
        3 => (0_u64..12).prop_map(Step::Advance),
        1 => (1_u64..20).prop_map(Step::JumpBack),
        1 => vec(slot(), 1..4).prop_map(Step::Find),
        1 => (slot(), 0_u64..4, 0_usize..5).prop_map(|(slot, after, limit)| Step::Trail { slot, after, limit }),
        2 => (wanted(), orders(), 1_u32..5).prop_map(|(wanted, order, page)| Step::List { wanted, order, page, after: None }),
        1 => (wanted(), 0_u64..5).prop_map(|(wanted, cap)| Step::Count { wanted, cap }),
        1 => scope().prop_map(Step::Facets),
    ]
}
