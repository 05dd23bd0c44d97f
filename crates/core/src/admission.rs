//! Whether a command can be carried out at all: pure, so that every adapter refuses alike.
//!
//! An adapter asks before it looks at its data. What is refused here is a mistake of the caller, never a race.

use crate::{
    command::{Act, Action, Capture, ClaimBatch, ClaimSelect, MAX_CLAIM, Settle, SettleOutcome},
    failed_op::{FailedOp, MAX_LABELS, MAX_MAX_RETRIES, OpState, Status},
    name::Namespace,
    port::ExportedEntry,
};

/// The most bytes that the payloads and texts of one entry may have together. A bound for stores; the limits
/// that callers meet are those of the capture service, and smaller.
pub const MAX_ENTRY_BYTES: usize = 16 * 1024 * 1024;

/// The largest claim token, and number of occurrences, attempts and retries written off, that an imported entry may have. No
/// real entry comes near; what counts on from here still fits into the integers of every backend.
pub const MAX_IMPORTED_NUMBER: u64 = 1 << 62;

impl Capture {
    /// Whether a store of `namespace` can keep this capture.
    ///
    /// # Errors
    ///
    /// Says what is wrong: another namespace, a state that is not the one of a new entry, too many labels, too
    /// many bytes, or a NUL character in a text.
    pub fn check(&self, namespace: &Namespace) -> Result<(), String> {
        check_op(&self.op, namespace)?;
        let given = &self.op.state;
        // The store sets its own times; everything else must be as if nothing had happened yet.
        let fresh = OpState {
            next_attempt_at: given.next_attempt_at,
            last_occurred_at: given.last_occurred_at,
            updated_at: given.updated_at,
            expires_at: given.expires_at,
            ..OpState::captured(given.max_retries, given.not_replayable, given.updated_at)
        };
        if *given == fresh {
            Ok(())
        } else {
            Err("its state is not that of a new entry".to_owned())
        }
    }
}

impl ExportedEntry {
    /// Whether a store of `namespace` can take this entry over.
    ///
    /// # Errors
    ///
    /// Says what is wrong: whatever [`Capture::check`] looks at besides freshness, evidence with gaps or of
    /// another entry, a number above [`MAX_IMPORTED_NUMBER`], or a state that no sequence of legal moves leads to.
    pub fn check(&self, namespace: &Namespace) -> Result<(), String> {
        let Self { op, evidence } = self;
        check_op(op, namespace)?;
        let counted = u64::try_from(evidence.len()).unwrap_or(u64::MAX);
        let in_order = (1..).zip(evidence).all(|(n, record)| record.counter == n);
        if counted == 0 || counted != op.state.evidence_count || !in_order {
            return Err("its evidence has gaps".to_owned());
        }
        if evidence.iter().any(|record| record.entry != op.id) {
            return Err("it has evidence of another entry".to_owned());
        }
        let state = &op.state;
        let numbers = [
            state.claim_token.0,
            state.previous_total_retries,
            state.occurrences,
            state.attempts.total(),
        ];
        if let Some(number) = numbers.into_iter().find(|number| *number > MAX_IMPORTED_NUMBER) {
            return Err(format!(
                "a number of its state is {number}; at most {MAX_IMPORTED_NUMBER} is allowed"
            ));
        }
        if state.hold.is_some() != (state.status == Status::Replaying) {
            return Err("a claim runs exactly while an entry is replaying".to_owned());
        }
        if op.state.not_replayable.is_some()
            && matches!(op.state.status, Status::Pending | Status::Replaying)
        {
            return Err("it can't be replayed, yet it waits for a replay".to_owned());
        }
        Ok(())
    }
}

impl ClaimBatch {
    /// Whether the claim asks for at least one and at most [`MAX_CLAIM`] entries, and names a time only for entries that
    /// it names.
    ///
    /// # Errors
    ///
    /// Says how many it asks for.
    pub fn check(&self) -> Result<(), String> {
        if let (ClaimSelect::Due { .. }, Some(_)) = (&self.select, self.terms.unchanged_since) {
            return Err("only entries named by id can be left out for having changed".to_owned());
        }
        let asked = match &self.select {
            ClaimSelect::Due { limit, .. } => *limit,
            ClaimSelect::Ids(ids) => ids.len(),
        };
        if (1..=MAX_CLAIM).contains(&asked) {
            Ok(())
        } else {
            Err(format!("a claim asks for 1 to {MAX_CLAIM} entries, not {asked}"))
        }
    }
}

impl Settle {
    /// Whether the texts of the outcome can be kept.
    ///
    /// # Errors
    ///
    /// When one of them has a NUL character.
    pub fn check(&self) -> Result<(), String> {
        match &self.outcome {
            SettleOutcome::Succeeded { note: text }
            | SettleOutcome::AlreadyDone { note: text }
            | SettleOutcome::Failed { error: text, .. }
            | SettleOutcome::Permanent { error: text }
            | SettleOutcome::Deferred { reason: text, .. } => check_text(text),
            SettleOutcome::Released => Ok(()),
        }
    }
}

