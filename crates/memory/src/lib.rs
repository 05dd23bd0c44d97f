//! In-memory adapter of every port: the executable specification of what a store does.
//!
//! It keeps everything in one table behind one lock, decides nothing itself (that is
//! [`baldur_core::decide`]), and forgets everything when the process ends.
//!
//! ```
//! use std::sync::Arc;
//!
//! use baldur_core::{SystemClock, name::Namespace};
//! use baldur_memory::MemoryStore;
//!
//! let store = MemoryStore::new(Namespace::default_namespace(), Arc::new(SystemClock));
//! assert_eq!(store.namespace().as_str(), "default");
//! ```

mod admin;
mod capture;
mod claim;
mod coordinate;
mod evidence;
mod facet;
mod index;
mod read;
mod table;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use baldur_core::{BackendError, BackendKind, Clock, name::Namespace};
use table::Table;

/// A store that lives in the memory of this process.
///
/// Clones share the same entries. Cheap to clone, safe to share.
#[derive(Clone)]
pub struct MemoryStore {
    namespace: Namespace,
    clock: Arc<dyn Clock>,
    /// `None` after `close`.
    table: Arc<Mutex<Option<Table>>>,
}

impl MemoryStore {
    /// The durability level that captures are answered with.
    pub const LEVEL: &'static str = "memory";

    /// An empty store of `namespace` that takes its time from `clock`.
    pub fn new(namespace: Namespace, clock: Arc<dyn Clock>) -> Self {
        Self { namespace, clock, table: Arc::new(Mutex::new(Some(Table::default()))) }
    }

    /// Closes the store and forgets all it held. Calls on any clone fail from now on; closing again does nothing.
    ///
    /// It is `async` because closing is in every adapter; this one is done at once.
    #[expect(clippy::unused_async, reason = "the same signature as the adapters that must wait")]
    pub async fn close(&self) {
        // A poisoned table is dropped like any other.
        let mut table = self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *table = None;
    }

    /// The namespace that the store serves.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Runs one atomic step on the table. The lock is never held across an await: `step` is synchronous.
    fn step<T>(
        &self,
        operation: &'static str,
        step: impl FnOnce(&mut Table) -> T,
    ) -> Result<T, BackendError> {
        let mut guard = self.lock(operation)?;
        match guard.as_mut() {
            Some(table) => Ok(step(table)),
            None => Err(failure(operation, BackendKind::Closed)),
        }
    }

    fn lock(&self, operation: &'static str) -> Result<MutexGuard<'_, Option<Table>>, BackendError> {
        // A panic inside a step may have left half a change: the table can't be trusted any more.
        self.table.lock().map_err(|_| failure(operation, BackendKind::Corrupt))
    }
}

fn failure(operation: &'static str, kind: BackendKind) -> BackendError {
    BackendError::new("memory", operation, kind).not_applied()
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
