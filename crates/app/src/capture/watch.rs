//! Watching limits: what goes is logged and counted, and alarms are raised before nothing fits any more.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use baldur_core::{
    command::{Capture, LiveLimits},
    name::Domain,
    port::{CaptureError, CaptureStore, Captured, Evicted, LimitScope, LiveCounts},
};

use crate::{
    labels,
    metrics::{
        OVERFLOW_ALARM_PERCENT, OVERFLOW_EVICTIONS, OVERFLOW_LIVE_ENTRIES, OVERFLOW_REFUSALS,
    },
};

/// At which share of a limit alarms are raised, in percent.
pub const ALARM_PERCENTS: [u8; 3] = [70, 85, 95];

/// How far below its percentage the share must fall before an alarm is cleared, and can be raised again.
pub const ALARM_HYSTERESIS: u8 = 5;

/// How many domains have alarms of their own. Captures admit few domains; a bug that makes many must not fill memory.
const MOST_DOMAINS: usize = 10_000;

/// What stands for the domain in the metrics of the limit in all. No domain has parentheses.
const ALL_DOMAINS: &str = "(all)";

/// A store whose limits are watched. Put it around the store itself, not around a queue in front of it: it learns from the
/// store's answers.
///
/// - `overflow.entry_evicted` says what went to make room, and for which capture.
/// - `overflow.alarm_raised` says that live entries reached [70, 85 or 95 %](ALARM_PERCENTS) of a limit; `overflow.alarm_cleared` that
///   they fell [5 points](ALARM_HYSTERESIS) below it. Both are noticed at captures of the domain, by each process for itself.
#[derive(Clone)]
pub struct OverflowWatch {
    store: Arc<dyn CaptureStore>,
    alarms: Arc<Mutex<Alarms>>,
}

impl OverflowWatch {
    /// Watches the answers of `store`.
    pub fn new(store: Arc<dyn CaptureStore>) -> Self {
        Self { store, alarms: Arc::default() }
    }

    fn observe(&self, asked: &Asked, answer: &Result<Captured, CaptureError>) {
        let Asked { domain, limits, id } = asked;
        match answer {
            Ok(Captured { live, evicted, .. }) => {
                for gone in evicted {
                    log_evicted(gone, id);
                }
                let Some(LiveCounts { in_domain, in_all }) = *live else { return };
                if let Some(limit) = limits.in_domain {
                    self.seen(LimitScope::Domain, domain, in_domain, limit.get());
                }
                if let Some(limit) = limits.in_all {
                    self.seen(LimitScope::All, domain, in_all, limit.get());
                }
            }
            Err(CaptureError::LimitReached { scope, live, limit }) => {
                metrics::counter!(
                    OVERFLOW_REFUSALS.name,
                    "domain" => labels::domain(domain), "scope" => scope.as_str()
                )
                .increment(1);
                self.seen(*scope, domain, *live, *limit);
            }
            Err(_) => {}
        }
    }

    fn seen(&self, scope: LimitScope, domain: &Domain, live: u64, limit: u64) {
        let domain = match scope {
            LimitScope::Domain => Some(domain),
            LimitScope::All => None,
        };
        let name = domain.map_or(ALL_DOMAINS, Domain::as_str);
        // Alarms are plain data: after a panic elsewhere they are as good as before.
        let changes =
            self.alarms.lock().unwrap_or_else(PoisonError::into_inner).seen(domain, live, limit);
        let label = domain.map_or(Some(ALL_DOMAINS.to_owned()), |_| labels::own_domain(name));
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        if let Some(label) = &label {
            metrics::gauge!(OVERFLOW_LIVE_ENTRIES.name, "domain" => label.clone()).set(live as f64);
        }
        for change in changes {
            let scope = scope.as_str();
            let now = match change {
                Change::Raised(percent) => {
                    tracing::warn!(
                        scope,
                        domain = name,
                        percent,
                        live,
                        limit,
                        "overflow.alarm_raised"
                    );
                    percent
                }
                Change::Cleared { percent, then } => {
                    tracing::info!(
                        scope,
                        domain = name,
                        percent,
                        live,
                        limit,
                        "overflow.alarm_cleared"
                    );
                    then
                }
            };
            if let Some(label) = &label {
                metrics::gauge!(OVERFLOW_ALARM_PERCENT.name, "domain" => label.clone()).set(now);
            }
        }
    }
}

fn log_evicted(gone: &Evicted, newcomer: &baldur_core::EntryId) {
    let Evicted { id, domain, failure_type, dependency, status, captured_at, occurrences } = gone;
    tracing::warn!(
        id = %id,
        domain = %domain,
        failure_type = %failure_type,
        dependency = %dependency,
        status = status.as_str(),
        captured_at = %captured_at,
        occurrences,
        made_room_for = %newcomer,
        "overflow.entry_evicted"
    );
    metrics::counter!(OVERFLOW_EVICTIONS.name, "domain" => labels::domain(domain)).increment(1);
}

