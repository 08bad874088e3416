//! What is under `/admin` (`POST /admin/retrain`), for whoever knows the bearer token. Without a token file there is nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::Sender,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request as HttpRequest, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{sync::oneshot, time};

use super::Shared;
use crate::{
    pipeline::learning::{Answer, Request},
    telemetry::Phase,
};

/// How long the data path may take to answer; it looks every 100 ms.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the admin token can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can't be read.
    #[error("token file {}: {cause}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file holds nothing but white space.
    #[error("token file {}: it is empty, expected the token", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Who may ask, and who is asked.
#[derive(Debug)]
pub struct Admin {
    token_file: PathBuf,
    /// `None` where this process never trains.
    requests: Option<Sender<Request>>,
}

impl Admin {
    /// Reads the token once, so that a missing one is told before the port is open.
    pub fn new(token_file: &Path, requests: Option<Sender<Request>>) -> Result<Self, TokenError> {
        read_token(token_file)?;
        Ok(Self { token_file: token_file.to_path_buf(), requests })
    }

    /// Whether the request bears the token. It is read anew each time, so that a rotated one needs no restart; and compared
    /// by its hash, so that the time taken tells nothing of how much was right.
    fn admits(&self, headers: &HeaderMap) -> Result<bool, TokenError> {
        let token = read_token(&self.token_file)?;
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        Ok(given.is_some_and(|given| Sha256::digest(given) == Sha256::digest(&token)))
    }

    fn ask(&self) -> Option<oneshot::Receiver<Answer>> {
        let (reply, answer) = oneshot::channel();
        self.requests.as_ref()?.send(Request { reply }).ok()?;
        Some(answer)
    }
}

/// The token of `Bearer TOKEN`; the scheme's case doesn't matter (RFC 9110, 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token in a file, without white space around it.
pub fn read_token(path: &Path) -> Result<String, TokenError> {
    let text = fs::read_to_string(path).map_err(|cause| TokenError::Io { path: path.to_path_buf(), cause })?;
    match text.trim() {
        "" => Err(TokenError::Empty { path: path.to_path_buf() }),
        token => Ok(token.to_owned()),
    }
}

/// All that is under `/admin`. Who doesn't know the token isn't told what there is.
pub(super) fn router(shared: &Shared) -> Router<Shared> {
    let nothing = || async { (StatusCode::NOT_FOUND, "expected POST /admin/retrain\n") };
    Router::new()
        .route("/retrain", post(retrain))
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(shared.clone(), admitted))
}

/// Hands the request on if it bears the token: else 401, or 404 where there is no admin at all, or 503 where the token can't
/// be read.
async fn admitted(State(shared): State<Shared>, request: HttpRequest, next: Next) -> Response {
    let Some(admin) = &shared.admin else { return off() };
    match admin.admits(request.headers()) {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            tracing::warn!(path = request.uri().path(), "an admin request without the right token is refused");
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, challenge, "expected `Authorization: Bearer TOKEN`\n").into_response()
        }
        Err(error) => {
            tracing::error!("an admin request is refused: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, "the admin token can't be read; see the log\n").into_response()
        }
    }
}

fn off() -> Response {
    (StatusCode::NOT_FOUND, "nothing is served under /admin without http.admin_token_file\n").into_response()
}

/// Begins a training now, and says what came of it. Answers are JSON with the word `answer`: 202 `started`, 409 `busy`,
/// `too_few_rows`, `collecting`, `draining` or `not_a_trainer`.
async fn retrain(State(shared): State<Shared>) -> Response {
    let Some(admin) = &shared.admin else { return off() };
    if admin.requests.is_none() {
        return not_a_trainer();
    }
    // A cold start trains by itself, and answers nobody while it does.
    if let Some((word, error)) = busy(shared.board.phase()) {
        return (StatusCode::CONFLICT, Json(json!({"answer": word, "error": error}))).into_response();
    }
    let Some(answer) = admin.ask() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the data path is gone; see the log\n").into_response();
    };
    match time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer @ Answer::Started { .. })) => (StatusCode::ACCEPTED, Json(json!(answer))).into_response(),
        Ok(Ok(answer @ Answer::Failed { .. })) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!(answer))).into_response()
        }
        Ok(Ok(answer)) => (StatusCode::CONFLICT, Json(json!(answer))).into_response(),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the data path doesn't answer\n").into_response(),
    }
}

fn not_a_trainer() -> Response {
    let error = "this process doesn't train: its role is scorer, or model.file names the model";
    (StatusCode::CONFLICT, Json(json!({"answer": "not_a_trainer", "error": error}))).into_response()
}

