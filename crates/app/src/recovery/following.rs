//! Follows the breakers of this process, and through them those of all that share their states.

use std::sync::Arc;

use baldur_core::policy::BreakerState;
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
        self.look_around();
        loop {
            let event = tokio::select! {
                () = self.closing.cancelled() => return,
                event = self.events.recv() => event,
            };
            match event {
                Ok(event) => self.hear(&event),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "recovery.breaker_events_missed");
                    self.look_around();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn hear(&self, event: &BreakerEvent) {
        if event.from == event.to {
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

    /// Catches up with what was not heard: who is open is down, and who was down and is closed is back.
    fn look_around(&self) {
        for breaker in self.breakers.states() {
            let was_down = self.board.get(&breaker.name).is_some_and(|status| status.is_down);
            match breaker.state {
                BreakerState::Open => self.tell(Command::Down(breaker.name)),
                BreakerState::Closed if was_down && breaker.forced.is_none() => {
                    self.tell(Command::Back(breaker.name, Signal::BreakerClosed));
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
