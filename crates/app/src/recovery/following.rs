//! Follows the breakers of this process, and those of all that share their states.

use std::sync::Arc;

use baldur_core::{name::ServiceName, policy::BreakerState};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{Signal, board::Board, signal::Command};
use crate::{BreakerEvent, Breakers};

/// Tells recovery what breakers do.
pub(super) struct Following {
    breakers: Breakers,
    events: Receiver<BreakerEvent>,
    board: Arc<Board>,
    commands: mpsc::Sender<Command>,
    closing: CancellationToken,
}

/// Whether events were lost on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missed {
    Nothing,
    Some,
}

impl Following {
    /// Hears everything from now on.
    pub(super) fn new(
        breakers: Breakers,
        board: Arc<Board>,
        commands: mpsc::Sender<Command>,
        closing: CancellationToken,
    ) -> Self {
        let events = breakers.subscribe();
        Self { breakers, events, board, commands, closing }
    }

    pub(super) async fn run(&mut self) {
        self.look_around(Missed::Nothing);
        loop {
            let event = tokio::select! {
                () = self.closing.cancelled() => return,
                event = self.events.recv() => event,
            };
            match event {
                Ok(event) => self.hear(&event),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "recovery.breaker_events_missed");
                    self.look_around(Missed::Some);
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn hear(&self, event: &BreakerEvent) {
        // A breaker that closed behind an order shows it only when the order ends, and looks closed before and after.
        let came_back =
            event.to == BreakerState::Closed && !event.forced && self.was_down(&event.dependency);
        if event.from == event.to && !came_back {
            return;
        }
        match event.to {
            BreakerState::Open => self.tell(Command::Down(event.dependency.clone())),
            // An order lets calls pass; whether the dependency is back, its person may say.
            BreakerState::Closed if !event.forced => {
                self.tell(Command::Back(event.dependency.clone(), Signal::BreakerClosed));
            }
            BreakerState::Closed | BreakerState::HalfOpen => {}
        }
    }

    fn was_down(&self, dependency: &ServiceName) -> bool {
        self.board.get(dependency).is_some_and(|status| status.is_down)
    }

    /// Catches up with what was not heard: who is open is down, and who was down and is closed is back. Where events were
    /// missed, who is closed may have been down without anybody knowing.
    fn look_around(&self, missed: Missed) {
        let own = self.breakers.states().into_iter();
        let own = own.map(|breaker| (breaker.name, breaker.state, breaker.forced.is_some()));
        let others = self.breakers.followed().into_iter();
        let others = others.map(|breaker| (breaker.name, breaker.state, breaker.is_forced));
        for (name, state, is_forced) in own.chain(others) {
            let was_down = missed == Missed::Some || self.was_down(&name);
            match state {
                BreakerState::Open => self.tell(Command::Down(name)),
                BreakerState::Closed if was_down && !is_forced => {
                    self.tell(Command::Back(name, Signal::BreakerClosed));
                }
                BreakerState::Closed | BreakerState::HalfOpen => {}
            }
        }
    }

    /// Doesn't wait: what finds no room is caught up with by the watch over successes, or the next change.
    fn tell(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::warn!(error = %error, "recovery.breaker_event_not_heard");
        }
    }
}
