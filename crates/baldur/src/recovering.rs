//! Settings as recovery and circuit breakers want them.

use std::{collections::BTreeMap, sync::Arc};

use baldur_app::{
    HousekeepingPolicy,
    breakers::SyncPolicy,
    recovery::{DependencyPolicy, ProbePolicy, RecoveryPolicy},
};
use baldur_core::{
    name::{Domain, ServiceName},
    port::Probe,
};

use crate::{
    OpenError,
    policies::unusable,
    settings::{BreakersSettings, DependencySettings, RecoverySettings, SettingsError},
};

impl Default for RecoverySettings {
    fn default() -> Self {
        let RecoveryPolicy {
            enabled,
            per_second,
            burst,
            ramp_from,
            ramp_over,
            jitter,
            stop_below,
            min_sample,
            concurrency,
            rest,
            again: _,
            pace_timeout: _,
            probes: _,
            dependencies: _,
            excluded_domains: _,
        } = RecoveryPolicy::default();
        Self {
            enabled,
            per_second,
            burst,
            ramp_from,
            ramp_over,
            jitter,
            stop_below,
            min_sample,
            concurrency,
            rest,
            excluded_domains: Vec::new(),
            housekeeping_interval: HousekeepingPolicy::default().every,
            dependencies: BTreeMap::new(),
        }
    }
}

impl Default for DependencySettings {
    fn default() -> Self {
        let ProbePolicy { every, timeout, successes } = ProbePolicy::default();
        Self {
            enabled: true,
            per_second: None,
            probe_url: None,
            probe_allowed_hosts: Vec::new(),
            probe_headers: BTreeMap::new(),
            probe_success: None,
            probe_interval: every,
            probe_timeout: timeout,
            probe_successes: successes,
        }
    }
}

impl Default for BreakersSettings {
    fn default() -> Self {
        let SyncPolicy { interval, store_timeout, follow: _ } = SyncPolicy::default();
        Self { shared: true, interval, store_timeout }
    }
}

impl BreakersSettings {
    /// How they are shared, if they are. The values are looked at in any case.
    pub(crate) fn policy(&self) -> Result<Option<SyncPolicy>, SettingsError> {
        let Self { shared, interval, store_timeout } = *self;
        // Recovery follows once it starts: processes that replay nothing by themselves needn't.
        let policy = SyncPolicy { interval, store_timeout, follow: false };
        policy.check().map_err(|error| unusable("breakers", &error))?;
        Ok(shared.then_some(policy))
    }
}

impl RecoverySettings {
    pub(crate) fn policy(&self) -> Result<RecoveryPolicy, SettingsError> {
        let mut policy = RecoveryPolicy {
            enabled: self.enabled,
            per_second: self.per_second,
            burst: self.burst,
            ramp_from: self.ramp_from,
            ramp_over: self.ramp_over,
            jitter: self.jitter,
            stop_below: self.stop_below,
            min_sample: self.min_sample,
            concurrency: self.concurrency,
            rest: self.rest,
            ..RecoveryPolicy::default()
        };
        for name in &self.excluded_domains {
            let domain = Domain::parse(name)
                .map_err(|error| unusable("recovery.excluded_domains", &error))?;
            policy.excluded_domains.insert(domain);
        }
        for (name, own) in &self.dependencies {
            policy.dependencies.insert(dependency(name)?, own.policy());
        }
        policy.check().map_err(|error| unusable("recovery", &error))?;
        Ok(policy)
    }

    pub(crate) fn housekeeping(&self) -> HousekeepingPolicy {
        HousekeepingPolicy { every: self.housekeeping_interval, ..HousekeepingPolicy::default() }
    }
}

impl DependencySettings {
    fn policy(&self) -> DependencyPolicy {
        let probes = ProbePolicy {
            every: self.probe_interval,
            timeout: self.probe_timeout,
            successes: self.probe_successes,
        };
        DependencyPolicy {
            disabled: !self.enabled,
            per_second: self.per_second,
            probes: Some(probes),
        }
    }
}

fn dependency(name: &str) -> Result<ServiceName, SettingsError> {
    ServiceName::parse(name).map_err(|error| unusable("recovery.dependencies", &error))
}

/// Who is asked whether a dependency is back.
type Probes = Vec<(ServiceName, Arc<dyn Probe>)>;

/// The probes that the settings describe.
pub(crate) fn probes(settings: &RecoverySettings) -> Result<Probes, OpenError> {
    let mut probes = Vec::new();
    for (name, own) in &settings.dependencies {
        if own.probe_url.is_some() {
            probes.push((dependency(name)?, probe(name, own)?));
        }
    }
    Ok(probes)
}

/// This build can't send any.
#[cfg(not(feature = "http-target"))]
fn probe(_name: &str, _own: &DependencySettings) -> Result<Arc<dyn Probe>, OpenError> {
    Err(OpenError::NoHttpTarget)
}

#[cfg(feature = "http-target")]
fn probe(name: &str, own: &DependencySettings) -> Result<Arc<dyn Probe>, OpenError> {
    use baldur_http_target::{AllowedHost, HttpProbe, HttpProbeConfig};

    let key = |field: &str| format!("recovery.dependencies.{name}.{field}");
    let hosts = own.probe_allowed_hosts.iter().map(|host| AllowedHost::parse(host));
    let hosts = hosts
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(&key("probe_allowed_hosts"), &error))?;
    let url = own.probe_url.clone().unwrap_or_default();
    let mut config = HttpProbeConfig::new(url, hosts);
    config.headers.clone_from(&own.probe_headers);
    config.timeout = own.probe_timeout;
    if let Some(codes) = &own.probe_success {
        config.success = codes.parse().map_err(|error| unusable(&key("probe_success"), &error))?;
    }
    let probe = HttpProbe::new(config)
        .map_err(|error| unusable(&format!("recovery.dependencies.{name}"), &error))?;
    Ok(Arc::new(probe))
}
