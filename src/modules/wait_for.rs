//! `wait_for`: a port, a file, or some time.

use std::io::Read;
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::pyregex::{Captures, Flags, Pattern};
use crate::value::{Map, Value};

use super::foresight::skipped_in_check_mode;
use super::path_info::path_info;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Waits for a condition before continuing.
    pub(crate) struct WaitForArgs for "wait_for" {
        /// The host whose port is looked at.
        host: String { default: "127.0.0.1" },
        /// Seconds to wait at most.
        timeout: i64 { default: "300" },
        /// Seconds that one connection may take.
        connect_timeout: i64 { default: "5" },
        /// Seconds to wait before looking at all.
        delay: i64 { default: "0" },
        port: Option<i64> {},
        /// The states of connections that count for `drained`.
        active_connection_states: Vec<String> {
            default: "ESTABLISHED,FIN_WAIT1,FIN_WAIT2,SYN_RECV,SYN_SENT,TIME_WAIT",
        },
        path: Option<PathBuf> {},
        /// What the file, or what the port says, must hold.
        search_regex: Option<String> {},
        state: String {
            default: "started",
            choices: ["absent", "drained", "present", "started", "stopped"],
        },
        /// Hosts whose connections do not count for `drained`.
        exclude_hosts: Option<Vec<String>> {},
        /// Seconds between two looks.
        sleep: i64 { default: "1" },
        /// What to say when it takes too long.
        msg: Option<String> {},
    }
}

/// Waits until the condition holds.
pub(crate) fn run(machine: &mut Machine, args: WaitForArgs) -> ModuleResult {
    if let Some(outcome) = skipped_in_check_mode(machine, "wait_for") {
        return Ok(outcome);
    }
    let pattern = args
        .search_regex
        .as_deref()
        .map(|pattern| {
            let flags = Flags {
                multi_line: true,
                ..Flags::default()
            };
            Pattern::bytes(pattern, flags)
        })
        .transpose()
        .map_err(|error| Failure::new(format!("Invalid regular expression: {error}")))?;
    check(&args)?;
    let path = args.path.as_ref().map(|path| machine.expand(path));
    let mut wait = Wait {
        subject: subject(&args, path.clone()),
        args: &args,
        pattern,
        started: Instant::now(),
        found: None,
    };
    machine.sleep(seconds(args.delay))?;
    wait.run(machine)?;
    let (groups, named) = wait.found.take().unwrap_or_default();
    let shown_path = path.as_ref().map(|path| path.display().to_string());
    let info = match &path {
        Some(path) => path_info(machine, path)?,
        None => Map::new(),
    };
    Ok(Outcome::unchanged()
        .with("state", args.state.as_str())
        .with("port", args.port)
        .with("search_regex", args.search_regex.clone())
        .with("match_groups", Value::from(groups))
        .with("match_groupdict", Value::from(named))
        .with("path", shown_path)
        .with("elapsed", wait.started.elapsed().as_secs())
        // As in Ansible, the state of a file that was waited for comes over the option.
        .with_all(info))
}

/// Refuses options that contradict each other.
fn check(args: &WaitForArgs) -> Result<(), Failure> {
    let is_port = args.port.is_some_and(|port| port != 0);
    let has_path = args.path.is_some();
    let unknown = args
        .active_connection_states
        .iter()
        .find(|state| connection_state(state).is_none());
    let msg = if is_port && has_path {
        "port and path parameter can not both be passed to wait_for".to_owned()
    } else if has_path && matches!(args.state.as_str(), "stopped" | "drained") {
        format!(
            "state={} should only be used for checking a port in the wait_for module",
            args.state
        )
    } else if args.exclude_hosts.is_some() && args.state != "drained" {
        "exclude_hosts should only be with state=drained".to_owned()
    } else if let Some(state) = unknown {
        format!("unknown active_connection_state ({state}) defined")
    } else {
        return Ok(());
    };
    Err(Failure::new(msg).with("elapsed", 0))
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(count.max(0).unsigned_abs())
}

/// What is waited for.
enum Subject {
    Time,
    Path(PathBuf),
    Port(u16),
}

