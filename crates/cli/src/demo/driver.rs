//! The driver: it plays the shop and the fate of the services, and reckons at the end.

mod store;

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{
    Broken, Outage,
    checkout::BREAKER_OPEN_MAX,
    child::Child,
    plan::{Kill, Plan},
    shop::{Answer, Sending, Shop},
    story::Story,
    tally::{Promises, Summary, busiest_second, duplicated},
    wire::{Accepted, FailPoint, HoldPoint, Ledger, Mode, Order, Pace, Report},
};
use crate::exit::{Code, Failure};

/// How long one part of the story may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often an order is sent before the demo gives up on it.
const ROUNDS: usize = 5;
/// Longer than checkout's breaker stays open, so that calls get through again. Also longer than the mistaken store
/// takes to commit, so that a backlog is left for the second kill.
const BREAKER_PAUSE: Duration = BREAKER_OPEN_MAX.saturating_add(Duration::from_millis(200));

/// What the library calls a replay whose target had done it before.
const ALREADY_DONE: &str = "already_done";

/// What the driver is given.
#[derive(Debug)]
pub(super) struct Settings {
    /// The store that survives the kills of checkout.
    pub(super) store: String,
    /// The directory of checkout's spool, if it is to have one.
    pub(super) spool: Option<String>,
    /// The namespace of this run alone.
    pub(super) namespace: String,
    /// What goes down.
    pub(super) outage: Outage,
    /// How checkout is broken, in tests.
    pub(super) broken: Option<Broken>,
}

/// A demo that is going on.
#[derive(Debug)]
pub(super) struct Driver<'a> {
    story: &'a Story<'a>,
    plan: Plan,
    placed: u64,
    pace: u32,
    hold_replay: u64,
    settings: Settings,
    shop: Shop,
    gateway: Child,
    checkout: Child,
    promises: Promises,
    kills: u64,
    sent_again: u64,
    settled: u64,
    replayed: u64,
    recognised: u64,
    drained: u64,
    last_refusal: String,
}

/// What became of the orders of one part of the story.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    charged: u64,
    captured: u64,
    merged: u64,
    spooled: u64,
}

impl Part {
    fn note(&mut self, accepted: Accepted) {
        match accepted {
            Accepted::Charged => self.charged += 1,
            Accepted::Captured { merged, spooled } => {
                self.captured += 1;
                self.merged += u64::from(merged);
                self.spooled += u64::from(spooled);
            }
        }
    }

    fn total(self) -> u64 {
        self.charged + self.captured
    }

    fn words(self) -> String {
        let mut words = Vec::new();
        for (count, what) in [(self.charged, "charged"), (self.captured, "captured")] {
            if count > 0 {
                words.push(format!("{count} {what}"));
            }
        }
        for (count, what) in [(self.merged, "merged"), (self.spooled, "spooled")] {
            if count > 0 {
                words.push(format!("{count} of them {what}"));
            }
        }
        words.join(", ")
    }
}

impl<'a> Driver<'a> {
    /// Starts the services.
    pub(super) async fn start(
        story: &'a Story<'a>,
        plan: Plan,
        settings: Settings,
    ) -> Result<Self, Failure> {
        let step = story.begin("starting the services", 0);
        let shop = Shop::new()?;
        let gateway = Child::start("gateway", &["demo-gateway"], &[]).await?;
        let checkout = start_checkout(&settings, gateway.port).await?;
        let ids = format!("gateway is pid {}, checkout {}", gateway.id(), checkout.id());
        step.done(&ids);
        Ok(Self {
            story,
            placed: plan.orders(),
            pace: plan.replay_per_second(),
            hold_replay: plan.hold_replay(),
            plan,
            settings,
            shop,
            gateway,
            checkout,
            promises: Promises::default(),
            kills: 0,
            sent_again: 0,
            settled: 0,
            replayed: 0,
            recognised: 0,
            drained: 0,
            last_refusal: String::new(),
        })
    }

    /// Tells the whole story.
    pub(super) async fn tell(&mut self, started: Instant) -> Result<Summary, Failure> {
        let healthy = std::mem::take(&mut self.plan.healthy);
        self.send("gateway up", healthy).await?;
        self.set_mode(Mode::Refused).await?;
        let refused = std::mem::take(&mut self.plan.refused);
        self.send("gateway refuses connections", refused).await?;
        self.set_mode(Mode::Unavailable).await?;
        match self.settings.outage {
            Outage::Gateway => {
                self.kill_while_capturing("gateway answers 503", "gateway still answers 503")
                    .await?;
            }
            Outage::Store => self.lose_the_store().await?,
        }
        let charged_unanswered = self.slow().await?;
        self.set_mode(Mode::Up).await?;
        sleep(BREAKER_PAUSE).await;
        let recovered = std::mem::take(&mut self.plan.recovered);
        self.send("gateway is back", recovered).await?;
        self.close_spool().await?;
        let calls_before = self.ledger().await?.calls.len();
        self.kill_while_replaying().await?;
        self.drain().await?;
        let (answered, placed) = (self.promises.orders(), self.placed);
        if answered != placed {
            let problem = format!("only {answered} of {placed} orders were answered");
            return Err(Failure::new(Code::Failure, problem));
        }
        let ledger = self.ledger().await?;
        Ok(self.reckon(&ledger, calls_before, charged_unanswered, started))
    }

