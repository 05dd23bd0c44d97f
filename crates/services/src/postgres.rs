//! A private PostgreSQL.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal};
use secrecy::SecretString;

use crate::{
    ServiceError,
    environment::POSTGRES_BIN,
    files,
    guard::{ENDED, Guard},
    port, process,
};

/// Its user, who may do everything, and its database.
const NAME: &str = "baldur";

/// Where Debian and Ubuntu put the programs, by major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// How to run a private PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The folder of `postgres` and `initdb`; `None` takes [`postgres_bin`].
    pub bin: Option<PathBuf>,
    /// How many connections it takes.
    pub max_connections: u16,
    /// More settings, each a name and a value as in `postgresql.conf`. They win over ours.
    /// `fsync` is on unless it is switched off here.
    pub settings: Vec<(String, String)>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { bin: None, max_connections: 200, settings: Vec::new() }
    }
}

/// A private PostgreSQL on 127.0.0.1, with an empty database `baldur` and a superuser `baldur`
/// whose password is random. Dropped, it is gone with all its data.
#[derive(Debug)]
pub struct PostgresServer {
    guard: Guard,
    bin: PathBuf,
    port: u16,
    password: SecretString,
    url: SecretString,
    /// Of each start, but for the port.
    arguments: Vec<String>,
    /// Processes that were stopped with the server.
    paused: Vec<Pid>,
}

/// The folder of PostgreSQL's programs: the one that `BALDUR_POSTGRES_BIN` names, else the highest
/// version below `/usr/lib/postgresql`.
///
/// # Errors
///
/// [`ServiceError::Missing`] when there is none; it tells how to get one.
pub fn postgres_bin() -> Result<PathBuf, ServiceError> {
    let bin = match std::env::var_os(POSTGRES_BIN).filter(|it| !it.is_empty()) {
        Some(bin) => PathBuf::from(bin),
        None => newest_below(Path::new(DEBIAN)).ok_or_else(|| {
            ServiceError::Missing(format!(
                "no PostgreSQL below {DEBIAN}; on Debian or Ubuntu run\n    \
                 sudo apt-get install -y postgresql\n\
                 or name the folder of `postgres` and `initdb` with {POSTGRES_BIN}"
            ))
        })?,
    };
    checked(bin)
}

fn checked(bin: PathBuf) -> Result<PathBuf, ServiceError> {
    match ["postgres", "initdb"].iter().find(|it| !bin.join(it).is_file()) {
        None => Ok(bin),
        Some(missing) => Err(ServiceError::Missing(format!(
            "there is no `{missing}` in {}; {POSTGRES_BIN} names a folder with `postgres` and `initdb`",
            bin.display()
        ))),
    }
}

fn newest_below(versions: &Path) -> Option<PathBuf> {
    let found = fs::read_dir(versions).ok()?.filter_map(|entry| {
        let bin = entry.ok()?.path().join("bin");
        let version: u32 = bin.parent()?.file_name()?.to_str()?.parse().ok()?;
        bin.join("postgres").is_file().then_some((version, bin))
    });
    found.max().map(|(_, bin)| bin)
}

