//! Order keys under everything that moves their heads at once.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use baldur_core::{
    EntryId,
    command::{Action, ClaimBatch, ClaimTerms, SettleOutcome},
    port::{CaptureStore, ClaimError, ClaimStore},
};
use baldur_postgres::PostgresStore;
use futures_util::future::join_all;

use crate::{
    claiming::{Dice, claim, failed, number, succeeded},
    lab::Lab,
};

const WORKERS: usize = 6;

/// How much is done.
#[derive(Clone, Copy)]
struct Scale {
    keys: usize,
    steps: usize,
    /// How many entries an act is for.
    acts: usize,
}

/// Keys of which two entries are claimed, or whose head is not the only one, not live, or not the one that is claimed.
const BROKEN: &str = "SELECT count(*) FROM (SELECT order_key FROM baldur.states \
     WHERE ns = {ns} AND order_key IS NOT NULL GROUP BY order_key HAVING \
      count(*) FILTER (WHERE status = 'replaying') > 1 \
      OR count(*) FILTER (WHERE order_head) <> least(1, count(*) FILTER (WHERE status IN \
       ('pending', 'replaying', 'reviewing', 'requires_review'))) \
      OR bool_or(order_head AND status NOT IN \
       ('pending', 'replaying', 'reviewing', 'requires_review')) \
      OR bool_or(status = 'replaying' AND NOT order_head)) broken";

/// Keys whose head is neither claimed nor the oldest live entry.
const MISPLACED: &str = "SELECT count(*) FROM baldur.states h WHERE h.ns = {ns} \
     AND h.order_key IS NOT NULL AND h.order_head AND h.status <> 'replaying' AND EXISTS \
     (SELECT 1 FROM baldur.states o WHERE o.ns = h.ns AND o.order_key = h.order_key \
      AND o.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
      AND (o.created_at, o.id) < (h.created_at, h.id))";

/// One of those who work on the keys.
struct Worker {
    lab: Arc<Lab>,
    store: PostgresStore,
    known: Arc<Mutex<Vec<EntryId>>>,
    dice: Dice,
    scale: Scale,
}

impl Worker {
    async fn step(&mut self) {
        match self.dice.roll(8) {
            0 | 1 => self.capture().await,
            2 | 3 => {
                let due = self.lab.due(3);
                self.replay(due).await;
            }
            4 => {
                let terms = ClaimTerms { force: true, ..self.lab.terms() };
                let some = self.some(4);
                let claim = ClaimBatch { terms, ..self.lab.by_id(&some) };
                self.replay(claim).await;
            }
            _ => self.act().await,
        }
    }

    /// Older and younger than those that are there.
    async fn capture(&mut self) {
        let (lab, dice) = (&self.lab, &mut self.dice);
        let captures = (0..3).map(|_| {
            let at = lab.clock_at(Duration::from_secs(dice.roll(1000) as u64));
            let key = format!("key {}", dice.roll(self.scale.keys));
            lab.captures.an_op().order_key(&key).created_at(at).build()
        });
        let kept = self.store.capture_batch(captures.collect()).await;
        let kept = kept.into_iter().map(|kept| kept.expect("a capture is kept").id);
        self.known.lock().expect("no panic").extend(kept);
    }

    fn some(&mut self, count: usize) -> Vec<EntryId> {
        let known = self.known.lock().expect("no panic");
        let count = count.min(known.len());
        let start = self.dice.roll(known.len() - count + 1);
        known[start..start + count].to_vec()
    }

    async fn replay(&mut self, due: ClaimBatch) {
        let claimed = claim(&self.store, due).await;
        let settles = claimed.iter().map(|op| {
            let outcome = match self.dice.roll(4) {
                0 => succeeded(),
                1 => failed(),
                2 => SettleOutcome::Permanent { error: "422".to_owned() },
                _ => SettleOutcome::Released,
            };
            self.lab.settle(op, outcome)
        });
        for answer in self.store.settle_batch(settles.collect()).await {
            answer.expect("it is ours");
        }
    }

    async fn act(&mut self) {
        let acts = self.some(self.scale.acts).into_iter().map(|id| {
            let action = match self.dice.roll(5) {
                0 => Action::Resolve { note: "by hand".to_owned() },
                1 => Action::Review,
                2 => Action::Back,
                _ => Action::Reopen,
            };
            self.lab.act(id, action)
        });
        let acts = acts.collect();
        for answer in self.store.apply(acts).await {
            assert!(matches!(answer, Ok(_) | Err(ClaimError::NotAllowed { .. })), "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_head_and_one_claim_at_any_time() {
    work(Scale { keys: 3, steps: 60, acts: 4 }).await;
}

/// Acts for more keys than one transaction locks don't end in deadlocks either.
#[tokio::test(flavor = "multi_thread")]
async fn so_it_has_when_there_are_more_than_one_transaction_locks() {
    work(Scale { keys: 90, steps: 30, acts: 150 }).await;
}

async fn work(scale: Scale) {
    let lab = Arc::new(Lab::new().await);
    let stores = [lab.store.clone(), lab.another().await];
    let first = (0..scale.keys * 3)
        .map(|n| lab.captures.an_op().order_key(&format!("key {}", n % scale.keys)).build());
    let known = Arc::new(Mutex::new(lab.keep_all(first.collect()).await));
    let ns = lab.ns().await.to_string();
    let over = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn({
        let (lab, over) = (Arc::clone(&lab), Arc::clone(&over));
        let broken = BROKEN.replace("{ns}", &ns);
        async move {
            let mut conn = lab.raw().await;
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(number(&mut conn, &broken).await, 0, "after {looks} looks");
                looks += 1;
            }
            looks
        }
    });
    let workers = (0..WORKERS).map(|n| {
        let (lab, known) = (Arc::clone(&lab), Arc::clone(&known));
        let dice = Dice::new(n as u64 + 40);
        let mut worker = Worker { lab, store: stores[n % 2].clone(), known, dice, scale };
        tokio::spawn(async move {
            for _ in 0..scale.steps {
                worker.step().await;
            }
        })
    });
    let worked = join_all(workers).await;
    over.store(true, Ordering::Relaxed);
    assert!(watch.await.expect("no key is ever broken") > 0);
    for worker in worked {
        worker.expect("no panic");
    }
    let mut conn = lab.raw().await;
    assert_eq!(number(&mut conn, &BROKEN.replace("{ns}", &ns)).await, 0);
    assert_eq!(number(&mut conn, &MISPLACED.replace("{ns}", &ns)).await, 0);
}

impl Lab {
    /// A time before now.
    fn clock_at(&self, ago: Duration) -> baldur_core::Timestamp {
        use baldur_core::Clock as _;
        let micros = i64::try_from(ago.as_micros()).expect("a short time");
        baldur_core::Timestamp::from_micros(self.clock.now().as_micros() - micros).expect("a time")
    }
}
