//! Asks a daemon on this machine how it is: for the health check of a container, which has no other HTTP client.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::client::{self, ClientError};

/// Why a daemon doesn't count as well.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers.
    #[error("{0}")]
    Silent(ClientError),
    /// The answer is no.
    #[error("{url} says {answer}")]
    No {
        /// What was asked.
        url: String,
        /// The status line, and why, in the daemon's words.
        answer: String,
    },
}

/// Asks for a page and gives its text where the answer is 200. Where the daemon listens on all addresses, the loopback
/// one is asked.
///
/// # Errors
/// No answer within `patience`, or another one than 200.
pub fn ask(listen: SocketAddr, page: &'static str, patience: Duration) -> Result<String, ProbeError> {
    let loopback = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let url = format!("http://{}{page}", SocketAddr::new(loopback, listen.port()));
    match client::get(&url, patience) {
        Ok(answer) if answer.status == 200 => Ok(answer.body),
        Ok(answer) => Err(ProbeError::No { url, answer: format!("{}: {}", answer.line, answer.body.trim_end()) }),
        Err(ClientError::NotHttp { cause, .. }) => Err(ProbeError::No { url, answer: format!("no HTTP: {cause}") }),
        Err(error) => Err(ProbeError::Silent(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
        time::Instant,
    };

    use super::*;

    /// A server for one request that answers with this text and keeps the connection for so long.
    fn server(text: &'static str, keep: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of it: who closes with something unread cuts the connection before its answer was read.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(text.as_bytes()).unwrap();
            thread::sleep(keep);
        });
        address
    }

    #[test]
    fn only_an_answer_of_200_is_a_yes() {
        let yes = server("HTTP/1.0 200 OK\r\nx: y\r\n\r\nwell\n", Duration::ZERO);
        assert_eq!(ask(yes, "/healthz", Duration::from_secs(5)).unwrap(), "well\n");
        let no = server("HTTP/1.0 503 Service Unavailable\r\n\r\nno model yet\n", Duration::ZERO);
        let error = ask(no, "/readyz", Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.ends_with("/readyz says HTTP/1.0 503 Service Unavailable: no model yet"), "{error}");
        let other = server("SSH-2.0-OpenSSH_9.2\r\n", Duration::ZERO);
        assert!(matches!(ask(other, "/healthz", Duration::from_secs(5)), Err(ProbeError::No { .. })));
    }

    #[test]
    fn who_listens_on_all_addresses_is_asked_on_the_loopback_one() {
        let port = server("HTTP/1.0 200 OK\r\n\r\n", Duration::ZERO).port();
        ask(SocketAddr::from(([0, 0, 0, 0], port)), "/healthz", Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn who_does_not_answer_in_time_is_not_well() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(ask(address, "/healthz", Duration::from_secs(5)), Err(ProbeError::Silent { .. })));
        let slow = server("HTTP/1.0 200", Duration::from_secs(60));
        let start = Instant::now();
        assert!(matches!(ask(slow, "/healthz", Duration::from_millis(100)), Err(ProbeError::Silent { .. })));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
