//! The signals that end a server.

use std::io;

use tokio::sync::watch;

use crate::exit::{Code, Failure};

/// Hears signals: the first one asks for an end in good order, the second one ends the process.
#[derive(Debug)]
pub(super) struct Signals {
    first: watch::Receiver<bool>,
}

impl Signals {
    /// Begins to hear them.
    pub(super) fn listen() -> Result<Self, Failure> {
        let mut source = Source::new().map_err(|error| {
            Failure::new(Code::Failure, "signals can't be heard").because(&error)
        })?;
        let (heard, first) = watch::channel(false);
        tokio::spawn(async move {
            let signal = source.next().await;
            tracing::info!(signal, "serve.stopping");
            let _ = heard.send(true);
            source.next().await;
            tracing::warn!("serve.interrupted");
            std::process::exit(Code::Interrupted as i32);
        });
        Ok(Self { first })
    }

    /// Until the first one.
    pub(super) async fn first(mut self) {
        // The sender goes only with the process.
        let _ = self.first.wait_for(|heard| *heard).await;
    }
}

#[cfg(unix)]
struct Source {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            // Nothing can be heard any more, so nothing will end it but the system.
            Err(_) => std::future::pending().await,
        }
    }
}
