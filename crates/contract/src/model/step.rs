//! One step of a random history.

use std::time::Duration;

use baldur_core::{
    ClaimToken, Clock, EntryId, FacetScope, Filter, ListOrder, ListQuery, NotReplayable, PageSize,
    ResolutionType, Status,
    command::{
        Act, Action, Capture, ClaimBatch, ClaimRef, ClaimSelect, ClaimTerms, Extend, OnMerge,
        Settle, SettleOutcome, WhenFull,
    },
    port::{CaptureError, Captured},
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::answer;
use crate::{
    build::{Captures, evidence, parsed},
    case::Failure,
    drive::{deferred, failed, permanent, reject, resolve, succeeded},
    store::StoreUnderTest,
};

/// How many ids a history uses. Few, so that they meet again.
const SLOTS: u8 = 14;

/// How many steps a history has after the first.
const STEPS: std::ops::Range<usize> = 1..60;

const DOMAINS: [&str; 3] = ["payment", "payment.card", "stock"];
const DEPENDENCIES: [&str; 2] = ["gateway", "Gateway"];
const KEYS: [&str; 3] = ["a", "A", "a%"];

fn id_of(slot: u8) -> EntryId {
    let mut bytes = [0x5a; 16];
    // Ids must not sort like slots, or like times of capture.
    bytes[0] = slot.wrapping_mul(167);
    bytes[15] = slot;
    EntryId::from_bytes(bytes)
}

/// Every id that a history can use.
pub(super) fn ids() -> impl Iterator<Item = EntryId> {
    (0..SLOTS).map(id_of)
}

/// What a random capture looks like.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    slot: u8,
    domain: &'static str,
    dependency: &'static str,
    dedup: Option<&'static str>,
    order: Option<&'static str>,
    budget: u32,
    delay: u64,
    age: u64,
    unreplayable: bool,
    labels: usize,
    limits: Option<(u64, u64, WhenFull)>,
    on_merge: OnMerge,
    amount: u32,
}

/// Which token a random settle shows, compared with the one the entry has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    Current,
    Older,
    Newer,
}

/// One step, before tokens are known.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Capture(Vec<Kept>),
    ClaimDue {
        domains: Vec<&'static str>,
        dependency: Option<&'static str>,
        limit: usize,
        lease: u64,
        force: bool,
    },
    ClaimIds {
        slots: Vec<u8>,
        lease: u64,
        force: bool,
    },
    Settle(Vec<(u8, Shown, SettleOutcome)>),
    Extend {
        slots: Vec<(u8, Shown)>,
        lease: u64,
    },
    Lapse {
        limit: usize,
    },
    Act(Vec<(u8, Action)>),
    Advance(u64),
    JumpBack(u64),
    Find(Vec<u8>),
    Trail {
        slot: u8,
        after: u64,
        limit: usize,
    },
    List {
        filter: Box<Filter>,
        order: ListOrder,
        page: u32,
    },
    Count {
        filter: Box<Filter>,
        cap: u64,
    },
    Facets(FacetScope),
}

fn slot() -> impl Strategy<Value = u8> {
    0..SLOTS
}

fn kept() -> impl Strategy<Value = Kept> {
    let keys = || option::weighted(0.4, select(&KEYS[..]));
    let rarely = || prop::bool::weighted(0.05);
    let labels = prop_oneof![9 => 0_usize..3, 1 => Just(17)];
    let when_full = prop_oneof![1 => Just(WhenFull::Reject), 3 => Just(WhenFull::DropOldest)];
    // Low enough to be reached; 0 is no limit.
    let limits = option::weighted(0.3, (0_u64..4, 0_u64..7, when_full));
    let on_merge = select(&[OnMerge::KeepFirst, OnMerge::KeepLast][..]);
    (
        (slot(), select(&DOMAINS[..]), select(&DEPENDENCIES[..]), keys(), keys()),
        (0_u32..4, 0_u64..4, 0_u64..6, rarely(), labels),
        (limits, on_merge, 0_u32..9),
    )
        .prop_map(|((slot, domain, dependency, dedup, order), rest, overflow)| {
            let (budget, delay, age, unreplayable, labels) = rest;
            let (limits, on_merge, amount) = overflow;
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
                on_merge,
                amount,
            }
        })
}

