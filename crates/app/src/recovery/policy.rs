//! How recovery is paced and bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use baldur_core::{
    name::{Domain, ServiceName},
    policy::{BackoffPolicy, Jitter, PaceLevel, PaceTerms, pace},
};

use crate::{
    range::within,
    replay::{MAX_CONCURRENCY, ReplayError},
};

/// How many dependencies recovery keeps in mind. The one that was idle for longest makes room.
pub const MAX_DEPENDENCIES: usize = 256;

/// How many sweeps of one process are at work at once; others wait for their turn.
pub const MAX_SWEEPS: usize = 16;

/// The most entries that a sweep asks for in one step.
pub const SWEEP_CHUNK: u32 = 100;

/// The terms on which recovery replays. Checked by [`Recovery::new`](super::Recovery::new).
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveryPolicy {
    /// Whether this process may replay by itself.
    pub enabled: bool,
    /// How many entries of a dependency are taken up per second by all processes together: 0.001 to 1 000 000.
    pub per_second: f64,
    /// How many may be taken up at once after a pause: 1 to 1000.
    pub burst: u32,
    /// With how many per second a sweep starts: 0.001 to `per_second`.
    pub ramp_from: f64,
    /// How long it takes to reach the full pace: above zero, at most a day.
    pub ramp_over: Duration,
    /// A sweep starts after a random part of this: up to 10 minutes.
    pub jitter: Duration,
    /// Below which share of successes a sweep stops: 0 to 1. 0 never stops one.
    pub stop_below: f64,
    /// Over how many of the last results that share is taken; with fewer, nothing is concluded: 1 to 1000.
    pub min_sample: usize,
    /// How many handlers one sweep has at work at once: 1 to [`MAX_CONCURRENCY`].
    pub concurrency: usize,
    /// How long an entry that changed is left alone before its wait is cut short: up to 1 hour.
    pub rest: Duration,
    /// How long a dependency that failed during its sweep is spared before the next one, by how often that happened in
    /// a row. Also how long is waited before what a sweep left is looked at again.
    pub again: BackoffPolicy,
    /// How long one answer of the store of paces may take: 10 milliseconds to 1 minute.
    pub pace_timeout: Duration,
    /// How probes are made.
    pub probes: ProbePolicy,
    /// What holds for single dependencies.
    pub dependencies: BTreeMap<ServiceName, DependencyPolicy>,
    /// Domains whose entries are never swept.
    pub excluded_domains: BTreeSet<Domain>,
}

/// How probes are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbePolicy {
    /// How often, give or take half of it: 10 milliseconds to 1 day.
    pub every: Duration,
    /// How long one may take: 1 millisecond to 5 minutes.
    pub timeout: Duration,
    /// How many in a row say that the dependency is back: 1 to 100.
    pub successes: u32,
}

/// What holds for one dependency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DependencyPolicy {
    /// Whether its entries are never swept.
    pub disabled: bool,
    /// Its own pace, as [`RecoveryPolicy::per_second`].
    pub per_second: Option<f64>,
    /// Its own way of being probed.
    pub probes: Option<ProbePolicy>,
}

impl Default for ProbePolicy {
    fn default() -> Self {
        Self { every: Duration::from_secs(10), timeout: Duration::from_secs(3), successes: 2 }
    }
}

impl Default for RecoveryPolicy {
    fn default() -> Self {
        // Constants of this file that the policy accepts; its default is longer, not wrong.
        let again =
            BackoffPolicy::new(Duration::from_secs(10), 2.0, Duration::from_mins(5), Jitter::Equal);
        Self {
            enabled: true,
            per_second: 20.0,
            burst: 10,
            ramp_from: 1.0,
            ramp_over: Duration::from_secs(30),
            jitter: Duration::from_secs(5),
            stop_below: 0.5,
            min_sample: 10,
            concurrency: 4,
            rest: Duration::from_secs(10),
            again: again.unwrap_or_default(),
            pace_timeout: Duration::from_secs(2),
            probes: ProbePolicy::default(),
            dependencies: BTreeMap::new(),
            excluded_domains: BTreeSet::new(),
        }
    }
}

