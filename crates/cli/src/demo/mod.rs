//! The demo. This build has none yet and says so.

use crate::{
    args::Globals,
    exit::{Code, Failure},
    out::Output,
};

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Options of `demo-gateway`.
#[derive(Debug, clap::Args)]
pub(crate) struct GatewayArgs {}

/// Options of `demo-checkout`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckoutArgs {}

/// Tells the story.
pub(crate) async fn run(_args: Args, _globals: &Globals, _out: &Output) -> Result<(), Failure> {
    std::future::ready(Err(absent())).await
}

/// Runs the payment gateway until it is killed.
pub(crate) async fn run_gateway(_args: GatewayArgs, _out: &Output) -> Result<(), Failure> {
    std::future::ready(Err(absent())).await
}

/// Runs the checkout service until it is killed.
pub(crate) async fn run_checkout(_args: CheckoutArgs, _out: &Output) -> Result<(), Failure> {
    std::future::ready(Err(absent())).await
}

fn absent() -> Failure {
    Failure::new(Code::Failure, "this build has no demo")
}
