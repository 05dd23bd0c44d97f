//! Crashes at every point: what was acknowledged is delivered, in order, once. Spools that sync less, or answer earlier, are caught.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use baldur_core::{EntryId, Outcome, command::Capture, port::Spooled};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::support::{Process, TestClock, capture, key, world};
use crate::{
    config::SpoolConfig,
    disk::sim::{Faults, Lie, SimDisk},
};

#[derive(Clone, Debug)]
enum Step {
    /// Append so many captures as one group.
    Append(u8),
    /// Look at so many records, and remove some of them.
    Take { look: u8, remove: u8 },
    /// Refuse the oldest record.
    SetAside,
    /// Let the power fail after so many operations of the disk.
    Fuse(u8),
    /// End in order, and start again.
    Restart,
    /// Let so many more bytes fit.
    Fill(u16),
    /// Let the disk have room.
    Empty,
    /// Let syncs fail.
    BreakSync,
    /// Let everything work again.
    Repair,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..6_u8).prop_map(Step::Append),
        4 => (1..8_u8, 1..8_u8).prop_map(|(look, remove)| Step::Take { look, remove }),
        1 => Just(Step::SetAside),
        3 => (0..24_u8).prop_map(Step::Fuse),
        1 => Just(Step::Restart),
        1 => (0..4_000_u16).prop_map(Step::Fill),
        1 => Just(Step::Empty),
        1 => Just(Step::BreakSync),
        2 => Just(Step::Repair),
    ];
    prop::collection::vec(step, 1..40)
}

/// What is true, whatever the disk does.
#[derive(Debug, Default)]
struct Truth {
    next: u64,
    sent: BTreeMap<EntryId, Capture>,
    /// Acknowledged and not removed, in order.
    waiting: VecDeque<EntryId>,
    /// Neither acknowledged nor certainly refused.
    unknown: BTreeSet<EntryId>,
    /// Removed since the last crash.
    removed: BTreeSet<EntryId>,
    /// Removed before a crash, which may have brought them back.
    may_return: BTreeSet<EntryId>,
    refused: u64,
}

/// A run of steps. Fails with words where the spool breaks a promise.
struct Run {
    disk: SimDisk,
    clock: Arc<TestClock>,
    process: Process,
    truth: Truth,
    seed: usize,
}

/// Segments are as short as they may be, so that many are begun.
fn config() -> SpoolConfig {
    SpoolConfig { segment_bytes: 4 << 10, ..super::support::config() }
}

type Checked = Result<(), String>;

fn holds(what: bool, words: impl FnOnce() -> String) -> Checked {
    if what { Ok(()) } else { Err(words()) }
}

impl Run {
    fn new(lie: Lie, seed: usize) -> Self {
        let (disk, clock) = world();
        disk.lie(lie);
        let process = Process::start(&disk, &clock, config()).expect("opened");
        Self { disk, clock, process, truth: Truth::default(), seed }
    }

    fn all(mut self, steps: &[Step]) -> Checked {
        for step in steps {
            self.step(step)?;
            if self.disk.is_off() {
                self.crash()?;
            }
        }
        self.crash()?;
        self.take_all()
    }

    fn step(&mut self, step: &Step) -> Checked {
        match step {
            Step::Append(count) => self.append(*count),
            Step::Take { look, remove } => self.take(*look, *remove),
            Step::SetAside => self.set_aside(),
            Step::Fuse(operations) => {
                self.disk.fuse(u64::from(*operations));
                Ok(())
            }
            Step::Restart => {
                self.process.keeper.close();
                self.start()
            }
            Step::Fill(more) => {
                let room = Some(self.disk.used() + usize::from(*more));
                self.disk.fail(Faults { room, ..Faults::default() });
                Ok(())
            }
            Step::BreakSync => {
                self.disk.fail(Faults { sync: true, ..Faults::default() });
                Ok(())
            }
            Step::Empty | Step::Repair => {
                self.disk.fail(Faults::default());
                Ok(())
            }
        }
    }

    fn append(&mut self, count: u8) -> Checked {
        let captures: Vec<Capture> = (0..count)
            .map(|_| {
                self.truth.next += 1;
                let n = self.truth.next;
                capture(n, Some(&format!("key-{}", n % 3)))
            })
            .collect();
        let answers = self.process.append(&captures);
        for (capture, answer) in captures.into_iter().zip(answers) {
            let id = capture.op.id;
            self.truth.sent.insert(id, capture);
            match answer {
                Ok(()) => self.truth.waiting.push_back(id),
                Err(error) if error.outcome() == Outcome::NotApplied => {}
                Err(_) => drop(self.truth.unknown.insert(id)),
            }
        }
        for n in 0..3 {
            let key = key(&format!("key-{n}"));
            let waits = |id: &EntryId| self.truth.sent[id].op.order_key.as_ref() == Some(&key);
            let held = self.process.core.state().holds(&key);
            holds(held || !self.truth.waiting.iter().any(waits), || format!("{key} is not held"))?;
        }
        Ok(())
    }

