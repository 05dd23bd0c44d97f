//! `baldur breakers open`, `close` and `auto`.

use baldur::{
    Who,
    name::ServiceName,
    policy::BreakerState,
    port::{BreakerStoreError, CircuitBreakerStore, ForcedBreaker, SaveBreaker, SharedBreaker},
};

use super::{AutoArgs, answer, met, words};
use crate::{
    exit::{Code, Failure},
    out::Output,
    session::Session,
    text,
};

/// How often a save is tried when processes save the same breaker.
const TRIES: usize = 10;

pub(super) async fn run(
    args: AutoArgs,
    forced: Option<ForcedBreaker>,
    session: &Session,
    out: &Output,
) -> Result<(), Failure> {
    let AutoArgs { name, reason } = args;
    let who = session.who(reason.as_deref())?;
    let store = session.baldur.breaker_store();
    let loaded = store.load(vec![name.clone()]).await?.pop().flatten();
    if loaded.is_none() && forced.is_none() {
        let shown = text::short(name.as_str(), 128);
        return Err(Failure::new(
            Code::NotFound,
            format!("no process has shared a breaker {shown}"),
        )
        .hint("see `baldur breakers list`"));
    }
    if loaded.is_none() {
        out.message("no process has shared a breaker of this name yet; the order waits for one");
    }
    let saved = saved(&*store, &name, loaded, forced, &who, session).await?;
    if out.is_json() {
        return out.json(&answer(&saved));
    }
    let name = text::short(saved.name.as_str(), 128);
    out.line(&format!("{name}  {}  ({})", met(&saved).as_str(), words(saved.forced)))
}

/// Saves the order over what the breaker does by itself, which stays as it is.
async fn saved(
    store: &dyn CircuitBreakerStore,
    name: &ServiceName,
    loaded: Option<SharedBreaker>,
    forced: Option<ForcedBreaker>,
    who: &Who,
    session: &Session,
) -> Result<SharedBreaker, Failure> {
    let mut current = loaded;
    let mut tries = 1;
    loop {
        let own = current.as_ref();
        let save = SaveBreaker {
            name: name.clone(),
            expected: own.map_or(0, |own| own.version),
            state: own.map_or(BreakerState::Closed, |own| own.state),
            open_for: own.and_then(|own| own.open_for),
            reopenings: own.map_or(0, |own| own.reopenings),
            forced,
            evidence: session.baldur.env().evidence(who),
        };
        match store.save(save).await {
            Err(BreakerStoreError::Conflict { current: newer }) if tries < TRIES => {
                current = Some(*newer);
                tries += 1;
            }
            answer => return Ok(answer?),
        }
    }
}
