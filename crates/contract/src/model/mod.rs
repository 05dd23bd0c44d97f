//! The model check: random histories against a store and its executable specification, side by side.

mod answer;
mod step;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::runtime::Handle;

use crate::{
    case::{CaseResult, Failure, cases, ensure_eq},
    harness::Lab,
    store::StoreUnderTest,
};

use step::{Step, a_history};

cases!("model", None, [random_histories_are_answered_as_by_the_model]);

/// How many shorter histories are tried to make a failure readable.
const SHRINKS: usize = 500;

/// Every answer to every step, and at the end every entry, all evidence, facets and counts agree.
async fn random_histories_are_answered_as_by_the_model(lab: &Lab) -> CaseResult {
    let lab = lab.clone();
    let runtime = Handle::current();
    // proptest's trees can't move between threads, so the search has one of its own.
    tokio::task::spawn_blocking(move || search(&lab, &runtime)).await?
}

fn search(lab: &Lab, runtime: &Handle) -> CaseResult {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&lab.seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let histories = a_history();
    for _ in 0..lab.model_histories {
        let mut tree = histories
            .new_tree(&mut runner)
            .map_err(|reason| Failure::new(format!("no history: {reason}")))?;
        if let Err(failure) = runtime.block_on(agree(lab, &tree.current())) {
            return Err(shortest(lab, runtime, &mut tree, failure));
        }
    }
    Ok(())
}

/// Looks for a shorter history that fails too.
fn shortest(
    lab: &Lab,
    runtime: &Handle,
    tree: &mut impl ValueTree<Value = Vec<Step>>,
    failure: Failure,
) -> Failure {
    let (mut history, mut why) = (tree.current(), failure);
    let mut smaller = tree.simplify();
    for _ in 0..SHRINKS {
        if !smaller {
            break;
        }
        let current = tree.current();
        smaller = match runtime.block_on(agree(lab, &current)) {
            Ok(()) => tree.complicate(),
            Err(failure) => {
                (history, why) = (current, failure);
                tree.simplify()
            }
        };
    }
    Failure::new(format!("{why}\nafter this history: {history:#?}"))
}

async fn agree(lab: &Lab, history: &[Step]) -> CaseResult {
    let (store, _) = lab.store().await;
    let Some(model) = lab.model().await else {
        return Err(Failure::new("no model was given"));
    };
    let start = crate::clock::ManualClock::default();
    for side in [&store, &model] {
        side.clock.set(baldur_core::Clock::now(&start));
    }
    for (n, step) in history.iter().enumerate() {
        let command = step.resolved(&model).await?;
        let expected = command.run(&model).await?;
        let actual = command.run(&store).await?;
        ensure_eq!(actual, expected, "answer to step {n}, {step:?}");
    }
    ensure_same(&store, &model).await?;
    model.ensure_sound().await?;
    store.ensure_sound().await?;
    store.close().await;
    Ok(())
}

async fn ensure_same(store: &StoreUnderTest, model: &StoreUnderTest) -> CaseResult {
    let expected = answer::everything(model, step::ids()).await?;
    let actual = answer::everything(store, step::ids()).await?;
    ensure_eq!(actual.len(), expected.len(), "facts at the end");
    for (actual, expected) in actual.iter().zip(&expected) {
        ensure_eq!(actual, expected, "at the end");
    }
    Ok(())
}
