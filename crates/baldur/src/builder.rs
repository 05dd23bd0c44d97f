//! From settings to all parts of Baldur, each given what it works with.

use std::sync::Arc;

use baldur_app::{
    Breakers, Env, Housekeeping, Intaker, Recovery,
    breakers::{ShareError, SyncPolicy},
    capture::CaptureService,
    drain::{DrainHooks, Finish},
    entries::EntryService,
    intake::IntakePolicy,
    recovery::RecoverySources,
    replay::{HandlerRegistry, ReplayEngine},
};
use baldur_core::{
    Clock,
    name::{Domain, WorkerName},
    port::{ReplayHandler, Spool},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    open::{Baldur, Inner, OpenError},
    pipeline::{Pipeline, Plan},
    policies::unusable,
    settings::Settings,
    stores::{self, Stores},
};

/// Opens Baldur with parts of the host's own.
#[derive(Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct Builder {
    pub(crate) settings: Settings,
    pub(crate) handlers: Vec<(Domain, Arc<dyn ReplayHandler>)>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spool: Option<Arc<dyn Spool>>,
    pub(crate) hooks: DrainHooks,
}

impl Builder {
    /// Has `handler` replay the entries of exactly this domain.
    pub fn handler(mut self, domain: Domain, handler: Arc<dyn ReplayHandler>) -> Self {
        self.handlers.push((domain, handler));
        self
    }

    /// Takes time from this clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Has captures wait in this spool that the store doesn't take. It is closed by `shutdown`.
    pub fn spool(mut self, spool: Arc<dyn Spool>) -> Self {
        self.spool = Some(spool);
        self
    }

    /// Completes spooled captures, and looks for further ones, with these.
    pub fn drain_hooks(mut self, hooks: DrainHooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// Opens the store and builds the services.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(self) -> Result<Baldur, OpenError> {
        let Self { settings, handlers, clock, spool, hooks } = self;
        let redaction = settings.redaction.rules()?;
        let (overflow, dedup) = (settings.overflow.policy()?, settings.dedup.policy()?);
        let finisher = overflow.clone();
        let capture_policy = settings.capture.policy(redaction.clone(), overflow, dedup)?;
        let replay_policy = settings.replay.policy()?;
        let recovery_policy = settings.recovery.policy()?;
        let sharing = settings.breakers.policy()?;
        let probes = crate::recovering::probes(&settings.recovery)?;
        let registry = registry(&settings, handlers, &clock)?;
        let env = env(&settings, Arc::clone(&clock))?;
        let spooling = settings.capture.spooling()?;
        let outbox = settings.outbox.policy()?;
        let drain = settings.spool.draining()?;
        let spooled = spool.is_some() || settings.spool.dir.is_some();
        let stores = stores::open(&settings.store, &settings.namespace, clock, spooled).await?;
        let Stores { capture, reader, claims, evidence, pace, .. } = stores.clone();
        let (spool, hooks) = match spool {
            Some(spool) => (Some(spool), hooks),
            None => own_spool(&settings, hooks, &env).await?,
        };
        let finish: Finish = Arc::new(move |capture| finisher.finish(capture));
        let finish = hooks.finish.unwrap_or(finish);
        let hooks = DrainHooks { finish: Some(Arc::clone(&finish)), ..hooks };
        let plan = Plan { mode: settings.capture.mode.into(), spooling, outbox, drain, hooks };
        let pipeline = Pipeline::start(capture, Arc::clone(&reader), spool, plan, &env)?;
        let routes = pipeline.routes().clone();
        let capture = CaptureService::routed(routes, env.clone(), capture_policy);
        let intake = stores.intake.clone().map(|intake| {
            Intaker::new(intake, capture.clone(), finish, env.clone(), IntakePolicy::default())
                .map_err(|problem| unusable("store", &problem))
        });
        let intake = intake.transpose()?;
        let entries = EntryService::new(
            Arc::clone(&reader),
            Arc::clone(&claims),
            evidence,
            env.clone(),
            redaction.clone(),
        )
        .with_backoff(replay_policy.backoff);
        let housekeeping =
            Housekeeping::new(entries.clone(), env.clone(), settings.recovery.housekeeping())
                .map_err(|error| unusable("recovery", &error))?;
        let replay = ReplayEngine::new(
            claims,
            Arc::clone(&reader),
            registry,
            env.clone(),
            replay_policy.clone(),
            redaction.clone(),
        )?;
        let (breakers, background) = breakers(&env, &stores, sharing)?;
        let sources = RecoverySources {
            engine: replay.clone(),
            reader,
            pace: Some(pace),
            breakers: Some(breakers.clone()),
            probes,
            env: env.clone(),
        };
        let recovery = Recovery::new(sources, recovery_policy)?;
        let terms = (replay_policy, redaction);
        let inner = Inner {
            env,
            stores,
            pipeline,
            capture,
            entries,
            replay,
            breakers,
            background,
            recovery,
            housekeeping,
            intake,
            terms,
        };
        Ok(Baldur { inner: Arc::new(inner) })
    }
}

