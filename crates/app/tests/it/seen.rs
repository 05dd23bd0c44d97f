//! What a test's thread logs and measures.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, LocalRecorderGuard, Metadata,
    Recorder, SharedString, Unit,
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

type Values = Arc<Mutex<BTreeMap<(String, String), f64>>>;
type Lines = Arc<Mutex<Vec<String>>>;

/// Everything that this thread logs and measures while it lives.
pub(crate) struct Seen {
    values: Values,
    lines: Lines,
    _logs: DefaultGuard,
    _metrics: LocalRecorderGuard<'static>,
}

impl Seen {
    pub(crate) fn start() -> Self {
        let (values, lines) = (Values::default(), Lines::default());
        let logs = tracing::subscriber::set_default(Logs(Arc::clone(&lines)));
        // The guard borrows its recorder, which a test may leave behind.
        let recorder: &'static Measures = Box::leak(Box::new(Measures(Arc::clone(&values))));
        let metrics = metrics::set_default_local_recorder(recorder);
        Self { values, lines, _logs: logs, _metrics: metrics }
    }

    /// The events with this name, their fields in order.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        let lines = self.lines.lock().expect("no panic inside");
        lines.iter().filter(|line| line.contains(name)).cloned().collect()
    }

    /// The value of a metric for this domain.
    pub(crate) fn metric(&self, name: &str, domain: &str) -> Option<f64> {
        let key = (name.to_owned(), domain.to_owned());
        self.values.lock().expect("no panic inside").get(&key).copied()
    }
}

struct Logs(Lines);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Logs {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("no panic inside").push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Measures(Values);

struct Cell {
    values: Values,
    key: (String, String),
}

impl Cell {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut values = self.values.lock().expect("no panic inside");
        let value = values.entry(self.key.clone()).or_default();
        *value = change(*value);
    }
}

#[expect(clippy::cast_precision_loss, reason = "tests count little")]
impl CounterFn for Cell {
    fn increment(&self, by: u64) {
        self.change(|value| value + by as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl Measures {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let domain = key.labels().find(|label| label.key() == "domain");
        let domain = domain.map_or("", |label| label.value()).to_owned();
        Arc::new(Cell { values: Arc::clone(&self.0), key: (key.name().to_owned(), domain) })
    }
}

impl Recorder for Measures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
