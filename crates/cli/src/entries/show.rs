//! `baldur entries show`.

use std::fmt::Write as _;

use baldur::{EntryId, Evidence, EvidenceEvent, EvidenceRecord, FailedOp, Json, Timestamp, wire};
use baldur_http::forms::record;
use comfy_table::{Cell, Color};

use super::IdsArgs;
use crate::{
    exit::{Code, Failure},
    out::Output,
    session::Session,
    table, text,
};

pub(super) async fn run(args: IdsArgs, session: &Session, out: &Output) -> Result<(), Failure> {
    let entries = session.baldur.entries().get_many(args.ids.clone()).await?;
    let now = session.baldur.env().clock.now();
    let mut missing = false;
    for (id, entry) in args.ids.iter().zip(entries) {
        let Some(op) = entry else {
            went_or_unknown(session, out, *id, now).await?;
            missing = true;
            continue;
        };
        let trail = session.baldur.entries().trail(op.id).await?;
        if out.is_json() {
            out.line(&record(&op, &trail))?;
        } else {
            out.lines(&page(out, &op, &trail, now))?;
        }
    }
    if missing { Err(Failure::Silent(Code::NotFound)) } else { Ok(()) }
}

/// Says what is known of an entry that is not there.
async fn went_or_unknown(
    session: &Session,
    out: &Output,
    id: EntryId,
    now: Timestamp,
) -> Result<(), Failure> {
    let trail = session.baldur.entries().trail(id).await?;
    let Some(last) = trail.last().filter(|last| last.event == EvidenceEvent::Evicted) else {
        out.error(&format!("no entry {id}"));
        return Ok(());
    };
    let Evidence { at, reason, .. } = &last.evidence;
    let why = reason.as_ref().map_or("no reason was given", |reason| reason.as_str());
    let ago = text::age(now.since(*at));
    out.error(&format!("entry {id} was evicted at {at} ({ago} ago): {}", text::plain(why)));
    if out.is_json() {
        let evidence: Vec<String> = trail.iter().map(wire::encode_evidence).collect();
        return out.line(&format!("{{\"entry\":null,\"evidence\":[{}]}}", evidence.join(",")));
    }
    let mut page = String::new();
    evidence(out, &mut page, &trail, now);
    page.push('\n');
    out.lines(&page)
}

fn page(out: &Output, op: &FailedOp, trail: &[EvidenceRecord], now: Timestamp) -> String {
    let mut page = facts(out, op, now);
    for (name, json) in [
        ("request data", &op.request_data),
        ("entity refs", &op.entity_refs),
        ("snapshot", &op.snapshot_data),
        ("response", &op.response_data),
        ("metadata", &op.metadata),
    ] {
        payload(&mut page, name, json);
    }
    attempts(out, &mut page, op, now);
    evidence(out, &mut page, trail, now);
    page.push('\n');
    page
}

fn facts(out: &Output, op: &FailedOp, now: Timestamp) -> String {
    let state = &op.state;
    let ago = |at: Timestamp| format!("{at} ({} ago)", text::age(now.since(at)));
    let mut table = table::table(out, &[("", 16), ("", 10)], false);
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            table
                .add_row([table::cell(out, name, Color::DarkGrey), Cell::new(text::plain(&value))]);
        }
    };
    let text_of = |text: &str| Some(text.to_owned());
    fact("id", Some(op.id.to_string()));
    fact("status", text_of(state.status.as_str()));
    fact("domain", text_of(op.domain.as_str()));
    fact("failure", text_of(op.failure_type.as_str()));
    fact("dependency", text_of(op.dependency.as_str()));
    fact("reported by", text_of(op.origin_service.as_str()));
    let entity = op.entity_type.as_ref().zip(op.entity_id.as_ref());
    fact("about", entity.map(|(kind, id)| format!("{kind}:{id}")));
    fact("user", op.user_id.as_ref().map(ToString::to_string));
    fact("error code", text_of(&op.error_code));
    fact("error", text_of(&op.error_message));
    fact("hint", text_of(&op.next_action_hint));
    fact("captured", Some(ago(op.created_at)));
    fact("occurrences", (state.occurrences > 1).then(|| text::number(state.occurrences)));
    fact("tries", Some(format!("{} of {}", state.retry_count, state.max_retries)));
    let due = state.status == baldur::Status::Pending && state.next_attempt_at > now;
    fact("next try", due.then(|| format!("in {}", text::age(state.next_attempt_at.since(now)))));
    fact("held by", state.hold.as_ref().map(|hold| hold.holder.to_string()));
    fact("not replayable", state.not_replayable.map(|reason| reason.as_str().to_owned()));
    fact("recommended", state.recommended_action.map(|action| action.as_str().to_owned()));
    fact("expires", state.expires_at.map(|at| at.to_string()));
    fact("closed", state.resolved_at.map(ago));
    fact("closed by", state.resolved_by_id.as_ref().map(ToString::to_string));
    fact("note", text_of(&state.resolution_note));
    fact("idempotency key", text_of(op.idempotency_key.as_str()));
    fact("dedup key", op.dedup_key.as_ref().map(ToString::to_string));
    fact("order key", op.order_key.as_ref().map(ToString::to_string));
    let labels: Vec<String> = op.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
    fact("labels", Some(labels.join(" ")));
    fact("fingerprint", text_of(op.fingerprint.text.as_str()));
    fact("trace", op.trace.as_ref().map(|trace| trace.trace_id().to_owned()));
    table::render(&mut table)
}

fn payload(page: &mut String, name: &str, json: &Json) {
    if json.is_empty() {
        return;
    }
    // Payloads are shown as they are kept; only what could steer a terminal is taken out.
    let _ = write!(page, "\n{name}\n  {}\n", text::plain(json.as_str()));
}

fn attempts(out: &Output, page: &mut String, op: &FailedOp, now: Timestamp) {
    let attempts = &op.state.attempts;
    if attempts.total() == 0 {
        return;
    }
    let _ = writeln!(page, "\nreplays: {}", attempts.total());
    let mut table = table::table(
        out,
        &[("  #", 3), ("OUTCOME", 12), ("AGO", 4), ("WORKER", 8), ("NOTE", 4)],
        true,
    );
    for attempt in attempts.iter() {
        table.add_row([
            Cell::new(format!("  {}", attempt.number)),
            Cell::new(attempt.outcome.as_str()),
            Cell::new(text::age(now.since(attempt.finished_at))),
            Cell::new(&attempt.holder),
            Cell::new(text::short(&attempt.note, 100)),
        ]);
    }
    page.push_str(&table::render(&mut table));
}

fn evidence(out: &Output, page: &mut String, trail: &[EvidenceRecord], now: Timestamp) {
    let _ = writeln!(page, "\nevidence: {}", trail.len());
    let mut table = table::table(
        out,
        &[("  #", 3), ("EVENT", 12), ("TO", 10), ("AGO", 4), ("ACTOR", 8), ("REASON", 4)],
        true,
    );
    for record in trail {
        let reason = record.evidence.reason.as_ref().map_or("", |reason| reason.as_str());
        table.add_row([
            Cell::new(format!("  {}", record.counter)),
            Cell::new(record.event.as_str()),
            Cell::new(record.to.map_or("", |status| status.as_str())),
            Cell::new(text::age(now.since(record.evidence.at))),
            Cell::new(text::plain(record.evidence.actor.as_str())),
            Cell::new(text::short(reason, 60)),
        ]);
    }
    page.push_str(&table::render(&mut table));
}