/// Why nobody would answer.
fn busy(phase: Phase) -> Option<(&'static str, String)> {
    match phase {
        Phase::Starting | Phase::WaitingForModel => Some(("collecting", "the daemon has no model yet".to_owned())),
        Phase::Collecting { have, need } => {
            Some(("collecting", format!("the first model is not there yet: {have} of {need} rows collected")))
        }
        Phase::Training { .. } => Some(("collecting", "the first model is being trained".to_owned())),
        Phase::Draining => Some(("draining", "the daemon is draining before its end".to_owned())),
        Phase::Scoring => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, SocketAddr, TcpStream},
        sync::{Arc, mpsc::channel},
    };

    use super::*;
    use crate::{
        http::{HttpServer, client},
        telemetry::{Board, Metrics},
    };

    struct Stage {
        server: HttpServer,
        board: Arc<Board>,
        token: tempfile::NamedTempFile,
    }

    fn stage(requests: Option<Sender<Request>>) -> Stage {
        let token = tempfile::NamedTempFile::new().unwrap();
        fs::write(token.path(), "open sesame\n").unwrap();
        let board = Arc::new(Board::default());
        let admin = Admin::new(token.path(), requests).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = HttpServer::start(any, Arc::new(Metrics::new()), Arc::clone(&board), Some(admin)).unwrap();
        Stage { server, board, token }
    }

    impl Stage {
        fn ask(&self, token: Option<&str>) -> (u16, String) {
            let url = format!("http://{}/admin/retrain", self.server.address());
            let answer = client::post(&url, token, Duration::from_secs(20)).unwrap();
            (answer.status, answer.body)
        }
    }

    #[test]
    fn nobody_comes_in_without_the_token_and_a_rotated_one_counts_at_once() {
        let stage = stage(None);
        stage.board.set_phase(Phase::Scoring);
        assert_eq!(stage.ask(None).0, 401);
        assert_eq!(stage.ask(Some("open")).0, 401);
        assert_eq!(stage.ask(Some("open sesame")).0, 409);
        fs::write(stage.token.path(), "new").unwrap();
        assert_eq!(stage.ask(Some("open sesame")).0, 401);
        assert_eq!(stage.ask(Some("new")).0, 409);
        fs::write(stage.token.path(), " \n").unwrap();
        assert_eq!(stage.ask(Some("")).0, 503, "an empty token admits nobody");
    }

    #[test]
    fn who_knows_the_token_is_told_what_there_is_and_nobody_else() {
        let stage = stage(None);
        let get = |path: &str, head: &str| {
            let mut stream = TcpStream::connect(stage.server.address()).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n{head}\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let token = "authorization: bearer open sesame\r\n";
        for path in ["/admin", "/admin/retrain", "/admin/other"] {
            let answer = get(path, "");
            assert!(
                answer.starts_with("HTTP/1.1 401") && answer.contains("www-authenticate: Bearer"),
                "{path}: {answer}"
            );
            let status = if path == "/admin/retrain" { "HTTP/1.1 405" } else { "HTTP/1.1 404" };
            assert!(get(path, token).starts_with(status), "{path}");
        }
        assert!(get("/admin/retrain", "authorization: Basic open sesame\r\n").starts_with("HTTP/1.1 401"));
    }

    #[test]
    fn a_process_that_never_trains_and_one_that_has_no_model_yet_say_so() {
        let (sender, _requests) = channel();
        let mut stage = stage(Some(sender));
        stage.board.set_phase(Phase::Collecting { have: 3, need: 10 });
        let (status, body) = stage.ask(Some("open sesame"));
        assert!(status == 409 && body.contains("3 of 10 rows"), "{body}");
        stage = self::stage(None);
        assert!(stage.ask(Some("open sesame")).1.contains("not_a_trainer"), "whatever it is doing");
    }

    #[test]
    fn the_answer_of_the_data_path_is_handed_on() {
        let (sender, requests) = channel::<Request>();
        let stage = stage(Some(sender));
        stage.board.set_phase(Phase::Scoring);
        let path = std::thread::spawn(move || {
            for answer in
                [Answer::Started { rows: 7, entities: 2 }, Answer::Busy, Answer::TooFewRows { rows: 1, need: 9 }]
            {
                requests.recv().unwrap().reply.send(answer).unwrap();
            }
        });
        let ask = || stage.ask(Some("open sesame"));
        assert_eq!(ask(), (202, r#"{"answer":"started","entities":2,"rows":7}"#.to_owned()));
        assert_eq!(ask(), (409, r#"{"answer":"busy"}"#.to_owned()));
        assert_eq!(ask(), (409, r#"{"answer":"too_few_rows","need":9,"rows":1}"#.to_owned()));
        path.join().unwrap();
    }

    #[test]
    fn a_token_file_that_is_missing_or_empty_is_named() {
        let missing = Admin::new(Path::new("/nowhere/token"), None).unwrap_err().to_string();
        assert!(missing.starts_with("token file /nowhere/token: "), "{missing}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(Admin::new(empty.path(), None).unwrap_err().to_string().ends_with("it is empty, expected the token"));
    }
}
