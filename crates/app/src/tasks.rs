//! Background tasks: started once, supervised, and closed within a given time.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::metrics::TASK_PANICS;

/// How long a task that panicked is left before it begins again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Tasks of one owner. Dropping it drops them.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    closing: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    New,
    Running(JoinSet<()>),
    Closed,
}

/// What can go wrong when tasks are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no tokio runtime to run in.
    #[error("there is no tokio runtime here")]
    NoRuntime,
    /// It runs already, or was closed.
    #[error("it was started before")]
    Repeated,
}

/// Not everything ended in time; what remained was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("background tasks did not end within {0:?}, and were dropped")]
pub struct CloseTimeout(pub Duration);

impl Tasks {
    /// Triggered once closing has begun.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    pub(crate) fn are_running(&self) -> bool {
        matches!(*self.lock(), State::Running(_))
    }

    /// Starts them on the current runtime.
    pub(crate) fn start(
        &self,
        tasks: impl IntoIterator<Item = BoxFuture<'static, ()>>,
    ) -> Result<(), StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let mut state = self.lock();
        if !matches!(*state, State::New) {
            return Err(StartError::Repeated);
        }
        let mut set = JoinSet::new();
        for task in tasks {
            set.spawn_on(task, &runtime);
        }
        *state = State::Running(set);
        Ok(())
    }

    /// Has them end, and drops those that have not after `limit`. May be called again.
    pub(crate) async fn close(&self, limit: Duration) -> Result<(), CloseTimeout> {
        self.closing.cancel();
        let state = std::mem::replace(&mut *self.lock(), State::Closed);
        let State::Running(mut set) = state else { return Ok(()) };
        let ending = async { while set.join_next().await.is_some() {} };
        timeout(limit, ending).await.map_err(|_| CloseTimeout(limit))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a task until it ends, and begins it again when it panics.
///
/// `run` must leave nothing half-changed behind that its next run would trip over.
pub(crate) async fn supervised<T: Send>(
    name: &'static str,
    closing: CancellationToken,
    mut task: T,
    run: impl for<'t> Fn(&'t mut T) -> BoxFuture<'t, ()> + Send,
) {
    loop {
        let Err(panic) = AssertUnwindSafe(run(&mut task)).catch_unwind().await else { return };
        tracing::error!(task = name, panic = message(&*panic), "task.panicked");
        metrics::counter!(TASK_PANICS.name, "task" => name).increment(1);
        tokio::select! {
            () = closing.cancelled() => return,
            () = sleep(AGAIN_AFTER) => {}
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_begins_again_with_what_it_had() {
        let ending = supervised("test", CancellationToken::new(), 0_u32, |count| {
            *count += 1;
            let now = *count;
            async move { assert!(now >= 3, "not yet") }.boxed()
        });
        assert!(timeout(Duration::from_mins(1), ending).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn they_start_once_and_stragglers_are_dropped() {
        let tasks = Tasks::default();
        let straggler = || [std::future::pending::<()>().boxed()];
        assert_eq!(tasks.start(straggler()), Ok(()));
        assert_eq!(tasks.start(straggler()), Err(StartError::Repeated));
        let limit = Duration::from_secs(1);
        assert_eq!(tasks.close(limit).await, Err(CloseTimeout(limit)));
        assert_eq!(tasks.close(limit).await, Ok(()));
        assert_eq!(tasks.start(straggler()), Err(StartError::Repeated));
    }

    #[test]
    fn without_a_runtime_nothing_starts() {
        assert_eq!(Tasks::default().start([]), Err(StartError::NoRuntime));
    }
}
