//! Whatever handlers do, each claim of a run ends in exactly one number of its report.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use baldur_app::ReplayRequest;
use baldur_core::{
    FailedOp,
    port::{Gate, ReplayOutcome},
};
use proptest::prelude::*;

use crate::{
    faults::Faulty,
    world::{SECOND, TestHandler, World, op, policy, run, succeeded, sum, virtual_time},
};

#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Succeed,
    AlreadyDone,
    Fail,
    Permanent,
    Defer,
    CloseGate,
    Panic,
    Hang,
    Slow(u8),
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        Just(Behaviour::Succeed),
        Just(Behaviour::AlreadyDone),
        Just(Behaviour::Fail),
        Just(Behaviour::Permanent),
        Just(Behaviour::Defer),
        Just(Behaviour::CloseGate),
        Just(Behaviour::Panic),
        Just(Behaviour::Hang),
        (1_u8..20).prop_map(Behaviour::Slow),
    ]
}

fn of(behaviours: &[Behaviour], op: &FailedOp) -> Behaviour {
    let number = op.entity_id.as_ref().expect("an entity").as_str();
    behaviours[number.parse::<usize>().expect("a number")]
}

async fn act(behaviour: Behaviour) -> ReplayOutcome {
    let note = String::new();
    match behaviour {
        Behaviour::Succeed | Behaviour::CloseGate => succeeded(),
        Behaviour::AlreadyDone => ReplayOutcome::AlreadyDone { note },
        Behaviour::Fail => ReplayOutcome::Failed { error: note, retry_after: Some(SECOND) },
        Behaviour::Permanent => ReplayOutcome::Permanent { error: note },
        Behaviour::Defer => ReplayOutcome::Deferred { reason: note, delay: Duration::ZERO },
        Behaviour::Panic => panic!("as told"),
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Slow(seconds) => {
            virtual_time(SECOND * u32::from(seconds)).await;
            succeeded()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_outcomes_of_a_report_sum_up_to_its_claims(
        behaviours in prop::collection::vec((behaviour(), 0_u8..4), 1..40),
        concurrency in 1_usize..20,
        limit in prop::option::of(0_u64..30),
        unheard in 0_u32..4,
        heartbeats_fail in any::<bool>(),
        by_id in any::<bool>(),
        cancel_after in prop::option::of(0_u32..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let world = World::new();
            let ops = behaviours.iter().enumerate().map(|(number, (_, key))| {
                let op = op("payment").entity("order", number.to_string());
                // Some wait for others of their order key.
                if *key == 0 { op } else { op.order_key(key.to_string()) }
            });
            let ids = world.captured(ops).await;
            let told: Arc<[Behaviour]> = behaviours.iter().map(|(told, _)| *told).collect();
            let gate = Arc::clone(&told);
            let handler = TestHandler::new(move |op, _| act(of(&told, &op))).gate(move |op| {
                match of(&gate, op) {
                    Behaviour::CloseGate => Gate::Closed { reason: String::new(), delay: SECOND },
                    Behaviour::Succeed | Behaviour::AlreadyDone | Behaviour::Fail
                    | Behaviour::Permanent | Behaviour::Defer | Behaviour::Panic
                    | Behaviour::Hang | Behaviour::Slow(_) => Gate::Open,
                }
            });
            let (handler, registry) = handler.handles("payment");
            let faulty = Faulty::new(&world.store);
            faulty.faults.settles_unheard.store(unheard, Ordering::SeqCst);
            faulty.faults.extends_fail.store(heartbeats_fail, Ordering::SeqCst);
            let engine = world.engine_on(Arc::new(faulty), registry, policy());
            let base = if by_id { ReplayRequest::ids(ids) } else { ReplayRequest::due() };
            let request = ReplayRequest { concurrency: Some(concurrency), limit, ..base };
            let report = match cancel_after {
                None => run(&engine, request).await,
                Some(seconds) => {
                    let cancel = tokio_util::sync::CancellationToken::new();
                    let later = cancel.clone();
                    let canceller = tokio::spawn(async move {
                        virtual_time(SECOND * seconds).await;
                        later.cancel();
                    });
                    let report = engine.run(request, None, cancel).await.expect("a good request");
                    canceller.abort();
                    report
                }
            };
            prop_assert_eq!(sum(&report), report.claimed);
            prop_assert!(limit.is_none_or(|limit| report.claimed <= limit));
            prop_assert!(handler.asked() as u64 <= report.claimed);
            // What the store holds agrees: each claim of the run is an ended attempt or still held.
            let entries = world.all().await;
            let claims: u64 = entries.iter().map(|entry| entry.state.claim_token.0).sum();
            prop_assert_eq!(claims, report.claimed);
            let held = entries.iter().filter(|entry| entry.state.hold.is_some()).count() as u64;
            prop_assert!(held <= report.stale);
            Ok(())
        })?;
    }
}
