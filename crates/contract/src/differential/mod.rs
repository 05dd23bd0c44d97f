//! The differential test: one random script, the same observable results on two stores.
//!
//! It goes wide where the model check goes deep: every port, every field, every filter, hostile texts, absurd numbers,
//! batches of any size. Every answer is compared after each step, and all that the stores hold every few steps.

mod history;
mod regressions;
mod rounds;
mod words;

use crate::{
    case::{CaseResult, Failure, cases},
    compare::{Plan, agree, search},
    harness::Lab,
    script::rust_of,
};

cases!(
    "differential",
    None,
    [scripts_that_told_stores_apart_once_do_so_no_more, random_scripts_give_the_same_results]
);

fn plan(lab: &Lab) -> Plan {
    let histories = lab.differential.unwrap_or_default();
    Plan { histories, seed: lab.differential_seed, slots: history::SLOTS, look_every: 16 }
}

async fn scripts_that_told_stores_apart_once_do_so_no_more(lab: &Lab) -> CaseResult {
    for script in regressions::all() {
        agree(lab, plan(lab), &script)
            .await
            .map_err(|why| Failure::new(format!("{why}\nafter {}", rust_of(&script))))?;
    }
    Ok(())
}

async fn random_scripts_give_the_same_results(lab: &Lab) -> CaseResult {
    search(lab, plan(lab), history::a_script).await
}
