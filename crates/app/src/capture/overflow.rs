//! How many live entries there may be, and whose payload a merge keeps: by domain, decided at capture.

use std::{collections::BTreeMap, num::NonZeroU64};

use baldur_core::{
    command::{Capture, LiveLimits, OnMerge, WhenFull},
    name::Domain,
};

/// How many live entries there may be, and what a capture does that finds no room.
///
/// Live entries are those still to be dealt with: pending, replaying, reviewing, `requires_review`. Closed ones don't
/// count. The store counts them in the step that keeps an entry, so no burst and no second process exceeds a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverflowPolicy {
    /// In each domain that `domains` says nothing else of; no limit when absent.
    pub per_domain: Option<NonZeroU64>,
    /// In all domains together; no limit when absent.
    pub in_all: Option<NonZeroU64>,
    /// What a capture does that finds no room.
    pub when_full: WhenFull,
    /// Domains with rules of their own.
    pub domains: BTreeMap<Domain, DomainOverflow>,
}

/// The rules of one domain. What is absent is as for any other domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainOverflow {
    /// How many live entries it may have.
    pub limit: Option<DomainLimit>,
    /// What its captures do that find no room, in it or in all.
    pub when_full: Option<WhenFull>,
}

/// How many live entries one domain may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainLimit {
    /// As many as there may be in all.
    Unlimited,
    /// This many.
    AtMost(NonZeroU64),
}

impl OverflowPolicy {
    /// How many live entries there may be in all unless something else is said.
    pub const DEFAULT_IN_ALL: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();

    /// No limits.
    pub const fn unlimited() -> Self {
        Self {
            per_domain: None,
            in_all: None,
            when_full: WhenFull::Reject,
            domains: BTreeMap::new(),
        }
    }

    /// The limits of a capture in this domain; `None` when there are none.
    pub fn limits(&self, domain: &Domain) -> Option<LiveLimits> {
        let DomainOverflow { limit, when_full } =
            self.domains.get(domain).copied().unwrap_or_default();
        let in_domain = match limit {
            None => self.per_domain,
            Some(DomainLimit::Unlimited) => None,
            Some(DomainLimit::AtMost(limit)) => Some(limit),
        };
        let limits = LiveLimits {
            in_domain,
            in_all: self.in_all,
            when_full: when_full.unwrap_or(self.when_full),
        };
        (limits.in_domain.is_some() || limits.in_all.is_some()).then_some(limits)
    }

    /// Sets the limits of a capture that was acknowledged before, such as a record of a spool: its caller relies on
    /// it, so it is never refused. With [`WhenFull::DropOldest`] older entries still make room for it; with [`WhenFull::Reject`] it is
    /// kept beyond the limit.
    ///
    /// When nothing may make room, a store refuses even then; the limits have to be taken off by the caller, by
    /// setting them to `None`.
    pub fn finish(&self, capture: &mut Capture) {
        let limits = self.limits(&capture.op.domain);
        capture.limits = limits.filter(|limits| limits.when_full == WhenFull::DropOldest);
    }
}

impl Default for OverflowPolicy {
    /// [`DEFAULT_IN_ALL`](Self::DEFAULT_IN_ALL) entries in all, and captures beyond are refused: nothing is evicted that nobody
    /// chose to lose.
    fn default() -> Self {
        Self { in_all: Some(Self::DEFAULT_IN_ALL), ..Self::unlimited() }
    }
}

/// Whose payload an entry keeps when further captures merge into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DedupPolicy {
    /// In each domain that `domains` says nothing else of.
    pub keep: OnMerge,
    /// Domains with a rule of their own.
    pub domains: BTreeMap<Domain, OnMerge>,
}

impl DedupPolicy {
    /// The rule for a capture in this domain.
    pub fn on_merge(&self, domain: &Domain) -> OnMerge {
        self.domains.get(domain).copied().unwrap_or(self.keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).expect("a domain")
    }

    fn at_most(n: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(n)
    }

    fn policy() -> OverflowPolicy {
        let own = |limit, when_full| DomainOverflow { limit, when_full };
        let five = at_most(5).map(DomainLimit::AtMost);
        OverflowPolicy {
            per_domain: at_most(10),
            in_all: at_most(100),
            when_full: WhenFull::Reject,
            domains: BTreeMap::from([
                (domain("small"), own(five, None)),
                (domain("log"), own(five, Some(WhenFull::DropOldest))),
                (domain("free"), own(Some(DomainLimit::Unlimited), None)),
            ]),
        }
    }

    #[test]
    fn a_domain_has_its_own_rules_or_those_of_all() {
        let of = |name| policy().limits(&domain(name)).expect("limits");
        let told = |limits: LiveLimits| (limits.in_domain, limits.in_all, limits.when_full);
        assert_eq!(told(of("stock")), (at_most(10), at_most(100), WhenFull::Reject));
        assert_eq!(told(of("small")), (at_most(5), at_most(100), WhenFull::Reject));
        assert_eq!(told(of("log")), (at_most(5), at_most(100), WhenFull::DropOldest));
        assert_eq!(told(of("free")), (None, at_most(100), WhenFull::Reject));
        // The rules of a domain are not those of the domains below it.
        assert_eq!(of("small.child"), of("stock"));
    }

    #[test]
    fn without_any_limit_a_capture_names_none() {
        assert_eq!(OverflowPolicy::unlimited().limits(&domain("stock")), None);
        let free = OverflowPolicy { in_all: None, ..policy() };
        assert_eq!(free.limits(&domain("free")), None);
        assert!(free.limits(&domain("stock")).is_some());
    }

    #[test]
    fn the_default_bounds_the_store_and_evicts_nothing() {
        let limits = OverflowPolicy::default().limits(&domain("stock")).expect("limits");
        assert_eq!((limits.in_domain, limits.in_all), (None, at_most(1_000_000)));
        assert_eq!(limits.when_full, WhenFull::Reject);
    }

    #[test]
    fn whose_payload_is_kept_is_said_by_domain() {
        let domains = BTreeMap::from([(domain("stock"), OnMerge::KeepLast)]);
        let policy = DedupPolicy { keep: OnMerge::KeepFirst, domains };
        assert_eq!(policy.on_merge(&domain("stock")), OnMerge::KeepLast);
        assert_eq!(policy.on_merge(&domain("payment")), OnMerge::KeepFirst);
    }
}
