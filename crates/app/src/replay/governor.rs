//! Who else has a say in a run.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use baldur_core::{policy::Paced, port::ReplayOutcome};

/// Paces a run from outside, hears how its replays end, and may end it.
///
/// The run asks before each claim and holds few permits at a time. Its own rate and limit hold besides.
#[async_trait]
pub trait Governor: fmt::Debug + Send + Sync + 'static {
    /// Up to `most` permits, each for one entry that is taken up. With none, the run asks again after `retry_in`.
    ///
    /// A call that takes longer than the engine's store timeout counts as granting none. It may be dropped.
    async fn permits(&self, most: u32) -> Paced;

    /// Hears how a replay ended, before it is settled. `false` ends the run with
    /// [`StopReason::Halted`](super::StopReason::Halted): nothing new is taken up, and what is at work ends as usual.
    fn heard(&self, outcome: &ReplayOutcome) -> bool;

    /// How long handlers may go on after the run was cancelled; `usual` is what the engine's policy says.
    fn grace(&self, usual: Duration) -> Duration;
}
