//! What an answer means.

use std::time::Duration;

use baldur_core::{
    Clock,
    policy::{bound_text, parse_retry_after},
    port::ReplayOutcome,
};
use reqwest::{Response, StatusCode, header::RETRY_AFTER};

use crate::config::HttpTargetConfig;

/// How much of a body is read; the connection is closed where more comes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How much of it the note keeps.
const MAX_NOTE_BYTES: usize = 1024;

/// What the status code says about the replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Succeeded,
    AlreadyDone,
    Permanent,
    Deferred,
    Failed,
}

/// Reads an answer, with a body of any size, in bounded memory. The status decides; a body that breaks off
/// changes nothing.
pub(crate) async fn read(
    mut response: Response,
    config: &HttpTargetConfig,
    clock: &dyn Clock,
) -> ReplayOutcome {
    let status = response.status();
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(
            |value| {
                let seconds = clock.now().as_micros().div_euclid(1_000_000);
                parse_retry_after(value, seconds, config.max_retry_after)
            },
        );
    let note = note(status, &read_body(&mut response).await);
    outcome(meaning(status.as_u16(), retry_after, config), note, retry_after, config)
}

fn meaning(code: u16, retry_after: Option<Duration>, config: &HttpTargetConfig) -> Meaning {
    if config.already_done.contains(code) {
        Meaning::AlreadyDone
    } else if config.success.contains(code) {
        Meaning::Succeeded
    } else if config.permanent.contains(code) {
        Meaning::Permanent
    } else if config.deferred.contains(code) {
        Meaning::Deferred
    } else if code == StatusCode::SERVICE_UNAVAILABLE.as_u16() && retry_after.is_some() {
        // Without `Retry-After`, a 503 may come from a request that kills its worker each time: that is charged.
        Meaning::Deferred
    } else {
        Meaning::Failed
    }
}

fn outcome(
    meaning: Meaning,
    note: String,
    retry_after: Option<Duration>,
    config: &HttpTargetConfig,
) -> ReplayOutcome {
    match meaning {
        Meaning::Succeeded => ReplayOutcome::Succeeded { note },
        Meaning::AlreadyDone => ReplayOutcome::AlreadyDone { note },
        Meaning::Permanent => ReplayOutcome::Permanent { error: note },
        Meaning::Deferred => {
            // "Retry at once" may be meant well, but must not become a tight loop.
            let least = Duration::from_secs(1).min(config.defer_for);
            let delay = retry_after.map_or(config.defer_for, |asked| asked.max(least));
            ReplayOutcome::Deferred { reason: note, delay }
        }
        Meaning::Failed => ReplayOutcome::Failed { error: note, retry_after },
    }
}

async fn read_body(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_BODY_BYTES {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        let room = MAX_BODY_BYTES - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    body
}

/// `404 Not Found: no such order`, on one line.
fn note(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    let code = status.as_u16();
    if words.is_empty() {
        return format!("{code}{reason}");
    }
    format!("{code}{reason}: {}", bound_text(&words, MAX_NOTE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_meaning() {
        let config = HttpTargetConfig::trusting("http://h");
        let of = |code| meaning(code, None, &config);
        for (codes, expected) in [
            (&[200, 201, 202, 204, 299][..], Meaning::Succeeded),
            (&[208], Meaning::AlreadyDone),
            (&[400, 410, 413, 422], Meaning::Permanent),
            (&[301, 302, 307, 308, 401, 405, 415, 425, 429, 501], Meaning::Deferred),
            (&[403, 404, 408, 409, 500, 502, 503, 504, 599, 999], Meaning::Failed),
        ] {
            for code in codes {
                assert_eq!(of(*code), expected, "{code}");
            }
        }
        let told = Some(Duration::from_secs(5));
        assert_eq!(meaning(503, told, &config), Meaning::Deferred);
        assert_eq!(meaning(500, told, &config), Meaning::Failed);
    }

    #[test]
    fn a_target_that_says_at_once_is_still_given_a_pause() {
        let config = HttpTargetConfig::trusting("http://h");
        let deferred = outcome(Meaning::Deferred, String::new(), Some(Duration::ZERO), &config);
        let delay = Duration::from_secs(1);
        assert_eq!(deferred, ReplayOutcome::Deferred { reason: String::new(), delay });
    }

    #[test]
    fn a_note_is_one_bounded_line() {
        assert_eq!(note(StatusCode::OK, b" a\r\nb\x1b[2J "), "200 OK: a  b [2J");
        assert_eq!(note(StatusCode::NO_CONTENT, b""), "204 No Content");
        let long = note(StatusCode::OK, &[0xff; 5000]);
        assert!(long.len() < MAX_NOTE_BYTES + 16 && long.contains("truncated"), "{long}");
    }
}
