//! What can happen to connections, as values that a test sets and a schedule draws.

use std::{num::NonZeroU64, time::Duration};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server: requests.
    ToServer,
    /// From the server to the client: replies.
    ToClient,
    /// Both of them.
    Both,
}

impl Direction {
    pub(super) fn has(self, way: Way) -> bool {
        match self {
            Self::ToServer => way == Way::ToServer,
            Self::ToClient => way == Way::ToClient,
            Self::Both => true,
        }
    }
}

/// One of the two ways, for whoever can't mean both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToServer,
    ToClient,
}

impl Way {
    pub(super) const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];

    pub(super) fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// Which connections a setting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those that the proxy has accepted and not ended, see [`Counters::open`](super::Counters::open).
    Existing,
    /// Those that it has not accepted yet.
    New,
    /// All.
    All,
}

impl Scope {
    pub(super) fn has_existing(self) -> bool {
        matches!(self, Self::Existing | Self::All)
    }

    pub(super) fn has_new(self) -> bool {
        matches!(self, Self::New | Self::All)
    }
}

/// How a connection ends, seen from both of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// FIN: the peer reads to the end of what was sent and then the end of the stream.
    Close,
    /// RST: the peer's next read or write fails with `ECONNRESET` or `EPIPE`.
    Reset,
}

/// What happens to the bytes that go one way on one connection.
///
/// What arrives is always a prefix of what was sent: no flow leaves a gap in a stream, because no TCP network does.
/// The end of a stream goes the same way as its bytes: behind [`Flow::Stall`] or in [`Flow::Blackhole`] it is not
/// noticed, nor is a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// Everything passes at once.
    #[default]
    Pass,
    /// Each chunk (what one read gave, up to 16 KiB) waits this long, and the next is not read before.
    Delay(Latency),
    /// Nothing is read, so nothing is lost: a partition that heals, or a peer that was stopped. The sender blocks once
    /// the buffers of the system are full. What was sent passes when the flow changes.
    Stall,
    /// Everything is read and thrown away, and the connection stays open. A connection that lost bytes is reset when
    /// the flow changes, because what follows must not arrive after a gap.
    Blackhole,
    /// So many bytes pass per second, in pieces of a twentieth of that.
    Throttle {
        /// The rate, in bytes per second.
        bytes_per_second: NonZeroU64,
    },
    /// The first bytes pass, and then the connection ends. Counted from when the flow was set, on each connection and
    /// each way apart. With 0 bytes it ends at the first byte.
    CutAfter {
        /// How many bytes pass.
        bytes: u64,
        /// How the connection ends.
        ending: Ending,
    },
}

impl Flow {
    /// Whether news of the stream's end gets through.
    pub(super) fn tells(self) -> bool {
        !matches!(self, Self::Stall | Self::Blackhole)
    }
}

/// How long a chunk waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    pub(super) least: Duration,
    pub(super) most: Duration,
    pub(super) seed: u64,
}

impl Latency {
    /// Always the same.
    pub const fn fixed(wait: Duration) -> Self {
        Self { least: wait, most: wait, seed: 0 }
    }

    /// Drawn anew for each chunk, evenly, from `least` to `most` (or the other way round), whole microseconds. The
    /// draws of a way of a connection depend on the seed and on the number of the connection, counted from 0.
    pub const fn between(least: Duration, most: Duration, seed: u64) -> Self {
        Self { least, most, seed }
    }
}

/// How new connections are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Admission {
    /// They are connected to the server.
    Forward,
    /// They are accepted, and nothing is ever answered, nor are they closed: a server that hangs. The server does not
    /// see them. They stay so until [`FaultProxy::end`](super::FaultProxy::end), whatever is set later.
    HalfOpen,
    /// They are accepted and ended at once.
    End(Ending),
    /// They are not accepted: `connect` fails with `ECONNREFUSED`. The port stays ours: the system gives it to nobody who
    /// wants any free port.
    Refuse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_have_both_ways_and_each_only_its_own() {
        let ways = |direction: Direction| Way::BOTH.map(|way| direction.has(way));
        assert_eq!(ways(Direction::Both), [true, true]);
        assert_eq!(ways(Direction::ToServer), [true, false]);
        assert_eq!(ways(Direction::ToClient), [false, true]);
    }

    #[test]
    fn all_connections_are_the_existing_and_the_new_ones() {
        let has = |scope: Scope| (scope.has_existing(), scope.has_new());
        assert_eq!(has(Scope::All), (true, true));
        assert_eq!(has(Scope::Existing), (true, false));
        assert_eq!(has(Scope::New), (false, true));
    }
}
