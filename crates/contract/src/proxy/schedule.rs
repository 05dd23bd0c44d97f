//! Sequences of faults that can be drawn from a seed, and played again.

use std::{fmt, io, num::NonZeroU64, time::Duration};

use baldur_core::IdGen as _;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use super::{
    Control,
    counters::Counters,
    fault::{Admission, Direction, Ending, Flow, Latency, Scope},
};
use crate::SeededIdGen;

/// A sequence of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    steps: Vec<Step>,
}

/// A fault and how long it lasts. Then the network is healthy again, until the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What goes wrong.
    pub fault: Fault,
    /// Until when.
    pub lasts: Span,
}

/// What can go wrong in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: time for clients to get something done.
    Healthy,
    /// What passes on all connections, existing and new.
    Flow(Direction, Flow),
    /// How new connections are met. Those that were left half-open are reset at the end of the step.
    Admission(Admission),
    /// All open connections end, once, at the beginning of the step.
    End(Ending),
}

/// How long a step lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// So long.
    Time(Duration),
    /// Until the proxy has read so many more bytes, both ways and all connections together.
    Bytes {
        /// How many.
        bytes: u64,
        /// The step ends then at the latest: a fault can be why no bytes come.
        at_most: Duration,
    },
    /// Until the proxy has read so many more chunks. A request or reply of less than 16 KiB is mostly one chunk.
    Chunks {
        /// How many.
        chunks: u64,
        /// The step ends then at the latest.
        at_most: Duration,
    },
}

impl Schedule {
    /// These steps.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// So many faults with healthy spans between them. The same seed gives the same steps.
    ///
    /// All kinds of faults occur. Each lasts 50 ms to 500 ms at most, each healthy span up to 64 chunks or 200 ms, so
    /// that a fault meets clients in the middle of something. What clients do meanwhile is theirs, so a run is
    /// repeated in what goes wrong and in which order, not byte by byte.
    pub fn random(seed: u64, faults: usize) -> Self {
        let draws = SeededIdGen::new(seed);
        let steps = (0..faults).flat_map(|_| [healthy(&draws), faulty(&draws)]).collect();
        Self { steps }
    }

    /// The steps, in their order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

fn healthy(draws: &SeededIdGen) -> Step {
    let lasts = Span::Chunks { chunks: pick(draws, 1..65), at_most: millis(200) };
    Step { fault: Fault::Healthy, lasts }
}

fn faulty(draws: &SeededIdGen) -> Step {
    let at_most = between(draws, millis(50), millis(500));
    let lasts = match pick(draws, 0..3) {
        0 => Span::Bytes { bytes: pick(draws, 1..20_000), at_most },
        1 => Span::Chunks { chunks: pick(draws, 1..100), at_most },
        _ => Span::Time(at_most),
    };
    Step { fault: fault(draws), lasts }
}

fn fault(draws: &SeededIdGen) -> Fault {
    let ending = if pick(draws, 0..2) == 0 { Ending::Close } else { Ending::Reset };
    match pick(draws, 0..10) {
        0 => Fault::End(ending),
        1 => Fault::Admission(Admission::Refuse),
        2 => Fault::Admission(Admission::HalfOpen),
        3 => Fault::Admission(Admission::End(ending)),
        _ => Fault::Flow(direction(draws), flow(draws, ending)),
    }
}

fn direction(draws: &SeededIdGen) -> Direction {
    match pick(draws, 0..3) {
        0 => Direction::ToServer,
        1 => Direction::ToClient,
        _ => Direction::Both,
    }
}

fn flow(draws: &SeededIdGen, ending: Ending) -> Flow {
    match pick(draws, 0..5) {
        0 => Flow::Stall,
        1 => Flow::Blackhole,
        2 => Flow::Delay(Latency::between(
            millis(0),
            between(draws, millis(1), millis(40)),
            pick(draws, 0..u64::MAX),
        )),
        3 => Flow::Throttle {
            bytes_per_second: NonZeroU64::MIN.saturating_add(pick(draws, 8_192..262_144)),
        },
        _ => Flow::CutAfter { bytes: pick(draws, 0..8_192), ending },
    }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A number of the range, which must not be empty. Near enough to even for ranges far below 2^64.
fn pick(draws: &SeededIdGen, range: std::ops::Range<u64>) -> u64 {
    let size = range.end.saturating_sub(range.start).max(1);
    range.start + u64::from_be_bytes(draws.entropy()) % size
}

/// A duration between the two, both included, in whole microseconds.
pub(super) fn between(draws: &SeededIdGen, one: Duration, other: Duration) -> Duration {
    let micros = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX - 1);
    let (least, most) = (micros(one.min(other)), micros(one.max(other)));
    Duration::from_micros(pick(draws, least..most.saturating_add(1)))
}

/// A schedule that is being played.
///
/// When this is dropped, the fault of the moment is lifted and nothing more is played.
#[must_use = "dropping it ends the schedule"]
pub struct Playback {
    stop: oneshot::Sender<()>,
    playing: JoinHandle<io::Result<usize>>,
}

impl Playback {
    pub(super) fn start(control: Control, schedule: Schedule) -> Self {
        let (stop, stopped) = oneshot::channel();
        let playing = tokio::spawn(play(control, schedule, stopped));
        Self { stop, playing }
    }

