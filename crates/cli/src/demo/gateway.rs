//! The payment gateway: it honours `Idempotency-Key`, keeps a ledger, and misbehaves when told to.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONNECTION},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    child::parent_gone,
    wire::{Charge, Ledger, Mode, Order, Report},
};
use crate::{
    exit::{Code, Failure},
    out::Output,
};

/// Longer than any caller of the demo waits.
const SLOW: Duration = Duration::from_secs(20);
/// How long to try to get the port back, which somebody may hold for a moment.
const REOPEN: Duration = Duration::from_secs(5);

/// What the gateway knows.
#[derive(Debug)]
struct Books {
    started: Instant,
    mode: Mode,
    by_key: BTreeMap<String, Order>,
    ledger: Ledger,
}

#[derive(Clone, Debug)]
struct Gateway(Arc<Mutex<Books>>);

impl Gateway {
    fn new() -> Self {
        let books = Books {
            started: Instant::now(),
            mode: Mode::Up,
            by_key: BTreeMap::new(),
            ledger: Ledger::default(),
        };
        Self(Arc::new(Mutex::new(books)))
    }

    fn with<T>(&self, read: impl FnOnce(&mut Books) -> T) -> T {
        // Nothing in here panics half-way, so the books are whole in any case.
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Charges once per key, and says in which mode it did.
    fn call(&self, key: &str, order: Order) -> (Mode, StatusCode) {
        self.with(|books| {
            let at = u64::try_from(books.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            books.ledger.calls.push(at);
            if matches!(books.mode, Mode::Unavailable | Mode::Refused) {
                return (books.mode, StatusCode::SERVICE_UNAVAILABLE);
            }
            let status = match books.by_key.get(key) {
                Some(known) if *known == order => StatusCode::ALREADY_REPORTED,
                Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
                None => {
                    let charge = Charge { order: order.order.clone(), key: key.to_owned() };
                    books.ledger.charges.push(charge);
                    books.by_key.insert(key.to_owned(), order);
                    StatusCode::CREATED
                }
            };
            (books.mode, status)
        })
    }
}

async fn charge(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    order: Json<Order>,
) -> Response {
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
        return (StatusCode::BAD_REQUEST, "an Idempotency-Key is required").into_response();
    };
    let (mode, status) = gateway.call(key, order.0);
    if mode == Mode::Slow {
        sleep(SLOW).await;
    }
    // Connections are not kept: a gateway that goes down takes its connections along.
    (status, [(CONNECTION, "close")]).into_response()
}

/// The gateway's listener for payments, which really goes away.
#[derive(Debug)]
struct Front {
    port: u16,
    open: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Front {
    async fn open(&mut self, gateway: &Gateway) -> Result<(), Failure> {
        if self.open.is_some() {
            return Ok(());
        }
        let listener = listen(self.port).await?;
        self.port = port_of(&listener)?;
        let app = Router::new().route("/charges", post(charge)).with_state(gateway.clone());
        let (close, closed) = oneshot::channel();
        let serve = axum::serve(listener, app).with_graceful_shutdown(async {
            // Dropping the sender closes the front as well.
            let _ = closed.await;
        });
        let task = tokio::spawn(async move {
            // Errors of single connections end with them; the listener itself is on loopback.
            let _ = serve.await;
        });
        self.open = Some((close, task));
        Ok(())
    }

    /// Stops listening. Calls at work may end; callers give up long before the bound.
    async fn close(&mut self) {
        if let Some((close, mut task)) = self.open.take() {
            let _ = close.send(());
            if timeout(Duration::from_secs(2), &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

type Control = (Gateway, Arc<tokio::sync::Mutex<Front>>);

async fn set_mode(
    State((gateway, front)): State<Control>,
    Json(mode): Json<Mode>,
) -> Result<StatusCode, (StatusCode, &'static str)> {
    gateway.with(|books| books.mode = mode);
    let mut front = front.lock().await;
    match mode {
        Mode::Refused => front.close().await,
        Mode::Up | Mode::Unavailable | Mode::Slow => front
            .open(&gateway)
            .await
            .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "the port is taken"))?,
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn ledger(State((gateway, _)): State<Control>) -> Json<Ledger> {
    Json(gateway.with(|books| books.ledger.clone()))
}

/// Runs the gateway until the process that started it is gone.
pub(super) async fn run(out: &Output) -> Result<(), Failure> {
    let gateway = Gateway::new();
    let mut front = Front { port: 0, open: None };
    front.open(&gateway).await?;
    let control = listen(0).await?;
    out.json(&Report::Listening { port: front.port, control: port_of(&control)? })?;
    let app = Router::new()
        .route("/mode", put(set_mode))
        .route("/ledger", get(ledger))
        .with_state((gateway, Arc::new(tokio::sync::Mutex::new(front))));
    tokio::select! {
        served = async { axum::serve(control, app).await } => served
            .map_err(|error| Failure::new(Code::Failure, "the gateway stopped").because(&error)),
        () = parent_gone() => Ok(()),
    }
}

/// Listens on a port of loopback, on any free one for 0.
pub(super) async fn listen(port: u16) -> Result<TcpListener, Failure> {
    let attempts = async {
        loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Ok(listener) => return listener,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(REOPEN, attempts).await.map_err(|_| {
        Failure::new(Code::Failure, format!("port {port} of 127.0.0.1 can't be listened on"))
    })
}

pub(super) fn port_of(listener: &TcpListener) -> Result<u16, Failure> {
    listener
        .local_addr()
        .map(|address| address.port())
        .map_err(|error| Failure::new(Code::Failure, "the listener has no address").because(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(amount_cents: u64) -> Order {
        Order { order: "order-1".to_owned(), amount_cents }
    }

    #[test]
    fn a_key_is_charged_once_and_only_for_the_same_order() {
        let gateway = Gateway::new();
        assert_eq!(gateway.call("k", order(1)).1, StatusCode::CREATED);
        assert_eq!(gateway.call("k", order(1)).1, StatusCode::ALREADY_REPORTED);
        assert_eq!(gateway.call("k", order(2)).1, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(gateway.call("other", order(1)).1, StatusCode::CREATED);
        assert_eq!(gateway.with(|books| books.ledger.charges.len()), 2);
    }

    #[test]
    fn nothing_is_charged_while_it_is_unavailable() {
        let gateway = Gateway::new();
        gateway.with(|books| books.mode = Mode::Unavailable);
        assert_eq!(gateway.call("k", order(1)).1, StatusCode::SERVICE_UNAVAILABLE);
        assert!(gateway.with(|books| books.ledger.charges.is_empty()));
        gateway.with(|books| books.mode = Mode::Slow);
        assert_eq!(gateway.call("k", order(1)), (Mode::Slow, StatusCode::CREATED));
    }

    #[tokio::test]
    async fn a_closed_front_refuses_connections_and_opens_on_the_same_port() {
        let gateway = Gateway::new();
        let mut front = Front { port: 0, open: None };
        front.open(&gateway).await.expect("opens");
        let port = front.port;
        let connect = || tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        connect().await.expect("connects");
        front.close().await;
        let refused = connect().await.expect_err("refused").kind();
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
        front.open(&gateway).await.expect("opens again");
        assert_eq!(front.port, port);
        connect().await.expect("connects");
    }
}
