//! Processes: who they are, signals to them, and waiting for what they do.

use std::{
    fs, io,
    process::Child,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

/// How long anything may take before it counts as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `done` gives something; `None` when it takes longer than `patience`.
#[expect(clippy::disallowed_methods, reason = "no `Clock` here, and /proc tells nobody of changes")]
pub(crate) fn wait_for<T>(patience: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(it) = done() {
            return Some(it);
        }
        if start.elapsed() > patience {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Signals a child that was not waited for yet, so that its id is still its own.
pub(crate) fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    Ok(kill_process(Pid::from_child(child), signal)?)
}

/// Signals a process that may be gone already.
pub(crate) fn signal_if_there(pid: Pid, signal: Signal) -> io::Result<()> {
    match kill_process(pid, signal) {
        Err(error) if error != Errno::SRCH => Err(error.into()),
        _ => Ok(()),
    }
}

/// The running children of `parent`.
pub(crate) fn children(parent: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        if state(pid).is_some_and(|it| it.parent == parent.as_raw_pid() && !it.is_over()) {
            found.extend(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

/// Whether no process runs under this id any more; one that nobody waited for does not run.
pub(crate) fn is_gone(pid: Pid) -> bool {
    state(pid.as_raw_pid()).is_none_or(|it| it.is_over())
}

/// Whether a process obeys SIGSTOP by now.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    state(pid.as_raw_pid()).is_none_or(|it| it.letter == 'T' || it.is_over())
}

/// Whether a process of this name runs under this id.
pub(crate) fn runs(pid: Pid, name: &str) -> bool {
    let comm = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_pid()));
    comm.is_ok_and(|it| it.trim_end() == name) && !is_gone(pid)
}

/// What `/proc` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct State {
    letter: char,
    parent: i32,
}

impl State {
    fn is_over(&self) -> bool {
        matches!(self.letter, 'Z' | 'X')
    }
}

fn state(pid: i32) -> Option<State> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name of a program may hold anything, so the fields are counted from its last parenthesis.
fn parse(stat: &str) -> Option<State> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let letter = fields.next()?.chars().next()?;
    Some(State { letter, parent: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_state() {
        let parsed = parse("7 (a) R 1 (b) c) T 42 7 7");
        assert_eq!(parsed, Some(State { letter: 'T', parent: 42 }));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn a_child_is_found_until_it_is_over() {
        let ours = Pid::from_raw(std::process::id().cast_signed()).expect("our id");
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat");
        let pid = Pid::from_child(&child);
        assert!(children(ours).expect("/proc").contains(&pid));
        drop(child.stdin.take());
        // Before it is waited for, it is over but still listed.
        assert_eq!(wait_for(PATIENCE, || is_gone(pid).then_some(())), Some(()));
        assert!(!children(ours).expect("/proc").contains(&pid));
        child.wait().expect("it ended");
    }
}
