//! How a replay ended, in numbers and as an exit code.

use baldur::{
    Chain,
    name::Domain,
    replay::{ReplayError, ReplayReport, StopReason},
};
use serde::Serialize;

use crate::{
    exit::{Code, Failure, HasCode as _},
    out::Output,
    text,
};

/// The last line for programs.
#[derive(Serialize)]
struct SummaryLine {
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    dry_run: bool,
    claimed: u64,
    succeeded: u64,
    already_done: u64,
    failed: u64,
    permanent: u64,
    deferred: u64,
    released: u64,
    stale: u64,
    refused: u64,
    elapsed_ms: u64,
    stop: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unavailable_domains: Vec<String>,
}

fn stop_name(stop: &StopReason) -> &'static str {
    match stop {
        StopReason::Drained => "drained",
        StopReason::LimitReached => "limit_reached",
        StopReason::Cancelled => "cancelled",
        StopReason::Halted => "halted",
        StopReason::TargetUnavailable(_) => "target_unavailable",
        StopReason::StoreUnavailable(_) => "store_unavailable",
    }
}

/// Tells how it went.
pub(super) fn tell(out: &Output, report: &ReplayReport) -> Result<(), Failure> {
    if report.events_dropped > 0 {
        let dropped = text::number(report.events_dropped);
        out.message(&format!("{dropped} results came faster than they could be shown"));
    }
    if out.is_json() {
        let unavailable_domains = match &report.stop {
            StopReason::TargetUnavailable(domains) => {
                domains.iter().map(ToString::to_string).collect()
            }
            StopReason::Drained
            | StopReason::LimitReached
            | StopReason::Cancelled
            | StopReason::Halted
            | StopReason::StoreUnavailable(_) => Vec::new(),
        };
        return out.json(&SummaryLine {
            summary: Summary {
                dry_run: report.dry_run,
                claimed: report.claimed,
                succeeded: report.succeeded,
                already_done: report.already_done,
                failed: report.failed,
                permanent: report.permanent,
                deferred: report.deferred,
                released: report.released,
                stale: report.stale,
                refused: report.refused,
                elapsed_ms: u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
                stop: stop_name(&report.stop),
                unavailable_domains,
            },
        });
    }
    out.line(&sentence(report))
}

fn sentence(report: &ReplayReport) -> String {
    let parts: Vec<String> = [
        (report.succeeded, "succeeded"),
        (report.already_done, "were done before"),
        (report.failed, "failed"),
        (report.permanent, "will never work"),
        (report.deferred, "put off"),
        (report.released, "given back"),
        (report.stale, "lost their claim"),
        (report.refused, "refused"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{} {what}", text::number(count)))
    .collect();
    let did = if report.dry_run { "would replay" } else { "replayed" };
    let what = text::entries(report.claimed);
    if parts.is_empty() {
        return "nothing was due".to_owned();
    }
    format!("{did} {what} in {:.1} s: {}", report.elapsed.as_secs_f64(), parts.join(", "))
}

/// Success, or why not.
pub(super) fn verdict(report: &ReplayReport) -> Result<(), Failure> {
    match &report.stop {
        StopReason::StoreUnavailable(error) => {
            return Err(Failure::new(error.exit_code(), "the store gave no entries any more")
                .because(error));
        }
        StopReason::Cancelled => return Err(Failure::Silent(Code::Interrupted)),
        StopReason::TargetUnavailable(domains) => {
            let names: Vec<&str> = domains.iter().map(Domain::as_str).collect();
            return Err(Failure::new(
                Code::Failure,
                format!("the target is down for {}; the rest was left alone", names.join(", ")),
            )
            .hint(
                "what is left stays in the store: run the same command once the target is back",
            ));
        }
        // The command has no governor that could end a run.
        StopReason::Drained | StopReason::LimitReached | StopReason::Halted => {}
    }
    let done = report.succeeded + report.already_done;
    if report.claimed == done && report.refused == 0 {
        return Ok(());
    }
    Err(Failure::Silent(Code::Failure))
}

/// Why nothing was replayed.
pub(crate) fn not_run(error: &ReplayError) -> Failure {
    let code = match error {
        ReplayError::Invalid(_) => Code::Usage,
        ReplayError::NoHandler(domain) => {
            return Failure::new(Code::Usage, Chain(error).to_string()).hint(&format!(
                "say where to replay to: --handler-url URL, or `handlers.{domain}.url` in the settings"
            ));
        }
        ReplayError::NotClaimed(error) => error.exit_code(),
        ReplayError::Read(error) => error.exit_code(),
        _ => Code::Failure,
    };
    Failure::new(code, Chain(error).to_string())
}
