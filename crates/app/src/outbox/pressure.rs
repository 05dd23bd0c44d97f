//! Signals of an outbox that can't keep up.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use baldur_core::name::Domain;
use tokio::time::Instant;

use super::policy::{AlarmPolicy, OutboxPolicy};
use crate::metrics;

/// How long drops count for the rate, and in how many steps they are forgotten.
const WINDOW: Duration = Duration::from_mins(1);
const STEPS: u32 = 6;

/// For how many domains rates are kept in one step of the window. Further ones are counted under `other`.
const MAX_DOMAINS: usize = 64;

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// It is nearly full, in entries or bytes.
    Full,
    /// Its oldest capture waits for long.
    Old,
    /// Captures of a domain find no room.
    Dropping,
}

impl Alarm {
    /// Every alarm.
    pub const ALL: [Self; 3] = [Self::Full, Self::Old, Self::Dropping];

    /// The name in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Old => "old",
            Self::Dropping => "dropping",
        }
    }
}

/// How many captures of a domain found no room within the last minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropRate {
    /// The domain.
    pub domain: Domain,
    /// How many came.
    pub offered: u64,
    /// How many of them, or of those before them, were refused or thrown away for lack of room.
    pub dropped: u64,
}

impl DropRate {
    /// The share of captures that found no room, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
    pub fn share(&self) -> f64 {
        (self.dropped as f64 / self.offered.max(1) as f64).min(1.0)
    }
}

/// How many captures came and found no room, by domain.
type Counts = BTreeMap<Domain, (u64, u64)>;

/// Counts and alarms.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// Newest last, each with its start.
    steps: VecDeque<(Instant, Counts)>,
    raised: [bool; Alarm::ALL.len()],
}

/// The load of an outbox at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) entries: usize,
    pub(super) bytes: u64,
    pub(super) oldest: Duration,
}

impl Pressure {
    /// Counts a capture that came.
    pub(super) fn offered(&mut self, domain: &Domain) {
        self.counts(domain).0 += 1;
    }

    /// Counts a capture that found no room.
    pub(super) fn dropped(&mut self, domain: &Domain) {
        self.counts(domain).1 += 1;
    }

    pub(super) fn raised(&self) -> Vec<Alarm> {
        Alarm::ALL.into_iter().filter(|alarm| self.raised[*alarm as usize]).collect()
    }

    /// The rates of the last minute.
    pub(super) fn rates(&mut self) -> Vec<DropRate> {
        self.forget();
        let mut sums: BTreeMap<&Domain, (u64, u64)> = BTreeMap::new();
        for (domain, (offered, dropped)) in self.steps.iter().flat_map(|(_, counts)| counts) {
            let sum = sums.entry(domain).or_default();
            sum.0 += offered;
            sum.1 += dropped;
        }
        let rate = |(domain, (offered, dropped)): (&Domain, _)| DropRate {
            domain: domain.clone(),
            offered,
            dropped,
        };
        sums.into_iter().map(rate).collect()
    }

    /// Raises and clears alarms.
    pub(super) fn look(&mut self, load: Load, policy: &OutboxPolicy) {
        let Load { entries, bytes, oldest } = load;
        metrics::gauge(metrics::OUTBOX_ENTRIES, u64::try_from(entries).unwrap_or(u64::MAX));
        metrics::gauge(metrics::OUTBOX_BYTES, bytes);
        metrics::gauge(metrics::OUTBOX_OLDEST, oldest.as_secs());
        let AlarmPolicy { full, old, dropping, dropping_from } = policy.alarms;
        let fill = fill(entries, bytes, policy);
        self.set(Alarm::Full, fill, full, || format!("{:.0} % full", fill * 100.0));
        self.set(Alarm::Old, oldest.as_secs_f64(), old.as_secs_f64(), || {
            format!("the oldest waits for {} s", oldest.as_secs())
        });
        let worst = self
            .rates()
            .into_iter()
            .filter(|rate| rate.offered >= dropping_from)
            .max_by(|a, b| a.share().total_cmp(&b.share()));
        let share = worst.as_ref().map_or(0.0, DropRate::share);
        self.set(Alarm::Dropping, share, dropping, || {
            let domain = worst.as_ref().map_or("", |rate| rate.domain.as_str());
            format!("{:.1} % of {domain} find no room", share * 100.0)
        });
    }

    fn set(&mut self, alarm: Alarm, value: f64, threshold: f64, what: impl Fn() -> String) {
        let raised = &mut self.raised[alarm as usize];
        let name = alarm.as_str();
        if !*raised && value >= threshold {
            *raised = true;
            ::metrics::counter!(metrics::OUTBOX_ALARMS.name, "alarm" => name).increment(1);
            tracing::warn!(alarm = name, what = what(), "outbox.alarm_raised");
        } else if *raised && value < threshold / 2.0 {
            *raised = false;
            tracing::info!(alarm = name, "outbox.alarm_cleared");
        }
    }

    fn counts(&mut self, domain: &Domain) -> &mut (u64, u64) {
        let now = Instant::now();
        let fresh = self.steps.back().is_some_and(|(start, _)| *start + WINDOW / STEPS > now);
        if !fresh {
            self.forget();
            self.steps.push_back((now, BTreeMap::new()));
        }
        let last = self.steps.len() - 1;
        let counts = &mut self.steps[last].1;
        let known = counts.contains_key(domain) || counts.len() < MAX_DOMAINS;
        let domain = if known { domain.clone() } else { Domain::other() };
        counts.entry(domain).or_default()
    }

    fn forget(&mut self) {
        let now = Instant::now();
        while self.steps.front().is_some_and(|(start, _)| *start + WINDOW <= now) {
            self.steps.pop_front();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn fill(entries: usize, bytes: u64, policy: &OutboxPolicy) -> f64 {
    let by_entries = entries as f64 / policy.max_entries as f64;
    by_entries.max(bytes as f64 / policy.max_bytes as f64)
}
