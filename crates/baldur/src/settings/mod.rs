//! What can be set: a TOML file, and environment variables on top of it.

mod breakers;
pub(crate) mod form;
mod load;
mod node;
mod outbox;
mod overflow;
mod recovery;
mod serve;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use baldur_core::name::{Namespace, ServiceName, WorkerName};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use breakers::BreakersSettings;
pub use load::{ENV_PREFIX, MAX_FILE_BYTES, SettingsError};
pub use outbox::{ModeSettings, OutboxSettings, WhenOutboxFullSettings};
pub use overflow::{
    DedupSettings, DomainOverflowSettings, KeepSettings, OverflowSettings, WhenFullSettings,
};
pub use recovery::{DependencySettings, RecoverySettings};
pub use serve::{ApiKeySettings, ServeSettings};

/// Everything that can be set. The book's reference lists each setting with its range and default.
///
/// Unknown keys are refused. Secrets (`store.url`, the `key` of API keys, `url` and `headers` of handlers, `probe_url` and
/// `probe_headers` of dependencies) are never shown: not by `Debug`,
/// not by `Display`, which writes the settings as TOML.
///
/// ```
/// use baldur::Settings;
///
/// let settings = Settings::parse(
///     "[replay]\nlease = '1m'\n[handlers.payment]\nurl = 'http://127.0.0.1:8080/replay'",
///     "baldur.toml",
///     [("BALDUR__STORE__URL".to_owned(), "memory:".to_owned())],
/// )?;
/// assert_eq!(settings.replay.lease.as_secs(), 60);
/// # Ok::<(), baldur::SettingsError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// The deployment: separates those that share a store.
    #[serde(with = "form::word")]
    pub namespace: Namespace,
    /// Under which name this process claims entries; made from its process id when absent.
    #[serde(with = "form::word_opt", skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    /// Who reports failures that name no origin.
    #[serde(with = "form::word")]
    pub origin_service: ServiceName,
    /// Where entries are kept.
    pub store: StoreSettings,
    /// Where captures wait that the store can't take.
    pub spool: SpoolSettings,
    /// What capture accepts and keeps.
    pub capture: CaptureSettings,
    /// How captures wait in memory that don't wait for the store.
    pub outbox: OutboxSettings,
    /// What is secret.
    pub redaction: RedactionSettings,
    /// How many live entries there may be.
    pub overflow: OverflowSettings,
    /// Whose payload an entry keeps when further captures merge into it.
    pub dedup: DedupSettings,
    /// How entries are replayed.
    pub replay: ReplaySettings,
    /// How entries are replayed once their dependency is back.
    pub recovery: RecoverySettings,
    /// How circuit breakers are shared.
    pub breakers: BreakersSettings,
    /// How `baldur serve` listens.
    pub serve: ServeSettings,
    /// Where entries are replayed to, by domain.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub handlers: BTreeMap<String, HandlerSettings>,
}

impl Settings {
    /// The defaults, with this store.
    pub fn at(url: impl Into<SecretString>) -> Self {
        let mut settings = Self::default();
        settings.store.url = Some(url.into());
        settings
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: Namespace::default_namespace(),
            worker: None,
            origin_service: ServiceName::unknown(),
            store: StoreSettings::default(),
            spool: SpoolSettings::default(),
            capture: CaptureSettings::default(),
            outbox: OutboxSettings::default(),
            redaction: RedactionSettings::default(),
            overflow: OverflowSettings::default(),
            dedup: DedupSettings::default(),
            replay: ReplaySettings::default(),
            recovery: RecoverySettings::default(),
            breakers: BreakersSettings::default(),
            serve: ServeSettings::default(),
            handlers: BTreeMap::new(),
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(toml::to_string(self).map_err(|_| fmt::Error)?.trim_end())
    }
}

