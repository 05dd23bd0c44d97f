//! The checkout service: an ordinary user of the library.
//!
//! It charges an order through `protect`, which captures the payment when the gateway fails. Told to, it replays what
//! was captured. It keeps nothing in memory that a kill could take along.

use std::{env, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use baldur::{
    Baldur, CapturePolicy, CaptureService, FacetScope, NewFailedOp, Settings, Status, Who,
    http_target::{HttpTarget, HttpTargetConfig},
    name::{Actor, Domain, IdempotencyKey},
    policy::{BreakerPolicy, BreakerSettings},
    port::{CaptureStore, Disposition, Durability, ReplayHandler},
    protect::{CallContext, CallFailure, Protect, ProtectPolicy, Protected},
    replay::{Ramp, RateLimit, ReplayEvent, ReplayRequest},
};
use reqwest::{Client, header::CONTENT_TYPE};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Broken, CheckoutArgs,
    child::parent_gone,
    fail_point::{
        AckBeforeCommit, FailPoints, ForgetWhenOut, HoldingHandler, HoldingStore, NewKeyPerReplay,
    },
    gateway::{listen, port_of},
    shop::{CAPTURED, CHARGED, WINDOW, client},
    wire::{Accepted, FailPoint, Order, Pace, Report, SpoolState},
};
use crate::{
    exit::{Code, Failure},
    out::Output,
};

/// How long checkout waits for the gateway while a customer waits for checkout.
const CALL_TIMEOUT: Duration = Duration::from_millis(400);
/// The longest that the breaker stays open before it tries the gateway again.
pub(super) const BREAKER_OPEN_MAX: Duration = Duration::from_millis(500);
/// How long a claim lasts. Short, since the demo kills its holder and waits.
const LEASE: Duration = Duration::from_secs(2);
/// The budget: a killed replay is charged, and none should end with a person here.
const MAX_RETRIES: u32 = 10;
/// How often the backlog is looked at while entries wait for their next attempt.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What the service is made of.
#[derive(Debug)]
struct Checkout {
    baldur: Baldur,
    gateway_guard: Protect,
    client: Client,
    gateway: String,
    fail_points: FailPoints,
    reports: mpsc::Sender<Report>,
}

/// Runs checkout until the process that started it is gone.
pub(super) async fn run(args: CheckoutArgs, out: &Output) -> Result<(), Failure> {
    let (reports, mut said) = mpsc::channel(1_024);
    let checkout = Arc::new(Checkout::open(args, reports).await?);
    let (orders, control) = (listen(0).await?, listen(0).await?);
    let listening = Report::Listening { port: port_of(&orders)?, control: port_of(&control)? };
    out.json(&listening)?;
    let service = Router::new().route("/orders", post(order)).with_state(Arc::clone(&checkout));
    let controls = Router::new()
        .route("/fail-point", put(arm))
        .route("/replay", put(replay))
        .route("/spool", get(spool))
        .with_state(Arc::clone(&checkout));
    let stopped =
        |error: std::io::Error| Failure::new(Code::Failure, "checkout stopped").because(&error);
    let said = async {
        while let Some(report) = said.recv().await {
            out.json(&report)?;
        }
        Ok(())
    };
    let ended = tokio::select! {
        served = async { axum::serve(orders, service).await } => served.map_err(stopped),
        served = async { axum::serve(control, controls).await } => served.map_err(stopped),
        said = said => said,
        () = parent_gone() => Ok(()),
    };
    checkout
        .baldur
        .shutdown(Duration::from_secs(5))
        .await
        .map_err(|error| Failure::new(Code::Failure, "the store did not close").because(&error))?;
    ended
}

