//! A web server on loopback that answers as a test says, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A server; it ends with the test's process.
pub(in crate::modules) struct Server {
    /// `127.0.0.1:PORT`.
    pub(in crate::modules) address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each request line (`GET /x`) with what `answer` returns: status line, headers and
    /// body as they go over the wire, without the length.
    pub(in crate::modules) fn new(answer: fn(&str) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::default();
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, answer, &log);
            }
        });
        Self { address, seen }
    }

    /// The same on a unix socket.
    pub(in crate::modules) fn on_unix_socket(path: &Path, answer: fn(&str) -> String) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let seen = Arc::default();
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, answer, &log);
            }
        });
        Self {
            address: "localhost".into(),
            seen,
        }
    }

    pub(in crate::modules) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the requests so far, headers and body included.
    pub(in crate::modules) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: impl Read + Write, answer: fn(&str) -> String, log: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap_or(0);
        }
        request.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    request.push_str(&String::from_utf8_lossy(&body));
    let wanted: Vec<_> = request.split(' ').take(2).collect();
    let answer = answer(&wanted.join(" "));
    let is_head = request.starts_with("HEAD");
    log.lock().unwrap().push(request);
    let (head, body) = answer.split_once("\n\n").unwrap_or((&answer, ""));
    let head = head.replace('\n', "\r\n");
    let shown = if is_head { "" } else { body };
    let text = format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{shown}",
        body.len()
    );
    stream.get_mut().write_all(text.as_bytes()).ok();
}

/// A stream that is both ends of nothing: only to show what a test may serve on.
impl Server {
    /// Returns an address where nobody listens.
    pub(in crate::modules) fn nowhere() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop::<TcpListener>(listener);
        debug_assert!(TcpStream::connect(&address).is_err());
        address
    }
}
