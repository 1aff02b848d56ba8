//! One request with all that follows from it: redirects, challenges, cookies.

use std::fs::File;
use std::io::{self, Seek};

use ureq::http;

use crate::machine::Machine;

use super::address::{Address, join, masked, unquote};
use super::authentication::{answer, basic, from_netrc};
use super::client::{Client, client};
use super::response::{Cookies, Response};
use super::{Options, Redirects};
use crate::modules::Failure;

/// What is asked of a server.
#[derive(Debug)]
pub(in crate::modules) struct Request {
    /// In capitals.
    pub(in crate::modules) method: String,
    pub(in crate::modules) url: String,
    /// Over those that every request has.
    pub(in crate::modules) headers: Vec<(String, String)>,
    pub(in crate::modules) body: Body,
    /// Asks caches for the present state.
    pub(in crate::modules) force: bool,
    /// Asks for what is newer than this, in seconds since the epoch.
    pub(in crate::modules) newer_than: Option<i64>,
}

/// What a request carries.
#[derive(Debug)]
pub(in crate::modules) enum Body {
    None,
    Bytes(Vec<u8>),
    File(File),
}

impl Request {
    /// Makes a plain `GET`.
    pub(in crate::modules) fn get(url: &str) -> Self {
        Self {
            method: "GET".into(),
            url: url.into(),
            headers: Vec::new(),
            body: Body::None,
            force: false,
            newer_than: None,
        }
    }
}

/// The longest chain of redirects that is followed.
const MOST_REDIRECTS: usize = 10;

/// Sends a request. What goes wrong on the way is a response without status, as in Ansible.
pub(in crate::modules) fn send(
    machine: &mut Machine,
    request: Request,
    options: &Options,
) -> Result<Response, Failure> {
    let first_url = masked(&request.url);
    let mut exchange = Exchange::new(machine, request, options);
    let mut n_redirects = 0;
    loop {
        machine.check_cancelled()?;
        let address = Address::new(&exchange.url);
        if !matches!(address.scheme, "http" | "https") {
            let msg = format!("<urlopen error unknown url type: {}>", address.scheme);
            return Ok(Response::failed(first_url, &msg));
        }
        let client = client(machine, &address, options)?;
        let response = match exchange.once(&client) {
            Ok(response) => response,
            Err(error) => return Ok(Response::failed(first_url, &error_text(&error))),
        };
        let headers = Response::header_list(&response);
        exchange.cookies.collect(&headers);
        if let Some(header) = exchange.answer_to(response.status().as_u16(), &headers) {
            exchange.authorization = Some(header);
            continue;
        }
        let location = headers
            .iter()
            .find(|(name, _)| name == "location")
            .map(|(_, location)| join(&exchange.url, location));
        let status = response.status().as_u16();
        let next = next_method(options.redirects, status, &exchange.request.method);
        match (location, next) {
            (Some(location), Some(next)) if n_redirects < MOST_REDIRECTS => {
                n_redirects += 1;
                exchange.redirect(location, next);
            }
            (Some(_), Some(_)) => {
                let response = Response::new(response, first_url, exchange.cookies, options);
                return Ok(response.looping());
            }
            _ => {
                let url = if status < 400 && !is_redirect(status) {
                    masked(&exchange.url)
                } else {
                    first_url
                };
                return Ok(Response::new(response, url, exchange.cookies, options));
            }
        }
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// How the next request of a chain is made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Next {
    method: String,
    keeps_body: bool,
}

/// Decides whether a redirect is followed, and with which method.
fn next_method(redirects: Redirects, status: u16, method: &str) -> Option<Next> {
    let is_reading = matches!(method, "GET" | "HEAD");
    let follows = is_redirect(status)
        && match redirects {
            Redirects::None => false,
            Redirects::All => true,
            Redirects::Safe => is_reading,
            Redirects::Urllib2 => is_reading || (status < 304 && method == "POST"),
        };
    if !follows {
        return None;
    }
    let keeps_body = matches!(status, 307 | 308);
    let becomes_get =
        (matches!(status, 302 | 303) && method != "HEAD") || (status == 301 && method == "POST");
    Some(Next {
        method: if becomes_get { "GET" } else { method }.to_owned(),
        keeps_body,
    })
}

/// A chain of requests on its way.
struct Exchange<'a> {
    request: Request,
    options: &'a Options,
    /// Without user and password.
    url: String,
    /// `user:password`.
    credentials: Option<String>,
    authorization: Option<String>,
    answered: bool,
    cookies: Cookies,
}

