//! The demo: a payment gateway goes down and comes back, on request so does the store, checkout is killed twice, and the
//! gateway's own ledger shows that no order was lost or charged twice.
//!
//! Gateway and checkout are processes of their own and talk HTTP. Checkout is an ordinary user of the library.

mod checkout;
mod child;
mod driver;
mod fail_point;
mod gateway;
mod outage;
mod plan;
mod shop;
mod story;
mod tally;
mod wire;

use std::path::Path;

use baldur::{Clock as _, SystemClock};
use clap::ValueEnum;
use tempfile::TempDir;
use tokio::{signal, time::Instant};

use self::{
    driver::{Driver, Settings},
    plan::{MAX_ORDERS, MIN_ORDERS, Plan},
    story::Story,
    tally::Summary,
};
use crate::{
    args::Globals,
    exit::{Code, Failure},
    out::Output,
};

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many orders are placed.
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(i64::from(MIN_ORDERS)..=i64::from(MAX_ORDERS)))]
    orders: u32,
    /// What the amounts of the orders are drawn from.
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// What goes down.
    #[arg(long, value_name = "WHAT", default_value = "gateway")]
    outage: Outage,
    /// How checkout is broken, to prove that the ledger shows it.
    #[arg(long, hide = true)]
    broken: Option<Broken>,
}

/// Options of `demo-gateway`.
#[derive(Debug, clap::Args)]
pub(crate) struct GatewayArgs {}

/// Options of `demo-checkout`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckoutArgs {
    /// Where payments are charged.
    #[arg(long, value_name = "URL")]
    gateway: String,
    /// How it is broken.
    #[arg(long)]
    broken: Option<Broken>,
}

/// Options of `demo-outage`.
#[derive(Debug, clap::Args)]
pub(crate) struct OutageArgs {}

/// What goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Outage {
    /// The payment gateway.
    Gateway,
    /// The payment gateway, and meanwhile the store that failed payments are kept in.
    Store,
}

/// A mistake that the demo must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Broken {
    /// Each replay uses a key of its own.
    NewKeyPerReplay,
    /// A capture is acknowledged before it is committed.
    AckBeforeCommit,
    /// A capture that the store doesn't take is acknowledged all the same, and not spooled.
    ForgetWhenOut,
}

impl Broken {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NewKeyPerReplay => "new-key-per-replay",
            Self::AckBeforeCommit => "ack-before-commit",
            Self::ForgetWhenOut => "forget-when-out",
        }
    }
}

/// Tells the story.
pub(crate) async fn run(args: Args, globals: &Globals, out: &Output) -> Result<(), Failure> {
    let Args { orders, seed, outage, broken } = args;
    let started = Instant::now();
    let (url, folder) = store(globals, outage)?;
    let spool = match (&folder, outage) {
        (Some(folder), Outage::Store) => Some(text_of(&folder.path().join("spool"))?),
        (None, _) | (_, Outage::Gateway) => None,
    };
    let story = Story::new(out);
    let place = if folder.is_some() { "a new SQLite file" } else { "the store that you named" };
    story.title(&format!("Baldur demo: {orders} orders, seed {seed}, {place}\n"));
    // A namespace of its own keeps this run apart from whatever else the store holds.
    let namespace = format!("demo-{:x}", SystemClock.now().as_micros());
    let settings = Settings { store: url, spool, namespace, outage, broken };
    let plan = Plan::new(orders, seed);
    // Whoever is interrupted while starting drops the children, which kills them.
    let mut driver = unless_interrupted(Driver::start(&story, plan, settings)).await?;
    let told = unless_interrupted(driver.tell(started)).await;
    let stopped = driver.stop().await;
    let summary = told?;
    stopped?;
    drop(folder);
    story.end(&summary)?;
    verdict(&summary)
}

async fn unless_interrupted<T>(
    future: impl Future<Output = Result<T, Failure>> + Send,
) -> Result<T, Failure> {
    tokio::select! {
        ended = future => ended,
        _ = signal::ctrl_c() => Err(Failure::new(
            Code::Interrupted,
            "interrupted; the demo's processes are stopped",
        )),
    }
}

fn verdict(summary: &Summary) -> Result<(), Failure> {
    let broken = summary.broken_promises();
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Code::Failure, format!("the demo failed: {}", broken.join("; "))))
}

/// The store's URL, and the folder of a new one, which goes away with the value.
fn store(globals: &Globals, outage: Outage) -> Result<(String, Option<TempDir>), Failure> {
    if let Some(url) = &globals.store {
        if url.starts_with("memory:") {
            return Err(Failure::new(
                Code::Usage,
                "the demo kills a process, and nothing in memory survives that",
            )
            .hint(
                "give --store sqlite:///absolute/path.db or postgres://user@host/database, or none for a \
                 temporary file",
            ));
        }
        if outage == Outage::Store {
            return Err(Failure::new(
                Code::Usage,
                "the demo takes the store away from everybody, which it does to none but its own",
            )
            .hint("give --outage store without --store"));
        }
        return Ok((url.clone(), None));
    }
    let folder = tempfile::Builder::new().prefix("baldur-demo-").tempdir().map_err(|error| {
        Failure::new(Code::Failure, "a temporary folder can't be made").because(&error)
    })?;
    let url = format!("sqlite://{}", text_of(&folder.path().join("demo.db"))?);
    Ok((url, Some(folder)))
}

fn text_of(path: &Path) -> Result<String, Failure> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
        Failure::new(Code::Failure, "the path of the temporary folder is no valid text")
            .hint("set TMPDIR to another folder")
    })
}

/// Runs the payment gateway until the process that started it is gone.
pub(crate) async fn run_gateway(args: GatewayArgs, out: &Output) -> Result<(), Failure> {
    let GatewayArgs {} = args;
    gateway::run(out).await
}

/// Runs the checkout service until the process that started it is gone.
pub(crate) async fn run_checkout(args: CheckoutArgs, out: &Output) -> Result<(), Failure> {
    checkout::run(args, out).await
}

/// Keeps everybody from writing to the store until the process that started it is gone.
pub(crate) async fn run_outage(args: OutageArgs, out: &Output) -> Result<(), Failure> {
    let OutageArgs {} = args;
    outage::run(out).await
}