fn shown() -> impl Strategy<Value = Shown> {
    prop_oneof![8 => Just(Shown::Current), 2 => Just(Shown::Older), 1 => Just(Shown::Newer)]
}

fn outcome() -> impl Strategy<Value = SettleOutcome> {
    let already_done = SettleOutcome::AlreadyDone { note: "seen".to_owned() };
    let nul = SettleOutcome::Permanent { error: "\0".to_owned() };
    prop_oneof![
        3 => Just(succeeded()),
        1 => Just(already_done),
        4 => Just(failed()),
        1 => Just(permanent()),
        2 => Just(deferred()),
        2 => Just(SettleOutcome::Released),
        1 => Just(nul),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(resolve()),
        Just(reject()),
        Just(Action::Review),
        Just(Action::Back),
        Just(Action::Escalate),
        Just(Action::Expire),
        Just(Action::Reopen),
    ]
}

fn scope() -> impl Strategy<Value = FacetScope> {
    let statuses = vec(select(&Status::ALL[..]), 0..3);
    let domain = option::of(select(&DOMAINS[..]));
    let dependency = option::of(select(&DEPENDENCIES[..]));
    (statuses, domain, dependency).prop_map(|(statuses, domain, dependency)| FacetScope {
        statuses,
        domain: domain.map(parsed),
        failure_type: None,
        dependency: dependency.map(parsed),
    })
}

fn filter() -> impl Strategy<Value = Box<Filter>> {
    let keys = || option::weighted(0.2, select(&KEYS[..]));
    (scope(), keys(), keys(), option::weighted(0.2, 0_usize..3)).prop_map(
        |(scope, dedup, order, label)| {
            let labels = label.map(|n| (parsed(&format!("l{n}")), parsed("x")));
            Box::new(Filter {
                dedup_key: dedup.map(parsed),
                order_key: order.map(parsed),
                labels: labels.into_iter().collect(),
                ..Filter::from(scope)
            })
        },
    )
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
    let due = (
        domains,
        option::weighted(0.3, select(&DEPENDENCIES[..])),
        0_usize..6,
        0_u64..8,
        any::<bool>(),
    );
    let by_id = (vec(slot(), 0..4), 0_u64..8, any::<bool>());
    prop_oneof![
        6 => vec(kept(), 1..4).prop_map(Step::Capture),
        4 => due.prop_map(|(domains, dependency, limit, lease, force)| Step::ClaimDue { domains, dependency, limit, lease, force }),
        4 => by_id.prop_map(|(slots, lease, force)| Step::ClaimIds { slots, lease, force }),
        6 => vec((slot(), shown(), outcome()), 1..4).prop_map(Step::Settle),
        1 => (vec((slot(), shown()), 1..3), 0_u64..20).prop_map(|(slots, lease)| Step::Extend { slots, lease }),
        4 => (0_usize..5).prop_map(|limit| Step::Lapse { limit }),
        4 => vec((slot(), action()), 1..3).prop_map(Step::Act),
        3 => (0_u64..12).prop_map(Step::Advance),
        1 => (1_u64..20).prop_map(Step::JumpBack),
        1 => vec(slot(), 1..4).prop_map(Step::Find),
        1 => (slot(), 0_u64..4, 0_usize..5).prop_map(|(slot, after, limit)| Step::Trail { slot, after, limit }),
        2 => (filter(), orders(), 1_u32..5).prop_map(|(filter, order, page)| Step::List { filter, order, page }),
        1 => (filter(), 0_u64..5).prop_map(|(filter, cap)| Step::Count { filter, cap }),
        1 => scope().prop_map(Step::Facets),
    ]
}

/// A step that both stores can be asked to do.
pub(super) struct Resolved<'a> {
    step: &'a Step,
    /// The token that each of the step's claims shows.
    tokens: Vec<ClaimToken>,
}

