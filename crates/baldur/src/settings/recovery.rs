//! How entries are replayed once their dependency is back.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::form;

/// How entries are replayed once their dependency is back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RecoverySettings {
    /// Whether this process may replay by itself.
    pub enabled: bool,
    /// How many entries of a dependency are taken up per second by all processes together.
    pub per_second: f64,
    /// How many may be taken up at once after a pause, 1 to 1000.
    pub burst: u32,
    /// With how many per second a sweep starts, up to `per_second`.
    pub ramp_from: f64,
    /// How long it takes to reach the full pace, up to a day.
    #[serde(with = "form::duration")]
    pub ramp_over: Duration,
    /// A sweep starts after a random part of this, up to 10 min.
    #[serde(with = "form::duration")]
    pub jitter: Duration,
    /// Below which share of successes a sweep stops, 0 to 1.
    pub stop_below: f64,
    /// Over how many of the last results that share is taken, 1 to 1000.
    pub min_sample: usize,
    /// How many handlers one sweep has at work at once, 1 to 256.
    pub concurrency: usize,
    /// How long an entry that changed is left alone before its wait is cut short, up to 1 h.
    #[serde(with = "form::duration")]
    pub rest: Duration,
    /// Domains whose entries are never swept.
    pub excluded_domains: Vec<String>,
    /// How often claims that ran out are looked for, 1 s to 1 h.
    #[serde(with = "form::duration")]
    pub housekeeping_interval: Duration,
    /// What holds for single dependencies.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, DependencySettings>,
}

/// What holds for one dependency.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DependencySettings {
    /// Whether its entries are swept.
    pub enabled: bool,
    /// Its own pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// What is asked whether it is back, with `GET`; nothing when absent.
    #[serde(serialize_with = "form::hide", skip_serializing_if = "Option::is_none")]
    pub probe_url: Option<SecretString>,
    /// The hosts that `probe_url` may name. Required with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probe_allowed_hosts: Vec<String>,
    /// Headers of the probe.
    #[serde(serialize_with = "form::hide_values", skip_serializing_if = "BTreeMap::is_empty")]
    pub probe_headers: BTreeMap<String, SecretString>,
    /// Codes that mean that it is back; 200-299 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_success: Option<String>,
    /// How often it is asked, give or take half of it: 10 ms to a day.
    #[serde(with = "form::duration")]
    pub probe_interval: Duration,
    /// How long an answer may take, 1 ms to 5 min.
    #[serde(with = "form::duration")]
    pub probe_timeout: Duration,
    /// How many good answers in a row say that it is back, 1 to 100.
    pub probe_successes: u32,
}
