//! The HTTP endpoint that the command line names.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use baldur::{
    EntryId,
    http_target::{HttpTarget, HttpTargetConfig},
    name::Domain,
    port::ReplayHandler,
    replay::{HandlerRegistry, ReplayEngine},
};
use clap::Args;

use crate::{exit::Failure, session::Session, text};

/// Where to replay to.
#[derive(Debug, Args)]
pub(crate) struct HandlerArgs {
    /// Send each entry to this URL, whatever the settings say. The book's chapter "HTTP target" has the contract.
    #[arg(long, value_name = "URL")]
    handler_url: Option<String>,
    /// How long one request may take.
    #[arg(long, value_name = "DURATION", value_parser = text::duration)]
    pub(crate) timeout: Option<Duration>,
}

impl HandlerArgs {
    /// The engine: with this endpoint for `domains`, or with the handlers of the settings.
    pub(crate) fn engine(
        &self,
        session: &Session,
        domains: BTreeSet<Domain>,
    ) -> Result<ReplayEngine, Failure> {
        let Some(target) = self.target(session)? else {
            return Ok(session.baldur.replay().clone());
        };
        let mut registry = HandlerRegistry::new();
        for domain in domains {
            registry
                .register(domain, Arc::clone(&target))
                .map_err(|error| Failure::usage("the handler is not usable", &error))?;
        }
        session
            .baldur
            .replay_with(registry)
            .map_err(|error| Failure::usage("replay is not possible", &error))
    }

    fn target(&self, session: &Session) -> Result<Option<Arc<dyn ReplayHandler>>, Failure> {
        let Some(url) = &self.handler_url else { return Ok(None) };
        // A person typed this URL for this one command; the hosts that settings must list are not asked for.
        let mut config = HttpTargetConfig::trusting(url.as_str());
        config.timeout = self.timeout.unwrap_or(config.timeout);
        let clock = Arc::clone(&session.baldur.env().clock);
        let target = HttpTarget::new(config, clock)
            .map_err(|error| Failure::usage("`--handler-url` is not usable", &error))?;
        Ok(Some(Arc::new(target)))
    }
}

/// The domains of these entries. Ids that nobody knows are left to the replay to refuse.
pub(crate) async fn domains_of(
    session: &Session,
    ids: &[EntryId],
) -> Result<BTreeSet<Domain>, Failure> {
    let entries = session.baldur.entries().get_many(ids.to_vec()).await?;
    Ok(entries.into_iter().flatten().map(|op| op.domain).collect())
}