impl Step {
    /// Looks up in the model which tokens the step shows.
    pub(super) async fn resolved(&self, model: &StoreUnderTest) -> Result<Resolved<'_>, Failure> {
        let shown: Vec<(u8, Shown)> = match self {
            Self::Settle(settles) => {
                settles.iter().map(|(slot, shown, _)| (*slot, *shown)).collect()
            }
            Self::Extend { slots, .. } => slots.clone(),
            Self::Capture(_)
            | Self::ClaimDue { .. }
            | Self::ClaimIds { .. }
            | Self::Lapse { .. }
            | Self::Act(_)
            | Self::Advance(_)
            | Self::JumpBack(_)
            | Self::Find(_)
            | Self::Trail { .. }
            | Self::List { .. }
            | Self::Count { .. }
            | Self::Facets(_) => Vec::new(),
        };
        let mut tokens = Vec::new();
        for (slot, shown) in shown {
            let current = model.find(id_of(slot)).await?.map(|op| op.state.claim_token);
            let current = current.unwrap_or_default();
            tokens.push(match shown {
                Shown::Current => current,
                Shown::Older => ClaimToken(current.0.saturating_sub(1)),
                Shown::Newer => current.next(),
            });
        }
        Ok(Resolved { step: self, tokens })
    }
}

impl Resolved<'_> {
    /// Does the step and returns the answer as text.
    pub(super) async fn run(&self, store: &StoreUnderTest) -> Result<Vec<String>, Failure> {
        let seconds = Duration::from_secs;
        match self.step {
            Step::Capture(batch) => Ok(capture(store, batch).await),
            Step::ClaimDue { domains, dependency, limit, lease, force } => {
                let select = ClaimSelect::Due {
                    domains: domains.iter().map(|domain| parsed(domain)).collect(),
                    dependency: dependency.map(parsed),
                    limit: *limit,
                };
                Ok(claim(store, select, *lease, *force).await)
            }
            Step::ClaimIds { slots, lease, force } => {
                let select = ClaimSelect::Ids(slots.iter().map(|slot| id_of(*slot)).collect());
                Ok(claim(store, select, *lease, *force).await)
            }
            Step::Settle(settles) => Ok(self.settle(store, settles).await),
            Step::Extend { slots, lease } => {
                let claims = slots.iter().zip(&self.tokens);
                let claims =
                    claims.map(|((slot, _), token)| ClaimRef { id: id_of(*slot), token: *token });
                let extend = Extend { claims: claims.collect(), lease: seconds(*lease) };
                let answers = store.claims.extend(extend).await;
                Ok(answers.into_iter().map(|a| answer::result(a, |()| "ok".to_owned())).collect())
            }
            Step::Lapse { limit } => Ok(vec![format!("{:?}", store.lapse(*limit).await?)]),
            Step::Act(acts) => Ok(act(store, acts).await),
            Step::Advance(by) => {
                store.clock.advance(seconds(*by));
                Ok(Vec::new())
            }
            Step::JumpBack(by) => {
                store.clock.jump_back(seconds(*by));
                Ok(Vec::new())
            }
            Step::Find(slots) => {
                let ids = slots.iter().map(|slot| id_of(*slot)).collect();
                let found = store.reader.find(ids).await?;
                Ok(found
                    .iter()
                    .map(|op| op.as_ref().map_or_else(String::new, answer::entry))
                    .collect())
            }
            Step::Trail { slot, after, limit } => {
                let trail = store.evidence.trail(id_of(*slot), *after, *limit).await?;
                Ok(trail.iter().map(baldur_core::wire::encode_evidence).collect())
            }
            Step::List { filter, order, page } => list(store, filter, *order, *page).await,
            Step::Count { filter, cap } => {
                let count = store.reader.count((**filter).clone(), *cap).await?;
                Ok(vec![format!("{count:?}")])
            }
            Step::Facets(scope) => {
                Ok(vec![format!("{:?}", store.reader.facets(scope.clone()).await?)])
            }
        }
    }

    async fn settle(
        &self,
        store: &StoreUnderTest,
        settles: &[(u8, Shown, SettleOutcome)],
    ) -> Vec<String> {
        let settles = settles.iter().zip(&self.tokens);
        let settles = settles.map(|((slot, _, outcome), token)| Settle {
            id: id_of(*slot),
            token: *token,
            outcome: outcome.clone(),
            trigger: ResolutionType::ScheduledBatch,
            evidence: evidence(&store.clock),
        });
        let answers = store.claims.settle_batch(settles.collect()).await;
        answers.into_iter().map(|a| answer::result(a, |settled| format!("{settled:?}"))).collect()
    }
}

