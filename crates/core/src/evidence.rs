//! Evidence: what happened to an entry, by whom and why, stored with the change itself.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

use crate::{
    failed_op::{Cause, FailedOp, OpState, Status, TraceContext},
    id::{ClaimToken, EntryId},
    name::{Actor, Reason},
    time::Timestamp,
    wire,
};

/// Who acts, when and why. Every command that changes something carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Who acts.
    pub actor: Actor,
    /// When, by the clock of the process that acts.
    pub at: Timestamp,
    /// Why, in the actor's words.
    pub reason: Option<Reason>,
    /// The trace in which it happens.
    pub trace: Option<TraceContext>,
}

impl Evidence {
    /// An act of `actor` at `at`, without words.
    pub fn new(actor: Actor, at: Timestamp) -> Self {
        Self { actor, at, reason: None, trace: None }
    }

    /// An act of Baldur itself.
    pub fn system(at: Timestamp) -> Self {
        Self::new(Actor::system(), at)
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(mut self, reason: Option<Reason>) -> Self {
        self.reason = reason;
        self
    }
}

/// What a record of evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvidenceEvent {
    /// The entry was kept.
    Captured,
    /// Another capture merged into it.
    Merged,
    /// It moved in the state table.
    Moved(Cause),
    /// Somebody tried to settle it with a stale claim; nothing else changed.
    SettleRefused,
    /// An overflow policy removed it to make room.
    Evicted,
}

impl EvidenceEvent {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Merged => "merged",
            Self::Moved(cause) => cause.as_str(),
            Self::SettleRefused => "settle_refused",
            Self::Evicted => "evicted",
        }
    }

    /// The event with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "captured" => Some(Self::Captured),
            "merged" => Some(Self::Merged),
            "settle_refused" => Some(Self::SettleRefused),
            "evicted" => Some(Self::Evicted),
            _ => Cause::from_name(name).map(Self::Moved),
        }
    }
}

impl fmt::Display for EvidenceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A SHA-256 digest. Evidence carries digests of payloads, never payloads.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).ok()?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from(HEX[usize::from(digit)])).try_for_each(|it| f.write_char(it))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// One thing that happened to one entry. Adapters store it in the same step as the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceRecord {
    /// The entry.
    pub entry: EntryId,
    /// Counts the records of the entry from 1, without gaps.
    pub counter: u64,
    /// What happened.
    pub event: EvidenceEvent,
    /// The status before; `None` when the entry is new.
    pub from: Option<Status>,
    /// The status after; `None` when the entry is gone.
    pub to: Option<Status>,
    /// The entry's claim token after the change; for a refusal, the token that was refused.
    pub claim_token: ClaimToken,
    /// Who, when, why.
    pub evidence: Evidence,
    /// The digest of the request data at capture, of a merged capture, or of what was evicted.
    pub digest: Option<Digest>,
}

impl EvidenceRecord {
    /// The bytes that hashes are computed over: version 1 of the stored form, in a fixed field order.
    pub fn canonical(&self) -> String {
        wire::encode_evidence(self)
    }

    /// The record of a capture. `op.state.evidence_count` must already count it.
    pub fn captured(op: &FailedOp, evidence: Evidence) -> Self {
        Self {
            entry: op.id,
            counter: op.state.evidence_count,
            event: EvidenceEvent::Captured,
            from: None,
            to: Some(op.state.status),
            claim_token: op.state.claim_token,
            evidence,
            digest: Some(Digest::of(op.request_data.as_str().as_bytes())),
        }
    }

    /// The record of a move from `from` to what `after` says. `after.evidence_count` must already count it.
    pub(crate) fn moved(
        entry: EntryId,
        from: Status,
        cause: Cause,
        after: &OpState,
        evidence: Evidence,
    ) -> Self {
        Self {
            entry,
            counter: after.evidence_count,
            event: EvidenceEvent::Moved(cause),
            from: Some(from),
            to: Some(after.status),
            claim_token: after.claim_token,
            evidence,
            digest: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_print_and_read_back() {
        let digest = Digest::of(b"abc");
        let text = digest.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::from_hex(&text), Some(digest));
        assert_eq!(Digest::from_hex("ba"), None);
        assert_eq!(Digest::from_hex(&"é".repeat(32)), None);
    }

    #[test]
    fn events_read_back() {
        use EvidenceEvent::{Captured, Evicted, Merged, SettleRefused};
        for event in [Captured, Merged, SettleRefused, Evicted]
            .into_iter()
            .chain(Cause::ALL.into_iter().map(EvidenceEvent::Moved))
        {
            assert_eq!(EvidenceEvent::from_name(event.as_str()), Some(event));
        }
    }
}
