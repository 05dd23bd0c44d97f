//! Load through whatever networks and servers do: nothing that was acknowledged is lost, nothing is done twice.

use std::sync::Arc;

use baldur_contract::proxy::{Ending, Schedule};
use baldur_services::{PostgresServer, ServiceError};
use tokio::task::block_in_place;

use crate::{
    faults_lab::{FaultLab, ends, impatient},
    faults_load::Load,
    support::own_server,
};

/// How many faults a storm has.
const FAULTS: usize = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_network_faults_loses_and_doubles_nothing() {
    for seed in [1, 2] {
        let lab = Arc::new(FaultLab::new().await);
        let load = Load::start(&lab);
        load.goes_on().await;
        let playing = lab.proxy.play(Schedule::random(seed, FAULTS));
        ends("a storm", playing.finished()).await.expect("it was played");
        // Connections that a fault left silent are found to be dead.
        load.goes_on().await;
        let entries = load.reckon().await;
        assert!(entries > 40, "seed {seed}: {entries} entries");
        closed(lab).await;
    }
}

/// Something that is done to the server, which blocks.
fn to(
    server: &mut PostgresServer,
    what: impl FnOnce(&mut PostgresServer) -> Result<(), ServiceError>,
) {
    block_in_place(|| what(server)).expect("the server can be driven");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_dies_and_restarts_under_load_loses_and_doubles_nothing() {
    let mut server = own_server().await;
    let lab = Arc::new(FaultLab::on(server.url().clone(), impatient).await);
    let load = Load::start(&lab);
    load.goes_on().await;
    to(&mut server, PostgresServer::pause);
    // Calls time out, and the server ends their transactions when it can.
    load.notices().await;
    to(&mut server, PostgresServer::resume);
    load.goes_on().await;
    to(&mut server, PostgresServer::kill);
    load.notices().await;
    to(&mut server, PostgresServer::start_again);
    load.goes_on().await;
    to(&mut server, PostgresServer::restart);
    load.goes_on().await;
    // Both at once: what was stopped dies, as when a machine hangs and is then switched off.
    to(&mut server, PostgresServer::pause);
    lab.proxy.end(Ending::Reset);
    to(&mut server, PostgresServer::kill);
    to(&mut server, PostgresServer::start_again);
    load.goes_on().await;
    let entries = load.reckon().await;
    assert!(entries > 100, "{entries} entries");
    closed(lab).await;
}

async fn closed(lab: Arc<FaultLab>) {
    let lab = Arc::into_inner(lab).expect("the load has ended");
    lab.close().await;
}