impl Checkout {
    async fn open(args: CheckoutArgs, reports: mpsc::Sender<Report>) -> Result<Self, Failure> {
        let CheckoutArgs { gateway, broken } = args;
        let fail_points = FailPoints::new(reports.clone());
        let handler = handler(&gateway, broken, &fail_points)?;
        let domain = Domain::parse("payment").map_err(|error| failed("domain", &error))?;
        let mut settings =
            Settings::load(None, env::vars()).map_err(|error| failed("settings", &error))?;
        settings.replay.lease = LEASE;
        settings.replay.handler_timeout = LEASE;
        let baldur = Baldur::builder(settings)
            .handler(domain, handler)
            .open()
            .await
            .map_err(|error| failed("store", &error))?;
        let gateway_guard = guard(&baldur, broken, &fail_points)?;
        let client = client()?;
        Ok(Self { baldur, gateway_guard, client, gateway, fail_points, reports })
    }

    /// One call of the gateway under this key. Its time is bounded by the guard.
    async fn charge(&self, key: IdempotencyKey, order: String) -> Result<(), CallFailure> {
        let sent = self
            .client
            .post(&self.gateway)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key.as_str())
            .body(order)
            .send()
            .await;
        let response = sent.map_err(|error| {
            let kind = if error.is_connect() { "CONNECTION_REFUSED" } else { "CONNECTION_BROKEN" };
            CallFailure::transient(kind, baldur::Chain(&error.without_url()).to_string())
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let failure = if status.is_server_error() {
            CallFailure::transient("GATEWAY_ERROR", status.to_string())
        } else {
            CallFailure::permanent("GATEWAY_REFUSAL", status.to_string())
        };
        Err(failure.error_code(status.as_str()))
    }
}

/// The guard around the gateway: time limit, breaker, and capture of what fails.
fn guard(
    baldur: &Baldur,
    broken: Option<Broken>,
    fail_points: &FailPoints,
) -> Result<Protect, Failure> {
    let policy = CapturePolicy { max_retries: MAX_RETRIES, ..CapturePolicy::default() };
    let store = store(baldur.capture_store(), broken, fail_points);
    let capture = CaptureService::new(store, baldur.env().clone(), policy);
    let breaker = BreakerPolicy::new(BreakerSettings {
        open_base: BREAKER_OPEN_MAX / 2,
        open_max: BREAKER_OPEN_MAX,
        max_probes: u32::try_from(WINDOW).unwrap_or(1),
        ..BreakerSettings::default()
    })
    .map_err(|error| failed("breaker", &error))?;
    let policy = ProtectPolicy { timeout: CALL_TIMEOUT, breaker, ..ProtectPolicy::default() };
    Protect::new("payment-gateway", capture, policy, baldur.env().clone())
        .map_err(|error| failed("guard", &error))
}

fn failed(what: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Failure, format!("checkout can't use its {what}")).because(error)
}

fn handler(
    gateway: &str,
    broken: Option<Broken>,
    fail_points: &FailPoints,
) -> Result<Arc<dyn ReplayHandler>, Failure> {
    let config = HttpTargetConfig::trusting(gateway);
    let target = HttpTarget::new(config, Arc::new(baldur::SystemClock))
        .map_err(|error| failed("replay target", &error))?;
    let handler: Arc<dyn ReplayHandler> = match broken {
        Some(Broken::NewKeyPerReplay) => Arc::new(NewKeyPerReplay(Arc::new(target))),
        Some(Broken::AckBeforeCommit | Broken::ForgetWhenOut) | None => Arc::new(target),
    };
    Ok(Arc::new(HoldingHandler { handler, fail_points: fail_points.clone() }))
}

fn store(
    store: Arc<dyn CaptureStore>,
    broken: Option<Broken>,
    fail_points: &FailPoints,
) -> Arc<dyn CaptureStore> {
    // This mistake is made below the fail points, which hold what was acknowledged as well as what was stored.
    let store = match broken {
        Some(Broken::ForgetWhenOut) => Arc::new(ForgetWhenOut(store)),
        Some(Broken::AckBeforeCommit | Broken::NewKeyPerReplay) | None => store,
    };
    let store = Arc::new(HoldingStore { store, fail_points: fail_points.clone() });
    match broken {
        Some(Broken::AckBeforeCommit) => Arc::new(AckBeforeCommit(store)),
        Some(Broken::NewKeyPerReplay | Broken::ForgetWhenOut) | None => store,
    }
}

