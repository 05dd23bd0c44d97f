//! The driver: it starts victims, kills them, and at the end looks for everything that callers were told.

use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    Failure, look,
    place::Place,
    promises::{Promises, Told, Verdict},
    protocol::{FailPoint, Mode, Said, Twin},
    random::SplitMix,
    victim::{Orders, Victim},
};

/// After how many kills everything is brought into the store.
const SETTLE_EVERY: u32 = 6;

/// What the harness is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) kills: u32,
    pub(crate) seed: u64,
    pub(crate) twin: Option<Twin>,
}

/// How it went.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Report {
    pub(crate) kills: u32,
    /// Kills of a victim that stood at a fail point.
    pub(crate) at_fail_points: u32,
    /// Kills of two victims at once.
    pub(crate) in_pairs: u32,
    pub(crate) entries: usize,
    /// Records that are still in the spool, and files that were put aside.
    pub(crate) left_in_spool: u64,
    pub(crate) set_aside: u64,
    pub(crate) torn_tails: u64,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

impl Report {
    /// Whether every promise was kept.
    pub(crate) fn is_good(&self) -> bool {
        self.verdict.is_good() && self.left_in_spool == 0 && self.set_aside == 0
    }
}

/// Kills victims, settles what they left, and reckons.
pub(crate) async fn run(
    place: &Place,
    plan: Plan,
    progress: impl Fn(u32),
) -> Result<Report, Failure> {
    let mut random = SplitMix::new(plan.seed);
    let mut promises = Promises::default();
    let (mut at_fail_points, mut in_pairs, mut kills) = (0, 0, 0);
    let mut settle_at = SETTLE_EVERY;
    while kills < plan.kills {
        let round = Round::of(kills, plan.twin, &mut random);
        let (mode, fail_point) = (round.orders.mode, round.orders.fail_point);
        let bystander = Orders { seed: random.next(), fail_point: None, ..round.orders };
        let bystander = if round.paired {
            Some(Listened::to(Victim::start(place, bystander).await?))
        } else {
            None
        };
        let mut victim = Victim::start(place, round.orders).await?;
        let mut told = Told::default();
        let held = hear(&mut victim, &mut told, round.acknowledgements).await.map_err(|error| {
            Failure::from(format!("in mode {mode:?}, fail point {fail_point:?}: {error}"))
        })?;
        victim.kill().await?.iter().for_each(|said| told.note(said));
        promises.add(told);
        kills += 1;
        at_fail_points += u32::from(held);
        if let Some(bystander) = bystander {
            promises.add(bystander.kill().await?);
            kills += 1;
            in_pairs += 2;
        }
        progress(kills);
        // Victims live too short to drain what the dead left; without this the backlog would only grow.
        if kills >= settle_at {
            settle(place).await?;
            settle_at = kills + SETTLE_EVERY;
        }
    }
    settle(place).await?;
    let seen = look::at(place).await?;
    Ok(Report {
        kills,
        at_fail_points,
        in_pairs,
        entries: seen.entries.len(),
        left_in_spool: seen.left_in_spool,
        set_aside: seen.set_aside,
        torn_tails: seen.torn_tails,
        verdict: promises.verdict(&seen.entries),
    })
}

/// One kill.
struct Round {
    orders: Orders,
    /// After how many answers, where no fail point comes first.
    acknowledgements: usize,
    /// With another victim beside it.
    paired: bool,
}

impl Round {
    fn of(number: u32, twin: Option<Twin>, random: &mut SplitMix) -> Self {
        let nth = number as usize;
        // Every mode meets every fail point, and each of them is left out as often.
        let mode = Mode::ALL[nth % Mode::ALL.len()];
        let points = FailPoint::ALL.len();
        let point = FailPoint::ALL[nth / Mode::ALL.len() % points];
        let fail_point = (nth / (Mode::ALL.len() * points)).is_multiple_of(2).then_some(point);
        Self {
            orders: Orders { mode, seed: random.next(), fail_point, twin },
            // Some points are only met in an outage of the store, so they are given more time.
            acknowledgements: match fail_point {
                Some(_) => 2_000,
                None => 20 + usize::try_from(random.next() % 500).unwrap_or_default(),
            },
            paired: fail_point.is_none() && nth % 4 == 1,
        }
    }
}

/// A victim whose words are noted in the background, so that it never waits for a listener.
struct Listened {
    kill: oneshot::Sender<()>,
    told: JoinHandle<Result<Told, Failure>>,
}

impl Listened {
    fn to(mut victim: Victim) -> Self {
        let (kill, mut killed) = oneshot::channel();
        let told = tokio::spawn(async move {
            let mut told = Told::default();
            loop {
                tokio::select! {
                    said = victim.next() => match said? {
                        Some(Said::Failed(why)) => return Err(why.into()),
                        Some(said) => told.note(&said),
                        None => return Err("a bystander ended by itself".into()),
                    },
                    _ = &mut killed => break,
                }
            }
            victim.kill().await?.iter().for_each(|said| told.note(said));
            Ok(told)
        });
        Self { kill, told }
    }

    async fn kill(self) -> Result<Told, Failure> {
        // It fails only when the task ended before, and then with the reason.
        let _ = self.kill.send(());
        self.told.await?
    }
}

/// Listens until it is time to kill. Whether that is because of a fail point.
async fn hear(
    victim: &mut Victim,
    told: &mut Told,
    acknowledgements: usize,
) -> Result<bool, Failure> {
    while let Some(said) = victim.next().await? {
        told.note(&said);
        match said {
            Said::Held(_) => return Ok(true),
            Said::Failed(why) => return Err(why.into()),
            Said::Ready | Said::Acknowledged(..) | Said::Flushed(_) | Said::Settled => {}
        }
        if told.count() >= acknowledgements {
            return Ok(false);
        }
    }
    Err("a victim ended by itself".into())
}

/// Has a process bring everything into the store.
async fn settle(place: &Place) -> Result<(), Failure> {
    let mut settler = Victim::settler(place).await?;
    loop {
        match settler.next().await? {
            Some(Said::Settled) => return settler.ended().await,
            Some(Said::Failed(why)) => return Err(why.into()),
            Some(_) => {}
            None => return Err("the settler ended before it was done".into()),
        }
    }
}

impl Report {
    /// The report for people.
    pub(crate) fn table(&self) -> String {
        let Self {
            kills,
            at_fail_points,
            in_pairs,
            entries,
            left_in_spool,
            set_aside,
            torn_tails,
            verdict,
        } = self;
        let rows = [
            ("kills", format!("{kills}, {at_fail_points} at fail points, {in_pairs} in pairs")),
            ("entries", format!("{entries}, {} of them unannounced", verdict.unannounced)),
            ("told stored", verdict.stored.to_string()),
            ("told spooled", verdict.spooled.to_string()),
            ("told queued, flushed", verdict.flushed.to_string()),
            (
                "told queued only",
                format!(
                    "{}, {} of them gone with their process",
                    verdict.only_queued, verdict.only_queued_lost
                ),
            ),
            (
                "left in the spool",
                format!("{left_in_spool}; {set_aside} put aside, {torn_tails} torn tails"),
            ),
            ("lost", crate::listed(&verdict.lost)),
            ("doubled", crate::listed(&verdict.doubled)),
        ];
        let lines: Vec<String> =
            rows.iter().map(|(name, value)| format!("  {name:<22}{value}")).collect();
        lines.join("\n")
    }
}