async fn capture(store: &StoreUnderTest, batch: &[Kept]) -> Vec<String> {
    let captures = Captures::new(store, 0);
    let batch = batch.iter().map(|kept| capture_of(&captures, store, kept)).collect();
    let answers = store.capture.capture_batch(batch).await;
    answers
        .into_iter()
        .map(|answer| match answer {
            Ok(kept) => {
                let disposition = kept.disposition.as_str();
                let Captured { id, occurrence, live, evicted, .. } = kept;
                format!("{id} {occurrence} {disposition} {live:?} {evicted:?}")
            }
            Err(CaptureError::Invalid(_)) => "invalid".to_owned(),
            Err(other) => other.to_string(),
        })
        .collect()
}

fn capture_of(captures: &Captures, store: &StoreUnderTest, kept: &Kept) -> Capture {
    let Kept { slot, domain, dependency, dedup, order, budget, delay, age, .. } = kept;
    let Kept { unreplayable, labels, limits, on_merge, amount, .. } = kept;
    let at = store.clock.now().saturating_sub(Duration::from_secs(*age));
    let mut op = captures
        .an_op()
        .id(id_of(*slot))
        .domain(domain)
        .dependency(dependency)
        .max_retries(*budget)
        .next_attempt_in(Duration::from_secs(*delay))
        .request_data(&format!(r#"{{"amount": {amount}}}"#))
        .on_merge(*on_merge);
    if let Some((in_domain, in_all, when_full)) = limits {
        op = op.limits(*in_domain, *in_all, *when_full);
    }
    if *unreplayable {
        op = op.not_replayable(NotReplayable::RequestTooLarge);
    }
    for n in 0..*labels {
        op = op.label(&format!("l{n}"), "x");
    }
    op = op.created_at(at).with(|capture| {
        capture.op.dedup_key = dedup.map(parsed);
        capture.op.order_key = order.map(parsed);
    });
    op.build()
}

async fn claim(
    store: &StoreUnderTest,
    select: ClaimSelect,
    lease: u64,
    force: bool,
) -> Vec<String> {
    let lease = Duration::from_secs(lease);
    let terms = ClaimTerms { lease, force, ..store.terms() };
    match store.claims.claim_batch(ClaimBatch { select, terms }).await {
        Err(error) => vec![answer::claim_error(&error)],
        Ok(outcome) => {
            let claimed = outcome.claimed.iter().map(|claimed| answer::entry(&claimed.op));
            let refused = outcome.refused.iter();
            let refused =
                refused.map(|(id, error)| format!("{id}: {}", answer::claim_error(error)));
            claimed.chain(refused).collect()
        }
    }
}

async fn act(store: &StoreUnderTest, acts: &[(u8, Action)]) -> Vec<String> {
    let acts = acts.iter().map(|(slot, action)| Act {
        id: id_of(*slot),
        action: action.clone(),
        evidence: evidence(&store.clock),
    });
    let answers = store.claims.apply(acts.collect()).await;
    answers.into_iter().map(|a| answer::result(a, |state| format!("{state:?}"))).collect()
}

async fn list(
    store: &StoreUnderTest,
    filter: &Filter,
    order: ListOrder,
    page: u32,
) -> Result<Vec<String>, Failure> {
    let limit = PageSize::new(page)?;
    let query = ListQuery { filter: filter.clone(), order, limit, after: None };
    let first = store.reader.list(query).await?;
    let mut answers = answer::summaries(&first.items);
    answers.push(format!("{:?}", first.next));
    answers.extend(answer::summaries(&store.walk(filter, order, page).await?));
    Ok(answers)
}
