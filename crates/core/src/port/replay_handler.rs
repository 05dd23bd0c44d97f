//! Running an operation again: the host's part.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{failed_op::FailedOp, id::ClaimToken};

/// Runs failed operations again. Hosts implement it, one handler for each domain.
///
/// A handler is called at least once per replay, not exactly once: it may have worked although nobody heard so.
/// Hand [`FailedOp::idempotency_key`] to the target, which then recognises what it did before.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait ReplayHandler: fmt::Debug + Send + Sync + 'static {
    /// Whether the operation may run now. Asked on every path before [`Self::replay`]; charges nothing.
    async fn can_replay(&self, op: &FailedOp) -> Gate;

    /// Runs the operation again. Must be cancel-safe: the future is dropped when its time is up or its
    /// claim is lost, and then counts as failed.
    async fn replay(&self, op: &FailedOp, context: ReplayContext) -> ReplayOutcome;
}

/// What a handler knows of the replay that it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayContext {
    /// Which attempt this is, counted from 1 over the entry's life.
    pub attempt: u64,
    /// The fence: hand it to targets that check tokens.
    pub claim_token: ClaimToken,
    /// How much time the handler has.
    pub timeout: Duration,
    /// Look, but don't act: answer what [`ReplayHandler::replay`] would do, as far as that can be known.
    pub dry_run: bool,
}

/// Whether an operation may run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// Not now; ask again after the delay.
    Closed {
        /// Why.
        reason: String,
        /// How long to wait.
        delay: Duration,
    },
}

/// How a replay ended, in the handler's eyes. `Debug` shows how long its texts are, and not what they say: nothing is redacted yet.
#[derive(Clone, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// It worked.
    Succeeded {
        /// What the target said.
        note: String,
    },
    /// The target had done it before.
    AlreadyDone {
        /// What the target said.
        note: String,
    },
    /// It failed; a later replay may work.
    Failed {
        /// What went wrong.
        error: String,
        /// The least time to wait, where the target said so.
        retry_after: Option<Duration>,
    },
    /// It failed and will never work.
    Permanent {
        /// What went wrong.
        error: String,
    },
    /// The target was not reached or refused to look at it now; charges nothing.
    Deferred {
        /// Why.
        reason: String,
        /// How long to wait.
        delay: Duration,
    },
}

impl fmt::Debug for ReplayOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, field, text) = match self {
            Self::Succeeded { note } => ("Succeeded", "note", note),
            Self::AlreadyDone { note } => ("AlreadyDone", "note", note),
            Self::Failed { error, .. } => ("Failed", "error", error),
            Self::Permanent { error } => ("Permanent", "error", error),
            Self::Deferred { reason, .. } => ("Deferred", "reason", reason),
        };
        let mut shown = f.debug_struct(name);
        shown.field(field, &format_args!("{} bytes", text.len()));
        match self {
            Self::Failed { retry_after, .. } => shown.field("retry_after", retry_after),
            Self::Deferred { delay, .. } => shown.field("delay", delay),
            Self::Succeeded { .. } | Self::AlreadyDone { .. } | Self::Permanent { .. } => {
                &mut shown
            }
        }
        .finish()
    }
}
