//! On which way a capture goes, and so how safe it is when its caller is answered.

use std::sync::Arc;

use baldur_core::{
    command::Capture,
    port::{CaptureError, CaptureStore, Captured, Spool},
};

use crate::outbox::Outbox;

/// For what a capture waits. The answer says how safe it is in any case.
///
/// Where captures of one order key use several modes, those that go past the outbox wait first until the queued ones of the key are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CaptureMode {
    /// For the store; for the spool when the store doesn't answer.
    #[default]
    Sync,
    /// For nothing: it is queued in memory, and a crash may lose it. Without an outbox, as `Sync`.
    Async,
    /// For the spool on the local disk; for the store when the spool fails. Without a spool, as `Sync`.
    Durable,
}

impl CaptureMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sync, Self::Async, Self::Durable];

    /// The name in settings and requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::Durable => "durable",
        }
    }
}

/// The ways on which captures go.
#[derive(Clone, Debug)]
pub struct CaptureRoutes {
    /// The mode of captures that name none.
    pub mode: CaptureMode,
    /// The store, behind a spool where there is one.
    pub store: Arc<dyn CaptureStore>,
    /// The spool first.
    pub durable: Option<Arc<dyn CaptureStore>>,
    /// Memory first.
    pub outbox: Option<Outbox>,
    /// The spool of both, for those who look how full it is.
    pub spool: Option<Arc<dyn Spool>>,
}

impl CaptureRoutes {
    /// All to this store.
    pub fn to(store: Arc<dyn CaptureStore>) -> Self {
        Self { mode: CaptureMode::Sync, store, durable: None, outbox: None, spool: None }
    }

    pub(super) async fn keep(
        &self,
        captures: Vec<Capture>,
        mode: CaptureMode,
    ) -> Vec<Result<Captured, CaptureError>> {
        if let Some(outbox) = &self.outbox
            && mode != CaptureMode::Async
            && let Err(answers) = outbox.passed(&captures).await
        {
            return answers;
        }
        match (mode, &self.outbox, &self.durable) {
            (CaptureMode::Async, Some(outbox), _) => outbox.put(captures).await,
            (CaptureMode::Durable, _, Some(durable)) => durable.capture_batch(captures).await,
            (CaptureMode::Sync | CaptureMode::Async | CaptureMode::Durable, _, _) => {
                self.store.capture_batch(captures).await
            }
        }
    }
}
