//! The suite notices what is wrong with limits, evictions and replaced payloads.

use crate::{MODEL, noticed_by, twin::Fault};

#[test]
fn a_store_that_ignores_limits_is_noticed() {
    noticed_by(
        Fault::IgnoresLimits,
        &[
            "overflow::a_domain_takes_no_more_than_its_limit",
            "overflow::the_namespace_takes_no_more_than_its_limit",
            "overflow::a_refused_capture_changes_nothing",
            "overflow::a_refusal_concerns_one_item_only",
            "overflow::limits_hold_inside_one_batch",
            "overflow::closed_entries_take_no_room",
            "overflow::a_replay_that_does_not_end_an_entry_frees_no_room",
            "overflow::a_reopened_entry_takes_room_again",
            "overflow::what_cannot_be_replayed_needs_room_too",
            "overflow::what_named_no_limits_takes_room",
            "overflow::imported_entries_take_room",
            "overflow::a_raised_limit_holds_at_once",
            "overflow::concurrent_captures_never_exceed_a_limit",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_knows_one_limit_only_is_noticed() {
    noticed_by(
        Fault::IgnoresTheLimitOfTheDomain,
        &[
            "overflow::a_domain_takes_no_more_than_its_limit",
            "overflow::the_limit_of_the_domain_is_told_first",
            "eviction::the_domain_makes_room_first",
        ],
    );
    noticed_by(
        Fault::IgnoresTheLimitInAll,
        &[
            "overflow::the_namespace_takes_no_more_than_its_limit",
            "eviction::the_oldest_of_all_goes_when_that_limit_is_reached",
        ],
    );
}

#[test]
fn a_store_that_takes_all_for_one_domain_is_noticed() {
    noticed_by(
        Fault::CountsAllForTheDomain,
        &[
            "overflow::a_domain_takes_no_more_than_its_limit",
            "eviction::the_oldest_of_the_domain_goes",
            "eviction::a_capture_is_refused_when_nothing_may_go",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_counts_closed_entries_is_noticed() {
    noticed_by(
        Fault::CountsHistory,
        &["overflow::closed_entries_take_no_room", "eviction::closed_entries_never_go"],
    );
}

#[test]
fn a_store_that_counts_waiting_entries_only_is_noticed() {
    noticed_by(
        Fault::CountsWaitingOnly,
        &[
            "overflow::every_live_status_takes_room",
            "overflow::a_replay_that_does_not_end_an_entry_frees_no_room",
        ],
    );
}

#[test]
fn a_store_that_wants_room_for_every_capture_is_noticed() {
    noticed_by(
        Fault::ChargesEveryCapture,
        &["overflow::repeated_captures_need_no_room", "overflow::merged_captures_need_no_room"],
    );
}

#[test]
fn a_store_that_keeps_what_it_refuses_is_noticed() {
    noticed_by(
        Fault::KeepsWhatItRefuses,
        &[
            "overflow::a_refused_capture_changes_nothing",
            "eviction::a_capture_is_refused_when_nothing_may_go",
        ],
    );
}

#[test]
fn a_store_that_conceals_what_overflow_did_is_noticed() {
    noticed_by(
        Fault::ConcealsTheNumberOfLiveEntries,
        &["overflow::a_new_entry_tells_how_many_are_live", MODEL],
    );
    noticed_by(
        Fault::ConcealsEvictions,
        &[
            "eviction::the_oldest_of_the_domain_goes",
            "eviction::entries_captured_at_once_go_in_the_order_of_ids",
            "eviction::nothing_goes_while_there_is_room",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_never_evicts_is_noticed() {
    noticed_by(
        Fault::NeverEvicts,
        &[
            "eviction::the_oldest_of_the_domain_goes",
            "eviction::what_waits_for_a_person_goes_too",
            "eviction::a_capture_takes_the_place_of_what_went",
            "eviction::ids_that_merged_into_an_evicted_entry_are_remembered",
            "eviction::the_dedup_key_of_an_evicted_entry_is_free",
            "eviction::the_next_live_entry_takes_over_the_dedup_key",
            "eviction::the_successor_of_an_evicted_entry_is_claimable",
            "eviction::an_eviction_does_not_disturb_a_running_replay",
            "eviction::entries_of_one_batch_make_room_for_each_other",
            "eviction::a_merge_and_an_eviction_in_one_batch_agree",
            "eviction::a_late_older_capture_is_the_next_to_go",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_never_comes_down_to_a_lowered_limit_is_noticed() {
    noticed_by(Fault::EvictsOneAtMost, &["eviction::a_lowered_limit_is_reached_step_by_step"]);
}

#[test]
fn a_store_that_evicts_what_somebody_works_on_is_noticed() {
    noticed_by(
        Fault::EvictsWhatIsWorkedOn,
        &[
            "eviction::what_somebody_works_on_never_goes",
            "eviction::a_capture_is_refused_when_nothing_may_go",
            "eviction::an_eviction_does_not_disturb_a_running_replay",
        ],
    );
}

#[test]
fn a_store_that_grows_when_nothing_may_go_is_noticed() {
    noticed_by(
        Fault::GrowsWhenNothingMayGo,
        &["eviction::a_capture_is_refused_when_nothing_may_go"],
    );
}

#[test]
fn a_store_that_still_finds_what_went_is_noticed() {
    noticed_by(
        Fault::FindsWhatWent,
        &[
            "eviction::an_evicted_entry_is_found_nowhere",
            "eviction::a_lowered_limit_is_reached_step_by_step",
        ],
    );
}

#[test]
fn a_store_that_forgets_the_ids_of_what_went_is_noticed() {
    noticed_by(
        Fault::ForgetsIdsThatWent,
        &[
            "eviction::the_id_of_an_evicted_entry_is_remembered",
            "eviction::ids_that_merged_into_an_evicted_entry_are_remembered",
            "eviction::entries_of_one_batch_make_room_for_each_other",
        ],
    );
}

#[test]
fn a_store_that_loses_evidence_of_what_went_is_noticed() {
    noticed_by(
        Fault::LosesRecordsOfEvictions,
        &["eviction::the_evidence_of_an_evicted_entry_stays", MODEL],
    );
    noticed_by(
        Fault::LosesTrailsOfWhatWent,
        &[
            "eviction::the_evidence_of_an_evicted_entry_stays",
            "eviction::an_evicted_id_is_not_imported",
            "on_merge::an_evicted_entry_had_its_last_payload",
        ],
    );
}

#[test]
fn a_store_that_always_keeps_the_first_payload_is_noticed() {
    noticed_by(
        Fault::KeepsTheFirstPayload,
        &[
            "on_merge::the_last_payload_is_kept_when_asked_for",
            "on_merge::a_claim_hands_out_the_last_payload",
            "on_merge::lists_show_the_last_error",
            "on_merge::an_entry_that_waits_for_a_person_gets_the_last_payload",
            "on_merge::payloads_are_replaced_inside_one_batch",
            "on_merge::an_evicted_entry_had_its_last_payload",
            MODEL,
        ],
    );
}

#[test]
fn a_store_that_always_keeps_the_last_payload_is_noticed() {
    noticed_by(
        Fault::AlwaysKeepsTheLastPayload,
        &[
            "dedup::a_merge_keeps_the_first_payload",
            "on_merge::each_capture_says_for_itself_whose_payload_is_kept",
            "on_merge::a_payload_somebody_works_on_stays",
            "on_merge::a_capture_that_cannot_be_replayed_replaces_nothing",
            "on_merge::an_older_capture_replaces_nothing",
        ],
    );
}

#[test]
fn a_store_that_forgets_payload_versions_is_noticed() {
    noticed_by(
        Fault::ForgetsPayloadVersions,
        &[
            "on_merge::the_payload_version_grows_with_each_replacement",
            "on_merge::a_repeated_capture_replaces_nothing",
        ],
    );
}

#[test]
fn a_store_that_regroups_an_entry_with_its_payload_is_noticed() {
    noticed_by(Fault::RegroupsWithThePayload, &["on_merge::what_an_entry_is_grouped_by_stays"]);
}

#[test]
fn a_store_that_loses_digests_is_noticed() {
    noticed_by(
        Fault::LosesDigestsOfMerges,
        &["on_merge::the_evidence_has_the_digest_of_each_payload"],
    );
}

#[test]
fn order_of_late_and_imported_entries_is_noticed_when_ignored() {
    noticed_by(
        Fault::IgnoresOrder,
        &[
            "order::a_blocked_key_is_told_with_the_entry_that_blocks_it",
            "order::a_late_older_duplicate_keeps_the_place_of_the_first",
            "eviction::the_successor_of_an_evicted_entry_is_claimable",
        ],
    );
}

#[test]
fn a_store_that_lets_a_refusal_spoil_its_batch_is_noticed() {
    noticed_by(Fault::SpoilsBatches, &["overflow::a_refusal_concerns_one_item_only"]);
}
