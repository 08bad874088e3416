//! Metrics, probes and status, on a thread and runtime of their own, so that they answer while the data path is
//! saturated. Whoever knows the admin token may also ask for a new model.

pub mod admin;
pub mod client;
pub mod probe;
mod serve;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use serde_json::Value;
use tokio::{runtime, sync::oneshot};
use tracing::{error, info};

use self::{admin::Admin, serve::Limits};
use crate::telemetry::{Board, Metrics};

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address can't be had.
    #[error("cannot listen on http.listen = {address}: {cause}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The thread or its runtime can't be started.
    #[error("cannot start the HTTP thread: {0}")]
    Thread(#[source] io::Error),
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    /// `None` serves nothing under `/admin`.
    admin: Option<Arc<Admin>>,
}

impl HttpServer {
    /// Binds `listen` (port 0 takes any free one) and serves `/metrics`, `/healthz`, `/readyz`, `/status` and `/`, and
    /// `/admin` if there is somebody to ask.
    ///
    /// # Errors
    /// The address can't be bound, or the thread can't be started.
    pub fn start(
        listen: SocketAddr,
        metrics: Arc<Metrics>,
        board: Arc<Board>,
        admin: Option<Admin>,
    ) -> Result<Self, HttpError> {
        let bind = || {
            let listener = TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bind().map_err(|cause| HttpError::Bind { address: listen, cause })?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(HttpError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let router = router(Shared { metrics, board, admin: admin.map(Arc::new) });
        let thread = thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                if let Err(cause) = runtime.block_on(serve::serve(listener, router, Limits::default(), stopped)) {
                    error!("the HTTP server stopped: {cause}");
                }
            })
            .map_err(HttpError::Thread)?;
        info!(%address, "serving metrics and probes");
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // Dropping the sender is the signal.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the HTTP thread panicked");
        }
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .nest("/admin", admin::router(&shared))
        .with_state(shared)
}

async fn index() -> Html<String> {
    let page = |path: &str, what: &str| format!("<li><a href=\"{path}\">{path}</a>: {what}</li>\n");
    let pages = [
        page("/metrics", "metrics for Prometheus"),
        page("/healthz", "whether the data path moves"),
        page("/readyz", "whether records can be scored"),
        page("/status", "the state as JSON"),
    ];
    let version = env!("CARGO_PKG_VERSION");
    Html(format!("<!doctype html>\n<title>strayd</title>\n<h1>strayd {version}</h1>\n<ul>\n{}</ul>\n", pages.concat()))
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    shared.metrics.ready(shared.board.readiness().is_ok());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render())
}

async fn healthz(State(shared): State<Shared>) -> (StatusCode, String) {
    let now = Instant::now();
    if shared.board.is_alive(now) {
        (StatusCode::OK, "alive\n".to_owned())
    } else {
        let age = shared.board.heartbeat_age(now).as_secs();
        (StatusCode::SERVICE_UNAVAILABLE, format!("the data path has not moved for {age} s\n"))
    }
}

async fn readyz(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.board.readiness() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

async fn status(State(shared): State<Shared>) -> Json<Value> {
    Json(shared.board.status())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, TcpStream},
        time::Duration,
    };

    use super::*;
    use crate::telemetry::ModelStatus;

    fn start(board: &Arc<Board>) -> HttpServer {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        HttpServer::start(any, Arc::new(Metrics::new()), Arc::clone(board), None).unwrap()
    }

    /// Sends a GET; returns head and body.
    fn fetch(server: &HttpServer, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: strayd\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    fn make_ready(board: &Board) {
        board.set_source(Ok(()));
        board.set_sink(Ok(()));
        board.set_model(Some(ModelStatus {
            version: "v1".into(),
            kind: "pca".into(),
            created: "2026-01-02T03:04:05Z".into(),
            device: "cpu".into(),
            limit: 1.0,
            active_units: None,
            verified: true,
        }));
    }

    #[test]
    fn metrics_are_served_in_the_text_format_with_the_readiness_of_now() {
        let board = Arc::new(Board::default());
        let server = start(&board);
        let (head, body) = fetch(&server, "/metrics");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(body.contains("strayd_ready 0\n"), "{body}");
        make_ready(&board);
        assert!(fetch(&server, "/metrics").1.contains("strayd_ready 1\n"));
    }

    #[test]
    fn ready_gives_one_reason_a_line_until_there_is_none() {
        let board = Arc::new(Board::default());
        let server = start(&board);
        board.set_source(Err("no broker answers".into()));
        let (head, body) = fetch(&server, "/readyz");
        assert!(head.starts_with("http/1.1 503"), "{head}");
        assert_eq!(body, "source: no broker answers\nsink: not connected yet\nmodel: none is loaded\n");
        make_ready(&board);
        let (head, body) = fetch(&server, "/readyz");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body, "ready\n");
    }

    #[test]
    fn a_data_path_that_hangs_is_not_healthy() {
        let started = Instant::now().checked_sub(Duration::from_secs(120)).unwrap();
        let board = Arc::new(Board::new(started));
        let server = start(&board);
        let (head, body) = fetch(&server, "/healthz");
        assert!(head.starts_with("http/1.1 503"), "{head}");
        assert!(body.starts_with("the data path has not moved for 12"), "{body}");
        board.beat();
        assert!(fetch(&server, "/healthz").0.starts_with("http/1.1 200"));
    }

    #[test]
    fn status_is_json_and_the_index_names_the_pages() {
        let server = start(&Arc::new(Board::default()));
        let (head, body) = fetch(&server, "/status");
        assert!(head.contains("content-type: application/json"), "{head}");
        let status: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status["phase"]["name"], "starting");
        let (_, index) = fetch(&server, "/");
        for path in ["/metrics", "/healthz", "/readyz", "/status"] {
            assert!(index.contains(path), "{index}");
        }
        assert!(fetch(&server, "/admin").0.starts_with("http/1.1 404"));
    }

    #[test]
    fn an_address_in_use_is_named() {
        let server = start(&Arc::new(Board::default()));
        let again = HttpServer::start(server.address(), Arc::new(Metrics::new()), Arc::new(Board::default()), None);
        let text = again.unwrap_err().to_string();
        assert!(text.starts_with(&format!("cannot listen on http.listen = {}: ", server.address())), "{text}");
    }

    #[test]
    fn a_dropped_server_frees_its_port_even_with_a_silent_client() {
        let server = start(&Arc::new(Board::default()));
        let address = server.address();
        let _silent = TcpStream::connect(address).unwrap();
        fetch(&server, "/healthz");
        drop(server);
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }
}
