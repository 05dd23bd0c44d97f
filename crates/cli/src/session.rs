//! What every command that touches a store begins with: settings, the store, and who acts.

use std::{path::PathBuf, time::Duration};

use baldur::{
    Baldur, Chain, EntryId, OpenError, Settings, ShutdownError, Who,
    name::{Actor, Namespace, Reason},
};

use crate::{
    args::Globals,
    exit::{Code, Failure},
};

/// How long closing a store may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// An open store, and who uses it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) baldur: Baldur,
    pub(crate) who: Who,
}

impl Session {
    /// Opens the store that the command line, the environment, the settings file or the platform name. No spool is
    /// opened: a command that captures nothing neither fills nor empties one.
    pub(crate) async fn open(globals: &Globals) -> Result<Self, Failure> {
        Self::open_with(globals, |_| {}).await
    }

    /// As [`open`](Self::open), with settings that the command itself wants.
    pub(crate) async fn open_with(
        globals: &Globals,
        want: impl FnOnce(&mut Settings),
    ) -> Result<Self, Failure> {
        let without_spool = |settings: &mut Settings| {
            settings.spool.dir = None;
            want(settings);
        };
        Self::open_as(globals, without_spool).await
    }

    /// As [`open`](Self::open), with the spool of the settings, if they name one.
    pub(crate) async fn open_with_spool(globals: &Globals) -> Result<Self, Failure> {
        Self::open_as(globals, |_| {}).await
    }

    async fn open_as(globals: &Globals, want: impl FnOnce(&mut Settings)) -> Result<Self, Failure> {
        let environment = environment()?;
        let mut settings = settings(globals, &environment)?;
        want(&mut settings);
        let who = Who::new(actor(globals, &environment)?);
        let baldur = Baldur::open(settings).await.map_err(|error| not_opened(&error))?;
        Ok(Self { baldur, who })
    }

    /// Closes the store and passes on how the command went.
    pub(crate) async fn close(self, result: Result<(), Failure>) -> Result<(), Failure> {
        self.close_within(CLOSE_WITHIN, result).await
    }

    /// As [`close`](Self::close), in this time.
    pub(crate) async fn close_within(
        self,
        within: Duration,
        result: Result<(), Failure>,
    ) -> Result<(), Failure> {
        let closed = self.baldur.shutdown(within).await;
        result.and_then(|()| closed.map_err(|error| not_closed(&error)))
    }

    /// The same person, with a reason.
    pub(crate) fn who(&self, reason: Option<&str>) -> Result<Who, Failure> {
        let reason = reason.map(Reason::parse).transpose();
        let reason = reason.map_err(|error| Failure::usage("the reason is not usable", &error))?;
        Ok(Who { reason, ..self.who.clone() })
    }
}

/// The settings that hold for this command.
pub(crate) fn settings(
    globals: &Globals,
    environment: &[(String, String)],
) -> Result<Settings, Failure> {
    let env = environment.iter().cloned();
    let mut settings = Settings::load(globals.config.as_deref(), env)
        .map_err(|error| Failure::usage("the settings are not usable", &error))?;
    if let Some(name) = &globals.namespace {
        settings.namespace = Namespace::parse(name)
            .map_err(|error| Failure::usage("`--namespace` is not usable", &error))?;
    }
    if let Some(url) = &globals.store {
        settings.store.url = Some(url.as_str().into());
    }
    if settings.store.url.is_none() {
        settings.store.url = Some(default_store()?.into());
    }
    Ok(settings)
}

/// Every variable of this process that is Unicode. One of ours that isn't is refused, not ignored.
pub(crate) fn environment() -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => variables.push((name, value)),
            Err(_) if name.starts_with(baldur::ENV_PREFIX) => {
                return Err(Failure::new(Code::Usage, format!("{name} is no valid Unicode")));
            }
            Err(_) => {}
        }
    }
    Ok(variables)
}

/// The SQLite file in the platform's data directory.
fn default_store() -> Result<String, Failure> {
    let directories = directories::ProjectDirs::from("", "", "baldur");
    let path: Option<PathBuf> =
        directories.map(|directories| directories.data_dir().join("baldur.db"));
    let path = path.filter(|path| path.is_absolute());
    let path = path.as_ref().and_then(|path| path.to_str()).ok_or_else(|| {
        Failure::new(Code::Usage, "this account has no data directory")
            .hint("say where to keep entries: --store sqlite:///absolute/path.db")
    })?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("sqlite://{slash}{path}"))
}

fn actor(globals: &Globals, environment: &[(String, String)]) -> Result<Actor, Failure> {
    if let Some(name) = &globals.actor {
        return Actor::parse(name)
            .map_err(|error| Failure::usage("`--actor` is not usable", &error));
    }
    let user = ["USER", "LOGNAME", "USERNAME"].iter().find_map(|wanted| {
        let (_, value) = environment.iter().find(|(name, _)| name == wanted)?;
        Actor::parse(value).ok()
    });
    let unnamed = || Actor::parse("cli").map_err(|error| Failure::usage("nobody acts", &error));
    user.map_or_else(unnamed, Ok)
}

/// How many ids of lost captures are named.
const MOST_NAMED: usize = 20;

fn not_closed(error: &ShutdownError) -> Failure {
    let ShutdownError::Captures(report) = error else {
        return Failure::new(Code::Unavailable, "the store was used, but not closed")
            .because(error);
    };
    let failure =
        Failure::new(Code::Unavailable, "not every queued capture was kept").because(error);
    let ids: Vec<String> = report
        .lost
        .iter()
        .chain(&report.unknown)
        .take(MOST_NAMED)
        .map(EntryId::to_string)
        .collect();
    failure.hint(&format!("capture them again with the same ids: {}", ids.join(", ")))
}

fn not_opened(error: &OpenError) -> Failure {
    let is_store = matches!(error, OpenError::Store(_) | OpenError::Spool(_));
    let code = if is_store { Code::Unavailable } else { Code::Usage };
    Failure::new(code, Chain(error).to_string())
}
