//! Connections to the control socket that carry no HTTP, or that are held on to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use podnet_lab::prelude::*;

use crate::http::{TWO, escaped, problem, raw, two};
use crate::unharmed::Unharmed;

/// More connections than the agent serves at a time.
const MANY: usize = 600;

/// How long an answer may take while others do what they can to prevent it.
const UNDER_LOAD: &str = "10s";

/// A request that costs its client little.
const STATUS: &str = "GET /v1/status HTTP/1.1\r\nHost: podnet\r\n\r\n";

/// A client asks while others do what they can to prevent the answer.
fn status_under_load(node: Node<'_>) -> Output {
    let words = ["--timeout", UNDER_LOAD, "-o", "json", "status"];
    node.ctl(words).unwrap()
}

/// Lets this process have many connections: each has a descriptor.
fn allow_many() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// Connections by which somebody tries to keep the agent busy. They end with this value.
fn many(node: Node<'_>, bytes: &[u8]) -> Vec<UnixStream> {
    let open = |_| {
        let stream = eventually(LIMIT, "a connection", || UnixStream::connect(node.socket()));
        let mut stream = stream.unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            // What does not fit now is not sent; an agent that has closed takes nothing.
            match stream.write(&bytes[sent..]) {
                Ok(written) if written > 0 => sent += written,
                Ok(_) | Err(_) => break,
            }
        }
        stream
    };
    (0..MANY).map(open).collect()
}

#[test]
fn clients_that_hold_on_to_their_connections_keep_out_nobody() {
    allow_many();
    let lab = two();
    let [member, idle] = nodes(&lab);
    let unharmed = [member, idle].map(Unharmed::watch);
    let half_head = "POST /v1/pods HTTP/1.1\r\nHost: podnet\r\n";
    let half_body = format!(
        "{half_head}Content-Length: 65000\r\n\r\n{{\"name\":\"{}",
        "x".repeat(60_000)
    );
    let unread = STATUS.repeat(5_000);
    for bytes in ["", half_head, &half_body, &unread] {
        for node in [member, idle] {
            let held = many(node, bytes.as_bytes());
            let answers = || {
                let output = status_under_load(node);
                assert!(
                    output.ok(),
                    "among {MANY} of {}: {output}",
                    escaped(bytes.as_bytes())
                );
            };
            answers();
            drop(held);
            answers();
        }
    }
    for unharmed in &unharmed {
        unharmed.assert("connections that were held");
    }
}

/// Asks for the status as fast as the agent answers, ten requests ahead of the answers, until `stop` is set.
/// A connection that the agent closes is made anew.
fn ask_without_end(node: Node<'_>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(stream) = UnixStream::connect(node.socket()) else {
            continue;
        };
        let ask = |times| (&stream).write_all(STATUS.repeat(times).as_bytes());
        let mut asked = ask(10);
        let mut lines = BufReader::new(&stream).split(b'\n');
        while let (Ok(()), Some(Ok(line)), false) =
            (&asked, lines.next(), stop.load(Ordering::Relaxed))
        {
            if line.ends_with(b"HTTP/1.1 200 OK\r") {
                asked = ask(1);
            }
        }
    }
}

#[test]
fn clients_that_ask_without_end_keep_out_nobody() {
    allow_many();
    let lab = two();
    let [member, _] = nodes(&lab);
    let unharmed = Unharmed::watch(member);
    let stop = AtomicBool::new(false);
    let answers: Vec<_> = thread::scope(|scope| {
        for _ in 0..MANY / 4 {
            scope.spawn(|| ask_without_end(member, &stop));
        }
        let answers = (0..3).map(|_| status_under_load(member)).collect();
        stop.store(true, Ordering::Relaxed);
        answers
    });
    for output in answers {
        assert!(output.ok(), "{output}");
    }
    unharmed.assert("clients that asked without end");
}

