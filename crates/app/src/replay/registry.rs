//! Which handler replays which domain.

use std::{collections::BTreeMap, sync::Arc};

use baldur_core::{name::Domain, port::ReplayHandler};

/// The handlers of a process, one for each exact domain. `payment` does not stand for `payment.card`.
#[derive(Clone, Debug, Default)]
pub struct HandlerRegistry {
    handlers: BTreeMap<Domain, Arc<dyn ReplayHandler>>,
}

/// A domain that has a handler already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("domain {0} has a handler already")]
pub struct AlreadyRegistered(pub Domain);

impl HandlerRegistry {
    /// A registry without handlers: every due entry waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `handler` replay the entries of `domain`.
    ///
    /// # Errors
    ///
    /// When the domain has a handler: a second one would silently take its entries away.
    pub fn register(
        &mut self,
        domain: Domain,
        handler: Arc<dyn ReplayHandler>,
    ) -> Result<(), AlreadyRegistered> {
        if self.handlers.contains_key(&domain) {
            return Err(AlreadyRegistered(domain));
        }
        self.handlers.insert(domain, handler);
        Ok(())
    }

    /// The handler of exactly this domain.
    pub fn get(&self, domain: &Domain) -> Option<&Arc<dyn ReplayHandler>> {
        self.handlers.get(domain)
    }

    /// The domains that have a handler, in order of name.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.handlers.keys()
    }
}
