//! The processes that are killed: what they do, and how the driver holds them.

use std::{
    io::{self, Write as _},
    path::Path,
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    Failure, PATIENCE,
    place::Place,
    protocol::{FailPoint, Mode, Said, Twin},
    swarm,
};

/// Says a line. A victim that nobody listens to ends.
pub(crate) fn say(said: &Said) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{said}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// What a victim is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders {
    pub(crate) mode: Mode,
    pub(crate) seed: u64,
    pub(crate) fail_point: Option<FailPoint>,
    pub(crate) twin: Option<Twin>,
}

/// A victim, as the driver sees it. It does not outlive this value.
#[derive(Debug)]
pub(crate) struct Victim {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it said instead of that it is up: draining begins first, and can meet the fail point.
    held_early: Option<Said>,
}

impl Victim {
    /// Starts a victim on the store and the spool, and waits until it is up.
    pub(crate) async fn start(place: &Place, orders: Orders) -> Result<Self, Failure> {
        let Orders { mode, seed, fail_point, twin } = orders;
        let mut arguments = vec!["--mode".to_owned(), mode.as_str().to_owned()];
        arguments.extend(["--seed".to_owned(), seed.to_string()]);
        if let Some(point) = fail_point {
            arguments.extend(["--fail-point".to_owned(), point.as_str().to_owned()]);
        }
        if let Some(twin) = twin {
            arguments.extend(["--twin".to_owned(), twin.as_str().to_owned()]);
        }
        Self::spawn("victim", place, &arguments).await
    }

    /// Starts the process that brings everything into the store.
    pub(crate) async fn settler(place: &Place) -> Result<Self, Failure> {
        Self::spawn("settler", place, &[]).await
    }

    /// Starts the process of claimers.
    pub(crate) async fn claimers(
        place: &Place,
        book: &Path,
        plan: swarm::Plan,
    ) -> Result<Self, Failure> {
        let arguments = [
            "--book".to_owned(),
            book.display().to_string(),
            "--claimers".to_owned(),
            plan.claimers.to_string(),
            "--lease-ms".to_owned(),
            plan.lease.as_millis().to_string(),
            "--batch".to_owned(),
            plan.batch.to_string(),
        ];
        Self::spawn("claimers", place, &arguments).await
    }

    async fn spawn(role: &str, place: &Place, arguments: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role).args(arguments);
        place.tell(&mut command);
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let out = process.stdout.take().ok_or("a victim without output")?;
        let lines = BufReader::new(out).lines();
        let mut victim = Self { process, lines, held_early: None };
        match victim.next().await? {
            Some(Said::Ready) => Ok(victim),
            Some(held @ Said::Held(_)) => {
                victim.held_early = Some(held);
                Ok(victim)
            }
            Some(Said::Failed(why)) => Err(why.into()),
            other => Err(format!("a {role} began with {other:?}").into()),
        }
    }

    /// The next thing that it says; `None` when it is gone.
    pub(crate) async fn next(&mut self) -> Result<Option<Said>, Failure> {
        if let Some(held) = self.held_early.take() {
            return Ok(Some(held));
        }
        loop {
            let line = timeout(PATIENCE, self.lines.next_line())
                .await
                .map_err(|_| "a victim is silent")?;
            let Some(line) = line? else { return Ok(None) };
            // A line that the kill cut off was never said: nobody was told anything yet.
            if let Ok(said) = line.parse() {
                return Ok(Some(said));
            }
        }
    }

    /// Sends SIGKILL, waits until it is gone, and returns what it had still said.
    pub(crate) async fn kill(mut self) -> Result<Vec<Said>, Failure> {
        timeout(PATIENCE, self.process.kill()).await.map_err(|_| "a victim survived SIGKILL")??;
        let mut rest = Vec::new();
        while let Some(said) = self.next().await? {
            rest.push(said);
        }
        Ok(rest)
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(mut self) -> Result<(), Failure> {
        let status =
            timeout(PATIENCE, self.process.wait()).await.map_err(|_| "it does not end")??;
        if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
    }
}
