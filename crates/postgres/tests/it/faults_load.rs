//! Writers and claimers that go on through any trouble, and the reckoning at its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use baldur_contract::evidence;
use baldur_core::{
    BackendKind, ClaimToken, EntryId, ResolutionType, Status,
    command::{Capture, ClaimBatch, ClaimSelect, ClaimTerms, Lapse, Settle, SettleOutcome},
    name::{Domain, WorkerName},
    port::{CaptureError, CaptureStore, ClaimError, ClaimStore, EntryReader},
};
use baldur_postgres::PostgresStore;
use tokio::task::JoinSet;

use crate::faults_lab::{FaultLab, becomes, ends};

const WRITERS: usize = 4;
const CLAIMERS: usize = 4;
const LEASE: Duration = Duration::from_mins(1);

/// What was claimed, in which claim, and which settle was told to be the first.
#[derive(Debug, Default)]
struct Work {
    claims: Vec<(EntryId, ClaimToken)>,
    settled: Vec<EntryId>,
}

/// How calls ended, over all tasks.
#[derive(Debug, Default)]
struct Ended {
    well: AtomicU64,
    badly: AtomicU64,
}

impl Ended {
    /// A failure that networks and servers are to blame for.
    fn failed(&self, kind: BackendKind) {
        use BackendKind::{Busy, Timeout, Unavailable};
        assert!(matches!(kind, Busy | Timeout | Unavailable), "no fault of a network: {kind:?}");
        self.badly.fetch_add(1, Ordering::Relaxed);
    }
}

/// A load that runs.
pub(crate) struct Load {
    lab: Arc<FaultLab>,
    stop: Arc<AtomicBool>,
    ended: Arc<Ended>,
    writers: JoinSet<Vec<EntryId>>,
    claimers: JoinSet<Work>,
}

impl Load {
    pub(crate) fn start(lab: &Arc<FaultLab>) -> Self {
        let (stop, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(Ended::default()));
        let (mut writers, mut claimers) = (JoinSet::new(), JoinSet::new());
        for _ in 0..WRITERS {
            let (lab, stop, ended) = (Arc::clone(lab), Arc::clone(&stop), Arc::clone(&ended));
            writers.spawn(async move {
                let mut kept = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    kept.push(keep(&lab.store, lab.captures.an_op().build(), &ended).await);
                }
                kept
            });
        }
        for _ in 0..CLAIMERS {
            let (lab, stop, ended) = (Arc::clone(lab), Arc::clone(&stop), Arc::clone(&ended));
            claimers.spawn(async move {
                let mut work = Work::default();
                while !stop.load(Ordering::Relaxed) {
                    work_on(&lab, &lab.store, &mut work, &ended).await;
                }
                work
            });
        }
        Self { lab: Arc::clone(lab), stop, ended, writers, claimers }
    }

    /// Waits until many more captures were answered, which shows that the load is well.
    pub(crate) async fn goes_on(&self) {
        let before = self.ended.well.load(Ordering::Relaxed);
        let more = || self.ended.well.load(Ordering::Relaxed) >= before + 20;
        becomes("captures are answered", || async { more() }).await;
    }

    /// Waits until more calls failed than there are tasks, so that each may have noticed.
    pub(crate) async fn notices(&self) {
        let before = self.ended.badly.load(Ordering::Relaxed);
        let more =
            || self.ended.badly.load(Ordering::Relaxed) >= before + (WRITERS + CLAIMERS) as u64;
        becomes("calls fail", || async { more() }).await;
    }

    /// Ends the load, brings everything to its end, and reckons. Returns how many entries there were.
    pub(crate) async fn reckon(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut kept = BTreeSet::new();
        while let Some(ids) = ends("a writer", self.writers.join_next()).await {
            let ids = ids.expect("no panic");
            let count = ids.len();
            let before = kept.len();
            kept.extend(ids);
            assert_eq!(kept.len(), before + count, "one answer per id");
        }
        let mut claims: BTreeMap<EntryId, Vec<ClaimToken>> = BTreeMap::new();
        let mut settled = Vec::new();
        while let Some(work) = ends("a claimer", self.claimers.join_next()).await {
            let work = work.expect("no panic");
            work.claims.iter().for_each(|(id, token)| claims.entry(*id).or_default().push(*token));
            settled.extend(work.settled);
        }
        // No time passed, so no claim ran out: whoever was claimed was claimed by one.
        for (id, tokens) in &claims {
            assert_eq!(tokens.len(), 1, "{id} was claimed twice at once: {tokens:?}");
        }
        // Claims whose holders never heard of them run out now.
        self.lab.clock.advance(LEASE);
        let mut rest = Work::default();
        loop {
            let lapse = Lapse {
                limit: 1_000,
                retry_in: Duration::ZERO,
                evidence: evidence(&self.lab.clock),
            };
            let lapsed = self.lab.direct.lapse(lapse).await.expect("a lapse");
            let before = rest.claims.len();
            work_on(&self.lab, &self.lab.direct, &mut rest, &self.ended).await;
            if lapsed.lapsed.is_empty() && rest.claims.len() == before {
                break;
            }
        }
        settled.extend(rest.settled);
        let once: BTreeSet<EntryId> = settled.iter().copied().collect();
        assert_eq!(once.len(), settled.len(), "each is settled for the first time once");
        assert_eq!(once, kept, "each that was kept is settled, and nothing else is");
        let ids: Vec<EntryId> = kept.iter().copied().collect();
        for found in self.lab.direct.find(ids).await.expect("a read") {
            let state = found.expect("it was acknowledged").state;
            assert_eq!((state.status, state.occurrences), (Status::Resolved, 1));
        }
        kept.len()
    }
}

