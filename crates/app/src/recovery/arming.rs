//! Whether recovery would replay what waits, and what is missing where it would not.

use std::collections::BTreeSet;

use baldur_core::{
    BackendError, BackendKind, Count, FacetScope, Filter, Status,
    name::{Domain, ServiceName},
    port::ReadError,
    query::FACET_OVERFLOW,
};
use tokio::time::timeout;

use super::{MAX_DEPENDENCIES, parts::Parts};
use crate::{labels, metrics::RECOVERY_ARMED};

/// Entries that have to be counted one by one are counted no further.
const MOST_COUNTED: u64 = 10_000;

/// What keeps recovery from replaying entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missing {
    /// This process may not replay by itself: recovery is not enabled.
    Permission,
    /// The policy leaves this dependency or domain out.
    Policy,
    /// No handler is registered for the domain.
    Handler,
}

impl Missing {
    /// The stable name in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::Policy => "policy",
            Self::Handler => "handler",
        }
    }
}

/// Whether recovery would replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arming {
    /// It would.
    Armed,
    /// It would not: all of this is missing.
    Disarmed {
        /// What; never empty, without repetition.
        missing: Vec<Missing>,
    },
}

impl Arming {
    fn of(missing: BTreeSet<Missing>) -> Self {
        if missing.is_empty() {
            return Self::Armed;
        }
        Self::Disarmed { missing: missing.into_iter().collect() }
    }

    /// Whether it would.
    pub fn is_armed(&self) -> bool {
        matches!(self, Self::Armed)
    }

    /// What is missing; nothing when armed.
    pub fn missing(&self) -> &[Missing] {
        match self {
            Self::Armed => &[],
            Self::Disarmed { missing } => missing,
        }
    }
}

/// How a dependency is armed, domain by domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyArming {
    /// The dependency.
    pub dependency: ServiceName,
    /// Armed when each domain with entries that wait is; else everything that is missing anywhere.
    pub arming: Arming,
    /// How many entries wait.
    pub pending: u64,
    /// The domains whose entries wait, in order of name.
    pub domains: Vec<DomainArming>,
}

/// How the entries of one domain are armed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainArming {
    /// The domain.
    pub domain: Domain,
    /// Whether they would be replayed.
    pub arming: Arming,
    /// How many wait.
    pub pending: u64,
}

impl Parts {
    /// What is missing for all domains of a dependency.
    fn missing_for(&self, dependency: &ServiceName) -> BTreeSet<Missing> {
        let mut missing = BTreeSet::new();
        if !self.policy.enabled {
            missing.insert(Missing::Permission);
        }
        if self.policy.is_disabled(dependency) {
            missing.insert(Missing::Policy);
        }
        missing
    }

    /// Whether a dependency could be swept at all.
    pub(super) fn allows(&self, dependency: &ServiceName) -> Arming {
        Arming::of(self.missing_for(dependency))
    }

    pub(super) fn domain_arming(&self, dependency: &ServiceName, domain: &Domain) -> Arming {
        let mut missing = self.missing_for(dependency);
        if self.policy.excluded_domains.contains(domain) {
            missing.insert(Missing::Policy);
        }
        if self.engine.handlers().get(domain).is_none() {
            missing.insert(Missing::Handler);
        }
        Arming::of(missing)
    }

    /// The domains whose entries a sweep of the dependency takes up.
    pub(super) fn armed_domains(&self, dependency: &ServiceName) -> BTreeSet<Domain> {
        let known = self.engine.handlers().domains();
        known.filter(|domain| self.domain_arming(dependency, domain).is_armed()).cloned().collect()
    }

