//! Makes a history that found something shorter, as long as it still finds something.
//!
//! Steps go first, in ever smaller groups, then items of batches, then what captures and filters name. proptest would begin
//! with the values inside the first step and run out of patience there.

use super::{Kept, Step, Text, Wanted, text};

/// The shortest history found for which `fails` still holds. It ends when nothing smaller fails any more: to end before, let
/// `fails` say no.
pub(crate) fn shortest(
    mut history: Vec<Step>,
    mut fails: impl FnMut(&[Step]) -> bool,
) -> Vec<Step> {
    remove_groups(&mut history, &mut fails);
    for n in 0..history.len() {
        while let Some(smaller) = smaller(&history[n]).into_iter().find(|smaller| {
            let mut tried = history.clone();
            tried[n] = smaller.clone();
            fails(&tried)
        }) {
            history[n] = smaller;
        }
    }
    history
}

fn remove_groups(history: &mut Vec<Step>, fails: &mut impl FnMut(&[Step]) -> bool) {
    let mut group = history.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < history.len() {
            let mut tried = history.clone();
            tried.drain(from..history.len().min(from + group));
            if fails(&tried) {
                *history = tried;
            } else {
                from += group;
            }
        }
        if group == 1 {
            return;
        }
        group = group.div_ceil(2);
    }
}

/// Steps that are a little smaller, the smallest first.
fn smaller(step: &Step) -> Vec<Step> {
    match step {
        Step::Capture(batch) => {
            let fewer = fewer(batch).into_iter().map(Step::Capture);
            let plainer = (0..batch.len()).flat_map(|n| {
                plainer_captures(&batch[n]).into_iter().map(move |kept| {
                    let mut batch = batch.clone();
                    batch[n] = kept;
                    Step::Capture(batch)
                })
            });
            fewer.chain(plainer).collect()
        }
        Step::ClaimIds { slots, terms } => fewer(slots)
            .into_iter()
            .map(|slots| Step::ClaimIds { slots, terms: terms.clone() })
            .collect(),
        Step::Settle(settles) => fewer(settles).into_iter().map(Step::Settle).collect(),
        Step::Extend { slots, lease } => {
            fewer(slots).into_iter().map(|slots| Step::Extend { slots, lease: *lease }).collect()
        }
        Step::Act(acts) => fewer(acts).into_iter().map(Step::Act).collect(),
        Step::Import(moved) => fewer(moved).into_iter().map(Step::Import).collect(),
        Step::Find(slots) => fewer(slots).into_iter().map(Step::Find).collect(),
        Step::LoadBreakers(names) => fewer(names).into_iter().map(Step::LoadBreakers).collect(),
        Step::List { wanted, order, page, after } => plainer_filters(wanted)
            .into_iter()
            .map(|wanted| Step::List { wanted, order: *order, page: *page, after: *after })
            .collect(),
        Step::Count { wanted, cap } => plainer_filters(wanted)
            .into_iter()
            .map(|wanted| Step::Count { wanted, cap: *cap })
            .collect(),
        Step::Alike { slot, by, order, page, cap } => fewer(by)
            .into_iter()
            .map(|by| Step::Alike { slot: *slot, by, order: *order, page: *page, cap: *cap })
            .collect(),
        Step::Facets(wanted) => plainer_filters(wanted).into_iter().map(Step::Facets).collect(),
        Step::ClaimDue { .. }
        | Step::Lapse { .. }
        | Step::Advance(_)
        | Step::JumpBack(_)
        | Step::Trail { .. }
        | Step::Unsealed(_)
        | Step::SaveBreaker(_)
        | Step::ListBreakers { .. }
        | Step::Take(_) => Vec::new(),
    }
}

/// Either half of a batch, and the batch without each of its items.
fn fewer<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let mut fewer = Vec::new();
    if items.len() > 3 {
        let (first, second) = items.split_at(items.len() / 2);
        fewer.extend([first.to_vec(), second.to_vec()]);
    }
    for n in 0..items.len() {
        let mut without = items.to_vec();
        without.remove(n);
        fewer.push(without);
    }
    fewer
}

fn plainer_captures(kept: &Kept) -> Vec<Kept> {
    let mut plainer = Vec::new();
    let mut offer = |named: bool, kept: Kept| {
        if named {
            plainer.push(kept);
        }
    };
    offer(kept.more.is_some(), Kept { more: None, ..kept.clone() });
    offer(kept.limits.is_some(), Kept { limits: None, ..kept.clone() });
    offer(kept.dedup.is_some(), Kept { dedup: None, ..kept.clone() });
    offer(kept.order.is_some(), Kept { order: None, ..kept.clone() });
    offer(kept.unreplayable.is_some(), Kept { unreplayable: None, ..kept.clone() });
    offer(!kept.labels.is_empty(), Kept { labels: Vec::new(), ..kept.clone() });
    offer(kept.keep_last, Kept { keep_last: false, ..kept.clone() });
    offer(kept.delay > 0, Kept { delay: 0, ..kept.clone() });
    offer(kept.age > 0, Kept { age: 0, ..kept.clone() });
    let plain = |text: &Text| text.whole() == "{}";
    offer(!plain(&kept.request), Kept { request: text("{}"), ..kept.clone() });
    plainer
}

fn plainer_filters(wanted: &Wanted) -> Vec<Wanted> {
    let mut plainer = Vec::new();
    macro_rules! without {
        ($($field:ident),*) => {$(
            if wanted.$field.is_some() {
                plainer.push(Wanted { $field: None, ..wanted.clone() });
            }
        )*};
    }
    without!(domain, failure_type, dependency, origin_service, entity_type, entity_id, user_id);
    without!(idempotency_key, dedup_key, order_key, fingerprint, created_from, created_until);
    if !wanted.statuses.is_empty() {
        plainer.push(Wanted { statuses: Vec::new(), ..wanted.clone() });
    }
    if !wanted.labels.is_empty() {
        plainer.push(Wanted { labels: Vec::new(), ..wanted.clone() });
    }
    plainer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_do_with_it_remains() {
        let mut history: Vec<Step> = (0..60).map(Step::Advance).collect();
        history.insert(20, Step::Find(vec![1, 2, 3, 4, 5, 6, 7]));
        // It takes slot 5, after five seconds have passed in one step.
        let fails = |tried: &[Step]| {
            let passed = tried.iter().position(|step| matches!(step, Step::Advance(5)));
            let found = tried
                .iter()
                .position(|step| matches!(step, Step::Find(slots) if slots.contains(&5)));
            passed.is_some() && found.is_some() && passed < found
        };
        let shown = format!("{:?}", shortest(history, fails));
        assert_eq!(shown, "[Advance(5), Find([5])]");
    }

    #[test]
    fn a_failure_that_nothing_explains_leaves_nothing() {
        assert!(shortest((0..9).map(Step::Advance).collect(), |_| true).is_empty());
    }
}
