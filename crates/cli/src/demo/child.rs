//! The processes of the demo: started, listened to, killed and reaped.

use std::{
    collections::VecDeque,
    env, io,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child as Process, ChildStdin, Command},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::wire::Report;
use crate::exit::{Code, Failure};

/// How long a child may take to start, or to be gone after it was killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many of a child's last lines an error shows.
const LAST_WORDS: usize = 8;

type LastWords = Arc<Mutex<VecDeque<String>>>;

/// A process of the demo. It never outlives this value, nor, since it watches its standard input, this process.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: Process,
    reports: mpsc::Receiver<Report>,
    last_words: LastWords,
    readers: [JoinHandle<()>; 2],
    /// Where it listens; 0 if it doesn't.
    pub(super) port: u16,
    /// From where it is controlled; 0 if it isn't.
    pub(super) control: u16,
    _alive: Option<ChildStdin>,
}

impl Child {
    /// Starts this program with a hidden subcommand and waits until it does what it is there for.
    ///
    /// Settings of the surroundings are kept from it; it gets those of `settings` only.
    pub(super) async fn start(
        name: &'static str,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::new(Code::Failure, format!("the {name} process could not be started"))
                .because(&error)
        };
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("BALDUR__") {
                command.env_remove(variable);
            }
        }
        let mut process = command
            .args(arguments)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let last_words = LastWords::default();
        let (sender, reports) = mpsc::channel(1_024);
        let readers = [
            tokio::spawn(read(process.stdout.take(), Some(sender), Arc::clone(&last_words))),
            tokio::spawn(read(process.stderr.take(), None, Arc::clone(&last_words))),
        ];
        let alive = process.stdin.take();
        let mut child = Self {
            name,
            process,
            reports,
            last_words,
            readers,
            port: 0,
            control: 0,
            _alive: alive,
        };
        match child.report("start", PATIENCE).await? {
            Report::Listening { port, control } => (child.port, child.control) = (port, control),
            Report::StoreOut => {}
            Report::Held { .. }
            | Report::Replayed { .. }
            | Report::Failed { .. }
            | Report::Drained { .. } => {
                return Err(child.failure("said something else than that it is ready"));
            }
        }
        Ok(child)
    }

    /// The process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// The next thing that it says. `what` is what it is expected to do.
    pub(super) async fn report(
        &mut self,
        what: &str,
        patience: Duration,
    ) -> Result<Report, Failure> {
        match timeout(patience, self.reports.recv()).await {
            Ok(Some(Report::Failed { problem })) => Err(self.failure(&problem)),
            Ok(Some(report)) => Ok(report),
            Ok(None) => {
                // Its standard error may have more to say than has been read yet.
                let _ = timeout(PATIENCE, &mut self.readers[1]).await;
                Err(self.failure("ended unexpectedly"))
            }
            Err(_elapsed) => Err(self.failure(&format!("did not {what} within {patience:?}"))),
        }
    }

    /// An error about this child, with its last words.
    pub(super) fn failure(&self, problem: &str) -> Failure {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = format!("the {} process {problem}", self.name);
        for line in words.iter() {
            message.push_str("\n  ");
            message.push_str(self.name);
            message.push_str(": ");
            message.push_str(line);
        }
        Failure::new(Code::Failure, message)
    }

    /// Sends SIGKILL and waits until the process is gone. Doing so again changes nothing.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        match timeout(PATIENCE, self.process.kill()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failure("can't be killed").because(&error)),
            Err(_elapsed) => Err(self.failure(&format!("was not gone {PATIENCE:?} after SIGKILL"))),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

/// Hands reports on and keeps the last of everything else.
async fn read(
    stream: Option<impl AsyncRead + Unpin + Send>,
    reports: Option<mpsc::Sender<Report>>,
    last_words: LastWords,
) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let report = reports.as_ref().zip(serde_json::from_str::<Report>(&line).ok());
        if let Some((sender, report)) = report {
            if sender.send(report).await.is_err() {
                return;
            }
            continue;
        }
        let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() == LAST_WORDS {
            words.pop_front();
        }
        words.push_back(line.chars().take(500).collect());
    }
}

/// Returns when standard input ends, which is when the process that started this one is gone.
pub(super) async fn parent_gone() {
    let (gone, is_gone) = oneshot::channel::<()>();
    // A thread of its own, since a blocking read in the runtime's pool would keep it from shutting down.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(gone);
    });
    let _ = is_gone.await;
}
