//! What a caller of the outbox pays, beside what building the entry costs anyway.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use baldur_app::{
    CapturePolicy, CaptureService, Env, Ledger, Outbox, Oversize, Who, outbox::OutboxPolicy,
};
use baldur_core::{
    Clock as _, NewFailedOp, SystemClock,
    command::Capture,
    name::{Namespace, WorkerName},
    port::{CaptureError, CaptureStore, Captured, Disposition, Durability},
};

use crate::{
    args::{Args, Plan},
    figures::{Figure, Rounds, per_second},
    load::REQUEST_BYTES,
    ours::{APP, Failure},
};

/// Putting may cost at most as much as building.
const TARGET: f64 = 1.0;

/// A store that keeps nothing and says so to nobody: what is measured is the way to it.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl CaptureStore for Nothing {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let stored = || Durability::Stored { level: "nothing".into() };
        captures
            .iter()
            .map(|capture| Ok(Captured::new(capture.op.id, stored(), 1, Disposition::New)))
            .collect()
    }
}

pub(crate) async fn run(args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let name = "outbox, one put at a time";
    if !args.wants(name) {
        return Ok(Vec::new());
    }
    let env = Env::system(Namespace::default_namespace(), WorkerName::parse("bench")?);
    let store: Arc<dyn CaptureStore> = Arc::new(Nothing);
    let service = CaptureService::new(Arc::clone(&store), env.clone(), CapturePolicy::default());
    let policy = OutboxPolicy {
        max_entries: plan.batch_ops * 2,
        max_bytes: 1 << 30,
        ..OutboxPolicy::default()
    };
    let outbox = Outbox::start(Arc::clone(&store), store, Ledger::new(), &env, policy)?;
    let mut rounds = Rounds::time(APP, name, "building the entry").target(TARGET);
    for _ in 0..plan.rounds {
        let began = SystemClock.mono();
        let captures = (0..plan.batch_ops)
            .map(|n| service.prepare(operation(n), &Who::system(), Oversize::Refuse))
            .collect::<Result<Vec<_>, _>>()?;
        let built = SystemClock.mono().saturating_sub(began);
        let began = SystemClock.mono();
        for capture in captures {
            for answer in outbox.put(vec![capture]).await {
                answer?;
            }
        }
        let put = SystemClock.mono().saturating_sub(began);
        outbox.flush(Duration::from_mins(1)).await?;
        rounds.add(micros(put, plan.batch_ops), micros(built, plan.batch_ops));
    }
    Ok(vec![rounds.done()])
}

fn operation(n: usize) -> NewFailedOp {
    let text = "a".repeat(REQUEST_BYTES - 60);
    NewFailedOp::new("payment", "TIMEOUT")
        .dependency("payment-gateway")
        .entity("order", format!("order-{n}"))
        .request_data(format!(r#"{{"order":{n},"amount":1999,"currency":"EUR","text":"{text}"}}"#))
}

fn micros(took: Duration, calls: usize) -> f64 {
    1_000_000.0 / per_second(calls, took)
}
