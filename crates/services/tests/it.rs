//! Real servers, driven as fault tests drive them, and ended as they end.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use baldur_services::{PgBouncer, PgBouncerOptions, PostgresOptions, PostgresServer, ServiceError};
use secrecy::{ExposeSecret as _, SecretString};

const PATIENCE: Duration = Duration::from_mins(1);

fn start() -> PostgresServer {
    PostgresServer::start(PostgresOptions::default()).expect("a private PostgreSQL")
}

fn psql(bin: &Path, url: &SecretString) -> Command {
    let mut command = Command::new(bin.join("psql"));
    command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--dbname"]);
    command.arg(url.expose_secret()).stdin(Stdio::null());
    command
}

/// What psql prints for a statement; `Err` holds what it complains of.
fn ask(bin: &Path, url: &SecretString, sql: &str) -> Result<String, String> {
    let output = psql(bin, url).args(["--command", sql]).output().expect("psql");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn says(server: &PostgresServer, sql: &str) -> String {
    ask(server.bin(), server.url(), sql).expect("the server answers")
}

/// Waits for a condition that nobody tells of.
#[expect(clippy::disallowed_methods, reason = "real processes know no manual clock")]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "still not so: {what}");
        std::thread::yield_now();
    }
}

/// A session that stays, as a pooled connection does.
struct Session {
    psql: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Session {
    fn open(bin: &Path, url: &SecretString) -> Self {
        let mut psql = psql(bin, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("psql");
        let answers = BufReader::new(psql.stdout.take().expect("its output"));
        let mut session = Self { psql, answers };
        assert_eq!(session.answer("SELECT 'up';"), "up");
        session
    }

    fn tell(&mut self, sql: &str) {
        let stdin = self.psql.stdin.as_mut().expect("its input");
        writeln!(stdin, "{sql}").and_then(|()| stdin.flush()).expect("psql reads");
    }

    fn answer(&mut self, sql: &str) -> String {
        self.tell(sql);
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("psql writes");
        line.trim().to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

/// The letter by which `/proc` tells what a process does; `None` when it is gone.
fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next().filter(|it| !matches!(it, 'Z' | 'X'))
}

/// All processes whose command line names `folder`: the servers' and their guards'.
fn naming(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().expect("a plain name");
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let names_it = |entry: &fs::DirEntry| {
        let pid = entry.file_name();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        pid.to_str().is_some_and(|it| state(it).is_some())
            && String::from_utf8_lossy(&line).contains(folder)
    };
    processes.filter(names_it).map(|it| it.file_name().to_string_lossy().into_owned()).collect()
}

fn folder_of(server: &PostgresServer) -> PathBuf {
    server.data_dir().parent().expect("the folder of all its files").to_owned()
}

fn refuses(port: u16) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    TcpStream::connect(("127.0.0.1", port)).is_err_and(refused)
}

#[test]
fn it_serves_as_asked_and_leaves_nothing() {
    let settings = vec![("work_mem".to_owned(), "7MB".to_owned())];
    let options = PostgresOptions { max_connections: 17, settings, ..PostgresOptions::default() };
    let server = PostgresServer::start(options).expect("a private PostgreSQL");
    let shown = "SELECT concat_ws(' ', current_user, current_database(), current_setting('fsync'), \
                 current_setting('max_connections'), current_setting('work_mem'), rolsuper) \
                 FROM pg_roles WHERE rolname = current_user";
    assert_eq!(says(&server, shown), "baldur baldur on 17 7MB t");

    let (folder, port) = (folder_of(&server), server.port());
    assert!(!naming(&folder).is_empty());
    let mode = fs::metadata(&folder).expect("its folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "nobody else looks in");
    drop(server);
    assert_eq!(naming(&folder), Vec::<String>::new());
    assert!(!folder.exists() && refuses(port));
}

#[test]
fn only_the_password_lets_in_and_debug_does_not_tell_it() {
    let server = start();
    let password = server.password().expose_secret();
    let wrong = server.url().expose_secret().replace(password, "guess");
    let refused = ask(server.bin(), &SecretString::from(wrong), "SELECT 1").expect_err("refused");
    assert!(refused.contains("password authentication failed"), "{refused}");
    assert!(!format!("{server:?}").contains(password));
}

#[test]
fn a_paused_server_answers_nobody_until_it_goes_on() {
    let mut server = start();
    let mut session = Session::open(server.bin(), server.url());
    let backend = session.answer("SELECT pg_backend_pid();");
    let postmaster = server.pid().expect("it runs").to_string();

    server.pause().expect("paused");
    assert_eq!((state(&backend), state(&postmaster)), (Some('T'), Some('T')));
    session.tell("SELECT 'late';");
    server.resume().expect("resumed");
    assert_eq!(session.line(), "late");
    assert_eq!(says(&server, "SELECT 1"), "1");
}

#[test]
fn a_killed_server_keeps_what_it_committed_and_its_port() {
    let mut server = start();
    let _idle = Session::open(server.bin(), server.url());
    says(&server, "CREATE TABLE kept AS SELECT 7 AS n");
    let (port, postmaster) = (server.port(), server.pid().expect("it runs"));

    server.kill().expect("killed");
    assert!(refuses(port));
    assert!(matches!(server.pid(), Err(ServiceError::State(_))));
    assert!(matches!(server.kill(), Err(ServiceError::State(_))));
    assert!(matches!(server.pause(), Err(ServiceError::State(_))));

    server.start_again().expect("it recovers");
    assert!(matches!(server.start_again(), Err(ServiceError::State(_))));
    assert_ne!(server.pid().expect("it runs"), postmaster);
    assert_eq!(server.port(), port);
    assert_eq!(says(&server, "SELECT n FROM kept"), "7");
    assert!(server.log().expect("a log").contains("not properly shut down"));
}

#[test]
fn a_restart_ends_sessions_and_is_no_crash() {
    let mut server = start();
    let mut session = Session::open(server.bin(), server.url());
    says(&server, "CREATE TABLE kept AS SELECT 7 AS n");
    server.pause().expect("paused");
    server.restart().expect("restarted, also when paused");
    assert_eq!(says(&server, "SELECT n FROM kept"), "7");
    assert!(!server.log().expect("a log").contains("not properly shut down"));
    session.tell("SELECT 1;");
    assert_ne!(session.line(), "1", "the session was ended");
}

#[test]
fn a_paused_and_a_killed_server_leave_nothing_either() {
    let (mut paused, mut killed) = (start(), start());
    let folders = [folder_of(&paused), folder_of(&killed)];
    paused.pause().expect("paused");
    drop(paused);
    killed.pause().expect("paused");
    killed.kill().expect("killed while paused");
    let segment = fs::read_to_string(killed.data_dir().join("postmaster.pid")).expect("left");
    let segment = segment.lines().nth(6).and_then(|it| it.split_whitespace().nth(1)).expect("id");
    let segments = || fs::read_to_string("/proc/sysvipc/shm").expect("the kernel's list");
    let listed = || segments().lines().any(|it| it.split_whitespace().nth(1) == Some(segment));
    assert!(listed(), "a crash leaves shared memory");
    drop(killed);
    assert!(!listed());
    for folder in folders {
        assert_eq!(naming(&folder), Vec::<String>::new());
        assert!(!folder.exists());
    }
}

#[test]
fn a_server_that_does_not_start_says_why_and_leaves_nothing() {
    let bad = vec![("shared_buffers".to_owned(), "much".to_owned())];
    let options = PostgresOptions { settings: bad, ..PostgresOptions::default() };
    let error = PostgresServer::start(options).expect_err("no such size").to_string();
    assert!(error.contains("shared_buffers"), "{error}");
}

#[test]
fn two_servers_have_nothing_in_common() {
    let (one, other) = (start(), start());
    says(&one, "CREATE TABLE mine (n int)");
    assert_eq!(says(&other, "SELECT count(*) FROM pg_tables WHERE tablename = 'mine'"), "0");
    assert_ne!(one.password().expose_secret(), other.password().expose_secret());
}

#[test]
fn a_pooler_gives_a_connection_to_one_transaction_after_another() {
    let server = start();
    let options = PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() };
    let pooler = PgBouncer::start(&server, options).expect("a private PgBouncer");
    let mut sessions = [(); 2].map(|()| Session::open(server.bin(), pooler.url()));
    let backends = sessions.each_mut().map(|session| session.answer("SELECT pg_backend_pid();"));
    assert_eq!(backends[0], backends[1], "both are open, on one connection");
    assert_ne!(pooler.port(), server.port());
    assert!(pooler.version() >= (1, 0));
    let password = server.password().expose_secret();
    assert!(!format!("{pooler:?}").contains(password));
    assert!(!pooler.log().expect("a log").contains(password));

    let port = pooler.port();
    drop(pooler);
    assert!(refuses(port));
}

/// The program behind `cargo xtask services`, around a command.
fn around(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baldur-services"));
    command.arg("--").args(words).stdin(Stdio::null());
    command
}

#[test]
fn the_exit_code_of_the_command_is_forwarded() {
    let code = |words: &[&str]| around(words).stderr(Stdio::null()).status().expect("run").code();
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["false"]), Some(1));
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]), Some(128 + 9));
    assert_eq!(code(&["baldur-no-such-program"]), Some(127));
}

