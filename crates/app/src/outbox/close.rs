//! The end of an outbox: everything is written, or spooled, or named.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use baldur_core::{EntryId, Outcome};
use tokio::time::{Instant, timeout_at};

use super::{Shared, queue::Item};
use crate::{
    ledger::{Account, Balance, DropReason, Ticket, answers_of},
    range::LONGEST_WAIT,
    spooling::refused_for_good,
};

/// What became of the captures that were in an outbox when it was closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseReport {
    /// How many were written by the task: stored, spooled or refused as ever.
    pub written: usize,
    /// How many were taken out and spooled, or stored in another way.
    pub rescued: usize,
    /// These are certainly not kept. They were counted as dropped, or as rejected when the store refused them.
    pub lost: Vec<EntryId>,
    /// Of these nobody knows; they are counted as unknown.
    pub unknown: Vec<EntryId>,
}

impl CloseReport {
    /// Whether every capture was written or rescued.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.unknown.is_empty()
    }
}

pub(super) async fn close(shared: &Arc<Shared>, within: Duration) -> CloseReport {
    let started = Instant::now();
    let within = within.min(LONGEST_WAIT);
    let (until, end) = (started + within.mul_f64(0.75), started + within);
    let held = {
        let mut queue = shared.queue();
        queue.closed = true;
        queue.len()
    };
    shared.work.notify_one();
    shared.hurry.notify_one();
    // Those who wait for room learn that there will be none.
    shared.settled.notify_waiters();
    while !shared.queue().is_empty() {
        let settled = shared.settled.notified();
        if shared.queue().is_empty() || timeout_at(until, settled).await.is_err() {
            break;
        }
    }
    let (under_way, waiting) = shared.queue().seal();
    shared.stop.cancel();
    shared.work.notify_one();
    let left = under_way.len() + waiting.len();
    let mut report = CloseReport { written: held.saturating_sub(left), ..CloseReport::default() };
    if left > 0 {
        tracing::warn!(entries = left, "outbox.closed_with_captures_left");
        let mut left = Vec::with_capacity(left);
        left.extend(under_way.into_iter().map(|item| (item, Balance::InFlight)));
        left.extend(waiting.into_iter().map(|item| (item, Balance::Queued)));
        rescue(shared, left.into(), end, &mut report).await;
    }
    shared.settled.notify_waiters();
    report
}

/// Has captures spooled, in order, until the time is over; then names the others.
async fn rescue(
    shared: &Shared,
    mut left: VecDeque<(Item, Balance)>,
    end: Instant,
    report: &mut CloseReport,
) {
    while !left.is_empty() && Instant::now() < end {
        let count = left.len().min(shared.policy.batch);
        let group: Vec<(Item, Balance)> = left.drain(..count).collect();
        for (_, balance) in &group {
            if *balance == Balance::Queued {
                shared.ledger.transfer(Balance::Queued, Account::InFlight, 1);
            }
        }
        let captures = group.iter().map(|(item, _)| item.capture.clone()).collect();
        let said = timeout_at(end, answers_of(&*shared.overflow, captures)).await;
        let mut answers = said.unwrap_or_default().into_iter();
        for (item, _) in group {
            let ticket = Ticket::of(&item.capture);
            match answers.next() {
                Some(Ok(kept)) => {
                    shared.ledger.answered(ticket, Some(&Ok(kept)));
                    report.rescued += 1;
                }
                Some(Err(error)) if refused_for_good(&error) => {
                    shared.ledger.answered(ticket, Some(&Err(error)));
                    report.lost.push(ticket.id);
                }
                Some(Err(error)) if error.outcome() == Outcome::NotApplied => {
                    name(shared, &item, Balance::InFlight, report);
                }
                Some(Err(_)) | None => {
                    shared.ledger.lost_sight(Balance::InFlight, ticket);
                    report.unknown.push(ticket.id);
                }
            }
        }
    }
    for (item, balance) in left {
        name(shared, &item, balance, report);
    }
    if !report.is_complete() {
        tracing::error!(
            lost = report.lost.len(),
            unknown = report.unknown.len(),
            "outbox.captures_lost"
        );
    }
}

/// Counts a capture that nobody took.
fn name(shared: &Shared, item: &Item, balance: Balance, report: &mut CloseReport) {
    let ticket = Ticket::of(&item.capture);
    if item.uncertain {
        shared.ledger.lost_sight(balance, ticket);
        report.unknown.push(ticket.id);
    } else {
        let dropped = Account::Dropped(DropReason::Shutdown, &item.capture.op.domain);
        shared.ledger.transfer(balance, dropped, 1);
        report.lost.push(ticket.id);
    }
}
