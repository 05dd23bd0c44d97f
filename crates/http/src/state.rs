//! What the routes share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use baldur_app::{CaptureService, EntryService, Env, Outbox};
use baldur_core::{
    BackendError, BackendKind, Filter,
    port::{ReadError, SpoolStatus},
};
use tokio::{
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    hosts::Hosts,
    keys::ApiKeys,
    problem::{self, Health, Problem},
};

/// How long an answer of the store to "are you there" is good for. Probes may come as often as they like.
const PROBE_FOR: Duration = Duration::from_secs(1);

/// Renders the metrics of this process as Prometheus text.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// What a server is made of.
#[derive(Clone)]
pub struct Parts {
    /// Keeps operations. `/readyz` and `/metrics` tell of the spool and the outbox on its ways.
    pub capture: CaptureService,
    /// Reads entries.
    pub entries: EntryService,
    /// Time.
    pub env: Env,
    /// Who may do what.
    pub keys: ApiKeys,
    /// Under which names the server is asked.
    pub hosts: Hosts,
    /// Bounds.
    pub limits: Limits,
    /// The metrics of this process; `/metrics` is not there without.
    pub metrics: Option<Render>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Bounds on time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body of a single operation, in bytes.
    pub body_bytes: usize,
    /// How many bytes of such bodies may be held at once, over all requests.
    pub buffered_bytes: usize,
    /// How many NDJSON streams may run at once. Each holds up to about 64 MiB at worst, and 2 MiB as a rule.
    pub streams: usize,
    /// How long a body or a line of a stream may take to arrive, and the store to answer.
    pub request_timeout: Duration,
    /// How long the store may take to answer `/readyz` and `/metrics`.
    pub probe_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            buffered_bytes: 128 << 20,
            streams: 16,
            request_timeout: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(2),
        }
    }
}

/// The state of a server. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    /// Bytes of bodies, in KiB.
    buffers: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    draining: AtomicBool,
    stopping: CancellationToken,
    probe: Probe,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").field("parts", &self.inner.parts).finish_non_exhaustive()
    }
}

impl ApiState {
    /// A server of these parts.
    pub fn new(parts: Parts) -> Self {
        let kib = parts.limits.buffered_bytes.div_ceil(1 << 10).min(Semaphore::MAX_PERMITS);
        let streams = parts.limits.streams.min(Semaphore::MAX_PERMITS);
        let inner = Inner {
            parts,
            buffers: Arc::new(Semaphore::new(kib)),
            streams: Arc::new(Semaphore::new(streams)),
            draining: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            probe: Probe { last: Mutex::new(None), turn: Semaphore::new(1) },
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    pub(crate) fn limits(&self) -> Limits {
        self.inner.parts.limits
    }

    pub(crate) fn buffers(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.buffers)
    }

    pub(crate) fn streams(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.streams)
    }

    /// From now on the server says that it is not ready; it goes on answering.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// From now on streams take no further lines.
    pub fn stop_streams(&self) {
        self.inner.stopping.cancel();
    }

    pub(crate) fn stopping(&self) -> CancellationToken {
        self.inner.stopping.clone()
    }

    /// What the store has to say within the request's time.
    pub(crate) async fn in_time<T, E>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem>
    where
        Problem: From<E>,
    {
        match timeout(self.limits().request_timeout, answer).await {
            Ok(answer) => answer.map_err(Problem::from),
            Err(Elapsed { .. }) => Err(Problem::of_store(&late("answer"))),
        }
    }

    /// How the parts of the server are, and whether all of them are well.
    pub(crate) async fn health(&self) -> (Health, bool) {
        let draining = self.inner.draining.load(Ordering::Relaxed);
        let store = self.store().await;
        let server = if draining { "shutting_down" } else { OK };
        let routes = self.inner.parts.capture.routes();
        let spool = routes.spool.as_ref().map(|spool| of_spool(&spool.status()));
        let outbox = routes.outbox.as_ref().map(of_outbox);
        // A capture that is spooled is kept. One that is only in memory is not, and a full outbox doesn't hinder the others.
        let kept = store == OK || spool == Some(OK);
        let well = !draining && kept && outbox != Some(CLOSED);
        (Health { server, store, spool, outbox }, well)
    }

    /// `ok`, or the kind of the store's trouble.
    pub(crate) async fn store(&self) -> &'static str {
        let probe = &self.inner.probe;
        if let Some(known) = probe.known(self.now()) {
            return known;
        }
        // One asks, the others wait for what it learns.
        let Ok(_turn) = probe.turn.acquire().await else { return problem::OTHER.code };
        if let Some(known) = probe.known(self.now()) {
            return known;
        }
        let asked = self.inner.parts.entries.count(Filter::default(), 1);
        let word = match timeout(self.limits().probe_timeout, asked).await {
            Ok(Ok(_)) => OK,
            Ok(Err(ReadError::Backend(error))) => error.kind().as_str(),
            Ok(Err(_)) => problem::OTHER.code,
            Err(Elapsed { .. }) => BackendKind::Timeout.as_str(),
        };
        probe.learn(self.now(), word);
        word
    }

    fn now(&self) -> Duration {
        self.inner.parts.env.clock.mono()
    }
}

/// What the store is when it answers.
pub(crate) const OK: &str = "ok";

/// What the outbox is after the end of Baldur's services.
const CLOSED: &str = "closed";

/// What is full.
const FULL: &str = "full";

/// `ok`, or `full`: less than a 16th of its room is left, and less than 1 MiB. A larger record may find no room before.
fn of_spool(status: &SpoolStatus) -> &'static str {
    let least = (status.max_bytes / 16).min(1 << 20);
    if status.max_bytes.saturating_sub(status.bytes) < least { FULL } else { OK }
}

/// `ok`, `full`, or `closed`.
fn of_outbox(outbox: &Outbox) -> &'static str {
    let (status, policy) = (outbox.status(), outbox.policy());
    if status.closed {
        CLOSED
    } else if status.entries >= policy.max_entries || status.bytes >= policy.max_bytes {
        FULL
    } else {
        OK
    }
}

/// A store that takes too long. What it does in the end is not known.
pub(crate) fn late(operation: &'static str) -> BackendError {
    BackendError::new("store", operation, BackendKind::Timeout)
}

/// What is known of the store.
struct Probe {
    last: Mutex<Option<(Duration, &'static str)>>,
    turn: Semaphore,
}

impl Probe {
    fn known(&self, now: Duration) -> Option<&'static str> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| now.saturating_sub(*at) < PROBE_FOR).map(|(_, word)| word)
    }

    fn learn(&self, now: Duration, word: &'static str) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, word));
    }
}
