//! The part of the story in which the store goes out as well, and what of it checkout's spool has to tell.

use std::time::Duration;

use tokio::time::sleep;

use super::{Driver, in_time};
use crate::{
    demo::{child::Child, wire::SpoolState},
    exit::{Code, Failure},
};

/// How often checkout is asked for its spool.
const LOOK: Duration = Duration::from_millis(50);

impl Driver<'_> {
    /// Takes the store away in the middle of the gateway's outage, kills checkout meanwhile, and gives the store back.
    pub(super) async fn lose_the_store(&mut self) -> Result<(), Failure> {
        let orders = self.plan.before_the_store_goes();
        self.send("gateway answers 503", orders).await?;
        // What a slow store let into the spool before; the kill takes the count along.
        self.drained += self.empty_spool().await?.drained;
        let variables = [("BALDUR__STORE__URL", self.settings.store.as_str())];
        let mut outage = Child::start("outage", &["demo-outage"], &variables).await?;
        let detail = format!("process {} holds its write lock", outage.id());
        self.story.event("the store takes no writes", &detail);
        self.kill_while_capturing("gateway 503, store out", "gateway 503, store still out").await?;
        let waiting = self.spool().await?.waiting;
        outage.kill().await?;
        let detail = format!("{waiting} records wait in the spool of checkout");
        self.story.event("the store is back", &detail);
        let step = self.story.begin("the spool drains by itself", 0);
        let drained = self.drained + self.empty_spool().await?.drained;
        let promised = self.promises.spooled;
        step.done(&format!("{drained} records; {promised} captures were answered as spooled"));
        Ok(())
    }

    /// What waits in checkout's spool; nothing if it has none.
    pub(super) async fn spool(&self) -> Result<SpoolState, Failure> {
        self.shop.get(self.checkout.control, "/spool").await
    }

    /// Waits until nothing is left in checkout's spool.
    pub(super) async fn empty_spool(&self) -> Result<SpoolState, Failure> {
        self.spool_with("draining the spool", |state| state.waiting == 0).await
    }

    /// Waits until checkout, started again, has taken over what waited in the spool of the killed process.
    pub(super) async fn adopt_spool(&self, waited: u64) -> Result<(), Failure> {
        if waited == 0 {
            return Ok(());
        }
        let adopted = |state: SpoolState| state.waiting + state.drained >= waited;
        let state = self.spool_with("taking over the spool", adopted).await?;
        let detail = format!("{} records that the store doesn't have", state.waiting);
        self.story.done("the spool of the killed taken over", &detail);
        Ok(())
    }

    /// Counts what the last checkout drained. The spool holds no more of what was promised then.
    pub(super) async fn close_spool(&mut self) -> Result<(), Failure> {
        let left = self.empty_spool().await?;
        self.drained += left.drained;
        if self.settings.spool.is_some() && self.promises.spooled == 0 {
            let problem = "the store was out, but nothing was spooled";
            return Err(Failure::new(Code::Failure, problem));
        }
        Ok(())
    }

    async fn spool_with(
        &self,
        what: &'static str,
        is_so: impl Fn(SpoolState) -> bool + Send + Sync,
    ) -> Result<SpoolState, Failure> {
        in_time(what, async {
            loop {
                let state = self.spool().await?;
                if is_so(state) {
                    return Ok(state);
                }
                sleep(LOOK).await;
            }
        })
        .await?
    }
}
