//! The outage of the store: a process that holds its write lock, which ends with the process.

use std::env;

use baldur::{Settings, StoreOutage};

use super::{child::parent_gone, wire::Report};
use crate::{
    exit::{Code, Failure},
    out::Output,
};

/// Holds the write lock until the process that started it is gone, or kills it.
pub(super) async fn run(out: &Output) -> Result<(), Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(Code::Failure, "the store can't be taken away").because(error)
    };
    let settings = Settings::load(None, env::vars()).map_err(|error| failed(&error))?;
    let outage = StoreOutage::begin(&settings.store).await.map_err(|error| failed(&error))?;
    out.json(&Report::StoreOut)?;
    parent_gone().await;
    drop(outage);
    Ok(())
}
