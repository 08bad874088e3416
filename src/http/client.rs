//! The other side: what `strayd retrain` and `strayd healthcheck` ask a running daemon, in plain HTTP as it serves it; and what
//! a daemon asks a schema registry, which may also be behind TLS.

use std::{path::PathBuf, pin::Pin, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Uri,
    body::Bytes,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslMethod};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime, time,
};
use tokio_openssl::SslStream;

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

/// A text that is posted, and what it is.
type Body<'b> = Option<(&'static str, &'b str)>;

/// What goes with a request beside its address.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Value of the header `authorization`.
    pub authorization: Option<String>,
    /// Value of the header `accept`.
    pub accept: Option<&'static str>,
    /// Certificates (PEM) of those who sign the server's; without a file, whom the system trusts.
    pub ca_file: Option<PathBuf>,
}

/// Posts nothing to `url`, with a bearer token if there is one.
pub fn post(url: &str, token: Option<&str>, patience: Duration) -> Result<Answer, ClientError> {
    let authorization = token.map(|token| format!("Bearer {token}"));
    ask((Method::POST, url, None), &Access { authorization, ..Access::default() }, &["http"], patience)
}

/// Gets `url`.
pub fn get(url: &str, patience: Duration) -> Result<Answer, ClientError> {
    ask((Method::GET, url, None), &Access::default(), &["http"], patience)
}

/// Gets `url`, which may be behind TLS.
pub fn get_with(url: &str, access: &Access, patience: Duration) -> Result<Answer, ClientError> {
    ask((Method::GET, url, None), access, &["http", "https"], patience)
}

/// Posts a text of this type to `url`, which may be behind TLS.
pub fn post_with(
    url: &str,
    body: (&'static str, &str),
    access: &Access,
    patience: Duration,
) -> Result<Answer, ClientError> {
    ask((Method::POST, url, Some(body)), access, &["http", "https"], patience)
}

fn ask(
    (method, url, body): (Method, &str, Body<'_>),
    access: &Access,
    schemes: &[&str],
    patience: Duration,
) -> Result<Answer, ClientError> {
    let no_answer = |cause: Cause| match cause.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_parse() => ClientError::NotHttp { url: url.to_owned(), cause: cause.to_string() },
        _ => ClientError::NoAnswer { url: url.to_owned(), cause },
    };
    let uri: Uri = url.parse().map_err(|_| ClientError::Url(url.to_owned()))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(ClientError::Url(url.to_owned()));
    };
    if !schemes.contains(&scheme) {
        return Err(ClientError::Url(url.to_owned()));
    }
    let mut request = Request::builder()
        .method(method)
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str());
    if let Some(authorization) = &access.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if let Some(accept) = access.accept {
        request = request.header(ACCEPT, accept);
    }
    if let Some((kind, _)) = body {
        request = request.header(CONTENT_TYPE, kind);
    }
    let body = body.map(|(_, text)| Bytes::copy_from_slice(text.as_bytes())).unwrap_or_default();
    let request = request.body(Full::new(body)).map_err(|error| no_answer(error.into()))?;
    let tls = (scheme == "https").then(|| connector(access)).transpose().map_err(no_answer)?;
    let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let address = (authority.host().trim_matches(['[', ']']).to_owned(), port);
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(|error| no_answer(error.into()))?;
    runtime
        .block_on(async { time::timeout(patience, connect(address, tls, request)).await })
        .map_err(|_| ClientError::TimedOut { url: url.to_owned(), after: patience })?
        .map_err(no_answer)
}

/// What a server's certificate is held to.
fn connector(access: &Access) -> Result<SslConnector, Cause> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    if let Some(file) = &access.ca_file {
        builder.set_ca_file(file).map_err(|cause| format!("{}: {cause}", file.display()))?;
    }
    Ok(builder.build())
}

async fn connect(
    (host, port): (String, u16),
    tls: Option<SslConnector>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Cause> {
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    let Some(tls) = tls else { return exchange(stream, request).await };
    let mut stream = SslStream::new(tls.configure()?.into_ssl(&host)?, stream)?;
    Pin::new(&mut stream).connect().await?;
    exchange(stream, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Cause> {
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

    /// A server behind TLS whose certificate signs itself; it answers one request. Gives its address, and the certificate in PEM.
    fn serve_tls() -> (String, Vec<u8>) {
        use openssl::{asn1::Asn1Time, hash::MessageDigest, pkey::PKey, rsa::Rsa, ssl::SslAcceptor, x509};
        use std::io::{Read, Write};
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut builder = x509::X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let mut name = x509::X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "registry").unwrap();
        let name = name.build();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        let names = x509::extension::SubjectAlternativeName::new()
            .ip("127.0.0.1")
            .build(&builder.x509v3_context(None, None))
            .unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let certificate = builder.build();
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&certificate).unwrap();
        let acceptor = acceptor.build();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/ids/1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let Ok(mut stream) = acceptor.accept(stream) else { continue };
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
                let _ = stream.shutdown();
            }
        });
        (url, certificate.to_pem().unwrap())
    }

    #[test]
    fn a_server_behind_tls_is_asked_if_its_certificate_is_signed_by_whom_we_trust() {
        let (url, certificate) = serve_tls();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certificate).unwrap();
        let access = Access { ca_file: Some(file.path().to_owned()), ..Access::default() };
        let patience = Duration::from_secs(30);
        let answer = get_with(&url, &access, patience).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "hi"));
        let stranger = get_with(&url, &Access::default(), patience).unwrap_err().to_string();
        assert!(stranger.contains("certificate"), "{stranger}");
        // Certified is the address, and no name.
        let other = url.replace("127.0.0.1", "localhost");
        let misnamed = get_with(&other, &access, patience).unwrap_err().to_string();
        assert!(misnamed.contains("certificate") || misnamed.contains("hostname"), "{misnamed}");
        assert!(matches!(get(&url, patience), Err(ClientError::Url(_))), "nothing of ours is behind TLS");
        let missing = Access { ca_file: Some("/nowhere.pem".into()), ..Access::default() };
        assert!(get_with(&url, &missing, patience).unwrap_err().to_string().contains("/nowhere.pem"));
    }
}