    /// Looks, checks what is seen against the truth, and removes.
    fn take(&mut self, look: u8, remove: u8) -> Checked {
        let Ok(seen) = self.process.keeper.peek(usize::from(look)) else {
            return holds(self.disk.is_off(), || "a peek failed".to_owned());
        };
        if self.disk.is_off() {
            return Ok(());
        }
        self.check(&seen)?;
        let Some(last) = seen.get(..usize::from(remove).min(seen.len())).and_then(<[_]>::last)
        else {
            return Ok(());
        };
        self.process.keeper.remove(last.position).map_err(|error| error.to_string())?;
        for record in &seen[..usize::from(remove).min(seen.len())] {
            let id = record.capture.op.id;
            if self.truth.waiting.front() == Some(&id) {
                self.truth.waiting.pop_front();
            }
            self.truth.unknown.remove(&id);
            self.truth.may_return.remove(&id);
            self.truth.removed.insert(id);
        }
        Ok(())
    }

    fn check(&self, seen: &[Spooled]) -> Checked {
        let Truth { sent, waiting, unknown, may_return, .. } = &self.truth;
        let mut expected = waiting.iter();
        let mut twice = BTreeSet::new();
        for record in seen {
            let id = record.capture.op.id;
            holds(twice.insert(id), || format!("{id} came twice"))?;
            holds(sent.get(&id) == Some(&record.capture), || format!("{id} is damaged"))?;
            if waiting.contains(&id) {
                let next = expected.next();
                holds(next == Some(&id), || format!("{id} came instead of {next:?}"))?;
            } else {
                let allowed = unknown.contains(&id) || may_return.contains(&id);
                holds(allowed, || format!("{id} was refused, or removed, and came"))?;
            }
        }
        let all_lost = seen.is_empty() && !waiting.is_empty();
        holds(!all_lost, || format!("{} records are lost", waiting.len()))
    }

    fn set_aside(&mut self) -> Checked {
        let Ok(seen) = self.process.keeper.peek(1) else { return Ok(()) };
        let Some(first) = seen.first().filter(|_| !self.disk.is_off()) else { return Ok(()) };
        self.check(&seen)?;
        if self.process.keeper.set_aside(first.position, "no").is_err() {
            return Ok(());
        }
        let id = first.capture.op.id;
        self.truth.waiting.retain(|waits| *waits != id);
        self.truth.unknown.remove(&id);
        self.truth.may_return.remove(&id);
        self.truth.removed.insert(id);
        self.truth.refused += 1;
        Ok(())
    }

    fn crash(&mut self) -> Checked {
        let mut seed = self.seed;
        self.disk.crash(&mut || {
            // A generator after Knuth: the test needs numbers that vary, not good ones.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            seed >> 33
        });
        self.seed = seed;
        let removed = std::mem::take(&mut self.truth.removed);
        self.truth.may_return.extend(removed);
        self.start()
    }

    fn start(&mut self) -> Checked {
        match Process::start(&self.disk, &self.clock, config()) {
            Ok(process) => self.process = process,
            Err(_) if self.disk.is_off() => return self.crash(),
            Err(_) => {
                self.disk.fail(Faults::default());
                let started = Process::start(&self.disk, &self.clock, config());
                self.process = started.map_err(|error| error.to_string())?;
            }
        }
        let aside = self.process.status().set_aside;
        let files = self.disk.files("/spool/quarantine".as_ref());
        holds(files.is_empty(), || format!("{files:?} are no damage ({aside})"))
    }

    fn take_all(&mut self) -> Checked {
        let waited = self.truth.waiting.len();
        for _ in 0..=self.truth.sent.len() {
            if self.process.keeper.peek(1).is_ok_and(|seen| seen.is_empty()) {
                break;
            }
            self.take(7, 7)?;
        }
        let left = &self.truth.waiting;
        holds(left.is_empty(), || format!("{} of {waited} records are lost", left.len()))?;
        let status = self.process.status();
        holds(status.records == 0, || format!("{status:?}"))?;
        holds(status.set_aside >= self.truth.refused, || "a refused record is gone".to_owned())?;
        let held = (0..3).any(|n| self.process.core.state().holds(&key(&format!("key-{n}"))));
        holds(!held, || "an empty spool holds a key".to_owned())
    }
}

fn cases() -> Config {
    Config { cases: 256, failure_persistence: None, ..Config::default() }
}

#[test]
fn every_acknowledged_record_survives_any_crash_in_order_and_once() {
    TestRunner::new(cases())
        .run(&(steps(), any::<usize>()), |(steps, seed)| {
            Run::new(Lie::None, seed).all(&steps).map_err(TestCaseError::fail)
        })
        .expect("the promises hold");
}

/// What the property says about such a spool.
fn verdict(lie: Lie) -> String {
    let config = Config { max_shrink_iters: 0, ..cases() };
    let found = TestRunner::new(config).run(&(steps(), any::<usize>()), |(steps, seed)| {
        Run::new(lie, seed).all(&steps).map_err(TestCaseError::fail)
    });
    found.map_or_else(|caught| caught.to_string(), |()| "nothing is wrong".to_owned())
}

/// Which promises such a spool breaks first: records are lost, stand where only damage is found, or can't be found while they should wait.
const BROKEN: [&str; 5] =
    ["are lost", "came instead of", "are no damage", "is not held", "a refused record is gone"];

fn is_loss(verdict: &str) -> bool {
    BROKEN.iter().any(|broken| verdict.contains(broken))
}

#[test]
fn a_twin_that_does_not_sync_is_caught() {
    let verdict = verdict(Lie::NoSync);
    assert!(is_loss(&verdict), "{verdict}");
}

#[test]
fn a_twin_that_answers_before_it_writes_is_caught() {
    let verdict = verdict(Lie::LateWrite);
    assert!(is_loss(&verdict), "{verdict}");
}
