//! `uri`: one HTTP request, and what came back.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::machine::{Content, Follow, Machine, NewFile};
use crate::value::{Map, Value};

use super::http::{self, Body, Options, Redirects, Request, Response};
use super::offer::content_id;
use super::path_info::path_info;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Interact with web services.
    pub(crate) struct UriArgs for "uri" with file_attributes {
        /// The URL.
        url: String { required },
        /// Where to save the content; in a directory, under the server's name for it.
        dest: Option<PathBuf> {},
        /// Who asks.
        url_username: Option<String> { aliases: ["user"] },
        url_password: Option<String> { no_log, aliases: ["password"] },
        /// Send user and password before they are asked for.
        force_basic_auth: bool { default: "false" },
        /// What to send.
        body: Option<Value> {},
        /// How `body` is written.
        body_format: String {
            default: "raw",
            choices: ["form-urlencoded", "json", "raw", "form-multipart"],
        },
        /// The file to send.
        src: Option<PathBuf> {},
        /// `src` is on the target.
        remote_src: bool { default: "false" },
        /// The method, in capitals.
        method: String { default: "GET" },
        /// Return the content.
        return_content: bool { default: "false" },
        /// Which redirects to follow.
        follow_redirects: String {
            default: "safe",
            choices: ["all", "no", "none", "safe", "urllib2", "yes"],
        },
        /// Do nothing when this exists.
        creates: Option<PathBuf> {},
        /// Do nothing unless this exists.
        removes: Option<PathBuf> {},
        /// The codes that mean success.
        status_code: Vec<i64> { default: "200" },
        /// Seconds that any one step may take.
        timeout: i64 { default: "30" },
        /// Headers to send.
        headers: Map { default: "{}" },
        /// The socket to speak to instead of the URL's host.
        unix_socket: Option<PathBuf> {},
        /// The certificates to trust instead of the system's.
        ca_path: Option<PathBuf> {},
        client_cert: Option<PathBuf> {},
        client_key: Option<PathBuf> {},
        /// Check the server's certificate.
        validate_certs: bool { default: "true" },
        /// Headers that stay behind at a redirect.
        unredirected_headers: Vec<String> { default: "" },
        /// Decode what the server compressed.
        decompress: bool { default: "true" },
        ciphers: Option<Vec<String>> {},
        /// Take user and password from the netrc file.
        use_netrc: bool { default: "true" },
        /// Use the proxies of the environment.
        use_proxy: bool { default: "true" },
        /// Ask caches for the present state.
        force: bool { default: "false" },
        /// The User-Agent header.
        http_agent: String { default: "ansible-httpget" },
        use_gssapi: bool { default: "false" },
        /// What the controller has as `src`.
        _content: Option<Map> { internal },
        /// What the controller has as the files of a multipart body, by field.
        _files: Option<Map> { internal },
    }
    mutually_exclusive [["body", "src"]]
}

/// Sends the request; a status that is not expected is a failure with all that came back.
pub(crate) fn run(machine: &mut Machine, args: UriArgs) -> ModuleResult {
    if machine.is_check() {
        let msg = "This action (uri) does not support check mode.";
        return Ok(Outcome::unchanged().skipped().msg(msg));
    }
    http::check_unsupported(args.use_gssapi, args.ciphers.as_deref())?;
    let method = args.method.to_uppercase();
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(Failure::new(
            "Parameter 'method' needs to be a single word in uppercase, like GET or POST.",
        ));
    }
    if let Some(outcome) = unneeded(machine, &args)? {
        return Ok(outcome);
    }
    let (headers, body) = content(machine, &args)?;
    let dest = args.dest.as_ref().map(|dest| machine.expand(dest));
    let newer_than = match &dest {
        Some(dest) => machine
            .metadata(dest)?
            .filter(crate::machine::Metadata::is_file),
        None => None,
    };
    let request = Request {
        method,
        url: args.url.clone(),
        headers,
        body,
        force: args.force,
        newer_than: newer_than.map(|found| found.mtime.seconds),
    };
    let started = Instant::now();
    let response = http::send(machine, request, &options(&args))?;
    let elapsed = started.elapsed().as_secs();
    report(machine, &args, dest, response, elapsed)
}