impl PostgresServer {
    /// Makes a new cluster and starts it; about two seconds.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Missing`] without the programs, and [`ServiceError::Failed`] with the end of the
    /// server's log when it does not start, for example because of a setting.
    pub fn start(options: PostgresOptions) -> Result<Self, ServiceError> {
        let PostgresOptions { bin, max_connections, settings } = options;
        let bin = bin.map_or_else(postgres_bin, checked)?;
        let guard = Guard::new("postgres")?;
        let password = port::password()?;
        let mut server = Self {
            arguments: arguments(guard.folder(), max_connections, &settings),
            guard,
            bin,
            port: 0,
            url: SecretString::default(),
            password: SecretString::from(password.clone()),
            paused: Vec::new(),
        };
        server.make_cluster(&password)?;
        server.make_database()?;
        let port = port::on_a_free_one(|port| {
            server.port = port;
            server.serve()
        })?;
        server.url =
            SecretString::from(format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{NAME}"));
        Ok(server)
    }

    fn make_cluster(&self, password: &str) -> Result<(), ServiceError> {
        let file = self.guard.folder().join("password");
        files::secret(&file, password, self.guard.account())?;
        let mut command = self.guard.command(&self.bin.join("initdb"))?;
        // What initdb writes needs no sync: only machines that die lose it, and then we are gone.
        command.args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]);
        command.args(["--auth=scram-sha-256", "--username", NAME, "--pwfile"]).arg(&file);
        command.arg("--pgdata").arg(self.data_dir());
        let status = command.status().map_err(ServiceError::io("start initdb"))?;
        files::remove(&file)?;
        if status.success() {
            return Ok(());
        }
        Err(ServiceError::failed("make a cluster", &self.guard.log()))
    }

    /// Without a client: not every distribution of the server has one.
    fn make_database(&self) -> Result<(), ServiceError> {
        let doing = || ServiceError::io("make the database");
        let mut command = self.guard.command(&self.bin.join("postgres"))?;
        command.args(["--single", "-F", "-D"]).arg(self.data_dir()).arg("postgres");
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(doing())?;
        if let Some(mut stdin) = child.stdin.take() {
            writeln!(stdin, "CREATE DATABASE {NAME}").map_err(doing())?;
        }
        if child.wait().map_err(doing())?.success() {
            return Ok(());
        }
        Err(ServiceError::failed("make the database", &self.guard.log()))
    }

    fn serve(&mut self) -> Result<(), ServiceError> {
        let mut command = self.guard.command(&self.bin.join("postgres"))?;
        command.args(&self.arguments).arg("-p").arg(self.port.to_string());
        let status = self.data_dir().join("postmaster.pid");
        self.guard.serve(command, |pid| {
            fs::read_to_string(&status).is_ok_and(|text| tells_ready(&text, pid))
        })
    }

    /// `postgres://baldur:PASSWORD@127.0.0.1:PORT/baldur`.
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    /// The port; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name of the superuser and of the database.
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The password of the superuser.
    pub fn password(&self) -> &SecretString {
        &self.password
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.guard.folder().join("data")
    }

    /// The folder of the programs that it was started with.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The server's log, from its beginning.
    pub fn log(&self) -> Result<String, ServiceError> {
        let bytes = fs::read(self.guard.log()).map_err(ServiceError::io("read the log"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The process id of the postmaster, the parent of all its processes.
    ///
    /// # Errors
    ///
    /// [`ServiceError::State`] after [`kill`](Self::kill).
    pub fn pid(&self) -> Result<u32, ServiceError> {
        self.guard.pid().ok_or(ENDED)
    }

    /// Stops all its processes where they are (SIGSTOP), backends included. Connections stay open, new ones
    /// are accepted by the kernel, and nothing is answered. Returns when all have stopped.
    ///
    /// # Errors
    ///
    /// [`ServiceError::State`] after [`kill`](Self::kill).
    pub fn pause(&mut self) -> Result<(), ServiceError> {
        let doing = || ServiceError::io("pause the server");
        let postmaster = self.freeze()?;
        // The postmaster is stopped, so it neither starts children nor waits for any: their ids
        // stay their own.
        let children = process::children(postmaster).map_err(doing())?;
        for child in &children {
            process::signal_if_there(*child, Signal::STOP).map_err(doing())?;
        }
        let all_stopped = || children.iter().all(|it| process::is_stopped(*it)).then_some(());
        let stopped = process::wait_for(process::PATIENCE, all_stopped);
        self.paused = children;
        stopped.ok_or_else(|| ServiceError::failed("pause the server", &self.guard.log()))
    }

    fn freeze(&mut self) -> Result<Pid, ServiceError> {
        let server = self.guard.server()?;
        process::signal(server, Signal::STOP).map_err(ServiceError::io("stop the postmaster"))?;
        let pid = Pid::from_child(server);
        process::wait_for(process::PATIENCE, || process::is_stopped(pid).then_some(pid))
            .ok_or_else(|| ServiceError::failed("stop the postmaster", &self.guard.log()))
    }

    /// Lets a paused server go on; nothing happens to one that runs.
    ///
    /// # Errors
    ///
    /// [`ServiceError::State`] after [`kill`](Self::kill).
    pub fn resume(&mut self) -> Result<(), ServiceError> {
        let doing = || ServiceError::io("resume the server");
        let server = self.guard.server()?;
        for child in self.paused.drain(..) {
            process::signal_if_there(child, Signal::CONT).map_err(doing())?;
        }
        process::signal(server, Signal::CONT).map_err(doing())
    }

    /// Kills the postmaster with SIGKILL. Its children notice and end themselves; those that were paused, or are too busy to
    /// notice, are killed as well. Returns when all are gone. The data stay as they are.
    ///
    /// # Errors
    ///
    /// [`ServiceError::State`] when it was killed before.
    pub fn kill(&mut self) -> Result<(), ServiceError> {
        let doing = || ServiceError::io("kill the server");
        for child in self.paused.drain(..) {
            process::signal_if_there(child, Signal::KILL).map_err(doing())?;
        }
        let postmaster = self.freeze()?;
        let children = process::children(postmaster).map_err(doing())?;
        self.guard.server()?.kill().map_err(doing())?;
        self.guard.ended()?;
        let left = |patience| {
            process::wait_for(patience, || {
                children.iter().all(|it| process::is_gone(*it)).then_some(())
            })
        };
        if left(process::PATIENCE / 10).is_some() {
            return Ok(());
        }
        for child in children.iter().filter(|it| process::runs(**it, "postgres")) {
            process::signal_if_there(*child, Signal::KILL).map_err(doing())?;
        }
        left(process::PATIENCE)
            .ok_or_else(|| ServiceError::failed("kill the server's children", &self.guard.log()))
    }

    /// Starts it after [`kill`](Self::kill), on the same data and the same port; it recovers as
    /// after a crash. Returns when it takes connections.
    ///
    /// # Errors
    ///
    /// [`ServiceError::State`] when it runs, and [`ServiceError::Failed`] with the end of its log when it
    /// does not come up.
    pub fn start_again(&mut self) -> Result<(), ServiceError> {
        if self.guard.pid().is_some() {
            return Err(ServiceError::State("the server runs; kill it before it can start again"));
        }
        self.serve()
    }

    /// Restarts it as an operator does: open connections are ended, transactions rolled back, and
    /// everything is written (a fast shutdown).
    ///
    /// # Errors
    ///
    /// As of [`resume`](Self::resume) and [`start_again`](Self::start_again).
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        self.resume()?;
        let server = self.guard.server()?;
        process::signal(server, Signal::INT).map_err(ServiceError::io("shut the server down"))?;
        self.guard.ended()?;
        self.serve()
    }
}

impl Drop for PostgresServer {
    /// A killed server left shared memory behind that is not in its folder. Only the server itself
    /// finds that again, and it gives it back when the guard ends it properly.
    fn drop(&mut self) {
        if self.port != 0 && self.guard.pid().is_none() {
            let _ = self.serve();
        }
    }
}

/// What the postmaster writes about itself: the first line is its id, the eighth its state.
fn tells_ready(status: &str, pid: u32) -> bool {
    let mut lines = status.lines().map(str::trim);
    lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
}

fn arguments(folder: &Path, max_connections: u16, settings: &[(String, String)]) -> Vec<String> {
    let mut ours = vec![
        ("fsync", "on".to_owned()),
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("max_connections", max_connections.to_string()),
        ("unix_socket_directories", folder.display().to_string()),
    ];
    ours.extend(settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let mut arguments = vec!["-D".to_owned(), folder.join("data").display().to_string()];
    arguments.extend(ours.into_iter().map(|(name, value)| format!("--{name}={value}")));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_a_number() {
        let versions = tempfile::tempdir().expect("a folder");
        for version in ["9", "15", "14", "tools"] {
            let bin = versions.path().join(version).join("bin");
            fs::create_dir_all(&bin).expect("a version");
            fs::write(bin.join("postgres"), "").expect("a program");
        }
        fs::create_dir_all(versions.path().join("18/lib")).expect("one without programs");
        let newest = newest_below(versions.path()).expect("a version");
        assert_eq!(newest, versions.path().join("15/bin"));
        assert_eq!(newest_below(&versions.path().join("none")), None);
    }

    #[test]
    fn a_folder_without_programs_is_refused_with_what_is_missing() {
        let empty = tempfile::tempdir().expect("a folder");
        let error = checked(empty.path().to_owned()).expect_err("nothing in it").to_string();
        assert!(error.contains("`postgres`") && error.contains(POSTGRES_BIN), "{error}");
    }

    #[test]
    fn only_the_process_itself_tells_that_it_is_ready() {
        let status = "7\n/d\n1\n15432\n/s\n127.0.0.1\n 1 2\nready   \n";
        assert!(tells_ready(status, 7));
        assert!(!tells_ready(status, 8));
        assert!(!tells_ready(&status.replace("ready", "starting"), 7));
        assert!(!tells_ready("7\n/d\n", 7));
    }

    #[test]
    fn given_settings_come_last_and_win() {
        let off = [("fsync".to_owned(), "off".to_owned())];
        let arguments = arguments(Path::new("/f"), 5, &off);
        assert_eq!(arguments.last().map(String::as_str), Some("--fsync=off"));
        assert!(arguments.contains(&"--max_connections=5".to_owned()));
    }
}
