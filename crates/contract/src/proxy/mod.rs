//! A TCP proxy that does to connections what networks do, when a test says so.
//!
//! It stands between a client under test and a real server, and knows nothing of their protocol. Faults are set while
//! it runs: what passes on a connection ([`Flow`]), how new ones are met ([`Admission`]), their end ([`Ending`]), and
//! faults at a point in the protocol ([`Trap`]). A [`Schedule`] plays them by itself, from a seed.
//!
//! ```no_run
//! use baldur_contract::proxy::{Direction, FaultProxy, Flow, Pattern, Scope, Trap};
//!
//! # async fn test(server: std::net::SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
//! let proxy = FaultProxy::start(server).await?;
//! // … a client connects to `proxy.address()` …
//!
//! // The second COMMIT is carried out, and its client never learns it.
//! proxy.arm(Trap::cut_after_send(Pattern::bytes("COMMIT")).nth(2));
//! // … the client commits twice …
//! proxy.wait_for(|seen| seen.faults.cut_after_send == 1).await.expect("cut");
//!
//! // A partition, and its end.
//! proxy.set(Scope::All, Direction::Both, Flow::Stall);
//! proxy.set(Scope::All, Direction::Both, Flow::Pass);
//! proxy.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! - Bytes that a client sends after a setting was made meet that setting; so do bytes from the server. Connections
//!   that a client opened may wait to be accepted: they are [`Scope::New`] until [`Counters::accepted`] counts them.
//! - What arrives is a prefix of what was sent, whatever is set in whichever order.
//! - A trap happens once, to one connection.
//! - When the proxy is dropped or shut down, all of its connections end, and its port is free.
//!
//! # Limits
//!
//! - It delays, holds and loses bytes, not packets: what it has read is acknowledged. For partitions below TCP, where
//!   keep-alives of the kernel fail, something else is needed.
//! - Settings are not a barrier for bytes that were read before and wait in a delay; they meet the new setting, too.
//! - Over TLS patterns see only what TLS makes of the bytes, so traps want a connection without.
//! - It listens on 127.0.0.1 only, and takes real time: it is not made for tokio's paused clock.

mod counters;
mod door;
mod fault;
mod link;
mod pattern;
mod pump;
mod schedule;
mod trap;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

pub use counters::{Counters, Faults, Traffic};
pub use fault::{Admission, Direction, Ending, Flow, Latency, Scope};
pub use pattern::Pattern;
pub use schedule::{Fault, Playback, Schedule, Span, Step};
pub use trap::Trap;

use crate::Failure;
use door::{Command, Door};
use fault::Way;
use link::{Flows, Link, OnTheBooks};
use trap::Armed;

/// How many commands may wait for the door.
const COMMANDS: usize = 16;

