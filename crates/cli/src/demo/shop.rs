//! The shop: it sends orders to checkout, several at once, and sends again what was not answered.

use std::{collections::VecDeque, time::Duration};

use reqwest::{Client, Method, StatusCode, header::CONTENT_TYPE};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::JoinSet;

use super::wire::{Accepted, Order};
use crate::exit::{Code, Failure};

/// The longest that anybody waits for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many orders are under way at once.
pub(super) const WINDOW: usize = 8;

/// What checkout made of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It answered with a 2xx: the order counts.
    Accepted(Accepted),
    /// It answered otherwise, and said this. The order is sent again.
    Refused(String),
    /// It did not answer. The order is sent again.
    Unanswered,
}

/// A client of the demo's services.
#[derive(Clone, Debug)]
pub(super) struct Shop(Client);

impl Shop {
    pub(super) fn new() -> Result<Self, Failure> {
        client().map(Self)
    }

    async fn order(&self, port: u16, order: &Order) -> Answer {
        let Ok(body) = serde_json::to_vec(order) else { return Answer::Unanswered };
        let sent = self
            .0
            .post(format!("http://127.0.0.1:{port}/orders"))
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await;
        let Ok(response) = sent else { return Answer::Unanswered };
        let status = response.status();
        // The answer counts when it has arrived whole.
        let Ok(text) = response.text().await else { return Answer::Unanswered };
        match serde_json::from_str(&text) {
            Ok(accepted) if status.is_success() => Answer::Accepted(accepted),
            Ok(_) | Err(_) => Answer::Refused(format!("{status}: {text}")),
        }
    }

    /// Tells a service something at its control port.
    pub(super) async fn tell(
        &self,
        port: u16,
        path: &str,
        what: &(impl Serialize + Sync),
    ) -> Result<(), Failure> {
        self.ask(Method::PUT, port, path, what).await.map(|_| ())
    }

    /// Asks a service something at its control port.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        port: u16,
        path: &str,
    ) -> Result<T, Failure> {
        let text = self.ask(Method::GET, port, path, &()).await?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::new(Code::Failure, format!("{path} was answered unexpectedly")).because(&error)
        })
    }

    async fn ask(
        &self,
        method: Method,
        port: u16,
        path: &str,
        what: &(impl Serialize + Sync),
    ) -> Result<String, Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::new(Code::Failure, format!("a service of the demo did not take {path}"))
                .because(error)
        };
        let body = serde_json::to_vec(what).map_err(|error| failed(&error))?;
        let response = self
            .0
            .request(method, format!("http://127.0.0.1:{port}{path}"))
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| failed(&error))?;
        response.text().await.map_err(|error| failed(&error))
    }
}

/// A client for services on loopback, which sends each request once.
pub(super) fn client() -> Result<Client, Failure> {
    baldur::http_target::ensure_provider();
    Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tls_certs_only([])
        .no_proxy()
        .build()
        .map_err(|error| {
            Failure::new(Code::Failure, "the http client can't be built").because(&error)
        })
}

/// Orders on their way to checkout, at most [`WINDOW`] at once.
#[derive(Debug)]
pub(super) struct Sending {
    shop: Shop,
    port: u16,
    waiting: VecDeque<Order>,
    under_way: JoinSet<(Order, Answer)>,
}

impl Sending {
    pub(super) fn new(shop: &Shop, port: u16, orders: impl IntoIterator<Item = Order>) -> Self {
        let waiting = orders.into_iter().collect();
        Self { shop: shop.clone(), port, waiting, under_way: JoinSet::new() }
    }

    /// The next answer, in the order of their coming; `None` when all have come. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(Order, Answer)> {
        loop {
            while self.under_way.len() < WINDOW {
                let Some(order) = self.waiting.pop_front() else { break };
                let (shop, port) = (self.shop.clone(), self.port);
                self.under_way.spawn(async move {
                    let answer = shop.order(port, &order).await;
                    (order, answer)
                });
            }
            match self.under_way.join_next().await {
                Some(Ok(answered)) => return Some(answered),
                // A task that panicked: its order has no answer, and the count at the end says so.
                Some(Err(_)) => {}
                None => return None,
            }
        }
    }

    /// Sends no more of them, and gives those back that were not sent.
    pub(super) fn stop(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.waiting).into()
    }
}

/// What checkout answers for an order that it charged.
pub(super) const CHARGED: StatusCode = StatusCode::OK;
/// What checkout answers for an order that it captured.
pub(super) const CAPTURED: StatusCode = StatusCode::ACCEPTED;
