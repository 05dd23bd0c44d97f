//! What the proxy saw and did, as numbers that a test can wait for.

use std::time::Duration;

use tokio::sync::watch;

use super::fault::Way;
use crate::Failure;

/// How long [`wait_for`] waits. Nothing that a test waits for takes this long.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a proxy saw and did since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were accepted, also those that were ended at once.
    pub accepted: u64,
    /// Connections that the proxy still holds; the only number that falls.
    pub open: u64,
    /// Connections that were reset because the server could not be reached within 10 s.
    pub unreachable: u64,
    /// What clients sent.
    pub to_server: Traffic,
    /// What the server sent.
    pub to_client: Traffic,
    /// What went wrong on purpose.
    pub faults: Faults,
}

/// What went one way, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Chunks that were read.
    pub chunks: u64,
    /// Bytes that were read.
    pub received: u64,
    /// Bytes that were written to the other side.
    pub forwarded: u64,
    /// Bytes that were thrown away, by [`Flow::Blackhole`](super::Flow::Blackhole), by a trap or half-open. Bytes that
    /// a connection held when it ended are in neither sum.
    pub swallowed: u64,
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// New connections that were ended at once.
    pub turned_away: u64,
    /// New connections that were left half-open.
    pub half_open: u64,
    /// Connections ended by [`FaultProxy::end`](super::FaultProxy::end) or a schedule.
    pub ended: u64,
    /// Connections cut after so many bytes.
    pub cut_after_bytes: u64,
    /// Connections cut before a request.
    pub cut_before_send: u64,
    /// Connections cut after a request, its reply thrown away.
    pub cut_after_send: u64,
    /// Requests and replies that a trap holds or held.
    pub held: u64,
    /// Connections reset because they had lost bytes in a blackhole that was lifted.
    pub gaps: u64,
    /// Chunks that were delayed.
    pub delayed: u64,
}

impl Counters {
    pub(super) fn way(&mut self, way: Way) -> &mut Traffic {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

/// Waits until the counters are so, and returns them.
pub(super) async fn wait_for(
    counters: &watch::Sender<Counters>,
    condition: impl FnMut(&Counters) -> bool + Send,
) -> Result<Counters, Failure> {
    let mut changes = counters.subscribe();
    // The sender is borrowed, so waiting can end in one other way only.
    match tokio::time::timeout(DEADLINE, changes.wait_for(condition)).await {
        Ok(Ok(seen)) => Ok(*seen),
        Ok(Err(_)) | Err(_) => Err(Failure::new(format!(
            "the proxy did not come to it within {DEADLINE:?}: {:?}",
            *counters.borrow()
        ))),
    }
}
