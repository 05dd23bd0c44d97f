//! A private PgBouncer in transaction mode, in front of a private PostgreSQL.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{PostgresServer, ServiceError, error::tail, files, guard::Guard, port};

/// Where it is looked for when it is not in the search path: Debian's place is not in everybody's.
const DEBIAN: &str = "/usr/sbin/pgbouncer";

/// The first version that keeps prepared statements in transaction mode.
const KEEPS_STATEMENTS: (u32, u32) = (1, 21);

/// How to run a private PgBouncer.
#[derive(Clone, Debug)]
pub struct PgBouncerOptions {
    /// The program; `None` takes Debian's.
    pub program: Option<PathBuf>,
    /// How many connections to the server it opens for a database and user.
    pub pool_size: u16,
    /// How many prepared statements it keeps per connection; zero keeps none. Versions before 1.21 keep none
    /// whatever stands here.
    pub max_prepared_statements: u16,
    /// More settings of the section `pgbouncer`, each a name and a value.
    pub settings: Vec<(String, String)>,
}

impl Default for PgBouncerOptions {
    fn default() -> Self {
        Self { program: None, pool_size: 20, max_prepared_statements: 200, settings: Vec::new() }
    }
}

/// A private PgBouncer on 127.0.0.1. Dropped, it is gone.
#[derive(Debug)]
pub struct PgBouncer {
    guard: Guard,
    port: u16,
    version: (u32, u32),
    url: SecretString,
}

impl PgBouncer {
    /// Starts it in front of `server`, for the same user, password and databases.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Missing`] without the program, and [`ServiceError::Failed`] with the end of its log when
    /// it does not start.
    pub fn start(server: &PostgresServer, options: PgBouncerOptions) -> Result<Self, ServiceError> {
        let PgBouncerOptions { program, pool_size, max_prepared_statements, settings } = options;
        let program = program.unwrap_or_else(|| PathBuf::from(DEBIAN));
        let version = version(&program)?;
        let mut guard = Guard::new("pgbouncer")?;
        let password = server.password().expose_secret();
        let users = guard.folder().join("users");
        let line = format!("\"{}\" \"{password}\"\n", server.name());
        files::secret(&users, &line, guard.account())?;

        let mut ours = vec![("default_pool_size".to_owned(), pool_size.to_string())];
        if version >= KEEPS_STATEMENTS {
            ours.push(("max_prepared_statements".to_owned(), max_prepared_statements.to_string()));
        }
        ours.extend(settings);
        let port = port::on_a_free_one(|port| {
            let text = configuration(&users, port, server.port(), &ours);
            serve(&mut guard, &program, port, &text)
        })?;
        let name = server.name();
        let url =
            SecretString::from(format!("postgres://{name}:{password}@127.0.0.1:{port}/{name}"));
        Ok(Self { guard, port, version, url })
    }

    /// The URL of the database `baldur` through it.
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its major and minor version; from 1.21 on it keeps prepared statements.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Its log, from the beginning.
    pub fn log(&self) -> Result<String, ServiceError> {
        let bytes = fs::read(self.guard.log()).map_err(ServiceError::io("read the log"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn serve(guard: &mut Guard, program: &Path, port: u16, text: &str) -> Result<(), ServiceError> {
    let file = guard.folder().join(format!("{port}.ini"));
    files::secret(&file, text, guard.account())?;
    let mut command = guard.command(program)?;
    command.arg(&file);
    let log = guard.log();
    guard.serve(command, |_| {
        fs::read(&log).is_ok_and(|it| String::from_utf8_lossy(&it).contains("process up"))
    })
}

fn configuration(users: &Path, port: u16, server: u16, settings: &[(String, String)]) -> String {
    let mut text = format!(
        "[databases]\n\
         * = host=127.0.0.1 port={server}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = {}\n\
         pool_mode = transaction\n\
         max_client_conn = 1000\n",
        users.display()
    );
    text.extend(settings.iter().map(|(name, value)| format!("{name} = {value}\n")));
    text
}

fn version(program: &Path) -> Result<(u32, u32), ServiceError> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|error| {
        ServiceError::Missing(format!(
            "no PgBouncer at {} ({error}); on Debian or Ubuntu run\n    \
             sudo apt-get install -y pgbouncer",
            program.display()
        ))
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| ServiceError::Failed {
        doing: format!("read the version of {}", program.display()),
        log: tail(&text),
    })
}

/// Of a text that begins with `PgBouncer 1.18.0`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.lines().next()?.strip_prefix("PgBouncer ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_first_line() {
        assert_eq!(parse_version("PgBouncer 1.18.0\nlibevent 2\n"), Some((1, 18)));
        assert_eq!(parse_version("PgBouncer 1.24.1"), Some((1, 24)));
        assert_eq!(parse_version("postgres 15"), None);
    }
}