/// A wrapper around a command that tells where its server is, then reads until its input ends.
struct Wrapped {
    wrapper: Child,
    data: PathBuf,
    port: u16,
}

impl Wrapped {
    const TELL: &str =
        "echo $BALDUR_TEST_POSTGRES_CONTROL; echo $BALDUR_TEST_POSTGRES_URL; exec cat";

    fn start(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut wrapper = piped.spawn().expect("the wrapper");
        let mut lines = BufReader::new(wrapper.stdout.take().expect("its output")).lines();
        let mut line = || lines.next().expect("a line").expect("readable");
        let data = PathBuf::from(line());
        let url = line();
        let port = url.rsplit_once(':').and_then(|(_, it)| it.split('/').next()?.parse().ok());
        Self { wrapper, data, port: port.expect("a port in the URL") }
    }

    fn folder(&self) -> &Path {
        self.data.parent().expect("the folder of all its files")
    }

    fn signal(&self, signal: &str) {
        let pid = self.wrapper.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill");
        assert!(sent.success());
    }

    fn nothing_is_left(&self) {
        until("no process and no folder", || {
            !self.folder().exists() && naming(self.folder()).is_empty()
        });
        assert!(refuses(self.port));
    }
}

#[test]
fn a_killed_wrapper_leaves_no_server() {
    let mut wrapped = Wrapped::start(around(&["sh", "-c", Wrapped::TELL]));
    assert!(wrapped.data.join("PG_VERSION").exists());
    wrapped.signal("-KILL");
    wrapped.wrapper.wait().expect("it is gone");
    wrapped.nothing_is_left();
}

