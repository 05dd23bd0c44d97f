//! Capture as hosts have it, assembled around the decorators of the harness.

use std::{sync::Arc, time::Duration};

use baldur_app::{
    CaptureMode, CapturePolicy, CaptureRoutes, CaptureService, Counted, Drainer, Env, Ledger,
    Outbox, SpoolingStore,
    drain::{DrainHooks, DrainPolicy},
    outbox::OutboxPolicy,
    spooling::SpoolingPolicy,
};
use baldur_core::{
    SystemClock,
    name::WorkerName,
    port::{CaptureStore, Spool, SpoolError},
};
use baldur_spool::DiskSpool;

use crate::{
    Failure,
    faults::{FaultySpool, FaultyStore, Hold, Outage},
    place::{Place, Store},
    protocol::Twin,
};

/// How long what is left may take at the end.
const END: Duration = Duration::from_secs(30);

/// What is broken on purpose.
#[derive(Debug)]
pub(crate) struct Faults {
    /// How many bytes the spool may have.
    pub(crate) spool_bytes: Option<u64>,
    pub(crate) hold: Hold,
    pub(crate) twin: Option<Twin>,
}

/// All parts, and how they end.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) capture: CaptureService,
    pub(crate) outbox: Outbox,
    pub(crate) drainer: Drainer,
    pub(crate) ledger: Ledger,
    pub(crate) outage: Arc<Outage>,
    pub(crate) spool: Arc<DiskSpool>,
    pub(crate) store: Store,
}

impl Stack {
    /// Opens store and spool.
    pub(crate) async fn open(
        place: &Place,
        mode: CaptureMode,
        faults: Faults,
    ) -> Result<Self, Failure> {
        let Faults { spool_bytes, hold, twin } = faults;
        let (hold, outage) = (Arc::new(hold), Arc::new(Outage::default()));
        let clock = Arc::new(SystemClock);
        let store = place.open().await?;
        let mut config = place.spool_config();
        config.max_bytes = spool_bytes.unwrap_or(config.max_bytes);
        config.max_record_bytes = config.max_record_bytes.min(config.max_bytes);
        let spool = Arc::new(DiskSpool::open(config, clock).await?);

        let faulty_store: Arc<dyn CaptureStore> = Arc::new(FaultyStore {
            store: Arc::clone(&store.capture),
            outage: Arc::clone(&outage),
            hold: Arc::clone(&hold),
            acknowledges_early: twin == Some(Twin::AckBeforeCommit),
        });
        let faulty_spool: Arc<dyn Spool> = Arc::new(FaultySpool {
            spool: Arc::<DiskSpool>::clone(&spool),
            hold,
            removes_early: twin == Some(Twin::RemoveBeforeStored),
        });
        let spooling =
            SpoolingStore::new(faulty_store, Arc::clone(&faulty_spool), SpoolingPolicy::default());
        let env = Env::system(
            place.namespace().clone(),
            WorkerName::parse(&format!("crash-{}", std::process::id()))?,
        );
        let ledger = Ledger::new();
        let adopter = Arc::clone(&spool);
        let hooks = DrainHooks {
            finish: None,
            adopt: Some(Arc::new(move || {
                let spool = Arc::clone(&adopter);
                Box::pin(async move { spool.adopt().await.map_err(SpoolError::from) })
            })),
        };
        let policy =
            DrainPolicy { adopt_every: Duration::from_millis(200), ..DrainPolicy::default() };
        let drainer = Drainer::start(&spooling, ledger.clone(), &env, policy, hooks)?;
        let durable: Arc<dyn CaptureStore> = Arc::new(spooling.durable());
        let outbox = Outbox::start(
            Arc::new(spooling.clone()),
            Arc::clone(&durable),
            ledger.clone(),
            &env,
            OutboxPolicy::default(),
        )?;
        let counted =
            |store| -> Arc<dyn CaptureStore> { Arc::new(Counted::new(store, ledger.clone())) };
        let routes = CaptureRoutes {
            mode,
            store: counted(Arc::new(spooling)),
            durable: Some(counted(durable)),
            outbox: Some(outbox.clone()),
            spool: Some(faulty_spool),
        };
        let capture = CaptureService::routed(routes, env, CapturePolicy::default());
        Ok(Self { capture, outbox, drainer, ledger, outage, spool, store })
    }

    /// Brings everything into the store and closes it.
    pub(crate) async fn settle(self) -> Result<(), Failure> {
        let report = self.outbox.close(END).await;
        if !report.is_complete() {
            return Err(format!("the outbox lost {} captures", report.lost.len()).into());
        }
        self.spool.adopt().await?;
        if !self.drainer.drained(END).await {
            let trouble = self.drainer.status().trouble.unwrap_or_default();
            let left = self.spool.status().records;
            return Err(format!("{left} records are still in the spool: {trouble}").into());
        }
        self.drainer.stop(END).await;
        self.spool.close().await;
        self.store.close().await;
        let sums = self.ledger.sums();
        if sums.balances() && sums.overdrawn == 0 {
            Ok(())
        } else {
            Err(format!("the books don't balance: {sums:?}").into())
        }
    }
}