/// The breakers of this process, and what ends their sharing.
fn breakers(
    env: &Env,
    stores: &Stores,
    sharing: Option<SyncPolicy>,
) -> Result<(Breakers, DropGuard), ShareError> {
    let breakers = Breakers::new(env);
    let background = CancellationToken::new();
    if let Some(policy) = sharing {
        breakers.share(Arc::clone(&stores.breakers), policy, background.clone())?;
    }
    Ok((breakers, background.drop_guard()))
}

/// The spool that the settings ask for, and what finds the lanes of dead processes in it.
#[cfg(feature = "spool")]
async fn own_spool(
    settings: &Settings,
    hooks: DrainHooks,
    env: &Env,
) -> Result<(Option<Arc<dyn Spool>>, DrainHooks), OpenError> {
    let Some(config) = settings.spool.config()? else { return Ok((None, hooks)) };
    let opened = baldur_spool::DiskSpool::open(config, Arc::clone(&env.clock)).await;
    let spool = Arc::new(opened.map_err(OpenError::Spool)?);
    let adopter = Arc::clone(&spool);
    let adopt: baldur_app::drain::Adopt = Arc::new(move || {
        let spool = Arc::clone(&adopter);
        Box::pin(async move { spool.adopt().await.map_err(Into::into) })
    });
    let adopt = hooks.adopt.or(Some(adopt));
    Ok((Some(spool), DrainHooks { adopt, ..hooks }))
}

#[cfg(not(feature = "spool"))]
#[expect(clippy::unused_async, reason = "the same as with a spool")]
async fn own_spool(
    settings: &Settings,
    hooks: DrainHooks,
    _env: &Env,
) -> Result<(Option<Arc<dyn Spool>>, DrainHooks), OpenError> {
    if settings.spool.dir.is_some() { Err(OpenError::NoSpool) } else { Ok((None, hooks)) }
}

fn env(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Env, OpenError> {
    let worker = match &settings.worker {
        Some(worker) => worker.clone(),
        None => WorkerName::parse(&format!("baldur-{}", std::process::id()))
            .map_err(OpenError::Worker)?,
    };
    let mut env = Env::system(settings.namespace.clone(), worker);
    env.clock = clock;
    env.origin_service = settings.origin_service.clone();
    Ok(env)
}

fn registry(
    settings: &Settings,
    own: Vec<(Domain, Arc<dyn ReplayHandler>)>,
    clock: &Arc<dyn Clock>,
) -> Result<HandlerRegistry, OpenError> {
    let mut registry = HandlerRegistry::new();
    for (domain, handler) in own {
        registry.register(domain, handler)?;
    }
    for (domain, handler) in &settings.handlers {
        let domain = Domain::parse(domain).map_err(OpenError::Domain)?;
        let target = crate::handlers::target(&domain, handler, Arc::clone(clock))?;
        registry.register(domain, target)?;
    }
    Ok(registry)
}
