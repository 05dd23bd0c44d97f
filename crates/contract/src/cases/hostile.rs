//! Texts that are harmless only to a store that never reads them.

use baldur_core::{
    EvidenceRecord, Filter,
    command::{Action, SettleOutcome},
};

use crate::{
    build::parsed,
    case::{CaseResult, cases, ensure_eq},
    harness::Lab,
};

cases!(
    "hostile",
    None,
    [texts_are_kept_to_the_letter_everywhere, texts_differing_a_little_are_different]
);

/// Names that differ only in case, composition or width; the wildcards and separators of SQL, Redis, globs and
/// paths; quotes, escapes and foreign scripts.
pub(crate) const TEXTS: &[&str] = &[
    "a",
    "A",
    "straße",
    "STRASSE",
    "é",
    "e\u{301}",
    "ｆｕｌｌ",
    "full",
    "%",
    "_",
    "a%",
    "a_",
    "*",
    "?",
    "[a]",
    "[",
    "a:b",
    "a:b:c",
    "{a}",
    "{}",
    "{a}:b",
    "'",
    "''",
    "\"",
    "'; DROP TABLE entries; --",
    "\\",
    "\\0",
    "\\u0000",
    "a\u{a0}b",
    "a b",
    "a  b",
    "../a",
    "a/b",
    "$1",
    "?1",
    "null",
    "NULL",
    "(other)",
    "0",
    "00",
    "1e3",
    "true",
    "\u{1f525}",
    "\u{1f1e9}\u{1f1ea}",
    "\u{202e}abc",
    "\u{feff}a",
    "文字",
    "ا",
];

async fn texts_are_kept_to_the_letter_everywhere(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for text in TEXTS {
        let capture = captures
            .an_op()
            .failure_type(text)
            .dependency(text)
            .origin_service(text)
            .dedup_key(text)
            .order_key(text)
            .entity_id(text)
            .label("l", text)
            .with(|capture| {
                capture.op.error_message = format!("{text}\n{text}");
                capture.evidence.actor = parsed(text);
                capture.evidence.reason = Some(parsed(text));
            })
            .build();
        let id = store.keep_new(capture.clone()).await?;
        let note = (*text).to_owned();
        store.replay(id, SettleOutcome::Permanent { error: note.clone() }).await?;
        let state = store.act(id, Action::Reject { note: note.clone() }).await?;
        ensure_eq!(state.resolution_note, note);
        let mut op = store.op(id).await?;
        ensure_eq!(op.state.attempts.newest().map(|attempt| attempt.note.clone()), Some(note));
        op.state = capture.op.state.clone();
        ensure_eq!(op, capture.op);
        let trail = store.trail(id).await?;
        let first = EvidenceRecord::captured(&trail_head(&capture), capture.evidence.clone());
        ensure_eq!(trail.first().map(EvidenceRecord::canonical), Some(first.canonical()));
    }
    store.ensure_sound().await
}

fn trail_head(capture: &baldur_core::command::Capture) -> baldur_core::FailedOp {
    let mut op = capture.op.clone();
    op.state.evidence_count = 1;
    op
}

async fn texts_differing_a_little_are_different(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for text in TEXTS {
        store.keep_new(captures.an_op().failure_type(text).dependency(text).build()).await?;
    }
    for text in TEXTS {
        let by_type = Filter { failure_type: Some(parsed(text)), ..Filter::default() };
        let by_dependency = Filter { dependency: Some(parsed(text)), ..Filter::default() };
        for filter in [by_type, by_dependency] {
            ensure_eq!(store.walk_ids(&filter).await?.len(), 1, "{text:?}");
            let counted = store.reader.count(filter, 10).await?;
            ensure_eq!(counted, baldur_core::Count::Exactly(1), "{text:?}");
        }
        let claimed = store.claim_due_of(&["payment"], Some(text), 10).await?;
        ensure_eq!(claimed.len(), 1, "{text:?}");
    }
    Ok(())
}
