//! The load: entries of about 1 KiB, spread over domains, failure types and dependencies as in an outage.

use std::time::Duration;

use baldur_core::{
    Clock as _, EntryId, Evidence, FailedOp, Fingerprint, Json, OpState, Route, SystemClock,
    Timestamp,
    command::Capture,
    name::{Actor, Domain, FailureType, IdempotencyKey, Namespace, ServiceName, ShortText},
};

/// How many bytes of request data an entry has; with its other fields it comes to about 1 KiB.
pub(crate) const REQUEST_BYTES: usize = 640;

/// How many domains the load has. Each has two failure types and one dependency.
pub(crate) const DOMAINS: usize = 8;

/// Makes entries that are all different and all look alike.
#[derive(Debug)]
pub(crate) struct Load {
    next: u64,
    start: Timestamp,
    filler: String,
}

impl Load {
    pub(crate) fn new() -> Self {
        let filler = "lorem ipsum dolor sit amet, consetetur sadipscing elitr, sed diam nonumy "
            .chars()
            .cycle()
            .take(REQUEST_BYTES - 60)
            .collect();
        Self { next: 0, start: SystemClock.now(), filler }
    }

    /// The next `count` captures.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Capture> {
        (0..count).map(|_| self.capture()).collect()
    }

    fn capture(&mut self) -> Capture {
        let n = self.next;
        self.next += 1;
        let at = self.start.saturating_add(Duration::from_micros(n));
        let op = self.op(n, at);
        Capture::new(op, Evidence::new(actor(), at))
    }

    fn op(&self, n: u64, at: Timestamp) -> FailedOp {
        let mut entropy = n.to_be_bytes();
        entropy.reverse();
        let id =
            EntryId::mint(at, Route::from_bits(u16::try_from(n & 0x3fff).unwrap_or(0)), entropy);
        let failure_type = if n.is_multiple_of(2) { "TIMEOUT" } else { "CONNECTION_REFUSED" };
        FailedOp {
            id,
            namespace: Namespace::default_namespace(),
            domain: domain(usize::try_from(n).unwrap_or(0) % DOMAINS),
            failure_type: fixed(FailureType::parse(failure_type)),
            dependency: fixed(ServiceName::parse("payment-gateway")),
            origin_service: fixed(ServiceName::parse("checkout")),
            entity_type: Some(fixed(ShortText::parse("order"))),
            entity_id: Some(fixed(ShortText::parse(&format!("order-{n}")))),
            entity_refs: Json::empty_object(),
            user_id: None,
            request_data: Json::from_trusted(&format!(
                r#"{{"order":{n},"amount":1999,"currency":"EUR","text":"{}"}}"#,
                self.filler
            )),
            payload_version: 1,
            snapshot_data: Json::empty_object(),
            response_data: Json::empty_object(),
            metadata: Json::empty_object(),
            error_code: "E503".to_owned(),
            error_message: "the gateway answered 503 Service Unavailable".to_owned(),
            next_action_hint: String::new(),
            idempotency_key: IdempotencyKey::of_entry(id),
            dedup_key: None,
            order_key: None,
            labels: baldur_core::Labels::new(),
            fingerprint: Fingerprint {
                version: 1,
                text: fixed(ShortText::parse("v1:00112233445566778899aabbccddeeff")),
            },
            trace: None,
            created_at: at,
            state: OpState::captured(2, None, at),
        }
    }
}

/// Domain number `n` of the load.
pub(crate) fn domain(n: usize) -> Domain {
    fixed(Domain::parse(&format!("domain_{n}")))
}

/// All domains of the load.
pub(crate) fn domains() -> Vec<Domain> {
    (0..DOMAINS).map(domain).collect()
}

pub(crate) fn actor() -> Actor {
    fixed(Actor::parse("bench"))
}

/// The value of a name that is written out here.
fn fixed<T, E: std::fmt::Display>(name: Result<T, E>) -> T {
    match name {
        Ok(name) => name,
        Err(error) => unreachable!("the load's own names are valid: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_different_and_about_1_kib() {
        let mut load = Load::new();
        let ops = load.take(100);
        let ids: std::collections::BTreeSet<_> = ops.iter().map(|capture| capture.op.id).collect();
        assert_eq!(ids.len(), 100);
        let bytes = ops[0].op.request_data.len();
        assert!((600..=700).contains(&bytes), "{bytes}");
        assert!(Json::parse(ops[0].op.request_data.as_str()).is_ok());
    }
}
