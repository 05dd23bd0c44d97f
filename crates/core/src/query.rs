//! Reading: filters, lists, counts and facets.

use std::{collections::BTreeMap, num::NonZeroU32};

use crate::{
    cursor::Cursor,
    failed_op::{FailedOp, Fingerprint, Labels, NotReplayable, Status},
    id::EntryId,
    name::{
        DedupKey, Domain, FailureType, IdempotencyKey, LabelName, LabelValue, OrderKey,
        ServiceName, ShortText,
    },
    time::Timestamp,
};

/// Which entries are meant. All conditions must hold; an absent condition holds for every entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these statuses; an empty list means any.
    pub statuses: Vec<Status>,
    /// In this domain.
    pub domain: Option<Domain>,
    /// Of this failure type.
    pub failure_type: Option<FailureType>,
    /// Because of this dependency.
    pub dependency: Option<ServiceName>,
    /// Reported by this service.
    pub origin_service: Option<ServiceName>,
    /// About things of this kind.
    pub entity_type: Option<ShortText>,
    /// About this thing.
    pub entity_id: Option<ShortText>,
    /// On behalf of this user.
    pub user_id: Option<ShortText>,
    /// With this idempotency key.
    pub idempotency_key: Option<IdempotencyKey>,
    /// With this dedup key.
    pub dedup_key: Option<DedupKey>,
    /// With this order key.
    pub order_key: Option<OrderKey>,
    /// With this fingerprint (`v1:…`).
    pub fingerprint: Option<ShortText>,
    /// With all of these labels.
    pub labels: Vec<(LabelName, LabelValue)>,
    /// Captured at this point or later.
    pub created_from: Option<Timestamp>,
    /// Captured before this point.
    pub created_until: Option<Timestamp>,
}

impl Filter {
    /// Whether the entry is meant. Adapters that filter in another way must agree with this.
    pub fn matches(&self, op: &FailedOp) -> bool {
        fn eq<T: PartialEq>(wanted: Option<&T>, actual: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == actual)
        }
        fn eq_opt<T: PartialEq>(wanted: Option<&T>, actual: Option<&T>) -> bool {
            wanted.is_none() || wanted == actual
        }
        let Self {
            statuses,
            domain,
            failure_type,
            dependency,
            origin_service,
            entity_type,
            entity_id,
            user_id,
            idempotency_key,
            dedup_key,
            order_key,
            fingerprint,
            labels,
            created_from,
            created_until,
        } = self;
        (statuses.is_empty() || statuses.contains(&op.state.status))
            && eq(domain.as_ref(), &op.domain)
            && eq(failure_type.as_ref(), &op.failure_type)
            && eq(dependency.as_ref(), &op.dependency)
            && eq(origin_service.as_ref(), &op.origin_service)
            && eq_opt(entity_type.as_ref(), op.entity_type.as_ref())
            && eq_opt(entity_id.as_ref(), op.entity_id.as_ref())
            && eq_opt(user_id.as_ref(), op.user_id.as_ref())
            && eq(idempotency_key.as_ref(), &op.idempotency_key)
            && eq_opt(dedup_key.as_ref(), op.dedup_key.as_ref())
            && eq_opt(order_key.as_ref(), op.order_key.as_ref())
            && eq(fingerprint.as_ref(), &op.fingerprint.text)
            && labels.iter().all(|(name, value)| op.labels.get(name) == Some(value))
            && created_from.is_none_or(|from| from <= op.created_at)
            && created_until.is_none_or(|until| op.created_at < until)
    }

    /// The scope of facets, when the filter has no other condition: then counts are exact and cost O(1).
    pub fn as_scope(&self) -> Option<FacetScope> {
        let scope = FacetScope {
            statuses: self.statuses.clone(),
            domain: self.domain.clone(),
            failure_type: self.failure_type.clone(),
            dependency: self.dependency.clone(),
        };
        let plain = Self::from(scope.clone());
        (plain == *self).then_some(scope)
    }
}

impl From<FacetScope> for Filter {
    fn from(scope: FacetScope) -> Self {
        let FacetScope { statuses, domain, failure_type, dependency } = scope;
        Self { statuses, domain, failure_type, dependency, ..Self::default() }
    }
}

/// The direction of a list. Position is (captured at, id).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ListOrder {
    /// Newest first.
    #[default]
    NewestFirst,
    /// Oldest first.
    OldestFirst,
}

/// How many items a page holds: 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageSize(NonZeroU32);

/// A number that is no [`PageSize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page holds 1 to {max} items, not {0}", max = PageSize::MAX)]
pub struct PageSizeError(pub u64);

