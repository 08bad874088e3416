//! The tests' Prometheus itself: that it sees what is served, and that promtool's complaints arrive.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use support::prometheus::{Prometheus, check_metrics};

const EXPOSITION: &str = "# HELP example_records_total Records seen.\n# TYPE example_records_total counter\n\
                          example_records_total{outcome=\"normal\"} 41\nexample_records_total{outcome=\"late\"} 1\n";

/// Answers every request with the exposition, until the test program ends.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let reader = stream.try_clone().expect("a second handle");
            let head = BufReader::new(reader).lines().map_while(Result::ok);
            for _ in head.take_while(|line| !line.is_empty()) {}
            let length = EXPOSITION.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            // Prometheus may hang up while it is being ended; the next request is answered all the same.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(EXPOSITION.as_bytes()));
        }
    });
    address
}

#[test]
fn prometheus_sees_what_is_served() {
    let Some(prometheus) = Prometheus::scraping(serve()) else { return };
    let samples =
        prometheus.wait_for("example_records_total{outcome=~\"nor.+\"}", Duration::from_secs(20), |samples| {
            !samples.is_empty()
        });
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0].value, 41.0);
    assert_eq!(samples[0].labels["job"], "strayd");
    assert_eq!(prometheus.query("sum(example_records_total)")[0].value, 42.0);
    assert!(prometheus.query("no_such_metric").is_empty());
}

#[test]
fn promtool_accepts_a_well_formed_exposition_and_names_what_is_wrong() {
    let Some(verdict) = check_metrics(EXPOSITION) else { return };
    assert_eq!(verdict, Ok(()));
    let complaint = check_metrics(&EXPOSITION.replace("_total", "")).unwrap().unwrap_err();
    assert!(complaint.contains("_total"), "{complaint}");
    assert!(check_metrics("example{ 1\n").unwrap().is_err());
}
