//! A real server on a free port of this machine, and a client that writes bytes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use baldur_app::{CapturePolicy, CaptureRoutes, CaptureService, EntryService, Env};
use baldur_core::{
    SystemClock,
    name::{Namespace, WorkerName},
    policy::redact::RedactionRules,
    port::{CaptureStore, EntryReader, EvidenceLog},
};
use baldur_http::{
    ApiKey, ApiKeys, ApiState, Hosts, Limits, Parts, Role, Served, ServerConfig, serve,
};
use baldur_memory::MemoryStore;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

pub(crate) const CAPTURE_KEY: &str = "capture-capture-capture";
pub(crate) const READ_KEY: &str = "read-read-read-read-read";
pub(crate) const ADMIN_KEY: &str = "admin-admin-admin-admin";

/// What a server is started with.
pub(crate) struct Setup {
    pub(crate) keys: ApiKeys,
    pub(crate) limits: Limits,
    pub(crate) config: ServerConfig,
    pub(crate) metrics: bool,
    /// Puts more on the way to the store.
    pub(crate) route: Route,
}

/// Makes the ways of captures out of a store.
pub(crate) type Route = Box<dyn FnOnce(Arc<dyn CaptureStore>, &Env) -> CaptureRoutes + Send>;

impl Default for Setup {
    fn default() -> Self {
        Self {
            keys: ApiKeys::default(),
            limits: Limits::default(),
            config: ServerConfig::default(),
            metrics: true,
            route: Box::new(|store, _| CaptureRoutes::to(store)),
        }
    }
}

/// One key for each role.
pub(crate) fn keys() -> ApiKeys {
    let key = |name, key: &str, role| ApiKey::new(name, &key.into(), vec![role]).expect("usable");
    ApiKeys::new(vec![
        key("checkout", CAPTURE_KEY, Role::Capture),
        key("dashboard", READ_KEY, Role::Read),
        key("ops", ADMIN_KEY, Role::Admin),
    ])
    .expect("different")
}

pub(crate) fn memory() -> MemoryStore {
    MemoryStore::new(Namespace::default_namespace(), Arc::new(SystemClock))
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: ApiState,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Served>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(memory(), Setup::default()).await
    }

    pub(crate) async fn with<S>(store: S, setup: Setup) -> Self
    where
        S: CaptureStore + EntryReader + EvidenceLog + Clone,
    {
        let Setup { keys, limits, config, metrics, route } = setup;
        let worker = WorkerName::parse("test").expect("a name");
        let env = Env::system(Namespace::default_namespace(), worker);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let policy = CapturePolicy::default();
        let state = ApiState::new(Parts {
            capture: CaptureService::routed(
                route(Arc::new(store.clone()), &env),
                env.clone(),
                policy,
            ),
            entries: EntryService::new(
                Arc::new(store.clone()),
                // No route claims.
                Arc::new(memory()),
                Arc::new(store),
                env.clone(),
                RedactionRules::default(),
            ),
            env,
            keys,
            hosts: Hosts::loopback(address.ip(), []),
            limits,
            metrics: metrics.then(|| {
                let render: baldur_http::Render = Arc::new(String::new);
                render
            }),
        });
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let running = tokio::spawn(serve(listener, state.clone(), config, shutdown));
        Self { address, state, stop: Some(stop), running }
    }

    /// Tells it to stop; it goes on with what is under way.
    pub(crate) fn begin_stop(&mut self) {
        let _ = self.stop.take().expect("stopped once").send(());
    }

    pub(crate) async fn stopped(self) -> Served {
        self.running.await.expect("no panic")
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        self.send(method, path, headers, b"").await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    pub(crate) async fn post_json(&self, body: &str) -> Answer {
        let kind = ["content-type: application/json"];
        self.send("POST", "/api/v1/entries", &kind, body.as_bytes()).await
    }

    pub(crate) async fn post_lines(&self, body: &str) -> Answer {
        let kind = ["content-type: application/x-ndjson"];
        self.send("POST", "/api/v1/entries", &kind, body.as_bytes()).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Answer {
        let mut request = head(method, path, headers);
        if !body.is_empty() {
            request = format!("{request}content-length: {}\r\n", body.len());
        }
        request.push_str("connection: close\r\n\r\n");
        self.raw(&[request.as_bytes(), body].concat()).await
    }

    /// Sends bytes as they are, and reads all that comes back. Both at once, or a long exchange would lock up.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        let (mut reader, mut writer) = self.connect().await.into_split();
        let bytes = bytes.to_vec();
        let writing = tokio::spawn(async move {
            // A server that answers early may not take the rest.
            let _ = writer.write_all(&bytes).await;
            writer
        });
        let mut answer = Vec::new();
        // A server that closes while bytes are on their way to it resets the connection after its answer.
        let _ = reader.read_to_end(&mut answer).await;
        drop(writing.await);
        Answer::parse(&answer)
    }
}

pub(crate) fn head(method: &str, path: &str, headers: &[&str]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether a chunked body had its end.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let head = head.to_ascii_lowercase();
        let (body, whole) = if head.contains("transfer-encoding: chunked") {
            unchunk(rest)
        } else {
            (rest.to_owned(), true)
        };
        Self { status, head, body, whole }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.body.lines().map(parse).collect()
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.starts_with(header))
    }

    /// Checks that it is a well-formed problem of this status, and gives its code.
    pub(crate) fn problem(&self) -> String {
        assert!(self.has("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        let code = problem["code"].as_str().expect("a code").to_owned();
        assert_eq!(problem["type"], format!("urn:baldur:problem:{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        code
    }
}

fn unchunk(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    loop {
        let Some((size, after)) = rest.split_once("\r\n") else { return (body, false) };
        let Ok(size) = usize::from_str_radix(size, 16) else { return (body, false) };
        if size == 0 {
            return (body, true);
        }
        let Some(piece) = after.get(..size) else { return (body, false) };
        body.push_str(piece);
        rest = after.get(size + 2..).unwrap_or("");
    }
}

/// A duration that no test waits for.
pub(crate) const NEVER: Duration = Duration::from_hours(1);

/// An operation.
pub(crate) fn op(n: u64) -> String {
    format!(
        r#"{{"id":"01890a5d-ac96-774b-bcce-{n:012x}","domain":"payment","failure_type":"TIMEOUT","request_data":{{"n":{n}}}}}"#
    )
}