    /// Kills the services and waits until they are gone.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let gateway = self.gateway.kill().await;
        self.checkout.kill().await.and(gateway)
    }

    async fn set_mode(&self, mode: Mode) -> Result<(), Failure> {
        self.shop.tell(self.gateway.control, "/mode", &mode).await
    }

    async fn ledger(&self) -> Result<Ledger, Failure> {
        self.shop.get(self.gateway.control, "/ledger").await
    }

    /// Sends orders until each has a 2xx.
    async fn send(&mut self, label: &'static str, orders: Vec<Order>) -> Result<Part, Failure> {
        let total = orders.len();
        let mut part = Part::default();
        if total == 0 {
            return Ok(part);
        }
        let step = self.story.begin(label, total);
        let mut left = orders;
        for _ in 0..ROUNDS {
            let mut sending = Sending::new(&self.shop, self.checkout.port, left);
            left = Vec::new();
            while let Some((order, answer)) = in_time(label, sending.next()).await? {
                if self.note(&order, &answer, &mut part) {
                    step.tick();
                } else {
                    left.push(order);
                }
            }
            if left.is_empty() {
                step.done(&format!("{total} orders: {}", part.words()));
                return Ok(part);
            }
        }
        let reason = &self.last_refusal;
        let problem =
            format!("did not accept {} orders, sent {ROUNDS} times: {reason}", left.len());
        Err(self.checkout.failure(&problem))
    }

    /// Whether the order counts.
    fn note(&mut self, order: &Order, answer: &Answer, part: &mut Part) -> bool {
        match answer {
            Answer::Accepted(accepted) => {
                self.promises.note(&order.order, *accepted);
                part.note(*accepted);
                return true;
            }
            Answer::Refused(words) => self.last_refusal.clone_from(words),
            Answer::Unanswered => "no answer".clone_into(&mut self.last_refusal),
        }
        false
    }

    /// Sends orders into an outage and kills checkout while some of their captures are under way.
    async fn kill_while_capturing(
        &mut self,
        label: &'static str,
        label_after: &'static str,
    ) -> Result<(), Failure> {
        let Kill { hold_capture, after_answers } = self.plan.kill();
        let orders = std::mem::take(&mut self.plan.unavailable);
        self.arm(FailPoint::Capture(hold_capture)).await?;
        let step = self.story.begin(label, orders.len());
        let mut sending = Sending::new(&self.shop, self.checkout.port, orders);
        let mut part = Part::default();
        let (mut again, mut held) = (Vec::new(), 0);
        while held < 2 || part.total() < after_answers {
            tokio::select! {
                Some((order, answer)) = sending.next() => {
                    if self.note(&order, &answer, &mut part) {
                        step.tick();
                    } else {
                        again.push(order);
                    }
                }
                report = self.checkout.report("hold two captures", PATIENCE) => {
                    held += usize::from(matches!(report?, Report::Held { .. }));
                }
            }
        }
        let unsent = sending.stop();
        let waiting = self.spool().await?.waiting;
        self.kill_checkout().await?;
        // What the process still managed to answer counts; the rest broke off with it.
        while let Some((order, answer)) = in_time(label, sending.next()).await? {
            if !self.note(&order, &answer, &mut part) {
                again.push(order);
            }
        }
        step.done(&format!("{} orders: {}", part.total(), part.words()));
        let detail = format!("SIGKILL; {} orders were under way", again.len());
        self.story.event("checkout killed while it captured", &detail);
        self.sent_again += again.len() as u64;
        self.restart_checkout().await?;
        self.adopt_spool(waiting).await?;
        self.send("sent again under the same keys", again).await?;
        self.send(label_after, unsent).await?;
        Ok(())
    }

    /// Sends orders while the gateway charges without answering, and says how many it charged.
    async fn slow(&mut self) -> Result<u64, Failure> {
        sleep(BREAKER_PAUSE).await;
        self.set_mode(Mode::Slow).await?;
        let before = self.ledger().await?.charges.len();
        let orders = std::mem::take(&mut self.plan.slow);
        self.send("gateway charges, but doesn't answer", orders).await?;
        let charged = self.ledger().await?.charges.len() - before;
        if charged == 0 {
            return Err(self.gateway.failure("charged nothing while it was slow"));
        }
        Ok(charged as u64)
    }

    /// Begins the replay and kills checkout when the gateway has charged an entry that is not settled yet.
    async fn kill_while_replaying(&mut self) -> Result<(), Failure> {
        let backlog = self.promises.captured;
        self.arm(FailPoint::Replay(self.hold_replay)).await?;
        let step = self.story.begin("replaying the backlog", backlog.try_into().unwrap_or(0));
        self.begin_replay().await?;
        loop {
            match self.checkout.report("replay", PATIENCE).await? {
                Report::Held { at: HoldPoint::AfterCharge } => break,
                Report::Replayed { outcome } => {
                    self.recognised += u64::from(outcome == ALREADY_DONE);
                    self.settled += 1;
                    step.tick();
                }
                Report::Held { .. }
                | Report::Listening { .. }
                | Report::StoreOut
                | Report::Failed { .. } => {}
                Report::Drained { .. } => {
                    return Err(self.checkout.failure("drained the backlog without being held"));
                }
            }
        }
        self.kill_checkout().await?;
        step.done(&format!("{} of {backlog} entries", self.settled));
        let detail = "SIGKILL; charged, but not settled";
        self.story.event("checkout killed in a replay", detail);
        self.restart_checkout().await
    }

    /// Replays until nothing is left. What the killed process had claimed comes up when its lease is over.
    async fn drain(&mut self) -> Result<(), Failure> {
        let rest = self.promises.captured.saturating_sub(self.settled);
        let step = self.story.begin("replaying the rest", rest.try_into().unwrap_or(0));
        self.begin_replay().await?;
        let (resolved, stuck) = loop {
            match self.checkout.report("drain the backlog", PATIENCE).await? {
                Report::Drained { resolved, stuck } => break (resolved, stuck),
                Report::Replayed { outcome } => {
                    self.recognised += u64::from(outcome == ALREADY_DONE);
                    step.tick();
                }
                Report::Held { .. }
                | Report::Listening { .. }
                | Report::StoreOut
                | Report::Failed { .. } => {}
            }
        };
        self.replayed = resolved;
        if stuck > 0 {
            return Err(self.checkout.failure(&format!("left {stuck} entries to a person")));
        }
        step.done(&format!("all {resolved} are resolved"));
        Ok(())
    }

    async fn arm(&self, fail_point: FailPoint) -> Result<(), Failure> {
        self.shop.tell(self.checkout.control, "/fail-point", &fail_point).await
    }

    async fn begin_replay(&self) -> Result<(), Failure> {
        let pace = Pace { per_second: self.pace };
        self.shop.tell(self.checkout.control, "/replay", &pace).await
    }

    async fn kill_checkout(&mut self) -> Result<(), Failure> {
        self.checkout.kill().await?;
        self.kills += 1;
        Ok(())
    }

    async fn restart_checkout(&mut self) -> Result<(), Failure> {
        self.checkout = start_checkout(&self.settings, self.gateway.port).await?;
        let spool = if self.settings.spool.is_some() { " and spool" } else { "" };
        let detail = format!("as process {}, on the same store{spool}", self.checkout.id());
        self.story.event("checkout started again", &detail);
        Ok(())
    }

    fn reckon(
        &self,
        ledger: &Ledger,
        calls_before: usize,
        charged_unanswered: u64,
        started: Instant,
    ) -> Summary {
        let lost = self.promises.lost(&ledger.charges).len() as u64;
        let detail =
            format!("{} charges of {} orders", ledger.charges.len(), self.promises.orders());
        self.story.done("the gateway's ledger compared", &detail);
        Summary {
            orders: self.promises.orders(),
            captured: self.promises.captured,
            replayed: self.replayed,
            lost,
            duplicated: duplicated(&ledger.charges),
            kills: self.kills,
            charged_at_once: self.promises.charged,
            merged: self.promises.merged,
            sent_again: self.sent_again,
            charged_unanswered,
            recognised: self.recognised,
            rate_limit: u64::from(self.pace),
            busiest_second: busiest_second(ledger, calls_before),
            spooled: self.promises.spooled,
            drained: self.drained,
            milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

async fn start_checkout(settings: &Settings, gateway: u16) -> Result<Child, Failure> {
    let url = format!("http://127.0.0.1:{gateway}/charges");
    let mut arguments = vec!["demo-checkout", "--gateway", &url];
    if let Some(broken) = settings.broken {
        arguments.extend(["--broken", broken.as_str()]);
    }
    // The store may hold a password, which arguments would show to everybody on the machine.
    let mut variables = vec![
        ("BALDUR__STORE__URL", settings.store.as_str()),
        ("BALDUR__NAMESPACE", settings.namespace.as_str()),
    ];
    if let Some(spool) = &settings.spool
        && settings.broken != Some(Broken::ForgetWhenOut)
    {
        variables.push(("BALDUR__SPOOL__DIR", spool));
    }
    Child::start("checkout", &arguments, &variables).await
}

async fn in_time<T>(what: &str, future: impl Future<Output = T> + Send) -> Result<T, Failure> {
    timeout(PATIENCE, future).await.map_err(|_elapsed| {
        Failure::new(Code::Failure, format!("no answer within {PATIENCE:?} while: {what}"))
    })
}
