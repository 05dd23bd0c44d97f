//! Steps that have to do with each other: alone, they would hardly ever meet.

use baldur_core::ResolutionType;
use proptest::{collection::vec, option, prelude::*, sample::select, strategy::Union};

use super::{
    history::{BUSY, ending, kept, moved, saved, seconds, shown, slot, taken},
    words::name,
};
use crate::script::{Deed, Kept, Limits, Saved, Step, Taken, Terms};

/// Any round.
pub(super) fn rounds() -> BoxedStrategy<Vec<Step>> {
    Union::new_weighted(vec![
        (8, replays().boxed()),
        (6, leases().boxed()),
        (4, overflows().boxed()),
        (2, breakers().boxed()),
        (2, paces().boxed()),
        (3, imports().boxed()),
    ])
    .boxed()
}

fn terms() -> impl Strategy<Value = Terms> {
    let unchanged_for = option::weighted(0.3, 0_u64..4);
    (2_u64..20, name(), unchanged_for).prop_map(|(lease, holder, unchanged_for)| Terms {
        holder,
        lease,
        force: true,
        unchanged_for,
    })
}

/// Claims that are settled.
fn replays() -> impl Strategy<Value = Vec<Step>> {
    let settled = (slot(), shown(), ending(), select(&ResolutionType::ALL[..]));
    (vec(settled, 1..8), terms(), 0_u64..3).prop_map(|(settles, terms, takes)| {
        let slots = settles.iter().map(|(slot, ..)| *slot).collect();
        vec![Step::ClaimIds { slots, terms }, Step::Advance(takes), Step::Settle(settles)]
    })
}

/// Claims that are extended or lapse.
fn leases() -> impl Strategy<Value = Vec<Step>> {
    let lease = prop_oneof![1 => seconds(), 3 => 16_u64..30];
    (vec((slot(), shown()), 1..8), terms(), lease, 0_usize..5).prop_map(
        |(slots, terms, lease, limit)| {
            let claimed = slots.iter().map(|(slot, _)| *slot).collect();
            vec![
                Step::ClaimIds { slots: claimed, terms },
                Step::Extend { slots: slots.into_iter().take(2).collect(), lease },
                Step::Advance(15),
                Step::Lapse { limit, retry_in: lease },
            ]
        },
    )
}

/// Captures one by one under the same limits, at times with all that is there in somebody's hands.
fn overflows() -> impl Strategy<Value = Vec<Step>> {
    let limits = (0_u64..5, 0_u64..12, prop::bool::weighted(0.8))
        .prop_map(|(in_domain, in_all, drop_oldest)| Limits { in_domain, in_all, drop_oldest });
    (limits, vec(kept(), 2..8), prop::bool::weighted(0.3)).prop_map(|(limits, captures, busy)| {
        let review = |slot| (slot, Deed::Review);
        let reviews = busy.then(|| Step::Act((0..BUSY).map(review).collect()));
        let limited = |kept| Step::Capture(vec![Kept { limits: Some(limits), ..kept }]);
        reviews.into_iter().chain(captures.into_iter().map(limited)).collect()
    })
}

/// Saves of one breaker, most of the version that is there, and what is seen of it.
fn breakers() -> impl Strategy<Value = Vec<Step>> {
    (name(), vec(saved(), 2..6), 1_usize..4).prop_map(|(name, saves, limit)| {
        let save = |saved| Step::SaveBreaker(Saved { name: name.clone(), ..saved });
        let seen = [
            Step::LoadBreakers(vec![name.clone(), name.clone()]),
            Step::ListBreakers { after: None, limit },
            Step::ListBreakers { after: Some(name.clone()), limit },
        ];
        saves.into_iter().map(save).chain(seen).collect()
    })
}

/// Permits of one bucket, and some of another one on the same terms.
fn paces() -> impl Strategy<Value = Vec<Step>> {
    let rest = vec((0_u32..20, 0_u64..3, prop::bool::weighted(0.3)), 2..8);
    (taken(), name(), rest).prop_map(|(first, other, rest)| {
        let mut steps = vec![Step::Take(first.clone())];
        for (permits, later, elsewhere) in rest {
            let name = if elsewhere { other.clone() } else { first.name.clone() };
            let taken = Taken { name, permits, ..first.clone() };
            steps.extend([Step::Advance(later), Step::Take(taken)]);
        }
        steps
    })
}

/// Entries that come from elsewhere, some twice.
fn imports() -> impl Strategy<Value = Vec<Step>> {
    vec(moved(), 1..8).prop_map(|moved| vec![Step::Import(moved)])
}
