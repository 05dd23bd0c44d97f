//! Who captures under ever new names doesn't fill the memory of who records metrics. A process of its own, since names are
//! remembered for as long as one lives.

use std::{
    collections::BTreeSet,
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

use baldur_app::{
    CapturePolicy, CaptureService, Env, Oversize, Who,
    capture::{OverflowPolicy, OverflowWatch},
};
use baldur_core::{
    NewFailedOp, SystemClock,
    name::{Namespace, WorkerName},
};
use baldur_memory::MemoryStore;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

#[derive(Clone, Default)]
struct Series(Arc<Mutex<BTreeSet<String>>>);

impl Series {
    fn add(&self, key: &Key) {
        self.0.lock().expect("no panic inside").insert(key.to_string());
    }
}

impl Recorder for Series {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.add(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.add(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.add(key);
        Histogram::noop()
    }
}

#[tokio::test]
async fn ever_new_domains_make_a_bounded_number_of_series() {
    let series = Series::default();
    let recorder: &'static Series = Box::leak(Box::new(series.clone()));
    let _guard = metrics::set_default_local_recorder(recorder);
    let namespace = Namespace::default_namespace();
    let store = MemoryStore::new(namespace.clone(), Arc::new(SystemClock));
    let env = Env::system(namespace, WorkerName::parse("test").expect("a name"));
    let watched = Arc::new(OverflowWatch::new(Arc::new(store)));
    let overflow = OverflowPolicy { per_domain: NonZeroU64::new(1), ..OverflowPolicy::default() };
    let policy = CapturePolicy { overflow, ..CapturePolicy::default() };
    let service = CaptureService::new(watched, env, policy);
    for number in 0..5_000 {
        let op = NewFailedOp::new(format!("d{number}"), "TIMEOUT");
        let capture = service.prepare(op, &Who::system(), Oversize::Refuse).expect("good");
        for answer in service.keep(vec![capture]).await {
            answer.expect("kept");
        }
    }
    let series = series.0.lock().expect("no panic inside");
    assert!(series.len() < 3_100, "{} series", series.len());
    assert!(series.iter().any(|key| key.contains("(other)")));
}
