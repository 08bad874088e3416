//! The other side: what `strayd retrain` and `strayd healthcheck` ask a running daemon. Plain HTTP, as the daemon serves it.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Method, Request, Uri,
    body::Bytes,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime, time};

/// An answer longer than this is not the daemon's.
const MOST_BYTES: usize = 1 << 20;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The status line, such as `HTTP/1.1 200 OK`.
    pub line: String,
    /// Body, as text.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address that can be asked.
    #[error("`{0}` can't be asked, expected http://HOST:PORT or http://HOST:PORT/PATH")]
    Url(String),
    /// Nobody answers, or something breaks on the way.
    #[error("{url} doesn't answer: {cause}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What went wrong.
        cause: Cause,
    },
    /// What answers doesn't speak HTTP.
    #[error("{url} doesn't speak HTTP: {cause}")]
    NotHttp {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// No answer in time.
    #[error("{url} didn't answer within {} s", .after.as_secs())]
    TimedOut {
        /// What was asked.
        url: String,
        /// How long it was waited for.
        after: Duration,
    },
}

/// Posts nothing to `url`, with a bearer token if there is one.
pub fn post(url: &str, token: Option<&str>, patience: Duration) -> Result<Answer, ClientError> {
    ask(Method::POST, url, token, patience)
}

/// Gets `url`.
pub fn get(url: &str, patience: Duration) -> Result<Answer, ClientError> {
    ask(Method::GET, url, None, patience)
}

fn ask(method: Method, url: &str, token: Option<&str>, patience: Duration) -> Result<Answer, ClientError> {
    let no_answer = |cause: Cause| match cause.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_parse() => ClientError::NotHttp { url: url.to_owned(), cause: cause.to_string() },
        _ => ClientError::NoAnswer { url: url.to_owned(), cause },
    };
    let uri: Uri = url.parse().map_err(|_| ClientError::Url(url.to_owned()))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(ClientError::Url(url.to_owned()));
    };
    let mut request = Request::builder()
        .method(method)
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| no_answer(error.into()))?;
    let address = (authority.host().trim_matches(['[', ']']).to_owned(), authority.port_u16().unwrap_or(80));
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(|error| no_answer(error.into()))?;
    runtime
        .block_on(async { time::timeout(patience, exchange(address, request)).await })
        .map_err(|_| ClientError::TimedOut { url: url.to_owned(), after: patience })?
        .map_err(no_answer)
}

async fn exchange(address: (String, u16), request: Request<Empty<Bytes>>) -> Result<Answer, Cause> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let line = format!("{:?} {}", response.version(), response.status());
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await?.to_bytes();
    connection.abort();
    Ok(Answer { status, line, body: String::from_utf8_lossy(&body).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_can_not_be_asked_is_named() {
        for bad in ["localhost:9464", "https://localhost:9464", "http://", "", "/admin"] {
            let error = post(bad, None, Duration::from_secs(1)).unwrap_err();
            assert!(matches!(error, ClientError::Url(_)), "{bad}: {error}");
        }
    }

    #[test]
    fn nobody_there_and_nobody_answering_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let silent = post(&url, None, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(silent, ClientError::TimedOut { .. }), "{silent}");
        drop(listener);
        let gone = post(&url, None, Duration::from_secs(5)).unwrap_err();
        assert!(matches!(gone, ClientError::NoAnswer { .. }), "{gone}");
    }
}