/// Where entries are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreSettings {
    /// `sqlite:///absolute/path.db`, `postgres://user@host/database` or `memory:`. Required; the `baldur` command has a
    /// default.
    #[serde(serialize_with = "form::hide", skip_serializing_if = "Option::is_none")]
    pub url: Option<SecretString>,
    /// SQLite: how long to wait for other processes, 1 ms to 10 min.
    #[serde(with = "form::duration")]
    pub busy_timeout: Duration,
    /// SQLite: how many reads run at a time, 1 to 64.
    pub max_readers: u32,
    /// How many writes may wait for a writer, 1 to 65 536.
    pub queue: usize,
    /// After how many rows a commit takes no further writes along, 1 to 100 000 (`PostgreSQL`: 10 000).
    pub max_rows_per_commit: usize,
    /// `PostgreSQL`: the server itself, for migrations, when `url` is a pooler.
    #[serde(serialize_with = "form::hide", skip_serializing_if = "Option::is_none")]
    pub direct_url: Option<SecretString>,
    /// `PostgreSQL`: how many connections there are at most, 2 to 1000.
    pub max_connections: u32,
    /// `PostgreSQL`: how long to wait for a connection, 10 ms to 10 min.
    #[serde(with = "form::duration")]
    pub acquire_timeout: Duration,
    /// `PostgreSQL`: how long one statement may take, 10 ms to 1 h.
    #[serde(with = "form::duration")]
    pub statement_timeout: Duration,
    /// `PostgreSQL`: how long one statement may wait for a lock, 10 ms to 10 min.
    #[serde(with = "form::duration")]
    pub lock_timeout: Duration,
    /// `PostgreSQL`: whether opening the store brings its schema up to date.
    pub migrate: bool,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            url: None,
            busy_timeout: Duration::from_secs(5),
            max_readers: 4,
            queue: 1_024,
            max_rows_per_commit: 512,
            direct_url: None,
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            migrate: true,
        }
    }
}

/// Where captures wait that the store can't take. Sizes are in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SpoolSettings {
    /// An absolute path to a directory of its own, on a disk that outlives the process. Without it there is no spool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// How much may wait, 64 KiB to 1 TiB.
    pub max_bytes: u64,
    /// At which size a file is sealed and the next one begun, 4 KiB to 256 MiB and at most `max_bytes`.
    pub segment_bytes: u64,
    /// How much may be put aside in `refused/`, 64 KiB to 1 TiB.
    pub max_refused_bytes: u64,
    /// How often in a row the store must fail at a record, and take others, before the record is put aside: 2 to 10 000; 0 for never.
    pub park_attempts: u32,
    /// For how long that must go on, 1 s to 7 days.
    #[serde(with = "form::duration")]
    pub park_after: Duration,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            dir: None,
            max_bytes: 1 << 30,
            segment_bytes: 16 << 20,
            max_refused_bytes: 256 << 20,
            park_attempts: 10,
            park_after: Duration::from_mins(10),
        }
    }
}

/// What capture accepts, how much of it is kept, and what it fills in. Sizes are in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CaptureSettings {
    /// For what captures wait that name no mode: `sync`, `async` or `durable`.
    pub mode: ModeSettings,
    /// With a spool: how long a capture waits for the store before it is spooled, 10 ms to 5 min.
    #[serde(with = "form::duration")]
    pub store_timeout: Duration,
    /// The longest `request_data`, which is kept whole or not at all.
    pub max_request_bytes: usize,
    /// All texts of one operation together.
    pub max_input_bytes: usize,
    /// The longest that each diagnostic field is kept.
    pub max_field_bytes: usize,
    /// The longest that the error message is kept.
    pub max_error_bytes: usize,
    /// The budget of an operation that names none, 1 to 1000.
    pub max_retries: u32,
    /// How long an operation waits before it expires; for ever when absent.
    #[serde(with = "form::duration_opt", skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Duration>,
}

/// What is secret, beyond what always is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RedactionSettings {
    /// Further keys whose values are secret, in any spelling: `employee number`, `employeeNumber`.
    pub extra_keys: Vec<String>,
    /// Which runs of digits are taken for payment-card numbers.
    pub cards: CardSettings,
    /// How deeply payloads may nest.
    pub max_depth: usize,
}

/// Which runs of digits are taken for payment-card numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardSettings {
    /// None.
    Off,
    /// Those that pass the Luhn check and look like a known issuer's.
    KnownIssuers,
    /// All that pass the Luhn check.
    AnyLuhn,
}

