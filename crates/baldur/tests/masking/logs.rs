//! Everything that is logged, at every level.

use std::{
    fmt::{self, Write as _},
    sync::{Mutex, Once},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

static WRITTEN: Mutex<String> = Mutex::new(String::new());

/// Keeps what is logged from now on, by any thread.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Keep).expect("the first"));
}

/// What was logged since the last time.
pub(crate) fn taken() -> String {
    std::mem::take(&mut *WRITTEN.lock().expect("not poisoned"))
}

struct Keep;

struct Fields<'t>(&'t mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = writeln!(self.0, "{field}={value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = writeln!(self.0, "{field}={value}");
    }
}

impl Subscriber for Keep {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields(&mut WRITTEN.lock().expect("not poisoned")));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut WRITTEN.lock().expect("not poisoned")));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Fields(&mut WRITTEN.lock().expect("not poisoned")));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
