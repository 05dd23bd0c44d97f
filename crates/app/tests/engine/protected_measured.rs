//! What guards tell by metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use baldur_app::{
    metrics::{ALL, Kind},
    protect::{CallFailure, ConcurrencyPolicy, OnDrop, RetryBudgetPolicy},
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use tokio::time::timeout;

use crate::{
    protected::{breaker, context, down},
    protected_order::{patient, tried},
    world::{SECOND, World, virtual_time},
};

/// Sums counters, counts what histograms get, and shows gauges, by name and labels.
#[derive(Clone, Default)]
pub(crate) struct Sums(Arc<Mutex<BTreeMap<String, u64>>>, Arc<Mutex<BTreeMap<String, f64>>>);

struct Sum(Sums, String);

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        *self.0.0.lock().expect("not poisoned").entry(self.1.clone()).or_default() += value;
    }

    fn absolute(&self, value: u64) {
        self.0.0.lock().expect("not poisoned").insert(self.1.clone(), value);
    }
}

impl HistogramFn for Sum {
    fn record(&self, _: f64) {
        CounterFn::increment(self, 1);
    }
}

impl GaugeFn for Sum {
    fn increment(&self, value: f64) {
        *self.0.1.lock().expect("not poisoned").entry(self.1.clone()).or_default() += value;
    }

    fn decrement(&self, value: f64) {
        GaugeFn::increment(self, -value);
    }

    fn set(&self, value: f64) {
        self.0.1.lock().expect("not poisoned").insert(self.1.clone(), value);
    }
}

impl Sums {
    fn of(&self, key: &Key) -> Arc<Sum> {
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let metric = ALL.iter().find(|metric| metric.name == key.name()).expect("in the catalogue");
        let names: Vec<_> = key.labels().map(metrics::Label::key).collect();
        assert_eq!(names, metric.labels, "{}", key.name());
        Arc::new(Sum(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.lock().expect("not poisoned").get(name).copied().unwrap_or_default()
    }

    /// What a gauge shows; `None` for one that nobody set.
    pub(crate) fn level(&self, name: &str) -> Option<f64> {
        self.1.lock().expect("not poisoned").get(name).copied()
    }
}

impl Recorder for Sums {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.of(key))
    }
}

fn measured(test: impl Future<Output = ()>) -> Sums {
    measured_by(|_| test)
}

/// Runs on one thread, whose recorder this is.
pub(crate) fn measured_by<F: Future<Output = ()>>(test: impl FnOnce(Sums) -> F) -> Sums {
    let sums = Sums::default();
    let test = test(sums.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    metrics::with_local_recorder(&sums, || runtime.block_on(test));
    sums
}

#[test]
fn each_call_is_counted_once_by_how_it_ended() {
    let sums = measured(async {
        let world = World::new();
        let guard = patient(&world)
            .timeout(SECOND)
            .retry_budget(RetryBudgetPolicy { ratio: 0.0, per_second: 0.0, burst: 3 })
            .on_drop(OnDrop::Ignore)
            .build()
            .expect("a good policy");
        let rejected = CallFailure::rejected("DECLINED", "no money");
        let permanent = CallFailure::permanent("BAD_REQUEST", "no such field");
        let _ = tried(&guard, Ok).await;
        let _ = tried(&guard, |_| Err(rejected.clone())).await;
        let _ = tried(&guard, |_| Err(permanent.clone())).await;
        // Two retries, then one, then the budget is empty.
        let _ = tried(&guard, |_| Err(down())).await;
        let _ = tried(&guard, |_| Err(down())).await;
        let endless = |_, _| std::future::pending::<Result<(), CallFailure>>();
        let _ = guard.call(context(), endless).await;
        let _ = timeout(SECOND / 2, guard.call(context(), endless)).await;
    });
    let calls = |outcome| {
        sums.get(&format!("baldur_protect_calls_total{{dependency=gateway,outcome={outcome}}}"))
    };
    assert_eq!((calls("success"), calls("rejected"), calls("permanent")), (1, 1, 1));
    assert_eq!((calls("failed"), calls("timeout"), calls("dropped")), (2, 1, 1));
    assert_eq!(sums.get("baldur_protect_call_seconds{dependency=gateway}"), 7);
    assert_eq!(sums.get("baldur_protect_retries_total{dependency=gateway}"), 3);
    let refused = sums.get("baldur_protect_retries_refused_total{dependency=gateway,by=budget}");
    assert_eq!(refused, 2);
}

#[test]
fn refusals_are_counted_by_who_refused() {
    let sums = measured(async {
        let world = World::new();
        let concurrency = ConcurrencyPolicy { calls: 1, waiting: 0, max_wait: SECOND };
        let guard = patient(&world)
            .deadline(SECOND * 2)
            .timeout(SECOND)
            .breaker(breaker(3, 1))
            .concurrency(concurrency)
            .build()
            .expect("a good policy");
        let other = guard.clone();
        let running = tokio::spawn(async move {
            let endless = |_, _| std::future::pending::<Result<(), CallFailure>>();
            other.call(context(), endless).await.is_err()
        });
        virtual_time(SECOND / 10).await;
        let _ = tried(&guard, Ok).await;
        // A second passes in the try, and the pause would take the other.
        assert!(running.await.expect("no panic"));
        let _ = tried(&guard, |_| Err(down().retry_after(SECOND * 60))).await;
        let _ = tried(&guard, |_| Err(down().retry_after(SECOND * 60))).await;
        let _ = tried(&guard, Ok).await;
    });
    let refused = |by| {
        sums.get(&format!("baldur_protect_retries_refused_total{{dependency=gateway,by={by}}}"))
    };
    assert_eq!((refused("deadline"), refused("retry_after")), (1, 2));
    assert_eq!(sums.get("baldur_protect_bulkhead_refusals_total{dependency=gateway}"), 1);
    let calls = |outcome| {
        sums.get(&format!("baldur_protect_calls_total{{dependency=gateway,outcome={outcome}}}"))
    };
    assert_eq!((calls("bulkhead_full"), calls("circuit_open")), (1, 1));
}

#[test]
fn the_catalogue_is_in_order_and_its_names_follow_the_rule() {
    assert!(ALL.is_sorted_by(|one, next| one.name < next.name));
    for metric in ALL {
        assert!(metric.name.starts_with("baldur_"), "{}", metric.name);
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{}",
            metric.name
        );
    }
}