impl Act {
    /// Whether the note can be kept.
    ///
    /// # Errors
    ///
    /// When it has a NUL character.
    pub fn check(&self) -> Result<(), String> {
        match &self.action {
            Action::Resolve { note } | Action::Reject { note } => check_text(note),
            Action::Review | Action::Back | Action::Escalate | Action::Expire | Action::Reopen => {
                Ok(())
            }
        }
    }
}

fn check_op(op: &FailedOp, namespace: &Namespace) -> Result<(), String> {
    if op.namespace != *namespace {
        return Err(format!("it belongs to namespace {}, not {namespace}", op.namespace));
    }
    if op.labels.len() > MAX_LABELS {
        return Err(format!("it has {} labels; at most {MAX_LABELS} are allowed", op.labels.len()));
    }
    if !(1..=MAX_MAX_RETRIES).contains(&op.state.max_retries) {
        let budget = op.state.max_retries;
        return Err(format!("its budget is {budget}; 1 to {MAX_MAX_RETRIES} are allowed"));
    }
    let bytes = entry_bytes(op);
    if bytes > MAX_ENTRY_BYTES {
        return Err(format!("it has {bytes} bytes; at most {MAX_ENTRY_BYTES} are allowed"));
    }
    [&op.error_code, &op.error_message, &op.next_action_hint]
        .into_iter()
        .try_for_each(|text| check_text(text))
}

fn entry_bytes(op: &FailedOp) -> usize {
    let payloads =
        [&op.entity_refs, &op.request_data, &op.snapshot_data, &op.response_data, &op.metadata];
    let texts = [&op.error_code, &op.error_message, &op.next_action_hint];
    payloads.iter().map(|json| json.len()).sum::<usize>()
        + texts.iter().map(|text| text.len()).sum::<usize>()
}

/// Not every backend can hold a NUL in a text, so none is asked to. (In JSON it is an escape, which all can hold.)
fn check_text(text: &str) -> Result<(), String> {
    if text.contains('\0') { Err("a text has a NUL character".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ClaimToken, EntryId, Evidence, ResolutionType, Timestamp,
        command::ClaimTerms,
        name::{Domain, WorkerName},
    };

    fn claim(select: ClaimSelect) -> ClaimBatch {
        let holder = WorkerName::parse("worker").expect("a name");
        let evidence = Evidence::system(Timestamp::UNIX_EPOCH);
        let lease = std::time::Duration::from_secs(1);
        let terms = ClaimTerms { holder, lease, force: false, unchanged_since: None, evidence };
        ClaimBatch { select, terms }
    }

    fn settle(outcome: SettleOutcome) -> Settle {
        Settle {
            id: EntryId::from_bytes([1; 16]),
            token: ClaimToken(1),
            outcome,
            trigger: ResolutionType::ManualRetry,
            evidence: Evidence::system(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn a_claim_asks_for_one_to_a_thousand_entries() {
        let due = |limit| {
            let domains = vec![Domain::parse("payment").expect("a domain")];
            claim(ClaimSelect::Due { domains, dependency: None, limit })
        };
        let ids = |count| claim(ClaimSelect::Ids(vec![EntryId::from_bytes([1; 16]); count]));
        for good in [1, MAX_CLAIM] {
            assert_eq!((due(good).check(), ids(good).check()), (Ok(()), Ok(())), "{good}");
        }
        for bad in [0, MAX_CLAIM + 1] {
            assert!(due(bad).check().is_err() && ids(bad).check().is_err(), "{bad}");
        }
        assert_eq!(due(0).check(), Err("a claim asks for 1 to 1000 entries, not 0".to_owned()));
    }

    #[test]
    fn a_nul_character_is_refused_in_every_text_of_a_command() {
        let nul = || "a\0b".to_owned();
        for outcome in [
            SettleOutcome::Succeeded { note: nul() },
            SettleOutcome::AlreadyDone { note: nul() },
            SettleOutcome::Failed { error: nul(), retry_in: std::time::Duration::ZERO },
            SettleOutcome::Permanent { error: nul() },
            SettleOutcome::Deferred { reason: nul(), delay: std::time::Duration::ZERO },
        ] {
            assert!(settle(outcome.clone()).check().is_err(), "{outcome:?}");
        }
        assert_eq!(settle(SettleOutcome::Released).check(), Ok(()));
        for action in [Action::Resolve { note: nul() }, Action::Reject { note: nul() }] {
            let evidence = Evidence::system(Timestamp::UNIX_EPOCH);
            let act = Act { id: EntryId::from_bytes([1; 16]), action, evidence };
            assert!(act.check().is_err());
        }
    }
}
