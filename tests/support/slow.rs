//! A slow way to a broker: a forwarder on loopback that lets through as many bytes a second as it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Bytes that are passed on at once.
const PIECE: usize = 1024;

/// The way; its threads end with this process.
pub struct SlowWay {
    port: u16,
    rate: Arc<AtomicUsize>,
}

impl SlowWay {
    /// A way to this loopback port, fast until it is told otherwise.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let rate = Arc::new(AtomicUsize::new(usize::MAX));
        let shared = Arc::clone(&rate);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A broker that is not up refuses, and so does the way to it.
                let Ok(broker) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                join(&client, &broker, &shared);
                join(&broker, &client, &shared);
            }
        });
        Self { port, rate }
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets so many bytes a second through in each direction of each connection: none with 0, as of a broker that
    /// stands still.
    pub fn limit(&self, bytes_per_second: usize) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Fast again.
    pub fn free(&self) {
        self.limit(usize::MAX);
    }
}

/// Passes on what comes from one side until it ends.
fn join(from: &TcpStream, to: &TcpStream, rate: &Arc<AtomicUsize>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be shared");
    let (mut from, mut to, rate) = (clone(from), clone(to), Arc::clone(rate));
    thread::spawn(move || {
        let mut piece = [0; PIECE];
        while let Ok(bytes @ 1..) = from.read(&mut piece) {
            while rate.load(Ordering::Relaxed) == 0 {
                thread::sleep(Duration::from_millis(10));
            }
            match rate.load(Ordering::Relaxed) {
                usize::MAX => {}
                rate => thread::sleep(Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)),
            }
            if to.write_all(&piece[..bytes]).is_err() {
                break;
            }
        }
        // The other side learns that it is over.
        let _ = to.shutdown(Shutdown::Both);
    });
}
