//! Sees to it that a server ends, even when the process that started it can't any more.
//!
//! A shell reads from a pipe whose other end is ours alone. It reads the end of file when we drop
//! that end or are gone in any way, SIGKILL included; then it ends every process that works in
//! the folder, and removes the folder. There is no other way in which a server ends for good, so
//! the rare one is tried as often as the usual one.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{ServiceError, account::Account, files, process};

/// Processes are known by their working folder, which no other process has, so that a recycled id
/// can't hit a stranger. SIGQUIT lets a PostgreSQL give its shared memory back, for which it takes up to
/// five seconds; everything else, and what is still there after eight, gets SIGKILL. A stopped process
/// must be continued to heed anything. A PostgreSQL that died hard, as one that makes a cluster
/// does here, left a file which names its segment of System V's shared memory.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM PIPE
folder=$1
ulimit -c 0
while read -r _; do :; done
inside() {
    pids=
    for process in /proc/[0-9]*; do
        for at in "$folder" "$folder/data"; do
            if [ "$process/cwd" -ef "$at" ]; then pids="$pids ${process#/proc/}"; fi
        done
    done
    [ -n "$pids" ]
}
heeds_quit() {
    [ "$tries" -lt 160 ] && read -r postmaster < "$folder/data/postmaster.pid" &&
        [ -d "/proc/$postmaster" ]
}
tries=0
while [ "$tries" -lt 240 ] && inside; do
    if heeds_quit; then kill -QUIT $pids; else kill -KILL $pids; fi
    kill -CONT $pids
    tries=$((tries + 1))
    sleep 0.05
done
set -- $(sed -n 7p "$folder/data/postmaster.pid")
if [ -n "$2" ]; then ipcrm -m "$2"; fi
rm -rf "$folder"
"#;

/// Until when the script has ended, whatever happened.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a call says that needs a running server.
pub(crate) const ENDED: ServiceError = ServiceError::State("the server was ended before");

/// A server's folder, its process, and the shell that ends it. Drop it, and what works in the folder
/// is ended, and the folder is gone.
#[derive(Debug)]
pub(crate) struct Guard {
    folder: PathBuf,
    account: Account,
    shell: Child,
    server: Option<Child>,
}

impl Guard {
    /// Over a new folder.
    pub(crate) fn new(service: &str) -> Result<Self, ServiceError> {
        if !Path::new("/proc/self/cwd").exists() {
            let text = "servers are started on Linux only: there is no /proc here to find them in";
            return Err(ServiceError::Missing(text.to_owned()));
        }
        let account = Account::find()?;
        let folder = files::folder(service, account)?;
        let mut command = Command::new("/bin/sh");
        account
            .apply(&mut command)
            .args(["-c", SCRIPT, "baldur-guard"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match command.spawn() {
            Ok(shell) => Ok(Self { folder, account, shell, server: None }),
            Err(error) => {
                // Nobody else will.
                let _ = std::fs::remove_dir_all(&folder);
                Err(ServiceError::io("start the guard of a server")(error))
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn account(&self) -> Account {
        self.account
    }

    /// Where the programs write to.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// A command that runs under the account, in the folder (so that it is ended with it), and
    /// writes to the log.
    pub(crate) fn command(&self, program: &Path) -> Result<Command, ServiceError> {
        let (out, err) = files::log(&self.log())?;
        let mut command = Command::new(program);
        self.account.apply(&mut command).current_dir(&self.folder).stdout(out).stderr(err);
        // Those of the developer, such as PGDATA, mean another server.
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        Ok(command)
    }

    /// Starts the server and waits until `is_ready` tells so of its process id.
    pub(crate) fn serve(
        &mut self,
        mut command: Command,
        mut is_ready: impl FnMut(u32) -> bool,
    ) -> Result<(), ServiceError> {
        let doing = format!("start {}", command.get_program().display());
        let mut server = command.spawn().map_err(ServiceError::io(&*doing))?;
        let ready = process::wait_for(process::PATIENCE, || match server.try_wait() {
            Ok(None) => is_ready(server.id()).then_some(true),
            Ok(Some(_)) | Err(_) => Some(false),
        });
        if ready == Some(true) {
            self.server = Some(server);
            return Ok(());
        }
        let _ = server.kill();
        let _ = server.wait();
        Err(ServiceError::failed(doing, &self.log()))
    }

    /// The running server.
    pub(crate) fn server(&mut self) -> Result<&mut Child, ServiceError> {
        self.server.as_mut().ok_or(ENDED)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Waits until the server has ended, which somebody told it to.
    pub(crate) fn ended(&mut self) -> Result<(), ServiceError> {
        let server = self.server()?;
        match process::wait_for(process::PATIENCE, || server.try_wait().transpose()) {
            Some(ended) => ended.map_err(ServiceError::io("wait for a server"))?,
            None => return Err(ServiceError::failed("end the server", &self.log())),
        };
        self.server = None;
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        if process::wait_for(PATIENCE, || self.shell.try_wait().transpose()).is_none() {
            let _ = self.shell.kill();
            let _ = self.shell.wait();
        }
        if let Some(mut server) = self.server.take() {
            // It is over already, unless somebody ended the shell.
            let _ = server.kill();
            let _ = server.wait();
        }
        // What the account could not remove, because of the folder that holds ours.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