    /// Waits until everything was played and the network is healthy again, and returns how many steps there were.
    /// Fails when the port could not be listened on again, or when the proxy ended.
    pub async fn finished(self) -> io::Result<usize> {
        let Self { stop, playing } = self;
        let played = joined(playing).await;
        drop(stop);
        played
    }

    /// Lifts the fault of the moment and ends the schedule. Returns how many steps were begun.
    pub async fn stop(self) -> io::Result<usize> {
        let Self { stop, playing } = self;
        drop(stop);
        joined(playing).await
    }
}

async fn joined(playing: JoinHandle<io::Result<usize>>) -> io::Result<usize> {
    playing.await.map_err(io::Error::other)?
}

impl fmt::Debug for Playback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Playback").finish_non_exhaustive()
    }
}

async fn play(
    control: Control,
    schedule: Schedule,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<usize> {
    let mut begun = 0;
    for step in schedule.steps {
        begun += 1;
        apply(&control, step.fault).await?;
        let going_on = tokio::select! {
            biased;
            _ = &mut stopped => false,
            () = control.closed() => false,
            () = pass(&control, step.lasts) => true,
        };
        lift(&control, step.fault).await?;
        if !going_on {
            break;
        }
    }
    Ok(begun)
}

async fn apply(control: &Control, fault: Fault) -> io::Result<()> {
    match fault {
        Fault::Healthy => {}
        Fault::Flow(direction, flow) => control.shared.set(Scope::All, direction, flow),
        Fault::Admission(admission) => control.admit(admission).await?,
        Fault::End(ending) => {
            control.shared.end(ending);
        }
    }
    Ok(())
}

async fn lift(control: &Control, fault: Fault) -> io::Result<()> {
    match fault {
        Fault::Healthy | Fault::End(_) => {}
        Fault::Flow(direction, _) => control.shared.set(Scope::All, direction, Flow::Pass),
        Fault::Admission(admission) => {
            control.admit(Admission::Forward).await?;
            if admission == Admission::HalfOpen {
                control.shared.end_half_open(Ending::Reset);
            }
        }
    }
    Ok(())
}

async fn pass(control: &Control, span: Span) {
    let read = |now: &Counters| {
        let Counters { to_server, to_client, .. } = now;
        (to_server.received + to_client.received, to_server.chunks + to_client.chunks)
    };
    let mut changes = control.shared.counters.subscribe();
    let (bytes_before, chunks_before) = read(&changes.borrow());
    let (bytes, chunks, at_most) = match span {
        Span::Time(time) => return tokio::time::sleep(time).await,
        Span::Bytes { bytes, at_most } => (bytes, 0, at_most),
        Span::Chunks { chunks, at_most } => (0, chunks, at_most),
    };
    let enough = changes.wait_for(|now| {
        let (bytes_now, chunks_now) = read(now);
        bytes_now - bytes_before >= bytes && chunks_now - chunks_before >= chunks
    });
    // Both mean that the step is over.
    let _ = timeout(at_most, enough).await;
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, mem::discriminant};

    use super::*;

    #[test]
    fn a_seed_repeats_its_schedule_and_another_has_another() {
        assert_eq!(Schedule::random(7, 50), Schedule::random(7, 50));
        assert_ne!(Schedule::random(7, 50), Schedule::random(8, 50));
        assert_eq!(Schedule::random(7, 50).steps().len(), 100);
    }

    #[test]
    fn every_kind_of_fault_is_drawn() {
        let schedule = Schedule::random(1, 500);
        let (mut faults, mut flows) = (HashSet::new(), HashSet::new());
        for step in schedule.steps() {
            faults.insert(discriminant(&step.fault));
            if let Fault::Flow(_, flow) = &step.fault {
                flows.insert(discriminant(flow));
            }
        }
        assert_eq!((faults.len(), flows.len()), (4, 5), "all but `Pass`");
    }

    #[test]
    fn durations_are_drawn_within_their_bounds_whichever_comes_first() {
        let draws = SeededIdGen::new(3);
        let (least, most) = (Duration::from_micros(5), Duration::from_micros(7));
        let seen: HashSet<_> = (0..100).map(|_| between(&draws, most, least)).collect();
        assert_eq!(seen, [5, 6, 7].map(Duration::from_micros).into());
        assert_eq!(between(&draws, most, most), most);
    }
}