impl RecoveryPolicy {
    /// Whether every value lies in its range.
    ///
    /// # Errors
    ///
    /// Names the first value that does not.
    pub fn check(&self) -> Result<(), ReplayError> {
        self.check_ranges().map_err(ReplayError::Invalid)
    }

    fn check_ranges(&self) -> Result<(), String> {
        const HOUR: Duration = Duration::from_hours(1);
        within("burst", self.burst, 1..=1_000)?;
        within("jitter", self.jitter, Duration::ZERO..=Duration::from_mins(10))?;
        within("least share of successes", self.stop_below, 0.0..=1.0)?;
        within("least sample", self.min_sample, 1..=1_000)?;
        within("concurrency", self.concurrency, 1..=MAX_CONCURRENCY)?;
        within("rest", self.rest, Duration::ZERO..=HOUR)?;
        let pace_timeout = Duration::from_millis(10)..=Duration::from_mins(1);
        within("timeout of the pace", self.pace_timeout, pace_timeout)?;
        within("number of dependencies", self.dependencies.len(), 0..=MAX_DEPENDENCIES)?;
        self.probes.check()?;
        check_terms(&self.terms(None))?;
        for (name, own) in &self.dependencies {
            own.probes
                .unwrap_or(self.probes)
                .check()
                .map_err(|error| format!("{name}: {error}"))?;
            check_terms(&self.terms(Some(name))).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    /// The pace of a dependency, or the one of those that have none of their own.
    pub(super) fn terms(&self, dependency: Option<&ServiceName>) -> PaceTerms {
        let own = dependency.and_then(|name| self.dependencies.get(name)?.per_second);
        let per_second = own.unwrap_or(self.per_second);
        // A dependency with a slow pace of its own starts no faster than that.
        let from = if own.is_some() { self.ramp_from.min(per_second) } else { self.ramp_from };
        PaceTerms { per_second, burst: self.burst, ramp: Some((from, self.ramp_over)) }
    }

    pub(super) fn is_disabled(&self, dependency: &ServiceName) -> bool {
        self.dependencies.get(dependency).is_some_and(|own| own.disabled)
    }

    pub(super) fn probes_of(&self, dependency: &ServiceName) -> ProbePolicy {
        self.dependencies.get(dependency).and_then(|own| own.probes).unwrap_or(self.probes)
    }
}

impl ProbePolicy {
    fn check(&self) -> Result<(), String> {
        let every = Duration::from_millis(10)..=Duration::from_hours(24);
        within("interval of probes", self.every, every)?;
        let limit = Duration::from_millis(1)..=Duration::from_mins(5);
        within("timeout of probes", self.timeout, limit)?;
        within("number of successful probes", self.successes, 1..=100)
    }
}

fn check_terms(terms: &PaceTerms) -> Result<(), String> {
    let now = baldur_core::Timestamp::UNIX_EPOCH;
    pace(None::<PaceLevel>, terms, 1, now).map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_in_range_and_each_bound_is_checked() {
        let good = RecoveryPolicy::default();
        assert!(good.check().is_ok());
        let bad: [fn(&mut RecoveryPolicy); 9] = [
            |policy| policy.burst = 0,
            |policy| policy.per_second = 0.0,
            |policy| policy.ramp_from = policy.per_second + 1.0,
            |policy| policy.ramp_over = Duration::ZERO,
            |policy| policy.stop_below = 1.1,
            |policy| policy.stop_below = f64::NAN,
            |policy| policy.min_sample = 0,
            |policy| policy.concurrency = 0,
            |policy| policy.probes.successes = 0,
        ];
        for change in bad {
            let mut policy = good.clone();
            change(&mut policy);
            assert!(policy.check().is_err(), "{policy:?}");
        }
    }

    #[test]
    fn a_dependency_with_a_slow_pace_of_its_own_starts_no_faster() {
        let name = ServiceName::parse("gateway").expect("a name");
        let own = DependencyPolicy { per_second: Some(0.5), ..DependencyPolicy::default() };
        let mut policy = RecoveryPolicy::default();
        policy.dependencies.insert(name.clone(), own);
        assert!(policy.check().is_ok());
        let terms = policy.terms(Some(&name));
        assert_eq!((terms.per_second, terms.ramp.map(|ramp| ramp.0)), (0.5, Some(0.5)));
    }
}