impl PageSize {
    /// The most that a page may hold.
    pub const MAX: u32 = 1_000;

    /// A page of this many items.
    ///
    /// # Errors
    ///
    /// When the number is 0 or above [`Self::MAX`].
    pub fn new(items: u32) -> Result<Self, PageSizeError> {
        NonZeroU32::new(items)
            .filter(|items| items.get() <= Self::MAX)
            .map(Self)
            .ok_or(PageSizeError(u64::from(items)))
    }

    /// The number of items.
    pub const fn get(self) -> usize {
        self.0.get() as usize
    }
}

impl Default for PageSize {
    /// 50 items.
    fn default() -> Self {
        Self(NonZeroU32::new(50).unwrap_or(NonZeroU32::MIN))
    }
}

/// A request for one page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Which entries.
    pub filter: Filter,
    /// In which direction.
    pub order: ListOrder,
    /// How many.
    pub limit: PageSize,
    /// After which position; from the start when absent. Must come from a page of the same direction.
    pub after: Option<Cursor>,
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the order asked for.
    pub items: Vec<T>,
    /// Where the next page begins; `None` when nothing follows.
    pub next: Option<Cursor>,
}

/// What a list shows of an entry: everything but its payloads and history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntrySummary {
    /// See [`FailedOp::id`].
    pub id: EntryId,
    /// See [`FailedOp::domain`].
    pub domain: Domain,
    /// See [`FailedOp::failure_type`].
    pub failure_type: FailureType,
    /// See [`FailedOp::dependency`].
    pub dependency: ServiceName,
    /// See [`FailedOp::origin_service`].
    pub origin_service: ServiceName,
    /// Where it stands.
    pub status: Status,
    /// The budget used.
    pub retry_count: u32,
    /// The budget.
    pub max_retries: u32,
    /// See [`FailedOp::error_code`].
    pub error_code: String,
    /// The first [`EntrySummary::ERROR_PREVIEW`] characters of [`FailedOp::error_message`].
    pub error_preview: String,
    /// See [`FailedOp::entity_type`].
    pub entity_type: Option<ShortText>,
    /// See [`FailedOp::entity_id`].
    pub entity_id: Option<ShortText>,
    /// See [`FailedOp::order_key`].
    pub order_key: Option<OrderKey>,
    /// See [`FailedOp::dedup_key`].
    pub dedup_key: Option<DedupKey>,
    /// How often it was captured.
    pub occurrences: u64,
    /// See [`FailedOp::labels`].
    pub labels: Labels,
    /// See [`FailedOp::fingerprint`].
    pub fingerprint: Fingerprint,
    /// Why it can't be replayed, if it can't.
    pub not_replayable: Option<NotReplayable>,
    /// When it was captured.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it may be claimed again.
    pub next_attempt_at: Timestamp,
    /// When it was resolved or rejected.
    pub resolved_at: Option<Timestamp>,
}

impl EntrySummary {
    /// How many characters of the error message a list shows.
    pub const ERROR_PREVIEW: usize = 200;

    /// The summary of an entry.
    pub fn of(op: &FailedOp) -> Self {
        Self {
            id: op.id,
            domain: op.domain.clone(),
            failure_type: op.failure_type.clone(),
            dependency: op.dependency.clone(),
            origin_service: op.origin_service.clone(),
            status: op.state.status,
            retry_count: op.state.retry_count,
            max_retries: op.state.max_retries,
            error_code: op.error_code.clone(),
            error_preview: op.error_message.chars().take(Self::ERROR_PREVIEW).collect(),
            entity_type: op.entity_type.clone(),
            entity_id: op.entity_id.clone(),
            order_key: op.order_key.clone(),
            dedup_key: op.dedup_key.clone(),
            occurrences: op.state.occurrences,
            labels: op.labels.clone(),
            fingerprint: op.fingerprint.clone(),
            not_replayable: op.state.not_replayable,
            created_at: op.created_at,
            updated_at: op.state.updated_at,
            next_attempt_at: op.state.next_attempt_at,
            resolved_at: op.state.resolved_at,
        }
    }

    /// Its position in lists.
    pub fn position(&self) -> (Timestamp, EntryId) {
        (self.created_at, self.id)
    }
}

/// How many entries match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// This many, now.
    Exactly(u64),
    /// Counting stopped here.
    AtLeast(u64),
}

/// What counts and facets are limited to. These four dimensions are counted as entries change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FacetScope {
    /// One of these statuses; an empty list means any.
    pub statuses: Vec<Status>,
    /// In this domain.
    pub domain: Option<Domain>,
    /// Of this failure type.
    pub failure_type: Option<FailureType>,
    /// Because of this dependency.
    pub dependency: Option<ServiceName>,
}