#[test]
fn a_wrapper_that_is_killed_while_it_starts_leaves_nothing() {
    let tmp = tempfile::tempdir().expect("a folder");
    // As the temporary folder itself: the account of the servers makes and removes folders in it.
    fs::set_permissions(tmp.path(), fs::Permissions::from_mode(0o1777)).expect("for everybody");
    let folders = || fs::read_dir(tmp.path()).expect("a folder").filter_map(Result::ok);
    let mut wrapper = around(&["true"]).env("TMPDIR", tmp.path()).spawn().expect("the wrapper");
    until("it makes a cluster", || folders().any(|it| it.path().join("data/PG_VERSION").exists()));
    wrapper.kill().expect("killed");
    wrapper.wait().expect("it is gone");
    until("no process and no folder", || folders().count() == 0 && naming(tmp.path()).is_empty());
}

#[test]
fn a_signal_that_ends_the_wrapper_ends_the_command_first() {
    for (signal, code) in [("-TERM", 128 + 15), ("-HUP", 128 + 1)] {
        let mut wrapped = Wrapped::start(around(&["sh", "-c", Wrapped::TELL]));
        // Waiting would close it, and the command would end by itself.
        let _open = wrapped.wrapper.stdin.take();
        wrapped.signal(signal);
        let status = wrapped.wrapper.wait().expect("it ended");
        assert_eq!(status.code(), Some(code));
        // The wrapper was waited for, so nothing may be left by now.
        assert!(!wrapped.folder().exists() && naming(wrapped.folder()).is_empty());
    }
}

#[test]
fn an_interrupt_is_left_to_the_command() {
    let mut wrapped = Wrapped::start(around(&["sh", "-c", Wrapped::TELL]));
    wrapped.signal("-INT");
    assert!(wrapped.folder().exists());
    drop(wrapped.wrapper.stdin.take());
    assert_eq!(wrapped.wrapper.wait().expect("it ended").code(), Some(0));
    assert!(!wrapped.folder().exists() && naming(wrapped.folder()).is_empty());
}

#[test]
fn without_a_command_it_tells_a_shell_where_the_server_is_until_it_is_interrupted() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baldur-services"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut wrapper = command.spawn().expect("the wrapper");
    let lines = BufReader::new(wrapper.stdout.take().expect("its output")).lines();
    let lines: Vec<String> = lines.take(3).map(|it| it.expect("readable")).collect();
    let value = |name: &str| {
        let line = lines.iter().find_map(|it| it.strip_prefix(&format!("export {name}=")));
        line.expect("a line for it").trim_matches('\'').to_owned()
    };
    let url = SecretString::from(value("BALDUR_TEST_POSTGRES_URL"));
    let bin = PathBuf::from(value("BALDUR_POSTGRES_BIN"));
    assert_eq!(ask(&bin, &url, "SHOW data_directory"), Ok(value("BALDUR_TEST_POSTGRES_CONTROL")));

    let pid = wrapper.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    assert_eq!(wrapper.wait().expect("it ended").code(), Some(0));
    assert!(!Path::new(&value("BALDUR_TEST_POSTGRES_CONTROL")).exists());
}
