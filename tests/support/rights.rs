//! Access control entries of an Apache Kafka, given and taken away by its own protocol: none of the clients at hand can.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An entry that allows a user something, from wherever.
#[derive(Debug, Clone, Copy)]
pub struct Right<'a> {
    /// Topics whose name begins with this, or the group of this name.
    pub of: Resource<'a>,
    /// What is allowed.
    pub to: Operation,
    /// Such as `User:somebody`.
    pub principal: &'a str,
}

/// What a right is about.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// All topics whose name begins so.
    Topics(&'a str),
    /// A consumer group.
    Group(&'a str),
}

/// What may be done, by Kafka's numbers.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum Operation {
    /// To read.
    Read = 3,
    /// To write.
    Write = 4,
}

/// The requests' numbers in Kafka's protocol; version 1 of both.
const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;

impl Right<'_> {
    /// Gives it.
    pub fn give(&self, servers: &str) {
        self.send(servers, CREATE_ACLS);
    }

    /// Takes it away.
    pub fn take(&self, servers: &str) {
        self.send(servers, DELETE_ACLS);
    }

    /// An entry, and a filter that only this entry passes, are written alike.
    fn send(&self, servers: &str, request: i16) {
        const ALLOW: u8 = 3;
        let (kind, name, pattern) = match self.of {
            Resource::Topics(name) => (2, name, 4),
            Resource::Group(name) => (3, name, 3),
        };
        let mut body = Vec::new();
        body.extend(request.to_be_bytes());
        body.extend(1_i16.to_be_bytes());
        body.extend(7_i32.to_be_bytes());
        text(&mut body, "strayd-tests");
        body.extend(1_i32.to_be_bytes());
        body.push(kind);
        text(&mut body, name);
        body.push(pattern);
        text(&mut body, self.principal);
        text(&mut body, "*");
        body.extend([self.to as u8, ALLOW]);
        let answer = exchange(servers, &body);
        // Its own number, a time to wait, one result: its error code.
        assert_eq!(answer.get(8..14), Some(&[0, 0, 0, 1, 0, 0][..]), "the broker says no to {self:?}: {answer:?}");
    }
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as i16).to_be_bytes());
    body.extend(text.as_bytes());
}

fn exchange(servers: &str, body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(servers).expect("the broker is up");
    stream.set_read_timeout(Some(Duration::from_secs(90))).expect("a time can be set");
    stream.write_all(&[&(body.len() as i32).to_be_bytes()[..], body].concat()).expect("the broker takes it");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("the broker answers");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("the broker answers");
    answer
}