fn unneeded(machine: &mut Machine, args: &UriArgs) -> Result<Option<Outcome>, Failure> {
    let skipped = |path: &Path, why: &str| {
        let stdout = format!("skipped, since '{}' {why}", path.display());
        Ok(Some(Outcome::unchanged().with("stdout", stdout)))
    };
    if let Some(creates) = &args.creates {
        let path = machine.expand(creates);
        if machine.exists(&path)? {
            return skipped(creates, "exists");
        }
    }
    if let Some(removes) = &args.removes {
        let path = machine.expand(removes);
        if !machine.exists(&path)? {
            return skipped(removes, "does not exist");
        }
    }
    Ok(None)
}

fn options(args: &UriArgs) -> Options {
    Options {
        http_agent: args.http_agent.clone(),
        use_proxy: args.use_proxy,
        validate_certs: args.validate_certs,
        username: args.url_username.clone(),
        password: args.url_password.clone(),
        force_basic_auth: args.force_basic_auth,
        client_cert: args.client_cert.clone(),
        client_key: args.client_key.clone(),
        ca_path: args.ca_path.clone(),
        unix_socket: args.unix_socket.clone(),
        timeout: args.timeout,
        use_netrc: args.use_netrc,
        decompress: args.decompress,
        redirects: match args.follow_redirects.as_str() {
            "all" | "yes" => Redirects::All,
            "none" | "no" => Redirects::None,
            "urllib2" => Redirects::Urllib2,
            _ => Redirects::Safe,
        },
        unredirected_headers: args.unredirected_headers.clone(),
    }
}

/// Returns the headers and the body, encoded as `body_format` says.
fn content(
    machine: &mut Machine,
    args: &UriArgs,
) -> Result<(Vec<(String, String)>, Body), Failure> {
    let mut headers = http::header_list(&args.headers)?;
    let body = match (&args.body, args.body_format.as_str()) {
        (Some(body), "form-multipart") => {
            let none = Map::new();
            let offered = args._files.as_ref().unwrap_or(&none);
            let (kind, body) = http::multipart(machine, body, offered)?;
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
            headers.push(("Content-Type".into(), kind));
            Some(body)
        }
        (body, "json") => {
            add_content_type(&mut headers, "application/json");
            body.as_ref().map(|body| match body {
                Value::String(text) => text.as_bytes().to_vec(),
                body => http::json_text(body).into_bytes(),
            })
        }
        (body, "form-urlencoded") => {
            add_content_type(&mut headers, "application/x-www-form-urlencoded");
            let body = body.as_ref().map(http::urlencoded).transpose()?;
            body.map(String::into_bytes)
        }
        (body, _) => body.as_ref().map(|body| body.to_string().into_bytes()),
    };
    let body = match (body, &args._content, &args.src) {
        (Some(body), ..) => Body::Bytes(body),
        (None, Some(offer), _) => {
            let content = Content::Remote(content_id(offer)?);
            Body::Bytes(machine.read_content(&content)?)
        }
        (None, None, Some(src)) => {
            let path = machine.expand(src);
            let file = File::open(&path).map_err(|_| {
                let msg = format!("Unable to open source file {}", src.display());
                Failure::new(msg).with("elapsed", 0)
            })?;
            Body::File(file)
        }
        (None, None, None) => Body::None,
    };
    Ok((headers, body))
}

fn add_content_type(headers: &mut Vec<(String, String)>, kind: &str) {
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
    {
        headers.push(("Content-Type".into(), kind.into()));
    }
}

