//! A suite that can't fail proves nothing: each of these stores breaks one promise, and the suite must notice.

mod coordinate;
mod differential;
mod overflow;
mod overflow_noticed;
mod twin;

use std::sync::Arc;

use baldur_contract::{Harness, ManualClock, StoreUnderTest, Topic, Verdict};
use baldur_core::{Clock, name::Namespace};
use baldur_memory::MemoryStore;
use twin::{Fault, Twin};

fn memory(clock: &Arc<ManualClock>) -> (MemoryStore, Namespace) {
    let namespace = Namespace::default_namespace();
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    (MemoryStore::new(namespace.clone(), clock), namespace)
}

fn suite_for(fault: Fault) -> Harness {
    Harness::new("a broken twin", move || async move {
        let clock = Arc::new(ManualClock::default());
        let (inner, namespace) = memory(&clock);
        let twin = Twin { inner, fault, remembered: overflow::Remembered::default() };
        StoreUnderTest::new(twin, namespace, clock, |twin| async move { twin.close().await })
    })
    .model(|| async {
        let clock = Arc::new(ManualClock::default());
        let (store, namespace) = memory(&clock);
        StoreUnderTest::new(store, namespace, clock, |store| async move { store.close().await })
    })
    .differential()
    .claim_race_entries(200)
    .except(Topic::Durability, "the store is meant to forget")
    .except(Topic::Isolation, "each store is a backend of its own")
    .except(Topic::FacetOverflow, "no twin has to do with it")
}

/// Asserts that each of these cases exists and fails for a store with this fault.
#[track_caller]
pub(crate) fn noticed_by(fault: Fault, cases: &[&str]) {
    let verdicts = suite_for(fault).verdicts(cases);
    for case in cases {
        let verdict = verdicts.iter().find(|verdict| verdict.case == *case);
        let verdict = verdict.expect("the name of a case");
        assert!(verdict.result.is_err(), "{case} does not notice that a store {fault:?}");
    }
}

pub(crate) const MODEL: &str = "model::random_histories_are_answered_as_by_the_model";

#[test]
fn the_decorator_itself_breaks_nothing() {
    let failed: Vec<Verdict> =
        suite_for(Fault::None).verdicts(&[]).into_iter().filter(|v| v.result.is_err()).collect();
    assert_eq!(failed, []);
}

