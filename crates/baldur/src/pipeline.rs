//! The way of captures to the store: outbox, spool, drainer, and the ledger over all of them.

use std::{sync::Arc, time::Duration};

use baldur_app::{
    CaptureMode, CaptureRoutes, Counted, Drainer, Env, Ledger, Outbox, SpoolingStore,
    drain::{DrainHooks, DrainPolicy},
    ledger::{ResolvePolicy, Resolver},
    outbox::{CloseReport, OutboxPolicy},
    spooling::SpoolingPolicy,
};
use baldur_core::port::{CaptureStore, EntryReader, Spool};
use tokio::time::{Instant, timeout_at};

use crate::settings::SettingsError;

/// How captures go.
pub(crate) struct Plan {
    pub(crate) mode: CaptureMode,
    pub(crate) spooling: SpoolingPolicy,
    pub(crate) outbox: OutboxPolicy,
    pub(crate) drain: DrainPolicy,
    pub(crate) hooks: DrainHooks,
}

/// Everything between the services and the store. Its tasks end when it is closed or dropped.
pub(crate) struct Pipeline {
    routes: CaptureRoutes,
    outbox: Outbox,
    ledger: Ledger,
    spool: Option<(Arc<dyn Spool>, Drainer)>,
    /// Ends with the pipeline.
    _resolver: Resolver,
}

impl Pipeline {
    pub(crate) fn start(
        store: Arc<dyn CaptureStore>,
        reader: Arc<dyn EntryReader>,
        spool: Option<Arc<dyn Spool>>,
        plan: Plan,
        env: &Env,
    ) -> Result<Self, SettingsError> {
        let Plan { mode, spooling, outbox, drain, hooks } = plan;
        let ledger = Ledger::new();
        let unusable =
            |key: &str, problem| SettingsError::Unusable { key: key.to_owned(), problem };
        let (inner, durable, spool): (Arc<dyn CaptureStore>, Option<Arc<dyn CaptureStore>>, _) =
            match spool {
                None => (store, None, None),
                Some(spool) => {
                    let store = SpoolingStore::new(store, Arc::clone(&spool), spooling);
                    let drainer = Drainer::start(&store, ledger.clone(), env, drain, hooks)
                        .map_err(|problem| unusable("spool", problem))?;
                    let durable: Arc<dyn CaptureStore> = Arc::new(store.durable());
                    (Arc::new(store), Some(durable), Some((spool, drainer)))
                }
            };
        let overflow = durable.as_ref().unwrap_or(&inner);
        let outbox =
            Outbox::start(Arc::clone(&inner), Arc::clone(overflow), ledger.clone(), env, outbox)
                .map_err(|problem| unusable("outbox", problem))?;
        let counted = |store: Arc<dyn CaptureStore>| -> Arc<dyn CaptureStore> {
            Arc::new(Counted::new(store, ledger.clone()))
        };
        let routes = CaptureRoutes {
            mode,
            store: counted(inner),
            durable: durable.map(counted),
            outbox: Some(outbox.clone()),
            spool: spool.as_ref().map(|(spool, _)| Arc::clone(spool)),
        };
        let resolver = Resolver::start(ledger.clone(), reader, ResolvePolicy::default());
        Ok(Self { routes, outbox, ledger, spool, _resolver: resolver })
    }

    pub(crate) fn routes(&self) -> &CaptureRoutes {
        &self.routes
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(crate) fn drainer(&self) -> Option<&Drainer> {
        self.spool.as_ref().map(|(_, drainer)| drainer)
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Empties the outbox within most of the time, then stops the drainer and closes the spool in the rest.
    pub(crate) async fn close(&self, within: Duration) -> CloseReport {
        let end = Instant::now() + within;
        let report = self.outbox.close(within.mul_f64(0.7)).await;
        let Some((spool, drainer)) = &self.spool else { return report };
        drainer.stop(end.saturating_duration_since(Instant::now()) / 2).await;
        if timeout_at(end, spool.close()).await.is_err() {
            tracing::warn!("spool.not_closed_in_time");
        }
        report
    }
}