fn report(
    machine: &mut Machine,
    args: &UriArgs,
    dest: Option<PathBuf>,
    mut response: Response,
    elapsed: u64,
) -> ModuleResult {
    let is_expected = args.status_code.contains(&i64::from(response.status));
    let (kind, charset) = response.content_type();
    let is_json = is_json(&kind) && response.status != -1;
    let mut body = response.take_body();
    let is_error = response.status >= 300;
    let content = if is_json || args.return_content || !is_expected || is_error {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)
            .map_err(|error| broken(&response, &error))?;
        Some(bytes)
    } else {
        None
    };
    let mut result = values(&response, args, elapsed);
    let mut changed = false;
    if let Some(dest) = dest.filter(|_| response.status != -1) {
        let dest = named(machine, dest, &response)?;
        if is_expected && response.status != 304 {
            match &content {
                Some(bytes) => save(machine, &dest, &mut bytes.as_slice())?,
                None => save(machine, &dest, &mut *body)?,
            }
            machine.apply_file_attributes(&dest, &args.file, Follow::No)?;
            changed = true;
        }
        result.insert("path".into(), dest.display().to_string().into());
        result.extend(path_info(machine, &dest)?);
    }
    if let Some(bytes) = &content {
        let text = decoded(bytes, &charset);
        if let Some(json) = Some(&text)
            .filter(|_| is_json)
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
        {
            result.insert("json".into(), json);
        }
        if args.return_content {
            result.insert("content".into(), text.into());
        } else if is_error && is_expected && !is_json && response.status != 304 {
            // What an expected error says has a name of its own.
            result.insert("body".into(), text.into());
        }
    }
    if is_expected {
        return Ok(Outcome::unchanged().with_changed(changed).with_all(result));
    }
    let expected = Value::list(args.status_code.iter().copied());
    let msg = format!(
        "Status code was {} and not {}: {}",
        response.status,
        crate::value::repr(&expected),
        response.msg
    );
    result.shift_remove("msg");
    Err(Failure::new(msg).with_all(result))
}

/// Returns what the result says about the response: every header with its dashes as underscores,
/// then Ansible's own values.
fn values(response: &Response, args: &UriArgs, elapsed: u64) -> Map {
    let mut result = Map::new();
    for (name, value) in &response.headers {
        let value = if name == "location" {
            http::join(&http::masked(&args.url), value)
        } else {
            value.clone()
        };
        result.insert(name.replace('-', "_").into(), value.into());
    }
    let redirected = response.url != http::masked(&args.url);
    let mut add = |name: &str, value: Value| result.insert(name.into(), value);
    add("redirected", redirected.into());
    add("url", response.url.as_str().into());
    add("status", response.status.into());
    add("msg", response.msg.as_str().into());
    add("elapsed", elapsed.into());
    if response.is_success() {
        let cookies = response.cookies.all.iter();
        let cookies: Map = cookies
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect();
        add("cookies", cookies.into());
        add("cookies_string", response.cookies.text().into());
    }
    result
}

fn is_json(kind: &str) -> bool {
    let sub_type = kind.rsplit('/').next().unwrap_or_default();
    let sub_type = sub_type
        .split_once('+')
        .map_or(sub_type, |(_, suffix)| suffix);
    matches!(sub_type, "json" | "javascript")
}

fn named(machine: &Machine, dest: PathBuf, response: &Response) -> Result<PathBuf, Failure> {
    if !machine.is_dir(&dest)? {
        return Ok(dest);
    }
    let name = response.disposition_name().or_else(|| response.url_name());
    Ok(dest.join(name.unwrap_or_else(|| "index.html".into())))
}

fn save(machine: &mut Machine, dest: &Path, body: &mut dyn Read) -> Result<(), Failure> {
    let mut spool = machine.temporary_file(b"")?;
    io::copy(body, spool.file()).map_err(|error| {
        Failure::new(format!("Failed to create temporary content file: {error}"))
    })?;
    machine.write(
        dest,
        Content::File(spool.path().to_owned()),
        &NewFile::default(),
    )?;
    Ok(())
}

