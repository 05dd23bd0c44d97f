//! Captures, and waiting for a condition.

use std::{path::Path, sync::Arc, time::Duration};

use baldur_core::{
    EntryId, Evidence, FailedOp, Fingerprint, Json, OpState, SystemClock, Timestamp,
    command::Capture,
    name::{
        Actor, Domain, FailureType, IdempotencyKey, Namespace, OrderKey, ServiceName, ShortText,
    },
    port::Spool as _,
};
use baldur_spool::{DiskSpool, SpoolConfig};

pub(crate) fn id(n: u64) -> EntryId {
    EntryId::from_bytes(u128::from(n).to_be_bytes())
}

pub(crate) fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<EntryId> {
    numbers.into_iter().map(id).collect()
}

pub(crate) fn capture(n: u64) -> Capture {
    let at = Timestamp::from_micros(1_767_225_600_000_000).expect("in range");
    let op = FailedOp {
        id: id(n),
        namespace: Namespace::default_namespace(),
        domain: Domain::parse("payment").expect("a domain"),
        failure_type: FailureType::parse("TIMEOUT").expect("a type"),
        dependency: ServiceName::parse("payment-gateway").expect("a name"),
        origin_service: ServiceName::parse("checkout").expect("a name"),
        entity_type: None,
        entity_id: None,
        entity_refs: Json::empty_object(),
        user_id: None,
        request_data: Json::parse(&format!("{{\"n\":{n}}}")).expect("JSON"),
        payload_version: 1,
        snapshot_data: Json::empty_object(),
        response_data: Json::empty_object(),
        metadata: Json::empty_object(),
        error_code: "504".to_owned(),
        error_message: format!("no answer to {n}"),
        next_action_hint: String::new(),
        idempotency_key: IdempotencyKey::of_entry(id(n)),
        dedup_key: None,
        order_key: Some(OrderKey::parse(&format!("key-{}", n % 3)).expect("a key")),
        labels: baldur_core::Labels::new(),
        fingerprint: Fingerprint {
            version: 1,
            text: ShortText::parse("v1:0123456789abcdef").expect("short"),
        },
        trace: None,
        created_at: at,
        state: OpState::captured(2, None, at),
    };
    Capture::new(op, Evidence::new(Actor::parse("test").expect("an actor"), at))
}

pub(crate) async fn open(dir: &Path) -> DiskSpool {
    try_open(SpoolConfig::new(dir)).await.expect("opened")
}

pub(crate) async fn try_open(config: SpoolConfig) -> Result<DiskSpool, baldur_core::BackendError> {
    DiskSpool::open(config, Arc::new(SystemClock)).await
}

pub(crate) async fn append(spool: &DiskSpool, numbers: impl IntoIterator<Item = u64>) {
    let answers = spool.append(numbers.into_iter().map(capture).collect()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// Takes everything out.
pub(crate) async fn drain(spool: &DiskSpool) -> Vec<EntryId> {
    let mut ids = Vec::new();
    loop {
        let records = spool.peek(7).await.expect("readable");
        let Some(last) = records.last() else { return ids };
        spool.remove(last.position).await.expect("removed");
        ids.extend(records.into_iter().map(|record| record.capture.op.id));
    }
}

/// Adopts until that many records were taken over. The threads of handles that were dropped end on their own time.
pub(crate) async fn adopt(spool: &DiskSpool, records: u64) {
    let adopting = async {
        let mut adopted = 0;
        while adopted < records {
            adopted += spool.adopt().await.expect("listed");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), adopting).await.expect("their lanes are free");
}