    /// How many entries of a dependency wait, in these domains or in all. `None` when the store doesn't say.
    pub(super) async fn waiting(
        &self,
        dependency: &ServiceName,
        domains: Option<&BTreeSet<Domain>>,
    ) -> Option<u64> {
        let filter = |domain: Option<&Domain>| Filter {
            statuses: vec![Status::Pending],
            domain: domain.cloned(),
            dependency: Some(dependency.clone()),
            ..Filter::default()
        };
        let filters: Vec<Filter> = match domains {
            Some(domains) => domains.iter().map(|domain| filter(Some(domain))).collect(),
            None => vec![filter(None)],
        };
        let mut sum = 0;
        for filter in filters {
            match self.read(self.reader.count(filter, MOST_COUNTED)).await.ok()? {
                Count::Exactly(count) | Count::AtLeast(count) => sum += count,
            }
        }
        Some(sum)
    }

    /// How the entries that wait for a dependency are armed.
    pub(super) async fn arming(
        &self,
        dependency: &ServiceName,
    ) -> Result<DependencyArming, ReadError> {
        let scope = FacetScope {
            statuses: vec![Status::Pending],
            dependency: Some(dependency.clone()),
            ..FacetScope::default()
        };
        let facets = self.read(self.reader.facets(scope)).await?;
        let mut pending = 0;
        let mut domains = Vec::new();
        for (name, count) in facets.by_domain {
            pending += count;
            // Combinations that the store counts together have no name here; sweeps find their entries all the same.
            let Ok(domain) = Domain::parse(&name) else { continue };
            let arming = self.domain_arming(dependency, &domain);
            domains.push(DomainArming { domain, arming, pending: count });
        }
        let mut missing = self.missing_for(dependency);
        missing.extend(domains.iter().flat_map(|domain| domain.arming.missing().iter().copied()));
        if domains.is_empty() && self.engine.handlers().domains().next().is_none() {
            missing.insert(Missing::Handler);
        }
        let arming = DependencyArming {
            dependency: dependency.clone(),
            arming: Arming::of(missing),
            pending,
            domains,
        };
        tell(&arming);
        Ok(arming)
    }

    /// How all dependencies with entries that wait are armed, and those that the policy names: those with the most
    /// entries first, and no more than [`MAX_DEPENDENCIES`].
    pub(super) async fn overview(&self) -> Result<Vec<DependencyArming>, ReadError> {
        let scope = FacetScope { statuses: vec![Status::Pending], ..FacetScope::default() };
        let facets = self.read(self.reader.facets(scope)).await?;
        let mut names: Vec<(u64, ServiceName)> = facets
            .by_dependency
            .iter()
            .filter(|(name, _)| *name != FACET_OVERFLOW)
            .filter_map(|(name, count)| Some((*count, ServiceName::parse(name).ok()?)))
            .collect();
        let unnamed = self.policy.dependencies.keys();
        let unnamed: Vec<_> =
            unnamed.filter(|name| !facets.by_dependency.contains_key(name.as_str())).collect();
        names.extend(unnamed.into_iter().map(|name| (0, name.clone())));
        names.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        let mut all = Vec::new();
        for (_, name) in names.into_iter().take(MAX_DEPENDENCIES) {
            all.push(self.arming(&name).await?);
        }
        Ok(all)
    }

    /// Bounds a question to the store in time.
    pub(super) async fn read<T>(
        &self,
        asking: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        let limit = self.engine.policy().store_timeout;
        timeout(limit, asking).await.unwrap_or_else(|_| {
            Err(BackendError::new("store", "read", BackendKind::Timeout).retryable().into())
        })
    }
}

fn tell(arming: &DependencyArming) {
    // Both names are those of entries, and who captures them may choose ever new ones.
    let Some(dependency) = labels::own_dependency(&arming.dependency) else { return };
    for domain in &arming.domains {
        let Some(name) = labels::own_domain(domain.domain.as_str()) else { continue };
        metrics::gauge!(
            RECOVERY_ARMED.name,
            "dependency" => dependency.clone(), "domain" => name
        )
        .set(if domain.arming.is_armed() { 1.0 } else { 0.0 });
    }
}