/// Charges an order now or, when the gateway fails, takes it for later.
async fn order(State(checkout): State<Arc<Checkout>>, Json(order): Json<Order>) -> Response {
    let Ok(body) = serde_json::to_string(&order) else {
        return (StatusCode::BAD_REQUEST, "no order").into_response();
    };
    let op = NewFailedOp::new("payment", "")
        .origin_service("checkout")
        .entity("order", &order.order)
        .request_data(&body)
        .idempotency_key(&order.order)
        .dedup_key(&order.order)
        .order_key(&order.order);
    let call = |key, _try| checkout.charge(key, body.clone());
    match checkout.gateway_guard.call(CallContext::new(op), call).await {
        Ok(()) => (CHARGED, Json(Accepted::Charged)).into_response(),
        Err(Protected::Captured { captured, .. }) => {
            let merged = captured.disposition != Disposition::New;
            let spooled = captured.durability == Durability::Spooled;
            (CAPTURED, Json(Accepted::Captured { merged, spooled })).into_response()
        }
        Err(
            failed @ (Protected::NotCaptured { .. }
            | Protected::Returned(_)
            | Protected::InvalidKey(_)),
        ) => (StatusCode::SERVICE_UNAVAILABLE, failed.to_string()).into_response(),
    }
}

async fn arm(State(checkout): State<Arc<Checkout>>, Json(fail_point): Json<FailPoint>) {
    checkout.fail_points.arm(fail_point);
}

/// What waits in the spool, as the library counts it.
async fn spool(State(checkout): State<Arc<Checkout>>) -> Json<SpoolState> {
    let waiting = checkout.baldur.ledger().sums().spooled;
    let drained = checkout.baldur.drainer().map_or(0, |drainer| drainer.status().drained);
    Json(SpoolState { waiting, drained })
}

/// Begins to replay, and says on standard output how it goes.
async fn replay(State(checkout): State<Arc<Checkout>>, Json(pace): Json<Pace>) -> StatusCode {
    tokio::spawn(async move {
        if let Err(error) = checkout.drain(pace).await {
            let problem = format!("stopped replaying: {error}");
            // Nobody listens only when the process ends anyway.
            let _ = checkout.reports.send(Report::Failed { problem }).await;
        }
    });
    StatusCode::ACCEPTED
}

impl Checkout {
    /// Replays until no entry is left that a machine may take up.
    async fn drain(&self, pace: Pace) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let entries = self.baldur.entries();
        loop {
            // Claims of a process that was killed run out here.
            entries.lapse(1_000).await?;
            self.replay_due(pace).await?;
            let by_status = entries.facets(FacetScope::default()).await?.by_status;
            let count = |status| by_status.get(&status).copied().unwrap_or(0);
            if count(Status::Pending) + count(Status::Replaying) == 0 {
                let (resolved, stuck) = (count(Status::Resolved), count(Status::RequiresReview));
                self.reports.send(Report::Drained { resolved, stuck }).await?;
                return Ok(());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn replay_due(&self, pace: Pace) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let per_second = f64::from(pace.per_second);
        let ramp = Ramp { from_per_second: per_second / 4.0, over: Duration::from_secs(1) };
        let request = ReplayRequest {
            rate: Some(RateLimit { ramp: Some(ramp), ..RateLimit::per_second(per_second) }),
            who: Who::new(Actor::parse("checkout")?),
            ..ReplayRequest::due()
        };
        let (events, mut heard) = mpsc::channel(1_024);
        let said = async {
            while let Some(event) = heard.recv().await {
                if let ReplayEvent::Item(item) = event {
                    let outcome = item.outcome.as_str().to_owned();
                    self.reports.send(Report::Replayed { outcome }).await?;
                }
            }
            Ok::<_, mpsc::error::SendError<Report>>(())
        };
        let run = self.baldur.replay().run(request, Some(events), CancellationToken::new());
        let (report, said) = tokio::join!(run, said);
        report?;
        Ok(said?)
    }
}
