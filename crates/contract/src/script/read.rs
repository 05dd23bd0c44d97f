//! Steps that read.

use std::time::Duration;

use baldur_core::{
    Clock, Cursor, FacetScope, FailedOp, Filter, ListOrder, ListQuery, PageSize, Timestamp,
};

use super::{After, By, Text, Wanted, id_of};
use crate::{answer, build::parsed, case::Failure, clock::ManualClock, store::StoreUnderTest};

/// A point of the history.
pub(super) fn at(seconds: i64) -> Timestamp {
    let start = ManualClock::default().now();
    let apart = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { start.saturating_sub(apart) } else { start.saturating_add(apart) }
}

impl Wanted {
    pub(super) fn filter(&self) -> Filter {
        fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: Option<&Text>) -> Option<T> {
            text.map(Text::parsed)
        }
        Filter {
            statuses: self.statuses.clone(),
            domain: self.domain.map(parsed),
            failure_type: name(self.failure_type.as_ref()),
            dependency: name(self.dependency.as_ref()),
            origin_service: name(self.origin_service.as_ref()),
            entity_type: name(self.entity_type.as_ref()),
            entity_id: name(self.entity_id.as_ref()),
            user_id: name(self.user_id.as_ref()),
            idempotency_key: self.idempotency_key.map(parsed),
            dedup_key: name(self.dedup_key.as_ref()),
            order_key: name(self.order_key.as_ref()),
            fingerprint: name(self.fingerprint.as_ref()),
            labels: self.labels.iter().map(|(n, value)| (parsed(n), value.parsed())).collect(),
            created_from: self.created_from.map(at),
            created_until: self.created_until.map(at),
        }
    }

    pub(super) fn scope(&self) -> FacetScope {
        let Filter { statuses, domain, failure_type, dependency, .. } = self.filter();
        FacetScope { statuses, domain, failure_type, dependency }
    }
}

/// What is like `op` in these respects.
pub(super) fn alike(op: &FailedOp, by: &[By]) -> Filter {
    let mut filter = Filter::default();
    for by in by {
        match by {
            By::Status => filter.statuses = vec![op.state.status],
            By::Domain => filter.domain = Some(op.domain.clone()),
            By::FailureType => filter.failure_type = Some(op.failure_type.clone()),
            By::Dependency => filter.dependency = Some(op.dependency.clone()),
            By::Origin => filter.origin_service = Some(op.origin_service.clone()),
            By::EntityType => filter.entity_type.clone_from(&op.entity_type),
            By::EntityId => filter.entity_id.clone_from(&op.entity_id),
            By::User => filter.user_id.clone_from(&op.user_id),
            By::IdempotencyKey => filter.idempotency_key = Some(op.idempotency_key.clone()),
            By::DedupKey => filter.dedup_key.clone_from(&op.dedup_key),
            By::OrderKey => filter.order_key.clone_from(&op.order_key),
            By::Fingerprint => filter.fingerprint = Some(op.fingerprint.text.clone()),
            By::Labels => {
                let labels = op.labels.iter();
                filter.labels = labels.map(|(n, value)| (n.clone(), value.clone())).collect();
            }
            By::From => filter.created_from = Some(op.created_at),
            By::Until => filter.created_until = Some(op.created_at),
        }
    }
    filter
}

impl After {
    fn cursor(self, order: ListOrder) -> Cursor {
        let order = match (order, self.turned) {
            (ListOrder::NewestFirst, false) | (ListOrder::OldestFirst, true) => {
                ListOrder::NewestFirst
            }
            (ListOrder::NewestFirst, true) | (ListOrder::OldestFirst, false) => {
                ListOrder::OldestFirst
            }
        };
        Cursor::at(order, (at(self.created), id_of(self.slot)))
    }
}

/// One page, and without a position all that follow.
pub(super) async fn list(
    store: &StoreUnderTest,
    filter: &Filter,
    order: ListOrder,
    page: u32,
    after: Option<After>,
) -> Result<Vec<String>, Failure> {
    let limit = PageSize::new(page)?;
    let from = after.map(|after| after.cursor(order));
    let query = ListQuery { filter: filter.clone(), order, limit, after: from };
    let first = match store.reader.list(query).await {
        Ok(first) => first,
        Err(error) => return answer::read_error(&error).map(|refused| vec![refused]),
    };
    let mut answers = answer::summaries(&first.items);
    answers.push(format!("{:?}", first.next));
    if after.is_none() {
        answers.extend(answer::summaries(&store.walk(filter, order, page).await?));
    }
    Ok(answers)
}
