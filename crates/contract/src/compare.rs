//! Random histories on two stores side by side: the search for one that tells them apart, and for a shorter one.

use baldur_core::Clock;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::runtime::Handle;

use crate::{
    answer,
    case::{CaseResult, Failure},
    clock::ManualClock,
    harness::Lab,
    script::{Step, id_of, rust_of, shortest},
    store::StoreUnderTest,
};

/// How many shorter histories are tried to make a failure readable.
const SHRINKS: usize = 500;

/// How many characters before and after the first difference are shown.
const AROUND: usize = 80;

/// What to search.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// How many histories.
    pub(crate) histories: u32,
    /// From which seed.
    pub(crate) seed: u64,
    /// How many ids a history uses.
    pub(crate) slots: u8,
    /// After how many steps all that the stores hold is compared. It always is in the end.
    pub(crate) look_every: usize,
}

/// Searches for a history that the store of `lab` answers in another way than its model.
pub(crate) async fn search<S>(lab: &Lab, plan: Plan, histories: fn() -> S) -> CaseResult
where
    S: Strategy<Value = Vec<Step>> + 'static,
{
    let lab = lab.clone();
    let runtime = Handle::current();
    // proptest's trees can't move between threads, so the search has one of its own.
    tokio::task::spawn_blocking(move || {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&plan.seed.to_be_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let config = Config { failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let histories = histories();
        for _ in 0..plan.histories {
            let tree = histories
                .new_tree(&mut runner)
                .map_err(|reason| Failure::new(format!("no history: {reason}")))?;
            let history = tree.current();
            if let Err(failure) = judged(&lab, plan, &runtime, &history) {
                return Err(explained(&lab, plan, &runtime, history, failure));
            }
        }
        Ok(())
    })
    .await?
}

/// Runs one history on both stores. A store that panics fails it, so that what made it panic is found.
fn judged(lab: &Lab, plan: Plan, runtime: &Handle, history: &[Step]) -> CaseResult {
    let (lab, history) = (lab.clone(), history.to_vec());
    let run = runtime.spawn(async move { agree(&lab, plan, &history).await });
    match runtime.block_on(run) {
        Ok(verdict) => verdict,
        Err(panicked) => Err(Failure::new(format!("panicked: {panicked}"))),
    }
}

/// The failure of a shorter history that fails too.
fn explained(
    lab: &Lab,
    plan: Plan,
    runtime: &Handle,
    history: Vec<Step>,
    failure: Failure,
) -> Failure {
    let (mut why, mut tries) = (failure, 0);
    let history = shortest(history, |tried| {
        tries += 1;
        let verdict = if tries > SHRINKS { Ok(()) } else { judged(lab, plan, runtime, tried) };
        verdict.map_err(|failure| why = failure).is_err()
    });
    Failure::new(format!(
        "{why}\nafter this history, which is Rust as `differential/regressions.rs` takes it:\n{}",
        rust_of(&history)
    ))
}

/// Runs one history on both stores.
pub(crate) async fn agree(lab: &Lab, plan: Plan, history: &[Step]) -> CaseResult {
    let (store, _) = lab.store().await;
    let Some(model) = lab.model().await else {
        return Err(Failure::new("no model was given"));
    };
    let start = ManualClock::default();
    for side in [&store, &model] {
        side.clock.set(start.now());
    }
    for (n, step) in history.iter().enumerate() {
        let command = step.resolved(&model).await?;
        let expected = command.run(&model).await?;
        let actual = command.run(&store).await.map_err(|why| at(n, step, &why))?;
        same(&actual, &expected).map_err(|why| at(n, step, &why))?;
        if (n + 1) % plan.look_every == 0 {
            look(plan, &store, &model).await.map_err(|why| at(n, step, &why))?;
        }
    }
    look(plan, &store, &model).await?;
    model.ensure_sound().await?;
    store.ensure_sound().await?;
    store.close().await;
    model.close().await;
    Ok(())
}

fn at(n: usize, step: &Step, why: &Failure) -> Failure {
    Failure::new(format!("step {n}, {step:?}: {why}"))
}

/// Compares all that two stores hold.
async fn look(plan: Plan, store: &StoreUnderTest, model: &StoreUnderTest) -> CaseResult {
    let ids = || (0..plan.slots).map(id_of);
    let expected = answer::everything(model, ids()).await?;
    let actual = answer::everything(store, ids()).await?;
    same(&actual, &expected).map_err(|why| Failure::new(format!("looking at everything: {why}")))
}

/// Compares two answers and shows where they part.
fn same(actual: &[String], expected: &[String]) -> CaseResult {
    for (n, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        if actual != expected {
            let (actual, expected) = difference(actual, expected);
            return Err(Failure::new(format!(
                "line {n} of the answer\n       got: {actual}\n  expected: {expected}\n"
            )));
        }
    }
    let (got, wanted) = (actual.len(), expected.len());
    if got == wanted {
        return Ok(());
    }
    let n = got.min(wanted);
    let line = |lines: &[String]| lines.get(n).map_or("nothing".to_owned(), |line| cut(line, 0));
    let (actual, expected) = (line(actual), line(expected));
    Err(Failure::new(format!(
        "{got} lines of answer, expected {wanted}; line {n}\n       got: {actual}\n  expected: {expected}\n"
    )))
}

/// The parts of two texts around the first character in which they differ.
fn difference(actual: &str, expected: &str) -> (String, String) {
    let alike = actual.chars().zip(expected.chars()).take_while(|(a, b)| a == b).count();
    let from = alike.saturating_sub(AROUND);
    (cut(actual, from), cut(expected, from))
}

fn cut(text: &str, from: usize) -> String {
    let before = if from > 0 { "…" } else { "" };
    let part: String = text.chars().skip(from).take(2 * AROUND).collect();
    let after = if text.chars().count() > from + 2 * AROUND { "…" } else { "" };
    format!("{before}{part}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn equal_answers_are_the_same() {
        assert_eq!(same(&lines(&["a", "b"]), &lines(&["a", "b"])), Ok(()));
    }

    #[test]
    fn the_first_difference_is_shown_with_what_is_around_it() {
        let long = "é".repeat(500);
        let failure = same(&lines(&["a", &format!("{long}x{long}")]), &lines(&["a", &long]));
        let shown = failure.expect_err("they differ").to_string();
        assert!(shown.contains("line 1") && shown.contains('x'), "{shown}");
        assert!(shown.chars().count() < 500, "{shown}");
    }

    #[test]
    fn missing_and_surplus_lines_are_differences() {
        for (actual, expected) in [(&["a"][..], &["a", "b"][..]), (&["a", "b"], &["a"])] {
            let shown = same(&lines(actual), &lines(expected)).expect_err("they differ");
            assert!(shown.to_string().contains("nothing"), "{shown}");
        }
    }
}