impl<'a> Exchange<'a> {
    fn new(machine: &mut Machine, request: Request, options: &'a Options) -> Self {
        let address = Address::new(&request.url);
        let given = options
            .username
            .as_ref()
            .filter(|name| !name.is_empty())
            .map(|name| format!("{name}:{}", options.password.as_deref().unwrap_or_default()));
        let in_url = address.user_info.map(|user_info| {
            let (name, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            format!("{}:{}", unquote(name), unquote(password))
        });
        let credentials = given.or(in_url);
        let authorization = match &credentials {
            Some(credentials) => options.force_basic_auth.then(|| basic(credentials)),
            None if options.use_netrc => {
                from_netrc(machine, address.host()).map(|credentials| basic(&credentials))
            }
            None => None,
        };
        let url = match address.scheme {
            "" => request.url.clone(),
            _ => address.bare(),
        };
        Self {
            url,
            request,
            options,
            credentials,
            authorization,
            answered: false,
            cookies: Cookies::default(),
        }
    }

    /// Sends the request of the moment.
    fn once(&mut self, client: &Client) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let method = self.request.method.as_str();
        let has_body = !matches!(self.request.body, Body::None);
        if has_body && matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS" | "TRACE") {
            let mut request = match method {
                "HEAD" => client.agent.head(&self.url),
                "DELETE" => client.agent.delete(&self.url),
                "OPTIONS" => client.agent.options(&self.url),
                "TRACE" => client.agent.trace(&self.url),
                _ => client.agent.get(&self.url),
            };
            for (name, value) in self.headers(client) {
                request = request.header(name, value);
            }
            let request = request.force_send_body();
            return match &mut self.request.body {
                Body::None => request.send_empty(),
                Body::Bytes(bytes) => request.send(bytes.as_slice()),
                Body::File(file) => request.send(rewound(file)?),
            };
        }
        let mut request = http::Request::builder().method(method).uri(&self.url);
        for (name, value) in self.headers(client) {
            request = request.header(name, value);
        }
        match &mut self.request.body {
            Body::None => client
                .agent
                .run(request.body(()).map_err(ureq::Error::Http)?),
            Body::Bytes(bytes) => {
                let request = request.body(bytes.clone()).map_err(ureq::Error::Http)?;
                client.agent.run(request)
            }
            Body::File(file) => {
                let request = request.body(rewound(file)?).map_err(ureq::Error::Http)?;
                client.agent.run(request)
            }
        }
    }

    /// Returns the headers; the user's come over ours.
    fn headers(&self, client: &Client) -> Vec<(String, String)> {
        let mut headers = vec![("User-Agent".to_owned(), self.options.http_agent.clone())];
        if self.request.force {
            headers.push(("Cache-Control".into(), "no-cache".into()));
        } else if let Some(seconds) = self.request.newer_than {
            headers.push(("If-Modified-Since".into(), http_date(seconds)));
        }
        if let Some(cookies) = self.cookies.header() {
            headers.push(("Cookie".into(), cookies));
        }
        if let Some(authorization) = &self.authorization {
            headers.push(("Authorization".into(), authorization.clone()));
        }
        if let Some(authorization) = &client.proxy_authorization {
            headers.push(("Proxy-Authorization".into(), authorization.clone()));
        }
        for (name, value) in &self.request.headers {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            headers.push((name.clone(), value.clone()));
        }
        headers
    }

    /// Answers a server that asks who we are, once.
    fn answer_to(&mut self, status: u16, headers: &[(String, String)]) -> Option<String> {
        if status != 401 || self.answered || self.authorization.is_some() {
            return None;
        }
        let challenges: Vec<String> = headers
            .iter()
            .filter(|(name, _)| name == "www-authenticate")
            .map(|(_, value)| value.clone())
            .collect();
        let address = Address::new(&self.url);
        let path = if address.path.is_empty() {
            "/"
        } else {
            address.path
        };
        let target = format!("{path}{}", address.query);
        let header = answer(
            &challenges,
            self.credentials.as_deref()?,
            &self.request.method,
            &target,
        );
        self.answered = header.is_some();
        header
    }

    fn redirect(&mut self, location: String, next: Next) {
        let same_host = {
            let (from, to) = (Address::new(&self.url), Address::new(&location));
            (from.scheme, from.host_port) == (to.scheme, to.host_port)
        };
        // Secrets stay with the host they were meant for; Ansible would pass them on.
        if !same_host {
            self.authorization = None;
            self.credentials = None;
            self.cookies.forget_sent();
            self.request
                .headers
                .retain(|(name, _)| !is_one_of(name, &["authorization", "cookie"]));
        }
        self.answered = false;
        let unredirected = &self.options.unredirected_headers;
        self.request.headers.retain(|(name, _)| {
            !unredirected
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name))
        });
        if !next.keeps_body {
            self.request.body = Body::None;
            self.request.headers.retain(|(name, _)| {
                !is_one_of(
                    name,
                    &["content-length", "content-type", "transfer-encoding"],
                )
            });
        }
        self.request.method = next.method;
        let address = Address::new(&location);
        self.url = match address.scheme {
            "" => location,
            _ => address.bare(),
        };
    }
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| other.eq_ignore_ascii_case(name))
}

fn rewound(file: &mut File) -> io::Result<File> {
    file.rewind()?;
    file.try_clone()
}

/// Returns a time as HTTP writes it.
fn http_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| String::new(),
        |time| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
    )
}

/// Says in Python's words why no response came.
fn error_text(error: &ureq::Error) -> String {
    let why = match error {
        ureq::Error::Io(error) => match error.raw_os_error() {
            Some(number) => crate::modules::os_error::errno_reason(number),
            None => error.to_string(),
        },
        ureq::Error::HostNotFound => "[Errno -2] Name or service not known".into(),
        ureq::Error::Timeout(_) => "timed out".into(),
        ureq::Error::Rustls(error) => format!("[SSL] {error}"),
        other => other.to_string(),
    };
    format!("<urlopen error {why}>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_as_the_option_says() {
        let next = |redirects, status, method: &str| {
            next_method(redirects, status, method).map(|next| (next.method, next.keeps_body))
        };
        let to = |method: &str, keeps| Some((method.to_owned(), keeps));
        assert_eq!(next(Redirects::None, 302, "GET"), None);
        assert_eq!(next(Redirects::Safe, 302, "POST"), None);
        assert_eq!(next(Redirects::Safe, 302, "HEAD"), to("HEAD", false));
        assert_eq!(next(Redirects::All, 302, "POST"), to("GET", false));
        assert_eq!(next(Redirects::All, 307, "POST"), to("POST", true));
        assert_eq!(next(Redirects::All, 301, "PUT"), to("PUT", false));
        assert_eq!(next(Redirects::Urllib2, 303, "POST"), to("GET", false));
        assert_eq!(next(Redirects::Urllib2, 307, "POST"), None);
        assert_eq!(next(Redirects::All, 304, "GET"), None);
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
