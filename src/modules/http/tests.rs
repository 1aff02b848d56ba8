//! Requests to a server on loopback.

use std::io::Read;

use super::testing::Server;
use super::*;
use crate::machine::MachineOptions;

fn machine(environment: &[(&str, String)]) -> Machine {
    let own = [
        ("NETRC", "/nowhere".to_owned()),
        ("no_proxy", String::new()),
    ];
    Machine::new(MachineOptions {
        environment: own
            .iter()
            .chain(environment)
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        ..MachineOptions::default()
    })
}

fn get(url: &str, options: &Options) -> (i32, String, String, String) {
    let response = send(&mut machine(&[]), Request::get(url), options).unwrap();
    let (status, msg, url) = (response.status, response.msg.clone(), response.url.clone());
    let mut body = String::new();
    response.into_body().read_to_string(&mut body).unwrap();
    (status, msg, url, body)
}

#[test]
fn redirects_end_where_they_lead_and_an_error_where_it_began() {
    let server = Server::new(|request| match request {
        "GET /a" => "302 Found\nLocation: /b".into(),
        "GET /b" => "200 OK\n\nhello".into(),
        "GET /loop" => "302 Found\nLocation: /loop".into(),
        "GET /gone" => "301 Moved\nLocation: /missing".into(),
        _ => "404 Not Found\n\nno".into(),
    });
    let options = Options::default();
    let ok = (200, "OK (5 bytes)".into(), server.url("/b"), "hello".into());
    assert_eq!(get(&server.url("/a"), &options), ok);
    let missing = (
        404,
        "HTTP Error 404: Not Found".into(),
        server.url("/gone"),
        "no".into(),
    );
    assert_eq!(get(&server.url("/gone"), &options), missing);
    let (status, msg, ..) = get(&server.url("/loop"), &options);
    assert_eq!(status, 302);
    assert!(msg.contains("infinite loop"), "{msg}");
    let stay = Options {
        redirects: Redirects::None,
        ..Options::default()
    };
    assert_eq!(get(&server.url("/a"), &stay).0, 302);
}

#[test]
fn nobody_there_is_a_response_without_status() {
    let url = format!("http://{}/", Server::nowhere());
    let (status, msg, shown, _) = get(&url, &Options::default());
    assert_eq!(
        (status, msg.as_str(), shown),
        (
            -1,
            "Request failed: <urlopen error [Errno 111] Connection refused>",
            url
        )
    );
    let (_, msg, ..) = get("gopher://x/", &Options::default());
    assert_eq!(
        msg,
        "Request failed: <urlopen error unknown url type: gopher>"
    );
}

#[test]
fn a_password_is_sent_when_it_is_asked_for_or_at_once() {
    let server = Server::new(|_| "401 Unauthorized\nWWW-Authenticate: Basic realm=\"x\"".into());
    let url = server.url("/").replace("http://", "http://me:pa%20ss@");
    get(&url, &Options::default());
    let has_password = |request: &String| request.contains("authorization: Basic bWU6cGEgc3M=");
    let lower = |request: &String| request.replace("Authorization", "authorization");
    let sent: Vec<bool> = server
        .seen()
        .iter()
        .map(|r| has_password(&lower(r)))
        .collect();
    assert_eq!(sent, [false, true]);
    let options = Options {
        username: Some("me".into()),
        password: Some("pa ss".into()),
        force_basic_auth: true,
        ..Options::default()
    };
    get(&server.url("/"), &options);
    assert!(has_password(&lower(&server.seen()[2])));
}

/// Where the test below redirects to.
static OTHER: std::sync::OnceLock<String> = std::sync::OnceLock::new();

#[test]
fn secrets_do_not_follow_a_redirect_to_another_host() {
    let other = Server::new(|_| "200 OK\n\n".into());
    OTHER.set(other.url("/")).unwrap();
    let server = Server::new(|_| format!("302 Found\nLocation: {}", OTHER.get().unwrap()));
    let options = Options {
        username: Some("me".into()),
        password: Some("pw".into()),
        force_basic_auth: true,
        ..Options::default()
    };
    get(&server.url("/"), &options);
    assert!(!other.seen()[0].to_lowercase().contains("authorization"));
}

#[test]
fn a_body_is_sent_with_any_method() {
    let server = Server::new(|_| "200 OK\n\n".into());
    for method in ["POST", "GET", "DELETE", "PROPFIND"] {
        let request = Request {
            method: method.into(),
            body: Body::Bytes(b"data".to_vec()),
            ..Request::get(&server.url("/"))
        };
        let response = send(&mut machine(&[]), request, &Options::default()).unwrap();
        assert_eq!(response.status, 200, "{method}: {}", response.msg);
    }
    for (seen, method) in server
        .seen()
        .iter()
        .zip(["POST", "GET", "DELETE", "PROPFIND"])
    {
        assert!(
            seen.starts_with(method) && seen.ends_with("\r\n\r\ndata"),
            "{seen}"
        );
    }
}

#[test]
fn a_unix_socket_is_spoken_to_whatever_the_url_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    Server::on_unix_socket(&path, |_| "200 OK\n\nhello".into());
    let options = Options {
        unix_socket: Some(path),
        ..Options::default()
    };
    assert_eq!(get("http://no.such.host.invalid/x", &options).3, "hello");
}

#[test]
fn plain_http_through_a_proxy_asks_for_the_whole_url() {
    let proxy = Server::new(|_| "200 OK\n\nproxied".into());
    let mut machine = machine(&[("http_proxy", format!("http://me:pw@{}", proxy.address))]);
    let request = Request::get("http://far.example:8080/x?y");
    let response = send(&mut machine, request, &Options::default()).unwrap();
    assert_eq!(response.status, 200);
    let seen = proxy.seen()[0].to_lowercase();
    assert!(
        seen.starts_with("get http://far.example:8080/x?y http/1.1\r\n"),
        "{seen}"
    );
    assert!(seen.contains("host: far.example:8080\r\n"), "{seen}");
    assert!(
        seen.contains("proxy-authorization: basic bwu6chc=\r\n"),
        "{seen}"
    );
}

#[test]
fn cookies_are_collected_on_the_way_and_given_back() {
    let server = Server::new(|request| match request {
        "GET /a" => "302 Found\nLocation: /b\nSet-Cookie: id=7; Path=/".into(),
        _ => "200 OK\nSet-Cookie: x=y\n\n".into(),
    });
    let request = Request::get(&server.url("/a"));
    let response = send(&mut machine(&[]), request, &Options::default()).unwrap();
    assert_eq!(response.cookies.text(), "id=7; x=y");
    assert!(server.seen()[1].to_lowercase().contains("cookie: id=7\r\n"));
}
