//! The model check: dense histories against a store and its executable specification, side by side.
//!
//! Few ids and few names, so that steps meet: it goes deep into claims, merges and evictions. The differential test goes
//! wide: every port, every field, hostile texts.

mod history;

use crate::{
    case::{CaseResult, cases},
    compare::{Plan, search},
    harness::Lab,
};

cases!("model", None, [random_histories_are_answered_as_by_the_model]);

/// Every answer to every step, and at the end every entry, all evidence, facets and counts agree.
async fn random_histories_are_answered_as_by_the_model(lab: &Lab) -> CaseResult {
    let plan = Plan {
        histories: lab.model_histories,
        seed: lab.seed,
        slots: history::SLOTS,
        look_every: usize::MAX,
    };
    search(lab, plan, history::a_history).await
}
