//! After `close`, every call fails.

use baldur_core::{
    BackendError, BackendKind, FacetScope, Filter, ListQuery, Outcome, ResolutionType,
    command::{Act, ClaimBatch, ClaimRef, ClaimSelect, Extend, Lapse, Settle},
    name::ServiceName,
    policy::BreakerState,
    port::{
        AdminError, BreakerStoreError, CaptureError, CheckDepth, ClaimError, EvidenceError,
        PaceError, ReadError, SaveBreaker, TakePermits,
    },
};

use crate::{
    build::{evidence, parsed},
    case::{CaseResult, Failure, cases, ensure_eq},
    drive::{LEASE, only, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!("close", None, [every_call_after_close_fails, closing_twice_is_harmless]);

/// The backend's error inside a port's.
trait Inner {
    fn inner(self) -> Option<BackendError>;
}

macro_rules! inner {
    ($($error:ident),*) => {$(
        impl Inner for $error {
            fn inner(self) -> Option<BackendError> {
                if let Self::Backend(error) = self { Some(error) } else { None }
            }
        }
    )*};
}
inner!(
    CaptureError,
    ReadError,
    ClaimError,
    EvidenceError,
    AdminError,
    BreakerStoreError,
    PaceError
);

fn closed<T, E: Inner>(what: &str, answer: Result<T, E>) -> CaseResult {
    let error = answer.err().and_then(Inner::inner);
    let error = error.ok_or_else(|| Failure::new(format!("{what} works after close")))?;
    ensure_eq!(
        (error.kind(), error.outcome()),
        (BackendKind::Closed, Outcome::NotApplied),
        "{what}"
    );
    Ok(())
}

async fn every_call_after_close_fails(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let token = store.claim_one(id).await?.state.claim_token;
    store.close().await;
    let evidence = || evidence(&store.clock);
    closed("capture", only(store.capture.capture_batch(captures.ops(1)).await)?)?;
    closed("find", store.reader.find(vec![id]).await)?;
    closed("list", store.reader.list(ListQuery::default()).await)?;
    closed("count", store.reader.count(Filter::default(), 1).await)?;
    closed("facets", store.reader.facets(FacetScope::default()).await)?;
    let claim = ClaimBatch { select: ClaimSelect::Ids(vec![id]), terms: store.terms() };
    closed("claim", store.claims.claim_batch(claim).await)?;
    let extend = Extend { claims: vec![ClaimRef { id, token }], lease: LEASE };
    closed("extend", only(store.claims.extend(extend).await)?)?;
    let settle = Settle {
        id,
        token,
        outcome: succeeded(),
        trigger: ResolutionType::ManualRetry,
        evidence: evidence(),
    };
    closed("settle", only(store.claims.settle_batch(vec![settle]).await)?)?;
    let lapse = Lapse { limit: 1, retry_in: LEASE, evidence: evidence() };
    closed("lapse", store.claims.lapse(lapse).await)?;
    let act = Act { id, action: resolve(), evidence: evidence() };
    closed("apply", only(store.claims.apply(vec![act]).await)?)?;
    closed("trail", store.evidence.trail(id, 0, 1).await)?;
    closed("unsealed", store.evidence.unsealed(1).await)?;
    closed("backlog", store.evidence.backlog().await)?;
    closed("check", store.admin.check(CheckDepth::Quick).await)?;
    closed("deep check", store.admin.check(CheckDepth::Deep).await)?;
    coordination_fails(&store).await?;
    let (other, captures) = lab.store().await;
    other.keep_new(captures.an_op().build()).await?;
    closed("import", only(store.admin.import_batch(other.export().await?).await)?)
}

async fn coordination_fails(store: &StoreUnderTest) -> CaseResult {
    let name: ServiceName = parsed("gateway");
    closed("load breakers", store.breakers.load(vec![name.clone()]).await)?;
    closed("list breakers", store.breakers.list(None, 1).await)?;
    let save = SaveBreaker {
        name: name.clone(),
        expected: 0,
        state: BreakerState::Closed,
        open_for: None,
        reopenings: 0,
        forced: None,
        evidence: evidence(&store.clock),
    };
    closed("save a breaker", store.breakers.save(save).await)?;
    let take = TakePermits { name, permits: 1, terms: super::pace::TERMS };
    closed("take permits", store.pace.take(take).await)
}

async fn closing_twice_is_harmless(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.close().await;
    store.close().await;
    closed("capture", only(store.capture.capture_batch(captures.ops(1)).await)?)
}
