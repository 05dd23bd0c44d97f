//! The whole dictionary in every field, with all detectors and with each of them missing.

use baldur::{
    CapturePolicy, CaptureService, Env, Oversize, Who,
    command::Capture,
    name::{Namespace, WorkerName},
    policy::{RedactionRules, redact::Detector},
    port::{CaptureStore, ReplayOutcome},
    protect::CallFailure,
    wire,
};
use baldur_memory::MemoryStore;
use std::sync::Arc;

use crate::{
    dictionary::{self, Planted},
    places::{self, Around, Fields},
};

pub(crate) fn service(redaction: RedactionRules) -> CaptureService {
    let namespace = Namespace::parse("shop").expect("a namespace");
    let store: Arc<dyn CaptureStore> =
        Arc::new(MemoryStore::new(namespace.clone(), Arc::new(baldur::SystemClock)));
    let env = Env::system(namespace, WorkerName::parse("worker-1").expect("a name"));
    CaptureService::new(store, env, CapturePolicy { redaction, ..CapturePolicy::default() })
}

/// Whether what is to be stored has the secret.
fn leaks(service: &CaptureService, planted: &Planted, around: &Around, who: &Who) -> bool {
    let op = places::op(planted, around, Fields::ALL);
    let capture = service.prepare(op, who, Oversize::KeepUnreplayable);
    let Capture { op, evidence, .. } = capture.expect("nothing is refused");
    let stored = format!("{} {evidence:?}", wire::encode_entry(&op)).to_lowercase();
    planted.found_in(&stored).is_some()
}

fn leaking(redaction: RedactionRules) -> Vec<Planted> {
    let service = service(redaction);
    let mut dictionary = dictionary::all(1);
    dictionary.retain(|planted| {
        let who = places::who(planted);
        [vec![], vec![1], vec![0, 5], vec![2, 3, 5, 4]]
            .into_iter()
            .any(|shells| leaks(&service, planted, &Around { shells, ..Around::default() }, &who))
    });
    dictionary
}

#[test]
fn none_of_the_dictionary_is_stored_wherever_it_stands() {
    let leaked: Vec<String> = leaking(RedactionRules::default())
        .into_iter()
        .map(|planted| format!("{:?}: {}", planted.detector, planted.text))
        .collect();
    assert!(leaked.is_empty(), "{} leaked:\n{}", leaked.len(), leaked.join("\n"));
}

#[test]
fn rules_without_one_detector_are_noticed() {
    for detector in Detector::ALL {
        let leaked = leaking(RedactionRules::default().without(detector));
        let own = leaked.iter().filter(|planted| planted.detector == detector).count();
        assert!(own > 0, "nothing of the dictionary needs {detector:?}");
    }
}

#[test]
fn what_is_not_redacted_yet_is_not_shown_by_debug() {
    let delay = std::time::Duration::ZERO;
    for planted in dictionary::all(1) {
        let text = || planted.text.clone();
        let mut failure = CallFailure::transient(text(), text());
        failure.error_code = Some(text());
        let outcomes = [
            ReplayOutcome::Succeeded { note: text() },
            ReplayOutcome::AlreadyDone { note: text() },
            ReplayOutcome::Failed { error: text(), retry_after: Some(delay) },
            ReplayOutcome::Permanent { error: text() },
            ReplayOutcome::Deferred { reason: text(), delay },
        ];
        let shown = format!("{failure:?} {outcomes:?} {:?}", places::who(&planted)).to_lowercase();
        assert_eq!(planted.found_in(&shown), None, "{shown}");
        assert!(shown.contains(&format!("{} bytes", planted.text.len())), "{shown}");
    }
}