fn subject(args: &WaitForArgs, path: Option<PathBuf>) -> Subject {
    let port = args
        .port
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0);
    match (path, port) {
        (Some(path), _) => Subject::Path(path),
        (None, Some(port)) => Subject::Port(port),
        (None, None) => Subject::Time,
    }
}

/// The groups of a match, by number and by name.
type Groups = (Vec<Value>, Map);

struct Wait<'a> {
    args: &'a WaitForArgs,
    subject: Subject,
    pattern: Option<Pattern>,
    started: Instant,
    found: Option<Groups>,
}

impl Wait<'_> {
    fn run(&mut self, machine: &mut Machine) -> Result<(), Failure> {
        if matches!(self.subject, Subject::Time) && self.args.state != "drained" {
            return Ok(machine.sleep(seconds(self.args.timeout))?);
        }
        while self.left() > Duration::ZERO {
            let holds = match self.args.state.as_str() {
                "absent" | "stopped" => !self.is_there(machine)?,
                "drained" => self.is_drained(machine)?,
                _ => self.has_come(machine)?,
            };
            if holds {
                return Ok(());
            }
            machine.sleep(seconds(self.args.sleep).min(self.left()))?;
        }
        let msg = self.args.msg.clone().unwrap_or_else(|| self.timeout_msg());
        Err(Failure::new(msg).with("elapsed", self.started.elapsed().as_secs()))
    }

    fn left(&self) -> Duration {
        seconds(self.args.timeout).saturating_sub(self.started.elapsed())
    }

    fn is_there(&self, machine: &Machine) -> Result<bool, Failure> {
        Ok(match &self.subject {
            Subject::Path(path) => machine.exists(path)?,
            Subject::Port(port) => self.connect(*port).is_some(),
            Subject::Time => false,
        })
    }

    /// Tells whether the file or port is there, and holds what is searched.
    fn has_come(&mut self, machine: &mut Machine) -> Result<bool, Failure> {
        match &self.subject {
            Subject::Path(path) => {
                if !machine.exists(path)? {
                    return Ok(false);
                }
                let Some(pattern) = &self.pattern else {
                    return Ok(true);
                };
                let Ok(bytes) = machine.read(path) else {
                    return Ok(false);
                };
                self.found = search(pattern, &bytes)?;
                Ok(self.found.is_some())
            }
            Subject::Port(port) => match (self.connect(*port), &self.pattern) {
                (None, _) => Ok(false),
                (Some(_), None) => Ok(true),
                (Some(stream), Some(pattern)) => self.says(machine, stream, pattern),
            },
            Subject::Time => Ok(false),
        }
    }

    fn connect(&self, port: u16) -> Option<TcpStream> {
        let limit = seconds(self.args.connect_timeout.max(1));
        let limit = limit.min(self.left().max(Duration::from_secs(1)));
        let addresses = (self.args.host.as_str(), port).to_socket_addrs().ok()?;
        addresses
            .into_iter()
            .find_map(|address| TcpStream::connect_timeout(&address, limit).ok())
    }

    /// Listens until the pattern is found, the peer hangs up, or the time is over.
    fn says(
        &self,
        machine: &Machine,
        mut stream: TcpStream,
        pattern: &Pattern,
    ) -> Result<bool, Failure> {
        let mut heard = Vec::new();
        let mut buffer = [0; 1024];
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .ok();
        while self.left() > Duration::ZERO {
            machine.check_cancelled()?;
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => heard.extend_from_slice(&buffer[..count]),
                Err(error) if is_timeout(&error) => continue,
                Err(_) => return Ok(false),
            }
            if search(pattern, &heard)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells whether no connection that counts is left at the port.
    fn is_drained(&self, machine: &mut Machine) -> Result<bool, Failure> {
        let port = self
            .args
            .port
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0);
        let excluded = self.args.exclude_hosts.iter().flatten();
        let count = Drain {
            port,
            hosts: hexadecimal_addresses(&self.args.host)?,
            excluded: excluded
                .map(|host| hexadecimal_addresses(host))
                .collect::<Result<Vec<_>, _>>()?
                .concat(),
            states: self
                .args
                .active_connection_states
                .iter()
                .filter_map(|s| connection_state(s))
                .collect(),
        };
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let Ok(bytes) = machine.read(table.as_ref()) else {
                continue;
            };
            if count.is_busy(&String::from_utf8_lossy(&bytes)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn timeout_msg(&self) -> String {
        let host = &self.args.host;
        let what = self.args.search_regex.as_deref();
        match (&self.subject, self.args.state.as_str(), what) {
            (Subject::Port(port), "stopped" | "absent", _) => {
                format!("Timeout when waiting for {host}:{port} to stop.")
            }
            (Subject::Path(path), "stopped" | "absent", _) => {
                format!("Timeout when waiting for {} to be absent.", path.display())
            }
            (Subject::Port(port), "drained", _) => {
                format!("Timeout when waiting for {host}:{port} to drain")
            }
            (Subject::Port(port), _, Some(what)) => {
                format!("Timeout when waiting for search string {what} in {host}:{port}")
            }
            (Subject::Port(port), _, None) => format!("Timeout when waiting for {host}:{port}"),
            (Subject::Path(path), _, Some(what)) => {
                let path = path.display();
                format!("Timeout when waiting for search string {what} in {path}")
            }
            (Subject::Path(path), _, None) => {
                format!("Timeout when waiting for file {}", path.display())
            }
            (Subject::Time, ..) => format!("Timeout when waiting for {host}:None to drain"),
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn search(pattern: &Pattern, bytes: &[u8]) -> Result<Option<Groups>, Failure> {
    let found = pattern
        .search(bytes)
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(found.map(|found| groups(pattern, &found, bytes)))
}

fn groups(pattern: &Pattern, found: &Captures, bytes: &[u8]) -> Groups {
    let text = |number: usize| match found.span(number) {
        Some(span) => Value::from(&*String::from_utf8_lossy(&bytes[span])),
        None => Value::Null,
    };
    let named = pattern
        .group_names()
        .map(|(name, number)| (name.into(), text(number)));
    (
        (1..=pattern.n_groups()).map(text).collect(),
        named.collect(),
    )
}

/// What connections are counted in the kernel's tables.
struct Drain {
    port: u16,
    /// Addresses as the tables write them.
    hosts: Vec<String>,
    excluded: Vec<String>,
    states: Vec<&'static str>,
}

impl Drain {
    fn is_busy(&self, table: &str) -> bool {
        const ANY: [&str; 2] = ["00000000", "00000000000000000000000000000000"];
        const MAPPED: &str = "0000000000000000FFFF0000";
        let port = format!("{:04X}", self.port);
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (Some(local), Some(remote), Some(state)) =
                (fields.next(), fields.next(), fields.next())
            else {
                return false;
            };
            let Some((local, local_port)) = local.split_once(':') else {
                return false;
            };
            let remote = remote.split(':').next().unwrap_or_default();
            let has = |list: &[String], address: &str| list.iter().any(|known| known == address);
            let is_ours = has(&self.hosts, local)
                || self.hosts.iter().any(|host| ANY.contains(&host.as_str()))
                || (local.starts_with(MAPPED)
                    && has(&self.hosts, "0000000000000000FFFF000000000000"));
            self.states.contains(&state)
                && local_port == port
                && !has(&self.excluded, remote)
                && is_ours
        })
    }
}

/// Returns a host's addresses as `/proc/net/tcp` writes them: words of four bytes, each in the
/// machine's own order.
fn hexadecimal_addresses(host: &str) -> Result<Vec<String>, Failure> {
    let resolved = (host, 80)
        .to_socket_addrs()
        .map_err(|error| Failure::new(format!("the host `{host}` is not known: {error}")))?;
    let mut all = Vec::new();
    for address in resolved {
        match address.ip() {
            IpAddr::V4(address) => {
                all.push(hexadecimal(&address.octets()));
                all.push(hexadecimal(&address.to_ipv6_mapped().octets()));
            }
            IpAddr::V6(address) => all.push(hexadecimal(&address.octets())),
        }
    }
    Ok(all)
}

fn hexadecimal(octets: &[u8]) -> String {
    let words = octets.chunks_exact(4).map(|word| {
        let word = word.try_into().expect("chunks of four bytes");
        u32::from_ne_bytes(word)
    });
    let texts: Vec<_> = words.map(|word| format!("{word:08X}")).collect();
    texts.concat()
}

fn connection_state(name: &str) -> Option<&'static str> {
    Some(match name {
        "ESTABLISHED" => "01",
        "SYN_SENT" => "02",
        "SYN_RECV" => "03",
        "FIN_WAIT1" => "04",
        "FIN_WAIT2" => "05",
        "TIME_WAIT" => "06",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::super::testing::Target;
    use super::*;

    #[test]
    fn a_file_is_waited_for_and_searched() {
        let target = Target::new().file("log", "a\ntask 7 completed\n");
        let options = r#"{"path": "$ROOT/log", "search_regex": "^task (?P<n>\\d+) (completed)"}"#;
        let mut result = target.result("wait_for", options);
        for key in ["uid", "gid", "owner", "group"] {
            result.shift_remove(key);
        }
        let json = serde_json::to_string(&Value::from(result)).unwrap();
        assert_eq!(
            json.replace(&target.path("log").display().to_string(), "LOG"),
            r#"{"changed":false,"state":"file","port":null,"search_regex":"^task (?P<n>\\d+) (completed)","match_groups":["7","completed"],"match_groupdict":{"n":"7"},"path":"LOG","elapsed":0,"mode":"0644","size":19}"#
        );
    }

    #[test]
    fn a_port_is_waited_for_until_it_says_what_is_searched() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                stream.write_all(b"SSH-2.0-OpenSSH_9\r\n").ok();
            }
        });
        let options = format!(r#"{{"port": {port}, "search_regex": "OpenSSH"}}"#);
        let result = Target::new().result("wait_for", &options);
        assert_eq!(result.get("failed"), None);
        assert_eq!(result.get("port"), Some(&i64::from(port).into()));
    }

    #[test]
    fn what_does_not_come_is_named_and_may_be_named_otherwise() {
        let target = Target::new();
        assert_eq!(
            target.run("wait_for", r#"{"path": "$ROOT/no", "timeout": 0}"#),
            r#"{"failed":true,"changed":false,"msg":"Timeout when waiting for file $ROOT/no","elapsed":0}"#
        );
        assert_eq!(
            target.run(
                "wait_for",
                r#"{"port": 1, "timeout": 0, "state": "drained", "msg": "no"}"#
            ),
            r#"{"failed":true,"changed":false,"msg":"no","elapsed":0}"#
        );
        assert_eq!(
            target.run("wait_for", r#"{"port": 1, "path": "/x"}"#),
            r#"{"failed":true,"changed":false,"msg":"port and path parameter can not both be passed to wait_for","elapsed":0}"#
        );
    }

    #[test]
    fn a_stopped_port_and_an_absent_file_need_no_wait() {
        let target = Target::new();
        let absent = target.result("wait_for", r#"{"path": "$ROOT/no", "state": "absent"}"#);
        assert_eq!(absent.get("failed"), None);
        let drained = target.result("wait_for", r#"{"port": 1, "state": "drained"}"#);
        assert_eq!(drained.get("failed"), None);
    }

    #[test]
    fn connections_are_counted_in_the_kernels_table() {
        let drain = Drain {
            port: 22,
            hosts: vec!["0100007F".into()],
            excluded: vec!["0200007F".into()],
            states: vec!["01"],
        };
        let head = "  sl  local_address rem_address   st\n";
        let line = |local: &str, remote: &str, state: &str| {
            drain.is_busy(&format!("{head}   0: {local} {remote} {state} 0:0\n"))
        };
        assert!(line("0100007F:0016", "0300007F:1234", "01"));
        assert!(!line("0100007F:0016", "0200007F:1234", "01"));
        assert!(!line("0100007F:0017", "0300007F:1234", "01"));
        assert!(!line("0100007F:0016", "0300007F:1234", "0A"));
        assert!(!line("0900007F:0016", "0300007F:1234", "01"));
    }
}