/// How entries are replayed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ReplaySettings {
    /// How long a claim lasts without a heartbeat, 1 s to 1 h.
    #[serde(with = "form::duration")]
    pub lease: Duration,
    /// How long a handler may take for one entry, 1 ms to 1 h.
    #[serde(with = "form::duration")]
    pub handler_timeout: Duration,
    /// How many handlers work at once, 1 to 256.
    pub concurrency: usize,
    /// How many entries are claimed at once, 1 to 100.
    pub batch: usize,
    /// The longest wait that a target may ask for, up to 30 days.
    #[serde(with = "form::duration")]
    pub max_wait: Duration,
    /// How many entries are taken up per second; as many as handlers finish when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// With how many per second to start; the full rate when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp_from: Option<f64>,
    /// How long it takes to reach the full rate, with `ramp_from`.
    #[serde(with = "form::duration")]
    pub ramp_over: Duration,
    /// How long an entry that was asked for by id waits when nobody handles its domain, up to 30 days.
    #[serde(with = "form::duration")]
    pub no_handler_delay: Duration,
    /// After how many results in a row that say the target is down a run leaves a domain alone; 0 goes on.
    pub stop_after_consecutive_failures: u32,
    /// How long handlers may go on after a run was cancelled, up to 1 h.
    #[serde(with = "form::duration")]
    pub cancel_grace: Duration,
    /// How long one answer of the store may take, 10 ms to 5 min.
    #[serde(with = "form::duration")]
    pub store_timeout: Duration,
    /// How long a run goes on asking a store that doesn't answer, up to 1 h.
    #[serde(with = "form::duration")]
    pub store_patience: Duration,
    /// To how many bytes notes are cut, 64 to 65 536.
    pub max_note_bytes: usize,
    /// How long failed entries wait.
    pub backoff: BackoffSettings,
}

/// How long failed entries wait before the next automatic replay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BackoffSettings {
    /// The first wait.
    #[serde(with = "form::duration")]
    pub base: Duration,
    /// By how much each wait is longer than the one before, 1 to 100.
    pub factor: f64,
    /// The longest wait, up to 30 days.
    #[serde(with = "form::duration")]
    pub cap: Duration,
    /// The shortest wait, at most `base`.
    #[serde(with = "form::duration")]
    pub floor: Duration,
    /// How waits are spread.
    pub jitter: JitterSettings,
}

/// How waits are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JitterSettings {
    /// Not at all.
    None,
    /// Between nothing and the whole wait.
    Full,
    /// Between half the wait and the whole.
    Equal,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_mins(5),
            floor: Duration::from_millis(500),
            jitter: JitterSettings::Equal,
        }
    }
}

/// An HTTP endpoint that entries of a domain are replayed to. Status codes are written as `200-299,304`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HandlerSettings {
    /// Where requests go. Required.
    #[serde(serialize_with = "form::hide", skip_serializing_if = "Option::is_none")]
    pub url: Option<SecretString>,
    /// The hosts that the URL may name, such as `pay.example.com`, `*.example.com` or `10.0.0.5:8080`. Required.
    pub allowed_hosts: Vec<String>,
    /// POST, PUT, PATCH or DELETE; POST when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What the body is: `request` or `envelope`; the request data when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Further headers.
    #[serde(serialize_with = "form::hide_values", skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretString>,
    /// How long one request may take, 1 ms to 5 min; 10 s when absent.
    #[serde(with = "form::duration_opt", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long connecting may take, 1 ms to `timeout`; 3 s when absent.
    #[serde(with = "form::duration_opt", skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// How long entries wait whose target was not reached, up to a day; 10 s when absent.
    #[serde(with = "form::duration_opt", skip_serializing_if = "Option::is_none")]
    pub defer_for: Option<Duration>,
    /// The longest wait that `Retry-After` can ask for, up to a day; 1 h when absent.
    #[serde(with = "form::duration_opt", skip_serializing_if = "Option::is_none")]
    pub max_retry_after: Option<Duration>,
    /// Codes that mean that it worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
    /// Codes that mean that it was done before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub already_done: Option<String>,
    /// Codes that mean that it will never work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permanent: Option<String>,
    /// Codes that mean that the target did not look at the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deferred: Option<String>,
}