#[test]
fn a_body_that_comes_drop_by_drop_is_not_waited_for() {
    let lab = two();
    let [member, _] = nodes(&lab);
    let unharmed = Unharmed::watch(member);
    let mut stream = UnixStream::connect(member.socket()).unwrap();
    let head = "POST /v1/pods HTTP/1.1\r\nHost: podnet\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // An answer that does not come is the pause between two drops.
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut answer = Vec::new();
    let refused = eventually(LIMIT, "a refusal", || {
        let _ = stream.write_all(b" ");
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match problem(&answer) {
            (400, code) if code == "usage" => Ok(()),
            _ => Err(answer),
        }
    });
    refused.unwrap();
    unharmed.assert("a slow body");
}

/// Bytes that are no HTTP, or HTTP that contradicts itself. None of them may be taken for a request.
fn no_http() -> Vec<Vec<u8>> {
    let pod = r#"{"name":"green"}"#;
    let post = |headers: &str, body: &str| {
        format!("POST /v1/pods HTTP/1.1\r\nHost: podnet\r\n{headers}\r\n{body}").into_bytes()
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut all = vec![
        b"\r\n".repeat(10_000),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(),
        b"GET /v1/status\r\n\r\n".to_vec(),
        b"GET /v1/status HTTP/9.9\r\nHost: podnet\r\n\r\n".to_vec(),
        b"GET /v1/status HTTP/1.1\r\nHost: podnet\r\n broken\r\n\r\n".to_vec(),
        b"GET /v1/status HTTP/1.1\r\nHost podnet\r\n\r\n".to_vec(),
        b"GET /v1/st\xffatus\0 HTTP/1.1\r\n\r\n".to_vec(),
        b"GET  /v1/status  HTTP/1.1\r\n\r\n".to_vec(),
        b"\xff".repeat(100_000),
        b"\0".repeat(100_000),
        [
            b"GET /".to_vec(),
            b"x".repeat(100_000),
            b" HTTP/1.1\r\n\r\n".to_vec(),
        ]
        .concat(),
        post(&format!("X: {}\r\n", "x".repeat(100_000)), ""),
        post(&"X: x\r\n".repeat(5_000), ""),
        post("Content-Length: -1\r\n", pod),
        post("Content-Length: x\r\n", pod),
        post("Content-Length: 99999999999999999999999\r\n", pod),
        post("Content-Length: 16\r\nContent-Length: 5\r\n", pod),
        post(
            &format!("Content-Length: 16\r\n{chunked}{chunked}X: \x01\x02\r\n"),
            pod,
        ),
        post("Transfer-Encoding: gzip\r\n", pod),
        post("Transfer-Encoding: chunked, gzip\r\n", pod),
        post(chunked, "zz\r\n"),
        post(chunked, "-1\r\n"),
        post(chunked, "ffffffffffffffffff\r\n"),
        post(chunked, &format!("10\r\n{pod}no end of the chunk")),
    ];
    // Cut at every tenth byte, and then the client has gone.
    let whole = post(&format!("Content-Length: {}\r\n", pod.len()), pod);
    all.extend(
        (1..whole.len())
            .step_by(10)
            .map(|cut| whole[..cut].to_vec()),
    );
    all
}

#[test]
fn bytes_that_are_no_http_are_taken_for_no_request() {
    let lab = TWO.get();
    let [member, idle] = nodes(&lab);
    let unharmed = [member, idle].map(Unharmed::watch);
    for node in [member, idle] {
        for bytes in no_http() {
            let mut stream = UnixStream::connect(node.socket()).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.set_write_timeout(Some(LIMIT)).unwrap();
            let _ = stream.write_all(&bytes);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            assert!(refused, "{}: {answer}", escaped(&bytes));
        }
        // What is sound in front of nonsense is answered, and the nonsense ends the connection.
        let sound = STATUS.repeat(3);
        let answer = raw(node, format!("{sound}\0\0nonsense\r\n\r\n").as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
        assert!(answer.matches("HTTP/1.1 4").count() <= 1, "{answer}");
    }
    for unharmed in &unharmed {
        unharmed.assert("bytes that are no HTTP");
    }
}
