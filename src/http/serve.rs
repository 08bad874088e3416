//! Takes connections and bounds what each may cost: whoever speaks slowly, says too much or never listens holds up nobody else.

use std::{future::Future, io, net::TcpListener, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

/// How long open requests may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a connection could not be taken, such as for want of file descriptors: somebody may give one back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's line and headers.
const MOST_HEAD_BYTES: usize = 16 << 10;

/// What a client may cost. A connection carries one request, so that none is held open for the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time. Further ones wait to be taken; far fewer than the file descriptors that a process may have.
    connections: usize,
    /// Time for a request's line and headers.
    head: Duration,
    /// Time for a request's body.
    body: Duration,
    /// Bytes of a request's body. No page reads one.
    body_bytes: usize,
    /// Time for all of it, the reading of the answer by the other side included.
    whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(5),
            body: Duration::from_secs(5),
            body_bytes: 16 << 10,
            // Twice what the slowest page takes.
            whole: Duration::from_secs(30),
        }
    }
}

/// Serves until `stopped`, and then until open requests have ended, which may take a second.
///
/// # Errors
/// The listener can't be used.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopped: impl Future,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = router.layer(middleware::from_fn_with_state(limits, bounded));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut stopped = pin!(stopped);
    loop {
        let (stream, slot) = tokio::select! {
            taken = take(&listener, &slots) => taken,
            _ = &mut stopped => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .header_read_timeout(limits.head)
            .max_buf_size(MOST_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            match time::timeout(limits.whole, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended"),
                Err(_) => tracing::debug!("an HTTP connection was cut off: it took too long"),
            }
            drop(slot);
        });
    }
    // The port is free before the last requests have ended.
    drop(listener);
    time::timeout(GRACE, graceful.shutdown()).await.ok();
    Ok(())
}

/// The next connection, once there is room for it.
async fn take(listener: &tokio::net::TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection can't be taken, trying again");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reads the body away, within its bounds, before the page is made.
async fn bounded(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let too_large = || {
        let bytes = limits.body_bytes;
        (StatusCode::PAYLOAD_TOO_LARGE, format!("expected a body of at most {bytes} bytes\n")).into_response()
    };
    if body.size_hint().lower() > limits.body_bytes as u64 {
        return too_large();
    }
    match time::timeout(limits.body, Limited::new(body, limits.body_bytes).collect()).await {
        Ok(Ok(_)) => next.run(Request::from_parts(head, Body::empty())).await,
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => too_large(),
        Ok(Err(cause)) => (StatusCode::BAD_REQUEST, format!("the body can't be read: {cause}\n")).into_response(),
        Err(_) => {
            let seconds = limits.body.as_secs_f64();
            (StatusCode::REQUEST_TIMEOUT, format!("expected the body within {seconds} s\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, SocketAddr, TcpStream},
        thread,
        time::Instant,
    };

    use axum::routing::any;
    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(200);
    /// How long a busy machine may take to cut somebody off.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Running {
        address: SocketAddr,
        stop: Option<oneshot::Sender<()>>,
        thread: Option<thread::JoinHandle<()>>,
    }

    impl Drop for Running {
        fn drop(&mut self) {
            drop(self.stop.take());
            self.thread.take().unwrap().join().unwrap();
        }
    }

    fn patient() -> Limits {
        Limits { connections: 8, head: LONG, body: LONG, body_bytes: 100, whole: LONG }
    }

    /// A server with one page.
    fn start(limits: Limits) -> Running {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("/", any(|| async { "page\n" }));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, router, limits, stopped)).unwrap();
        });
        Running { address, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(server: &Running) -> TcpStream {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Everything that comes until the other side closes.
    fn read_all(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            // What we had not sent yet, or it had not read, was thrown away.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
        String::from_utf8(bytes).unwrap()
    }

    fn ask(server: &Running, request: &str) -> String {
        let mut stream = connect(server);
        stream.write_all(request.as_bytes()).unwrap();
        read_all(&mut stream)
    }

    const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    #[test]
    fn a_request_is_answered_and_its_connection_closed() {
        let server = start(patient());
        let answer = ask(&server, GET);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("page\n"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }

    #[test]
    fn who_sends_the_head_byte_by_byte_is_cut_off_while_others_are_served() {
        let server = start(Limits { head: SHORT, ..patient() });
        let mut slow = connect(&server);
        slow.set_nodelay(true).unwrap();
        let start = Instant::now();
        let mut sent = 0;
        for byte in GET.repeat(100).replace("\r\n\r\n", "\r\nx: ").bytes() {
            if slow.write_all(&[byte]).is_err() {
                break;
            }
            sent += 1;
            if sent == 5 {
                assert!(ask(&server, GET).starts_with("HTTP/1.1 200"));
            }
            assert!(start.elapsed() < PATIENCE, "not cut off");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(start.elapsed() >= SHORT);
        assert!(sent > 5, "cut off at once");
    }

    #[test]
    fn who_says_nothing_is_cut_off() {
        let server = start(Limits { head: SHORT, ..patient() });
        assert_eq!(read_all(&mut connect(&server)), "");
    }

    #[test]
    fn a_body_that_comes_too_slowly_is_answered_with_408() {
        let server = start(Limits { body: SHORT, ..patient() });
        let answer = ask(&server, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
        assert!(answer.starts_with("HTTP/1.1 408") && answer.ends_with("expected the body within 0.2 s\n"), "{answer}");
    }

    #[test]
    fn a_body_that_is_too_large_is_answered_with_413_whether_its_length_is_told_or_not() {
        let server = start(patient());
        let told = ask(&server, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000\r\n\r\n");
        assert!(told.starts_with("HTTP/1.1 413") && told.ends_with("at most 100 bytes\n"), "{told}");
        let chunk = format!("65\r\n{}\r\n0\r\n\r\n", "x".repeat(0x65));
        let untold = ask(&server, &format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"));
        assert!(untold.starts_with("HTTP/1.1 413"), "{untold}");
        let fits =
            ask(&server, &format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{}", "x".repeat(100)));
        assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");
    }

    #[test]
    fn a_head_that_is_too_large_is_answered_with_431() {
        let server = start(patient());
        let answer = ask(&server, &format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(MOST_HEAD_BYTES)));
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[test]
    fn who_takes_too_long_altogether_is_cut_off() {
        let server = start(Limits { whole: SHORT, ..patient() });
        assert_eq!(ask(&server, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc"), "");
    }

    #[test]
    fn who_comes_when_all_places_are_taken_is_served_when_one_is_free() {
        let server = start(Limits { connections: 2, head: SHORT, ..patient() });
        let start = Instant::now();
        let _silent = [connect(&server), connect(&server)];
        assert!(ask(&server, GET).starts_with("HTTP/1.1 200"));
        assert!(start.elapsed() >= SHORT, "the third was served beside two others");
    }
}