fn decoded(bytes: &[u8], charset: &str) -> String {
    match charset {
        "iso-8859-1" | "latin-1" | "latin1" => bytes.iter().copied().map(char::from).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn broken(response: &Response, error: &io::Error) -> Failure {
    Failure::new(format!(
        "HTTP Error while fetching {}: {error}",
        response.url
    ))
}

#[cfg(test)]
mod tests {
    use super::super::http::testing::Server;
    use super::super::testing::Target;

    fn server() -> Server {
        Server::new(|request| match request {
            "GET /json" => "200 OK\nContent-Type: application/json\n\n{\"up\": true}".into(),
            "GET /text" => "200 OK\nContent-Type: text/plain\nX-Some-Thing: 1\n\nhello".into(),
            "GET /file" => {
                "200 OK\nContent-Disposition: attachment; filename=\"../a.txt\"\n\ndata".into()
            }
            "GET /moved" => "302 Found\nLocation: /json".into(),
            "POST /echo" => "201 Created\n\n".into(),
            _ => "404 Not Found\nContent-Type: application/json\n\n{\"why\": \"none\"}".into(),
        })
    }

    fn run(server: &Server, options: &str) -> String {
        let target = Target::new().env("no_proxy", "*");
        let options = options.replace("$SERVER", &server.address);
        target
            .run("uri", &options)
            .replace(&server.address, "$SERVER")
    }

    #[test]
    fn json_is_parsed_and_headers_become_values() {
        let server = server();
        assert_eq!(
            run(&server, r#"{"url": "http://$SERVER/moved"}"#),
            r#"{"changed":false,"content_type":"application/json","content_length":"12","connection":"close","redirected":true,"url":"http://$SERVER/json","status":200,"msg":"OK (12 bytes)","elapsed":0,"cookies":{},"cookies_string":"","json":{"up":true}}"#
        );
        assert_eq!(
            run(
                &server,
                r#"{"url": "http://$SERVER/text", "return_content": true}"#
            ),
            r#"{"changed":false,"content_type":"text/plain","x_some_thing":"1","content_length":"5","connection":"close","redirected":false,"url":"http://$SERVER/text","status":200,"msg":"OK (5 bytes)","elapsed":0,"cookies":{},"cookies_string":"","content":"hello"}"#
        );
    }

    #[test]
    fn a_status_that_is_not_expected_fails_with_what_came() {
        let server = server();
        assert_eq!(
            run(
                &server,
                r#"{"url": "http://$SERVER/no", "status_code": [200, 204]}"#
            ),
            r#"{"failed":true,"changed":false,"msg":"Status code was 404 and not [200, 204]: HTTP Error 404: Not Found","content_type":"application/json","content_length":"15","connection":"close","redirected":false,"url":"http://$SERVER/no","status":404,"elapsed":0,"json":{"why":"none"}}"#
        );
        let expected = run(
            &server,
            r#"{"url": "http://$SERVER/no", "status_code": 404}"#,
        );
        assert!(expected.starts_with(r#"{"changed":false,"#), "{expected}");
        let nobody = Server::nowhere();
        let result = run(&server, &format!(r#"{{"url": "http://{nobody}/"}}"#));
        assert_eq!(
            result.replace(&nobody, "$NOBODY"),
            r#"{"failed":true,"changed":false,"msg":"Status code was -1 and not [200]: Request failed: <urlopen error [Errno 111] Connection refused>","redirected":false,"url":"http://$NOBODY/","status":-1,"elapsed":0}"#
        );
    }

    #[test]
    fn bodies_are_encoded_as_their_format_says() {
        let server = server();
        for (format, body, kind, sent) in [
            (
                "json",
                r#"{"a": [1, "é"]}"#,
                "application/json",
                r#"{"a": [1, "\u00e9"]}"#,
            ),
            ("json", r#""{}""#, "application/json", "{}"),
            (
                "form-urlencoded",
                r#"{"a": "b c"}"#,
                "application/x-www-form-urlencoded",
                "a=b+c",
            ),
        ] {
            let options = format!(
                r#"{{"url": "http://$SERVER/echo", "method": "POST", "status_code": 201, "body_format": "{format}", "body": {body}}}"#
            );
            run(&server, &options);
            let seen = server.seen().pop().unwrap();
            let lower = seen.to_lowercase();
            assert!(
                lower.contains(&format!("content-type: {kind}\r\n")),
                "{seen}"
            );
            assert!(seen.ends_with(&format!("\r\n\r\n{sent}")), "{seen}");
        }
    }

    #[test]
    fn content_is_saved_under_the_servers_name_without_its_directories() {
        let server = server();
        let target = Target::new().directory("d").env("no_proxy", "*");
        let options = format!(r#"{{"url": "{}", "dest": "$ROOT/d"}}"#, server.url("/file"));
        let result = target.result("uri", &options);
        assert_eq!(result.get("changed"), Some(&true.into()));
        assert_eq!(target.read("d/a.txt"), "data");
    }

    #[test]
    fn what_is_not_needed_is_not_asked_for() {
        let target = Target::new().file("f", "");
        assert_eq!(
            target.run(
                "uri",
                r#"{"url": "http://x.invalid", "creates": "$ROOT/f"}"#
            ),
            r#"{"changed":false,"stdout":"skipped, since '$ROOT/f' exists","stdout_lines":["skipped, since '$ROOT/f' exists"]}"#
        );
    }
}
