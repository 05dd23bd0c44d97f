//! Settings of a store.

use std::{fmt, str::FromStr, time::Duration};

use baldur_core::{BackendError, BackendKind, name::Namespace};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::error::said;

/// Where a server is and who connects: a `postgres://` URL that was understood. Its password is never shown.
#[derive(Clone)]
pub struct PostgresUrl {
    options: PgConnectOptions,
    text: SecretString,
}

impl PostgresUrl {
    /// What the driver makes of it.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// The URL as it was given, password included: for handing it to another program.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

/// What a URL with other parameters is told.
const PARAMETERS: &str = "the URL has a parameter that is not known; there are sslmode, sslrootcert, sslcert, sslkey, host, \
     hostaddr, port, dbname, user, password, application_name, options and statement-cache-capacity";

/// The parameters that the driver knows. Written plainly, since no name needs to be encoded.
fn is_known(name: &str) -> bool {
    const KNOWN: [&str; 18] = [
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ];
    // Such as `options[geqo]`, whose brackets may be encoded.
    KNOWN.contains(&name)
        || ["options[", "options%5B", "options%5b"].iter().any(|start| name.starts_with(start))
}

impl FromStr for PostgresUrl {
    type Err = BackendError;

    /// # Errors
    ///
    /// `Refused`, without a word of the URL itself, when it is none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || {
            let sentence = "the URL is not understood; it looks like \
                 postgres://user:password@host:5432/database?sslmode=verify-full";
            said("open", BackendKind::Refused, sentence)
        };
        if !(text.starts_with("postgres://") || text.starts_with("postgresql://")) {
            return Err(refused());
        }
        // The driver leaves out what it does not know, and logs it with its value, which may be a secret. A mistyped
        // `sslmode` left out is a connection that nobody protects.
        let parameters = text.split_once('?').map_or("", |(_, parameters)| parameters);
        let mut names = parameters.split(['&', '#']).filter_map(|one| one.split('=').next());
        if !names.all(|name| name.is_empty() || is_known(name)) {
            return Err(said("open", BackendKind::Refused, PARAMETERS));
        }
        // The driver's own message may quote the password.
        let options = text.parse::<PgConnectOptions>().map_err(|_| refused())?;
        Ok(Self { options, text: SecretString::from(text) })
    }
}

impl fmt::Display for PostgresUrl {
    /// Host, port and database.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        write!(f, "postgres://{host}:{port}")?;
        match self.options.get_database() {
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a store lives and how it works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// The server, or a pooler in front of it that runs in transaction mode (PgBouncer from 1.21 on).
    pub url: PostgresUrl,
    /// The server itself, for migrations, when `url` is a pooler; `url` when absent.
    pub direct_url: Option<PostgresUrl>,
    /// The deployment that this handle serves; it sees nothing of others in the same database.
    pub namespace: Namespace,
    /// How many connections there are at most, 2 to 1000; default 10. Writers take up to half of them, rounded down.
    pub max_connections: u32,
    /// How long to wait for a connection, and for making one. 10 ms to 10 min; default 5 s.
    pub acquire_timeout: Duration,
    /// How long one statement may take at the server. 10 ms to 1 h; default 30 s.
    pub statement_timeout: Duration,
    /// How long one statement may wait for a lock. 10 ms to 10 min, not above the statement timeout; default 5 s.
    pub lock_timeout: Duration,
    /// How long a call may take in all, queue and commit included, before its caller is told so. 10 ms to 1 h;
    /// default 60 s.
    pub answer_timeout: Duration,
    /// How many writes may wait for a connection, 1 to 65 536; default 1024. When it is full, callers wait.
    pub queue: usize,
    /// After how many rows a commit takes no further writes along, 1 to 10 000; default 512. One
    /// write is never split, so a single larger batch makes a larger commit.
    pub max_rows_per_commit: usize,
    /// Whether opening the store brings the schema up to date; default true. Without, a schema that is not the
    /// program's is an error.
    pub migrate: bool,
}

impl PostgresConfig {
    /// The defaults for a server and a namespace.
    pub fn new(url: PostgresUrl, namespace: Namespace) -> Self {
        Self {
            url,
            direct_url: None,
            namespace,
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_mins(1),
            queue: 1024,
            max_rows_per_commit: 512,
            migrate: true,
        }
    }

    /// Checks the ranges.
    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        let within =
            |value: Duration, most: Duration| (Duration::from_millis(10)..=most).contains(&value);
        let (minutes, hour) = (Duration::from_mins(10), Duration::from_hours(1));
        let problem = if !(2..=1000).contains(&self.max_connections) {
            "`max_connections` must be 2 to 1000"
        } else if !within(self.acquire_timeout, minutes) {
            "`acquire_timeout` must be 10 ms to 10 min"
        } else if !within(self.statement_timeout, hour) {
            "`statement_timeout` must be 10 ms to 1 h"
        } else if !within(self.lock_timeout, minutes) || self.lock_timeout > self.statement_timeout
        {
            "`lock_timeout` must be 10 ms to 10 min, and not above `statement_timeout`"
        } else if !within(self.answer_timeout, hour) {
            "`answer_timeout` must be 10 ms to 1 h"
        } else if !(1..=65_536).contains(&self.queue) {
            "`queue` must be 1 to 65536"
        } else if !(1..=10_000).contains(&self.max_rows_per_commit) {
            "`max_rows_per_commit` must be 1 to 10000"
        } else {
            return Ok(());
        };
        Err(said("open", BackendKind::Refused, problem))
    }

    /// The URL that migrations use.
    pub(crate) fn direct(&self) -> &PostgresUrl {
        self.direct_url.as_ref().unwrap_or(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use baldur_core::Chain;

    use super::*;

    fn good() -> PostgresConfig {
        let url = "postgres://shop:s3cret@db/shop".parse().expect("a URL");
        PostgresConfig::new(url, Namespace::default_namespace())
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert!(good().validate().is_ok());
        let second = Duration::from_secs(1);
        let bad = [
            PostgresConfig { max_connections: 1, ..good() },
            PostgresConfig { acquire_timeout: Duration::ZERO, ..good() },
            PostgresConfig { statement_timeout: Duration::ZERO, ..good() },
            PostgresConfig { lock_timeout: second * 40, ..good() },
            PostgresConfig { answer_timeout: Duration::ZERO, ..good() },
            PostgresConfig { queue: 0, ..good() },
            PostgresConfig { max_rows_per_commit: 0, ..good() },
        ];
        for config in bad {
            let error = config.validate().expect_err("out of range");
            assert_eq!(error.kind(), BackendKind::Refused, "{config:?}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let config = good();
        let shown = format!("{config:?} {}", config.url);
        assert!(shown.contains("postgres://db:5432/shop") && !shown.contains("s3cret"), "{shown}");
        for bad in ["postgres://shop:s3cret@db:port/shop", "mysql://shop:s3cret@db", "s3cret"] {
            let error = bad.parse::<PostgresUrl>().expect_err("no URL");
            let shown = format!("{error:?} {}", Chain(&error));
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
