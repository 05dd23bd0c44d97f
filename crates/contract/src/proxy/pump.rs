//! Moves the bytes of one way of a connection, as its flow and the traps say.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::tcp::{ReadHalf, WriteHalf},
    sync::watch,
    time::sleep,
};

use super::{
    Shared,
    fault::{Ending, Flow, Latency, Way},
    link::{Link, Reply},
    trap::{Action, Armed, Watching},
};
use crate::SeededIdGen;

/// How much is read at once.
pub(super) const CHUNK: usize = 16 * 1024;

/// Into how many pieces a throttled second is cut.
const PIECES: u64 = 20;

/// What happened first.
enum Heard {
    Bytes(usize),
    /// The end of the stream, or an error, after which nothing comes either.
    End(Option<Ending>),
    /// Another flow was set.
    Change,
}

/// One way of one connection.
pub(super) struct Pump<'a> {
    shared: &'a Shared,
    link: &'a Link,
    way: Way,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    flow: watch::Receiver<Flow>,
    traps: watch::Receiver<Vec<Arc<Armed>>>,
    watching: Watching,
    draws: Option<SeededIdGen>,
    /// Bytes that passed since the flow was set.
    passed: u64,
    /// Bytes were thrown away, so none may follow.
    lossy: bool,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        link: &'a Link,
        way: Way,
        from: ReadHalf<'a>,
        to: WriteHalf<'a>,
    ) -> Self {
        let mut flow = link.flows.way(way).subscribe();
        flow.mark_changed();
        let mut traps = shared.traps.subscribe();
        traps.mark_changed();
        Self {
            shared,
            link,
            way,
            from,
            to,
            flow,
            traps,
            watching: Watching::default(),
            draws: None,
            passed: 0,
            lossy: false,
        }
    }

    /// Moves bytes until the end of the stream was passed on. An error is how the connection has to end.
    pub(super) async fn run(mut self) -> Result<(), Ending> {
        let mut chunk = vec![0; CHUNK];
        loop {
            if self.current()? == Flow::Stall {
                self.changed().await;
                continue;
            }
            match self.hear(&mut chunk).await {
                Heard::Change => {}
                Heard::Bytes(read) => self.handle(&chunk[..read]).await?,
                Heard::End(error) => return self.finish(error).await,
            }
        }
    }

    /// The flow as it is now.
    fn current(&mut self) -> Result<Flow, Ending> {
        if self.flow.has_changed().unwrap_or(false) {
            self.passed = 0;
            self.draws = None;
        }
        let flow = *self.flow.borrow_and_update();
        if self.lossy && flow != Flow::Blackhole {
            self.shared.count(|counters| counters.faults.gaps += 1);
            return Err(Ending::Reset);
        }
        Ok(flow)
    }

    /// Waits for another flow, and leaves it to be seen.
    async fn changed(&mut self) {
        // The sender lives in the link, which outlives us.
        if self.flow.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.flow.mark_changed();
    }

    async fn hear(&mut self, chunk: &mut [u8]) -> Heard {
        tokio::select! {
            biased;
            _ = self.flow.changed() => {
                self.flow.mark_changed();
                Heard::Change
            }
            read = self.from.read(chunk) => match read {
                Ok(0) => Heard::End(None),
                Ok(read) => Heard::Bytes(read),
                Err(_) => Heard::End(Some(Ending::Reset)),
            },
        }
    }

    async fn handle(&mut self, chunk: &[u8]) -> Result<(), Ending> {
        let (way, bytes) = (self.way, chunk.len() as u64);
        self.shared.count(|counters| {
            counters.way(way).chunks += 1;
            counters.way(way).received += bytes;
        });
        match way {
            Way::ToServer => {
                self.spring(chunk)?;
                self.deliver(chunk).await
            }
            Way::ToClient => match self.link.withholds(chunk) {
                Reply::Free => self.deliver(chunk).await,
                Reply::Withheld => {
                    self.swallow(bytes);
                    Ok(())
                }
                Reply::Lost(ending) => {
                    self.swallow(bytes);
                    Err(self.reply_is_lost(ending))
                }
            },
        }
    }

    fn swallow(&self, bytes: u64) {
        self.shared.count(|counters| counters.way(self.way).swallowed += bytes);
    }

    fn reply_is_lost(&self, ending: Ending) -> Ending {
        self.shared.count(|counters| counters.faults.cut_after_send += 1);
        ending
    }

    /// Lets traps act on what the client sent, before any of it is forwarded.
    fn spring(&mut self, chunk: &[u8]) -> Result<(), Ending> {
        if self.traps.has_changed().unwrap_or(false) {
            let armed = self.traps.borrow_and_update().clone();
            self.watching.follow(&armed);
        }
        let sprung = self.watching.feed(chunk);
        self.shared.disarm(&sprung);
        let mut cut = None;
        for armed in &sprung {
            match &armed.trap.action {
                Action::CutBeforeSend(ending) => cut = Some(*ending),
                Action::CutAfterSend { ending, answered } => {
                    self.link.withhold(answered.matcher(), *ending);
                }
                Action::HoldBeforeSend => self.hold(Way::ToServer),
                Action::HoldReply => self.hold(Way::ToClient),
            }
        }
        let Some(ending) = cut else { return Ok(()) };
        self.swallow(chunk.len() as u64);
        self.shared.count(|counters| counters.faults.cut_before_send += 1);
        Err(ending)
    }

    fn hold(&self, way: Way) {
        self.link.flows.way(way).send_replace(Flow::Stall);
        self.shared.count(|counters| counters.faults.held += 1);
    }

    /// Does with a chunk what the flow says, also when that changes on the way.
    async fn deliver(&mut self, mut chunk: &[u8]) -> Result<(), Ending> {
        let mut waited = false;
        while !chunk.is_empty() {
            let sent = match self.current()? {
                Flow::Pass => self.send(chunk).await?,
                Flow::Delay(_) if waited => self.send(chunk).await?,
                Flow::Delay(latency) => {
                    waited = self.wait(latency).await;
                    0
                }
                Flow::Stall => {
                    self.changed().await;
                    0
                }
                Flow::Blackhole => {
                    self.lossy = true;
                    self.swallow(chunk.len() as u64);
                    return Ok(());
                }
                Flow::Throttle { bytes_per_second } => {
                    self.trickle(chunk, bytes_per_second).await?
                }
                Flow::CutAfter { bytes, ending } => self.send_up_to(chunk, bytes, ending).await?,
            };
            chunk = &chunk[sent..];
        }
        Ok(())
    }

    /// Writes what the other side takes, which is nothing when the flow changes first.
    async fn send(&mut self, bytes: &[u8]) -> Result<usize, Ending> {
        let written = tokio::select! {
            biased;
            _ = self.flow.changed() => {
                self.flow.mark_changed();
                return Ok(0);
            }
            written = self.to.write(bytes) => written,
        };
        let Ok(sent) = written else {
            // That the receiver is gone is news that goes back the other way.
            self.wait_until_told(self.way.back()).await;
            return Err(Ending::Reset);
        };
        self.passed += sent as u64;
        self.shared.count(|counters| counters.way(self.way).forwarded += sent as u64);
        Ok(sent)
    }

    async fn send_up_to(
        &mut self,
        chunk: &[u8],
        most: u64,
        ending: Ending,
    ) -> Result<usize, Ending> {
        let left = usize::try_from(most.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        let sent = match left {
            0 => 0,
            left => self.send(&chunk[..left.min(chunk.len())]).await?,
        };
        if self.passed >= most {
            self.shared.count(|counters| counters.faults.cut_after_bytes += 1);
            return Err(ending);
        }
        Ok(sent)
    }

    async fn trickle(&mut self, chunk: &[u8], per_second: NonZeroU64) -> Result<usize, Ending> {
        let piece = usize::try_from((per_second.get() / PIECES).max(1)).unwrap_or(usize::MAX);
        let sent = self.send(&chunk[..piece.min(chunk.len())]).await?;
        let nanos = (sent as u64).saturating_mul(1_000_000_000) / per_second;
        self.rest(Duration::from_nanos(nanos)).await;
        Ok(sent)
    }

    /// Waits as long as drawn; false when the flow changed meanwhile.
    async fn wait(&mut self, latency: Latency) -> bool {
        self.shared.count(|counters| counters.faults.delayed += 1);
        let wait = self.draw(latency);
        self.rest(wait).await
    }

    /// Waits this long; false when the flow changed meanwhile.
    async fn rest(&mut self, wait: Duration) -> bool {
        tokio::select! {
            biased;
            _ = self.flow.changed() => {
                self.flow.mark_changed();
                false
            }
            () = sleep(wait) => true,
        }
    }

    fn draw(&mut self, latency: Latency) -> Duration {
        let Latency { least, most, seed } = latency;
        // Two ways of two connections draw from different sequences.
        let stream = self.link.number * 2 + u64::from(self.way == Way::ToClient);
        let first = || SeededIdGen::new(seed ^ stream.wrapping_mul(0x9e6c_63d0_876a_9a47));
        super::schedule::between(self.draws.get_or_insert_with(first), least, most)
    }

    /// Passes on that nothing more comes.
    async fn finish(&mut self, error: Option<Ending>) -> Result<(), Ending> {
        if self.way == Way::ToClient
            && let Reply::Lost(ending) = self.link.withholds(&[])
        {
            return Err(self.reply_is_lost(ending));
        }
        self.wait_until_told(self.way).await;
        self.current()?;
        match error {
            Some(ending) => Err(ending),
            None => self.to.shutdown().await.map_err(|_| Ending::Reset),
        }
    }

    /// Waits until news of an end can go this way.
    async fn wait_until_told(&self, way: Way) {
        let mut flow = self.link.flows.way(way).subscribe();
        // The sender lives in the link, which outlives us.
        if flow.wait_for(|flow| flow.tells()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