#[test]
fn a_store_that_accepts_stale_tokens_is_noticed() {
    noticed_by(
        Fault::AcceptsStaleTokens,
        &[
            "settle_stale::a_stale_claim_is_refused",
            "settle_stale::a_stale_claim_is_refused_after_a_force_redrive",
            "settle_stale::a_lapsed_claim_is_refused",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_forgets_dedup_keys_is_noticed() {
    noticed_by(
        Fault::ForgetsDedup,
        &["dedup::a_second_capture_with_a_live_dedup_key_merges", MODEL],
    );
}

#[test]
fn a_store_that_forgets_merged_ids_is_noticed() {
    noticed_by(
        Fault::ForgetsMergedIds,
        &[
            "dedup::a_merged_id_is_remembered",
            "dedup::duplicates_inside_one_batch_merge_in_its_order",
        ],
    );
}

#[test]
fn a_store_that_filters_a_window_only_is_noticed() {
    noticed_by(Fault::ListsAWindow, &["read_list::a_filter_looks_at_the_whole_store"]);
}

#[test]
fn a_store_that_offers_an_empty_last_page_is_noticed() {
    noticed_by(
        Fault::OffersAnEmptyLastPage,
        &["read_list::a_page_that_exactly_fills_the_limit_has_no_next", MODEL],
    );
}

#[test]
fn a_store_that_loses_a_record_of_evidence_is_noticed() {
    noticed_by(
        Fault::LosesRefusals,
        &[
            "evidence::every_path_leaves_one_record_per_change",
            "settle_stale::a_stale_settle_changes_nothing_and_is_recorded",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_counts_wrong_is_noticed() {
    noticed_by(
        Fault::CountsUpToTheCap,
        &["read_count::counted_dimensions_are_exact_beyond_the_cap", MODEL],
    );
}

#[test]
fn a_store_whose_facets_lag_is_noticed() {
    noticed_by(
        Fault::CountsReplayingAsPending,
        &["facet::facets_follow_every_move", "facet::facets_agree_with_the_entries_in_every_scope"],
    );
}

#[test]
fn a_store_that_ignores_order_is_noticed() {
    noticed_by(
        Fault::IgnoresOrder,
        &[
            "order::only_the_oldest_live_entry_of_a_key_is_claimable",
            "order::a_long_key_is_replayed_in_capture_order",
            "concurrency::replays_of_one_key_are_serial",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_resurrects_is_noticed() {
    noticed_by(Fault::Resurrects, &["capture::a_repeated_capture_does_not_resurrect"]);
}

#[test]
fn a_store_that_lets_a_bad_capture_spoil_its_batch_is_noticed() {
    noticed_by(Fault::SpoilsBatches, &["capture_refused::a_bad_capture_fails_alone", MODEL]);
}

#[test]
fn a_store_that_cuts_microseconds_is_noticed() {
    noticed_by(Fault::CutsMicroseconds, &["capture::microseconds_round_trip"]);
}

#[test]
fn a_store_that_folds_case_is_noticed() {
    noticed_by(
        Fault::FoldsCase,
        &[
            "dedup::dedup_keys_are_compared_to_the_letter",
            "hostile::texts_are_kept_to_the_letter_everywhere",
        ],
    );
}

#[test]
fn a_store_that_rewrites_json_is_noticed() {
    noticed_by(
        Fault::RewritesJson,
        &["capture::json_is_kept_to_the_letter", "capture::every_field_round_trips_to_the_letter"],
    );
}

#[test]
fn a_store_that_answers_before_it_keeps_is_noticed() {
    noticed_by(Fault::AnswersWithoutKeeping, &["capture::a_kept_operation_is_found", MODEL]);
}

#[test]
fn a_store_that_hands_a_claim_out_twice_is_noticed() {
    noticed_by(
        Fault::ClaimsTwice,
        &[
            "claim::a_claimed_entry_is_not_claimed_again",
            "concurrency::of_eight_claimers_of_one_entry_one_wins",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_sweeps_without_bound_is_noticed() {
    noticed_by(
        Fault::SweepsWithoutBound,
        &["lapse::a_sweep_is_bounded_and_says_whether_more_remain", MODEL],
    );
}

#[test]
fn a_store_that_sweeps_in_the_wrong_order_is_noticed() {
    noticed_by(
        Fault::SweepsInOrderOfIds,
        &[
            "lapse::claims_end_in_the_order_in_which_they_ran_out",
            "lapse::claims_that_ran_out_at_once_end_by_position",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_shows_an_outage_as_nothing_is_noticed() {
    noticed_by(Fault::ShowsAnOutageAsNothing, &["close::every_call_after_close_fails"]);
}

#[test]
fn a_store_that_saves_over_newer_breakers_is_noticed() {
    noticed_by(
        Fault::SavesOverNewerBreakers,
        &[
            "breakers::a_save_that_expects_another_version_changes_nothing",
            "breakers::of_concurrent_saves_that_expect_one_version_one_wins",
        ],
    );
}

#[test]
fn a_store_that_forgets_when_orders_end_is_noticed() {
    noticed_by(
        Fault::ForgetsWhenOrdersEnd,
        &[
            "breakers::an_order_ends_by_itself",
            "breakers::every_field_of_a_breaker_is_kept_to_the_letter",
        ],
    );
}

#[test]
fn a_store_that_counts_every_save_as_a_trip_is_noticed() {
    noticed_by(Fault::CountsEverySaveAsATrip, &["breakers::trips_count_how_often_it_opened"]);
}

#[test]
fn a_store_that_lists_the_last_breaker_again_is_noticed() {
    noticed_by(
        Fault::ListsTheLastBreakerAgain,
        &["breakers::breakers_are_listed_page_by_page_in_order_of_name"],
    );
}

#[test]
fn a_store_that_puts_all_in_one_bucket_is_noticed() {
    noticed_by(Fault::PutsAllInOneBucket, &["pace::every_name_has_a_bucket_of_its_own"]);
}

#[test]
fn a_store_that_grants_what_is_asked_for_is_noticed() {
    noticed_by(
        Fault::GrantsWhatIsAskedFor,
        &[
            "pace::sixty_four_takers_together_keep_the_pace",
            "pace::buckets_are_those_of_the_policy",
        ],
    );
}
