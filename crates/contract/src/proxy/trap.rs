//! Faults at a point in the protocol: a connection is cut, or held, when a request is sent.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    fault::Ending,
    pattern::{Matcher, Pattern},
};

/// A fault that waits for a request and then happens once, to the connection that sent it.
///
/// It looks at what clients send from when it is armed on, on all connections, which count together. When one chunk
/// springs several traps, all happen, and a cut before the request is the one that is seen.
#[derive(Clone, Debug)]
pub struct Trap {
    request: Pattern,
    nth: u64,
    pub(super) action: Action,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    CutBeforeSend(Ending),
    CutAfterSend { ending: Ending, answered: Pattern },
    HoldBeforeSend,
    HoldReply,
}

impl Trap {
    fn new(request: Pattern, action: Action) -> Self {
        Self { request, nth: 1, action }
    }

    /// Cuts the connection before the request: nothing of the chunk in which it matched is forwarded. When the match
    /// began in an earlier chunk, the server has seen that beginning and no more.
    pub fn cut_before_send(request: Pattern) -> Self {
        Self::new(request, Action::CutBeforeSend(Ending::Reset))
    }

    /// Cuts the connection after the server has answered the request: it is forwarded, the reply is thrown away, and
    /// then the connection ends. The client can't know whether the request was carried out; it was.
    ///
    /// Any bytes from the server count as the answer unless [`Trap::answered_by`] says otherwise. When the server never
    /// answers, the connection stays open and silent; when it hangs up instead, the connection is cut.
    pub fn cut_after_send(request: Pattern) -> Self {
        let action = Action::CutAfterSend { ending: Ending::Reset, answered: Pattern::any() };
        Self::new(request, action)
    }

    /// Holds the request back, with all that follows it: the way to the server becomes
    /// [`Flow::Stall`](super::Flow::Stall). A later flow lets it go, or [`FaultProxy::end`](super::FaultProxy::end)
    /// ends it.
    pub fn hold_before_send(request: Pattern) -> Self {
        Self::new(request, Action::HoldBeforeSend)
    }

    /// Forwards the request and holds the reply back: the way to the client becomes
    /// [`Flow::Stall`](super::Flow::Stall). A later flow lets it go, or [`FaultProxy::end`](super::FaultProxy::end)
    /// loses it.
    pub fn hold_reply(request: Pattern) -> Self {
        Self::new(request, Action::HoldReply)
    }

    /// Waits for the n-th match instead of the first; 0 is taken as 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth.max(1);
        self
    }

    /// How a cut ends the connection: by [`Ending::Reset`] unless said otherwise. Nothing for a hold.
    #[must_use]
    pub fn by(mut self, how: Ending) -> Self {
        match &mut self.action {
            Action::CutBeforeSend(ending) | Action::CutAfterSend { ending, .. } => *ending = how,
            Action::HoldBeforeSend | Action::HoldReply => {}
        }
        self
    }

    /// What the server's answer contains, for protocols where bytes may come before it. Only for
    /// [`Trap::cut_after_send`].
    #[must_use]
    pub fn answered_by(mut self, answer: Pattern) -> Self {
        if let Action::CutAfterSend { answered, .. } = &mut self.action {
            *answered = answer;
        }
        self
    }
}

/// A trap that all connections watch.
#[derive(Debug)]
pub(super) struct Armed {
    pub(super) trap: Trap,
    matches: AtomicU64,
}

impl Armed {
    pub(super) fn new(trap: Trap) -> Arc<Self> {
        Arc::new(Self { trap, matches: AtomicU64::new(0) })
    }

    /// Counts matches; true for the one caller among whose matches the n-th was.
    fn is_sprung_by(&self, matches: u64) -> bool {
        let before = self.matches.fetch_add(matches, Ordering::SeqCst);
        (before + 1..=before + matches).contains(&self.trap.nth)
    }
}

/// The armed traps, as one connection watches them.
#[derive(Debug, Default)]
pub(super) struct Watching(Vec<(Arc<Armed>, Matcher)>);

impl Watching {
    /// Follows what is armed now; those that it watched already keep their place in the stream.
    pub(super) fn follow(&mut self, armed: &[Arc<Armed>]) {
        self.0.retain(|(it, _)| armed.iter().any(|other| Arc::ptr_eq(it, other)));
        for new in armed {
            if !self.0.iter().any(|(it, _)| Arc::ptr_eq(it, new)) {
                self.0.push((Arc::clone(new), new.trap.request.matcher()));
            }
        }
    }

    /// The traps that this chunk springs.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Vec<Arc<Armed>> {
        let sprung = |(armed, matcher): &mut (Arc<Armed>, Matcher)| {
            armed.is_sprung_by(matcher.feed(chunk)).then(|| Arc::clone(armed))
        };
        self.0.iter_mut().filter_map(sprung).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_match_springs_a_trap_once_whoever_sends_it() {
        let armed = [Armed::new(Trap::cut_before_send(Pattern::bytes("x")).nth(3))];
        let (mut one, mut other) = (Watching::default(), Watching::default());
        one.follow(&armed);
        other.follow(&armed);
        let sprung = |watching: &mut Watching, chunk: &str| watching.feed(chunk.as_bytes()).len();
        assert_eq!(sprung(&mut one, "x"), 0);
        assert_eq!(sprung(&mut other, "ab"), 0);
        assert_eq!(sprung(&mut other, "xaxx"), 1);
        assert_eq!(sprung(&mut one, "x"), 0);
    }

    #[test]
    fn arming_another_trap_forgets_nothing_of_the_first() {
        let first = Armed::new(Trap::hold_reply(Pattern::bytes("COMMIT")));
        let second = Armed::new(Trap::hold_reply(Pattern::bytes("MIT")));
        let mut watching = Watching::default();
        watching.follow(&[Arc::clone(&first)]);
        assert!(watching.feed(b"COM").is_empty());
        watching.follow(&[first, second]);
        assert_eq!(watching.feed(b"MIT").len(), 2);
    }
}