/// Repeats a capture until it is answered.
async fn keep(store: &PostgresStore, capture: Capture, ended: &Ended) -> EntryId {
    loop {
        let mut answers = ends("a capture", store.capture_batch(vec![capture.clone()])).await;
        match answers.pop().expect("one answer per capture") {
            Ok(captured) => {
                ended.well.fetch_add(1, Ordering::Relaxed);
                return captured.id;
            }
            Err(CaptureError::Backend(error)) => ended.failed(error.kind()),
            Err(other) => panic!("no fault of the store: {other}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Claims some and settles them, repeating the settle until it is answered.
async fn work_on(lab: &FaultLab, store: &PostgresStore, work: &mut Work, ended: &Ended) {
    let terms = ClaimTerms {
        holder: WorkerName::parse("worker").expect("a name"),
        lease: LEASE,
        force: false,
        unchanged_since: None,
        evidence: evidence(&lab.clock),
    };
    let domains = vec![Domain::parse("payment").expect("a domain")];
    let select = ClaimSelect::Due { domains, dependency: None, limit: 10 };
    let claimed = match ends("a claim", store.claim_batch(ClaimBatch { select, terms })).await {
        Ok(outcome) => outcome.claimed,
        Err(ClaimError::Backend(error)) => return ended.failed(error.kind()),
        Err(other) => panic!("no fault of the store: {other}"),
    };
    if claimed.is_empty() {
        return tokio::task::yield_now().await;
    }
    let mut settles = Vec::new();
    for claim in claimed {
        let (id, token) = (claim.op.id, claim.op.state.claim_token);
        work.claims.push((id, token));
        settles.push(Settle {
            id,
            token,
            outcome: SettleOutcome::Succeeded { note: String::new() },
            trigger: ResolutionType::ManualRetry,
            evidence: evidence(&lab.clock),
        });
    }
    loop {
        let answers = ends("a settle", store.settle_batch(settles.clone())).await;
        for (settle, answer) in settles.iter().zip(&answers) {
            match answer {
                // Its first answer was lost when it is told to be a repetition.
                Ok(settled) => {
                    assert_eq!(settled.status, Status::Resolved);
                    work.settled.push(settle.id);
                }
                Err(ClaimError::Backend(error)) => ended.failed(error.kind()),
                Err(other) => panic!("no fault of the store: {other}"),
            }
        }
        if answers.iter().all(Result::is_ok) {
            return;
        }
        assert!(answers.iter().all(Result::is_err), "one commit");
        tokio::task::yield_now().await;
    }
}