/// A proxy in front of one server. See [the module](self).
pub struct FaultProxy {
    address: SocketAddr,
    control: Control,
    door: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`, which is connected to for each client anew. It
    /// need not be there yet.
    ///
    /// Must be called on a tokio runtime with time and I/O. Fails when no port can be had.
    #[expect(clippy::unused_async, reason = "so that starting may come to wait for something")]
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let door = Door::open(Arc::clone(&shared), upstream)?;
        let address = door.address();
        let (commands, told) = mpsc::channel(COMMANDS);
        let door = tokio::spawn(door.run(told));
        Ok(Self { address, control: Control { shared, commands }, door })
    }

    /// Where clients connect to. It stays the same.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what passes on connections, from now on and until it is set again.
    pub fn set(&self, scope: Scope, direction: Direction, flow: Flow) {
        self.control.shared.set(scope, direction, flow);
    }

    /// Sets how new connections are met. Existing ones stay as they are.
    ///
    /// Done when this returns. Fails when another process has taken the port in the moment between listening on it and
    /// keeping it, which takes one that asks for just this port; and when the proxy has ended.
    pub async fn admit(&self, admission: Admission) -> io::Result<()> {
        self.control.admit(admission).await
    }

    /// Ends all connections that exist, half-open ones too, and returns how many there were. New ones are welcome.
    pub fn end(&self, ending: Ending) -> usize {
        self.control.shared.end(ending)
    }

    /// Arms a trap. Several can be armed at a time; one that was sprung is gone.
    pub fn arm(&self, trap: Trap) {
        self.control.shared.traps.send_modify(|armed| armed.push(Armed::new(trap)));
    }

    /// Takes away all traps that were not sprung.
    pub fn disarm(&self) {
        self.control.shared.traps.send_modify(Vec::clear);
    }

    /// Plays a schedule; it begins soon after this returns. Settings made beside it, and those of another schedule, overwrite each other.
    pub fn play(&self, schedule: Schedule) -> Playback {
        Playback::start(self.control.clone(), schedule)
    }

    /// What the proxy saw and did so far.
    pub fn counters(&self) -> Counters {
        *self.control.shared.counters.borrow()
    }

    /// Waits until the counters are so, and returns them as they were then. Fails after 30 s, and says how far they
    /// came.
    pub async fn wait_for(
        &self,
        condition: impl FnMut(&Counters) -> bool + Send,
    ) -> Result<Counters, Failure> {
        counters::wait_for(&self.control.shared.counters, condition).await
    }

    /// Ends all connections and frees the port, and waits for that.
    pub async fn shutdown(self) {
        let (done, ended) = oneshot::channel();
        if self.control.commands.send(Command::Shutdown(done)).await.is_ok() {
            // An error says that the door has gone, which is what we wait for.
            let _ = ended.await;
        }
    }
}

impl Drop for FaultProxy {
    /// Ends all connections and frees the port, soon.
    fn drop(&mut self) {
        self.door.abort();
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("address", &self.address)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

/// What faults are set with, by the test and by a schedule.
#[derive(Clone)]
struct Control {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Control {
    async fn admit(&self, admission: Admission) -> io::Result<()> {
        let gone = || io::Error::other("the proxy has ended");
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(Command::Admit(admission, answer)).await;
        sent.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Waits for the end of the proxy.
    async fn closed(&self) {
        self.commands.closed().await;
    }
}

/// What all connections share.
#[derive(Debug, Default)]
struct Shared {
    books: Mutex<Books>,
    traps: watch::Sender<Vec<Arc<Armed>>>,
    counters: watch::Sender<Counters>,
}

/// The open connections, and what new ones begin with.
#[derive(Debug, Default)]
struct Books {
    links: BTreeMap<u64, Arc<Link>>,
    next: u64,
    for_new: Flows,
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        self.counters.send_modify(change);
    }

    /// Enters a connection that was accepted, with the settings for new ones.
    fn enter(this: &Arc<Self>, half_open: bool) -> OnTheBooks {
        let mut books = this.books();
        let flows = Flows::default();
        for way in Way::BOTH {
            flows.way(way).send_replace(*books.for_new.way(way).borrow());
        }
        let link = Arc::new(Link::new(books.next, half_open, flows));
        books.next += 1;
        books.links.insert(link.number, Arc::clone(&link));
        drop(books);
        this.count(|counters| {
            counters.accepted += 1;
            counters.open += 1;
            counters.faults.half_open += u64::from(half_open);
        });
        OnTheBooks { shared: Arc::clone(this), link }
    }

    fn forget(&self, number: u64) {
        self.books().links.remove(&number);
        self.count(|counters| counters.open -= 1);
    }

    fn set(&self, scope: Scope, direction: Direction, flow: Flow) {
        let books = self.books();
        let existing = books.links.values().map(|link| &link.flows);
        let existing = existing.filter(|_| scope.has_existing());
        for flows in existing.chain(scope.has_new().then_some(&books.for_new)) {
            for way in Way::BOTH.into_iter().filter(|way| direction.has(*way)) {
                flows.way(way).send_replace(flow);
            }
        }
    }

    fn end(&self, ending: Ending) -> usize {
        self.end_those(ending, |_| true)
    }

    fn end_half_open(&self, ending: Ending) -> usize {
        self.end_those(ending, |link| link.half_open)
    }

    fn end_those(&self, ending: Ending, which: impl Fn(&Link) -> bool) -> usize {
        let books = self.books();
        let ended = books
            .links
            .values()
            .filter(|link| which(link))
            .filter(|link| link.end.send_if_modified(|end| end.replace(ending).is_none()))
            .count();
        drop(books);
        self.count(|counters| counters.faults.ended += ended as u64);
        ended
    }

    fn disarm(&self, sprung: &[Arc<Armed>]) {
        if !sprung.is_empty() {
            let is_sprung = |it: &Arc<Armed>| sprung.iter().any(|other| Arc::ptr_eq(it, other));
            self.traps.send_modify(|armed| armed.retain(|it| !is_sprung(it)));
        }
    }
}
