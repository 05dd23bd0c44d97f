//! Decisions of one breaker under many tasks, beside one task alone.

use std::{sync::Arc, time::Duration};

use baldur_app::{Breakers, Env, ManagedBreaker};
use baldur_core::{
    Clock as _, SystemClock,
    name::{Namespace, ServiceName, WorkerName},
    policy::{BreakerPolicy, BreakerSettings, BreakerWindow, CallOutcome},
};
use tokio::sync::Barrier;

use crate::{
    args::{Args, Plan},
    figures::{Figure, Rounds, per_second},
    ours::{APP, Failure},
};

/// How many tasks share the breaker.
const TASKS: usize = 64;

/// Decisions between two chances for other tasks to run, as a call that waits would give them.
const TURN: usize = 256;

/// What many tasks together must reach of the rate of one: a lock that collapses falls far below.
const TARGET: f64 = 0.5;

pub(crate) async fn run(args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    let windows = [
        ("window of calls", BreakerWindow::Calls(100)),
        ("window of time", BreakerWindow::Time { length: Duration::from_mins(1), buckets: 60 }),
    ];
    for (kind, window) in windows {
        let name = format!("breaker, {TASKS} tasks, {kind}");
        if !args.wants(&name) {
            continue;
        }
        let mut rounds = Rounds::rate(APP, &name, "one task").target(TARGET);
        let decisions = plan.batch_ops * 50;
        for _ in 0..plan.rounds {
            let many = decide(&breaker(window)?, TASKS, decisions).await?;
            let one = decide(&breaker(window)?, 1, decisions).await?;
            rounds.add(many, one);
        }
        figures.push(rounds.done());
    }
    Ok(figures)
}

fn breaker(window: BreakerWindow) -> Result<ManagedBreaker, Failure> {
    let env = Env::system(Namespace::default_namespace(), WorkerName::parse("bench")?);
    let policy = BreakerPolicy::new(BreakerSettings { window, ..BreakerSettings::default() })?;
    Ok(Breakers::new(&env).get(&ServiceName::parse("gateway")?, policy))
}

/// Admitted and ended calls per second, `decisions` in all.
async fn decide(breaker: &ManagedBreaker, tasks: usize, decisions: usize) -> Result<f64, Failure> {
    let turns = decisions / tasks / TURN;
    let start = Arc::new(Barrier::new(tasks + 1));
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let (breaker, start) = (breaker.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                let mut admitted = 0;
                for _ in 0..turns {
                    for _ in 0..TURN {
                        if let Ok(permit) = breaker.admit() {
                            permit.end(CallOutcome::Success);
                            admitted += 1;
                        }
                    }
                    tokio::task::yield_now().await;
                }
                admitted
            })
        })
        .collect();
    start.wait().await;
    let began = SystemClock.mono();
    let mut admitted = 0;
    for task in running {
        admitted += task.await?;
    }
    let took = SystemClock.mono().saturating_sub(began);
    if admitted != turns * TURN * tasks {
        return Err("a closed breaker rejected a call".into());
    }
    Ok(per_second(admitted, took))
}