/// What is known of a capture when its answer comes.
struct Asked {
    domain: Domain,
    limits: LiveLimits,
    id: baldur_core::EntryId,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CaptureStore for OverflowWatch {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let asked = |capture: &Capture| {
            let (domain, id) = (capture.op.domain.clone(), capture.op.id);
            capture.limits.map(|limits| Asked { domain, limits, id })
        };
        let asked: Vec<Option<Asked>> = captures.iter().map(asked).collect();
        let answers = self.store.capture_batch(captures).await;
        for (asked, answer) in asked.iter().zip(&answers) {
            if let Some(asked) = asked {
                self.observe(asked, answer);
            }
        }
        answers
    }
}

impl fmt::Debug for OverflowWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverflowWatch").field("store", &self.store).finish_non_exhaustive()
    }
}

/// A change of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// This percentage was reached.
    Raised(u8),
    /// The share fell well below `percent`; the highest alarm that stays is `then`, or 0.
    Cleared { percent: u8, then: u8 },
}

/// The highest alarm that is raised, by domain and, under no name, for all.
#[derive(Debug, Default)]
struct Alarms(HashMap<Option<Domain>, u8>);

impl Alarms {
    /// Takes notice of a number of live entries. Domains without an alarm take no memory.
    fn seen(&mut self, domain: Option<&Domain>, live: u64, limit: u64) -> Vec<Change> {
        let share = share(live, limit);
        let key = domain.cloned();
        let before = self.0.get(&key).copied().unwrap_or_default();
        let reached = ALARM_PERCENTS.into_iter().filter(|percent| *percent <= share).max();
        let mut raised = before;
        let mut changes = Vec::new();
        if let Some(reached) = reached.filter(|reached| *reached > before) {
            raised = reached;
            changes.push(Change::Raised(reached));
        }
        while raised > 0 && share < raised - ALARM_HYSTERESIS {
            let lower = ALARM_PERCENTS.into_iter().filter(|percent| *percent < raised).max();
            let then = lower.unwrap_or_default();
            changes.push(Change::Cleared { percent: raised, then });
            raised = then;
        }
        if raised == 0 {
            self.0.remove(&key);
        } else if self.0.len() < MOST_DOMAINS || self.0.contains_key(&key) {
            self.0.insert(key, raised);
        }
        changes
    }
}

/// How much of the limit is used, in whole percent, cut at 200.
fn share(live: u64, limit: u64) -> u8 {
    let percent = u128::from(live) * 100 / u128::from(limit.max(1));
    u8::try_from(percent.min(200)).unwrap_or(200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).expect("a domain")
    }

    /// What the alarm of a limit of 100 does at these numbers, one after the other.
    fn changes(live: &[u64]) -> Vec<Vec<Change>> {
        let mut alarms = Alarms::default();
        live.iter().map(|live| alarms.seen(None, *live, 100)).collect()
    }

    #[test]
    fn an_alarm_is_raised_once_at_each_percentage() {
        use Change::Raised;
        assert_eq!(
            changes(&[69, 70, 71, 85, 94, 95, 100, 130]),
            [
                vec![],
                vec![Raised(70)],
                vec![],
                vec![Raised(85)],
                vec![],
                vec![Raised(95)],
                vec![],
                vec![]
            ]
        );
    }

    #[test]
    fn a_jump_raises_the_highest_that_it_reached() {
        assert_eq!(changes(&[10, 96, 97]), [vec![], vec![Change::Raised(95)], vec![]]);
    }

    #[test]
    fn an_alarm_is_cleared_five_points_below_and_can_be_raised_again() {
        use Change::{Cleared, Raised};
        assert_eq!(
            changes(&[95, 90, 95, 89, 95, 64, 70]),
            [
                vec![Raised(95)],
                vec![],
                vec![],
                vec![Cleared { percent: 95, then: 85 }],
                vec![Raised(95)],
                vec![
                    Cleared { percent: 95, then: 85 },
                    Cleared { percent: 85, then: 70 },
                    Cleared { percent: 70, then: 0 },
                ],
                vec![Raised(70)],
            ]
        );
    }

    #[test]
    fn numbers_around_a_threshold_do_not_flap() {
        let noisy: Vec<u64> = (0..100).map(|n| if n % 2 == 0 { 70 } else { 66 }).collect();
        let all: Vec<Change> = changes(&noisy).into_iter().flatten().collect();
        assert_eq!(all, [Change::Raised(70)]);
    }

    #[test]
    fn domains_have_alarms_of_their_own_and_quiet_ones_are_forgotten() {
        let mut alarms = Alarms::default();
        assert_eq!(alarms.seen(Some(&domain("a")), 9, 10), [Change::Raised(85)]);
        assert_eq!(alarms.seen(None, 9, 10), [Change::Raised(85)]);
        assert_eq!(alarms.seen(Some(&domain("b")), 1, 10), []);
        assert_eq!(alarms.0.len(), 2);
        alarms.seen(Some(&domain("a")), 0, 10);
        assert_eq!(alarms.0.len(), 1);
    }

    #[test]
    fn a_share_of_any_number_is_told() {
        assert_eq!(share(u64::MAX, 1), 200);
        assert_eq!(share(0, u64::MAX), 0);
        assert_eq!(share(699, 1_000), 69);
        assert_eq!(share(u64::MAX, u64::MAX), 100);
    }
}