/// Where combinations of domain, failure type and dependency are counted once a store has
/// [`MAX_FACET_KEYS`] different ones: under this name in all three dimensions.
pub const FACET_OVERFLOW: &str = "(other)";

/// How many combinations of domain, failure type and dependency a store counts apart.
pub const MAX_FACET_KEYS: usize = 10_000;

/// How many entries there are by each dimension. Zeros are absent.
///
/// Each dimension is limited by the conditions of the scope on the *other* dimensions, so that a
/// person sees what choosing another value would give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facets {
    /// By status.
    pub by_status: BTreeMap<Status, u64>,
    /// By domain.
    pub by_domain: BTreeMap<String, u64>,
    /// By failure type.
    pub by_failure_type: BTreeMap<String, u64>,
    /// By dependency.
    pub by_dependency: BTreeMap<String, u64>,
}

/// One maintained counter: so many entries with this status and this combination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacetCell {
    /// The status.
    pub status: Status,
    /// The domain, or [`FACET_OVERFLOW`].
    pub domain: String,
    /// The failure type, or [`FACET_OVERFLOW`].
    pub failure_type: String,
    /// The dependency, or [`FACET_OVERFLOW`].
    pub dependency: String,
    /// How many.
    pub count: u64,
}

impl Facets {
    /// Adds up counters: the one place where scopes are applied, for all adapters.
    pub fn from_cells(scope: &FacetScope, cells: impl IntoIterator<Item = FacetCell>) -> Self {
        let mut facets = Self::default();
        for cell in cells.into_iter().filter(|cell| cell.count > 0) {
            let status = scope.statuses.is_empty() || scope.statuses.contains(&cell.status);
            let domain = scope.domain.as_ref().is_none_or(|d| d.as_str() == cell.domain);
            let failure_type =
                scope.failure_type.as_ref().is_none_or(|f| f.as_str() == cell.failure_type);
            let dependency =
                scope.dependency.as_ref().is_none_or(|d| d.as_str() == cell.dependency);
            if domain && failure_type && dependency {
                *facets.by_status.entry(cell.status).or_default() += cell.count;
            }
            if status && failure_type && dependency {
                *facets.by_domain.entry(cell.domain).or_default() += cell.count;
            }
            if status && domain && dependency {
                *facets.by_failure_type.entry(cell.failure_type).or_default() += cell.count;
            }
            if status && domain && failure_type {
                *facets.by_dependency.entry(cell.dependency).or_default() += cell.count;
            }
        }
        facets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(status: Status, domain: &str, failure_type: &str, count: u64) -> FacetCell {
        FacetCell {
            status,
            domain: domain.to_owned(),
            failure_type: failure_type.to_owned(),
            dependency: "gateway".to_owned(),
            count,
        }
    }

    #[test]
    fn each_dimension_is_limited_by_the_others_only() {
        let cells = [
            cell(Status::Pending, "payment", "timeout", 3),
            cell(Status::Pending, "mail", "timeout", 4),
            cell(Status::Resolved, "payment", "refused", 5),
            cell(Status::Resolved, "mail", "refused", 0),
        ];
        let scope = FacetScope {
            statuses: vec![Status::Pending],
            domain: Some(Domain::parse("payment").expect("a domain")),
            ..FacetScope::default()
        };
        let facets = Facets::from_cells(&scope, cells);
        assert_eq!(facets.by_status, [(Status::Pending, 3), (Status::Resolved, 5)].into());
        let names = |pairs: [(&str, u64); 2]| pairs.map(|(name, n)| (name.to_owned(), n)).into();
        assert_eq!(facets.by_domain, names([("payment", 3), ("mail", 4)]));
        assert_eq!(facets.by_failure_type, [("timeout".to_owned(), 3)].into());
        assert_eq!(facets.by_dependency, [("gateway".to_owned(), 3)].into());
    }

    #[test]
    fn only_the_four_counted_dimensions_make_a_scope() {
        let counted = Filter { statuses: vec![Status::Pending], ..Filter::default() };
        assert!(counted.as_scope().is_some());
        let walked =
            Filter { order_key: Some(OrderKey::parse("o").expect("a key")), ..Filter::default() };
        assert!(walked.as_scope().is_none());
    }

    #[test]
    fn page_sizes_have_both_bounds() {
        assert!(PageSize::new(1).is_ok() && PageSize::new(1_000).is_ok());
        for bad in [0, 1_001] {
            let error = PageSize::new(bad).expect_err("out of range");
            assert_eq!(error.to_string(), format!("a page holds 1 to 1000 items, not {bad}"));
        }
    }
}
