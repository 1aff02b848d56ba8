//! `docker_container`: a container that is there, is as wanted, and runs or not.

mod mounts;
mod networks;
mod process;
mod running;
mod wanted;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Map as JsonMap, Value as Json, json};

use super::daemon::{Daemon, is_id, joined, quoted, split_tag};
use super::docker_arguments;
use super::values::{field, from_json};
use crate::machine::{Effect, Machine};
use crate::modules::{Diff, Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};
use networks::endpoint;
use wanted::Wanted;

docker_arguments! {
    /// Manage Docker containers.
    struct DockerContainerArgs for "community.docker.docker_container" {
        /// Have the daemon remove the container when its process ends.
        auto_remove: Option<bool> {},
        blkio_weight: Option<i64> {},
        /// Capabilities to add.
        capabilities: Option<Vec<String>> {},
        cap_drop: Option<Vec<String>> {},
        cgroupns_mode: Option<String> { choices: ["host", "private"] },
        cgroup_parent: Option<String> {},
        /// Remove the container after it ran attached.
        cleanup: bool { default: "false" },
        /// The words of the command, or one text.
        command: Option<Value> {},
        /// How options are compared: `strict`, `ignore`, or `allow_more_present`.
        comparisons: Option<Map> {},
        /// Whether options that are not given have defaults.
        container_default_behavior: String {
            default: "no_defaults", choices: ["compatibility", "no_defaults"],
        },
        /// How words of command and entrypoint are taken.
        command_handling: String { default: "correct", choices: ["compatibility", "correct"] },
        cpu_period: Option<i64> {},
        cpu_quota: Option<i64> {},
        cpus: Option<f64> {},
        cpuset_cpus: Option<String> {},
        cpuset_mems: Option<String> {},
        cpu_shares: Option<i64> {},
        /// The address ports are published at, where none is named.
        default_host_ip: Option<String> {},
        /// Do not wait for the command's end.
        detach: Option<bool> {},
        devices: Option<Vec<String>> {},
        device_read_bps: Option<Vec<Map>> {},
        device_write_bps: Option<Vec<Map>> {},
        device_read_iops: Option<Vec<Map>> {},
        device_write_iops: Option<Vec<Map>> {},
        device_requests: Option<Vec<Map>> {},
        device_cgroup_rules: Option<Vec<String>> {},
        dns_opts: Option<Vec<String>> {},
        dns_servers: Option<Vec<String>> {},
        dns_search_domains: Option<Vec<String>> {},
        domainname: Option<String> {},
        env: Option<Map> {},
        /// A file of the target with further variables.
        env_file: Option<PathBuf> {},
        entrypoint: Option<Vec<String>> {},
        etc_hosts: Option<Map> {},
        exposed_ports: Option<Vec<String>> { aliases: ["exposed", "expose"] },
        /// Kill rather than stop.
        force_kill: bool { default: "false", aliases: ["forcekill"] },
        groups: Option<Vec<String>> {},
        healthcheck: Option<Map> {},
        hostname: Option<String> {},
        /// The image, by name and tag or ID.
        image: Option<String> {},
        /// Which image's settings count when they are compared.
        image_comparison: String {
            default: "desired-image", choices: ["desired-image", "current-image"],
        },
        /// Whether labels of the image that are not asked for are an error.
        image_label_mismatch: String { default: "ignore", choices: ["ignore", "fail"] },
        /// What becomes of a container whose image has another name.
        image_name_mismatch: String { default: "recreate", choices: ["recreate", "ignore"] },
        init: Option<bool> {},
        interactive: Option<bool> {},
        ipc_mode: Option<String> {},
        /// Keep volumes without names when the container is removed.
        keep_volumes: bool { default: "true" },
        kill_signal: Option<String> {},
        kernel_memory: Option<String> {},
        labels: Option<Map> {},
        links: Option<Vec<String>> {},
        log_driver: Option<String> {},
        log_options: Option<Map> { aliases: ["log_opt"] },
        mac_address: Option<String> {},
        memory: Option<String> {},
        memory_reservation: Option<String> {},
        memory_swap: Option<String> {},
        memory_swappiness: Option<i64> {},
        mounts: Option<Vec<Map>> {},
        name: String { required },
        network_mode: Option<String> {},
        userns_mode: Option<String> {},
        /// The networks, each with its addresses, aliases and links.
        networks: Option<Vec<Map>> {},
        /// Have no default network beside those that are named.
        networks_cli_compatible: bool { default: "true" },
        oom_killer: Option<bool> {},
        oom_score_adj: Option<i64> {},
        /// Put the output into the target's log; it is in the result anyway.
        output_logs: bool { default: "false" },
        paused: Option<bool> {},
        pid_mode: Option<String> {},
        pids_limit: Option<i64> {},
        platform: Option<String> {},
        privileged: Option<bool> {},
        publish_all_ports: Option<bool> {},
        published_ports: Option<Vec<String>> { aliases: ["ports"] },
        /// When the image is pulled.
        pull: Value { default: "missing" },
        /// Whether check mode foresees that `pull: always` changes something.
        pull_check_mode_behavior: String {
            default: "image_not_present", choices: ["image_not_present", "always"],
        },
        read_only: Option<bool> {},
        /// Make the container anew although it is as wanted.
        recreate: bool { default: "false" },
        /// Seconds to wait for a container that is being removed.
        removal_wait_timeout: Option<f64> {},
        /// Restart a container that runs.
        restart: bool { default: "false" },
        restart_policy: Option<String> {
            choices: ["no", "on-failure", "always", "unless-stopped"],
        },
        restart_retries: Option<i64> {},
        runtime: Option<String> {},
        shm_size: Option<String> {},
        security_opts: Option<Vec<String>> {},
        state: String {
            default: "started", choices: ["absent", "present", "healthy", "stopped", "started"],
        },
        stop_signal: Option<String> {},
        /// Seconds to wait for the container's health.
        healthy_wait_timeout: Option<f64> { default: "300" },
        stop_timeout: Option<i64> {},
        storage_opts: Option<Map> {},
        tmpfs: Option<Vec<String>> {},
        tty: Option<bool> {},
        ulimits: Option<Vec<String>> {},
        sysctls: Option<Map> {},
        user: Option<String> {},
        uts: Option<String> {},
        volumes: Option<Vec<String>> {},
        volume_driver: Option<String> {},
        volumes_from: Option<Vec<String>> {},
        working_dir: Option<String> {},
    }
    required_if [("state", "present", ["image"], false)]
}

impl DockerContainerArgs {
    /// What options of yes and no are that nobody gave: no, or nothing.
    pub(super) fn default_behaviour(&self) -> Option<bool> {
        (self.container_default_behavior == "compatibility").then_some(false)
    }
}

/// Brings the container into the wanted state.
pub(crate) fn run_container(machine: &mut Machine, args: DockerContainerArgs) -> ModuleResult {
    let wants_diff = machine.wants_diff();
    let is_check = machine.is_check();
    let daemon = args.daemon(machine)?;
    let mut work = Work {
        daemon,
        args: &args,
        outcome: Outcome::unchanged(),
        actions: Vec::new(),
        before: JsonMap::new(),
        after: JsonMap::new(),
        facts: json!({}),
        status: None,
    };
    let done = if args.state == "absent" {
        work.remove_for_good()
    } else {
        work.settle()
    };
    done?;
    let mut outcome = work
        .outcome
        .with("container", from_json(work.facts.clone()));
    if is_check || args.debug {
        outcome = outcome.with("actions", from_json(work.actions.into()));
    }
    if wants_diff {
        let diff = Diff::new(from_json(work.before.into()), from_json(work.after.into()));
        outcome = outcome.only_diff(diff);
    }
    match work.status {
        None => Ok(outcome),
        Some(0) => Ok(outcome.with("status", 0)),
        Some(status) => {
            let said = work.facts.get("Output").and_then(Json::as_str);
            Err(Failure::new(said.unwrap_or_default())
                .with_changed(true)
                .with_all(outcome.with("status", status).data))
        }
    }
}

struct Work<'a> {
    daemon: Daemon<'a>,
    args: &'a DockerContainerArgs,
    outcome: Outcome,
    actions: Vec<Json>,
    before: JsonMap<String, Json>,
    after: JsonMap<String, Json>,
    /// The container as the daemon tells it at the end.
    facts: Json,
    /// The exit code of a command that ran attached.
    status: Option<i64>,
}

impl Work<'_> {
    fn act(&mut self, action: Json) {
        self.outcome.changed = true;
        self.actions.push(action);
    }

    fn differs(&mut self, name: &str, wanted: impl Into<Json>, found: impl Into<Json>) {
        self.after.insert(name.into(), wanted.into());
        self.before.insert(name.into(), found.into());
    }

    fn settle(&mut self) -> Result<(), Failure> {
        let name = self.args.name.clone();
        let mut container = self.daemon.container(&name)?;
        let image = self.image(container.as_ref())?;
        self.check_labels(image.as_ref())?;
        let wanted = wanted::wanted(self.daemon.machine, self.args, image.as_ref())?;
        let was_running = is(container.as_ref(), "Running");
        match &container {
            None => {
                let image = self.args.image.clone().ok_or_else(|| {
                    Failure::new("Cannot create container when image is not specified!")
                })?;
                self.differs("exists", true, false);
                container = self.create(&image, &wanted)?;
            }
            Some(found) => {
                let differences = self.differences(found, image.as_ref(), &wanted);
                if differences || self.args.recreate {
                    container = self.recreate(found.clone(), &wanted)?;
                }
            }
        }
        let Some(mut container) = container else {
            // Check mode: there is nothing that could be looked at.
            if matches!(self.args.state.as_str(), "started" | "healthy") {
                self.differs("running", true, was_running);
                self.act(json!({"started": null}));
            }
            return Ok(());
        };
        self.update(&mut container, &wanted)?;
        self.connect(&mut container)?;
        self.set_running(&mut container, was_running)?;
        self.facts = container;
        if self.args.state == "healthy" && !self.daemon.machine.is_check() {
            self.wait_for_health()?;
        }
        Ok(())
    }

    /// Returns the image the container is compared with, pulled where that is asked for.
    fn image(&mut self, container: Option<&Json>) -> Result<Option<Json>, Failure> {
        let args = self.args;
        let of_container = container
            .and_then(|it| it.get("Image"))
            .and_then(Json::as_str);
        let Some(name) = &args.image else {
            return match of_container {
                Some(id) => self.daemon.image(id),
                None => Ok(None),
            };
        };
        if is_id(name) {
            let image = self.daemon.image(name)?;
            return match image {
                Some(image) => Ok(Some(image)),
                None => Err(Failure::new(format!("Cannot find image with ID {name}"))),
            };
        }
        let (repository, tag) = split_tag(name);
        let tag = if tag.is_empty() { "latest" } else { tag };
        let shown = joined(repository, tag);
        let pull = match (args.pull.as_bool(), args.pull.to_string().as_str()) {
            (Some(true), _) | (_, "always" | "True" | "true" | "yes") => "always",
            (Some(false), _) | (_, "missing" | "False" | "false" | "no") => "missing",
            (_, "never") => "never",
            (_, other) => {
                return Err(Failure::new(format!(
                    "value of pull must be one of: never, missing, always, True, False, got: {other}"
                )));
            }
        };
        let mut image = self.daemon.image(&shown)?;
        if image.is_none() && pull == "never" {
            return Err(Failure::new(format!(
                "Cannot find image with name {shown}, and pull=never"
            )));
        }
        if image.is_none() || pull == "always" {
            let is_foreseen = image.is_none() || args.pull_check_mode_behavior == "always";
            if !self.daemon.machine.is_check() {
                let changed = self
                    .daemon
                    .pull(repository, tag, args.platform.as_deref())?;
                self.outcome.changed |= changed;
                self.actions
                    .push(json!({"pulled_image": shown, "changed": changed}));
                image = self.daemon.image(&shown)?;
            } else if is_foreseen {
                self.act(json!({"pulled_image": shown, "changed": true}));
            }
        }
        if args.image_comparison == "current-image"
            && let Some(id) = of_container
        {
            return self.daemon.image(id);
        }
        Ok(image)
    }

    /// Refuses labels of the image that nobody asked for, where that is wanted.
    fn check_labels(&self, image: Option<&Json>) -> Result<(), Failure> {
        let args = self.args;
        let mode = args
            .comparisons
            .as_ref()
            .and_then(|all| field(all, "labels").or_else(|| field(all, "*")));
        let is_strict = mode.is_some_and(|mode| mode.to_string() == "strict");
        let (Some(wanted), true, "fail") =
            (&args.labels, is_strict, args.image_label_mismatch.as_str())
        else {
            return Ok(());
        };
        let labels = image.and_then(|image| image.get("Config")?.get("Labels")?.as_object());
        let extra: Vec<_> = labels
            .into_iter()
            .flat_map(JsonMap::keys)
            .filter(|name| field(wanted, name).is_none())
            .map(|name| format!("\"{name}\""))
            .collect();
        if extra.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "Some labels should be removed but are present in the base image. You can set \
             image_label_mismatch to 'ignore' to ignore this error. Labels: {}",
            extra.join(", ")
        )))
    }

    /// Tells whether the container must be made anew.
    fn differences(&mut self, found: &Json, image: Option<&Json>, wanted: &[Wanted]) -> bool {
        let mut differs = false;
        for one in wanted.iter().filter(|one| !one.updates) {
            if let Some(there) = one.difference(found) {
                self.differs(one.option, one.value.clone(), there.clone());
                differs = true;
            }
        }
        let comparison = |option: &str| {
            let given = self.args.comparisons.as_ref();
            let mode = given.and_then(|given| field(given, option).or_else(|| field(given, "*")));
            mode.map(Value::to_string)
        };
        if comparison("image").as_deref() == Some("ignore") {
            return differs;
        }
        let id = image.and_then(|image| image.get("Id"));
        let there = found.get("Image").cloned().unwrap_or_default();
        if let Some(id) = id
            && *id != there
        {
            self.differs("image", id.clone(), there);
            differs = true;
        }
        let there = found.get("Config").and_then(|config| config.get("Image"));
        if let Some(name) = &self.args.image
            && self.args.image_name_mismatch == "recreate"
            && there.and_then(Json::as_str) != Some(name)
        {
            let there = there.cloned().unwrap_or_default();
            self.differs("image_name", name.as_str(), there);
            differs = true;
        }
        differs
    }

    fn create(&mut self, image: &str, wanted: &[Wanted]) -> Result<Option<Json>, Failure> {
        let name = self.args.name.clone();
        let mut body = wanted::body(wanted, image);
        let mut networks = JsonMap::new();
        if self.args.networks_cli_compatible
            && let Some(first) = self.args.networks.iter().flatten().next()
        {
            let (name, endpoint) = endpoint(first)?;
            networks.insert(name, endpoint);
            body["NetworkingConfig"] = json!({"EndpointsConfig": networks});
        }
        self.act(json!({
            "created": "Created container", "create_parameters": body, "networks": networks,
        }));
        let mut path = format!("/containers/create?name={}", quoted(&name));
        if let Some(platform) = &self.args.platform {
            path += &format!("&platform={}", quoted(platform));
        }
        let effect = self
            .daemon
            .undone_by(format!("create container {name}"), &["rm", "-f", &name]);
        let made = self
            .daemon
            .post(&path, Some(&body), effect)
            .map_err(|failure| {
                Failure::new(format!("Error creating container: {}", failure.msg))
            })?;
        match made {
            Some(_) => self.daemon.container(&name),
            None => Ok(None),
        }
    }

    fn recreate(&mut self, old: Json, wanted: &[Wanted]) -> Result<Option<Json>, Failure> {
        let of_old = || {
            let image = old.get("Config")?.get("Image")?.as_str()?;
            Some(image.to_owned())
        };
        let image = self.args.image.clone().or_else(of_old).ok_or_else(|| {
            Failure::new(
                "Cannot recreate container when image is not specified or cannot be extracted from \
                 current container!",
            )
        })?;
        if is(Some(&old), "Running") {
            self.stop(&old)?;
        }
        self.remove(&old)?;
        self.create(&image, wanted)
    }

    fn remove_for_good(&mut self) -> Result<(), Failure> {
        let Some(container) = self.daemon.container(&self.args.name.clone())? else {
            return Ok(());
        };
        if is(Some(&container), "Running") {
            self.differs("running", false, true);
            self.stop(&container)?;
        }
        self.differs("exists", false, true);
        self.remove(&container)
    }

    fn stop(&mut self, container: &Json) -> Result<(), Failure> {
        let id = id(container);
        let name = self.args.name.clone();
        let (action, path) = if self.args.force_kill {
            let signal = self.args.kill_signal.as_deref().unwrap_or("SIGKILL");
            (
                json!({"killed": id, "signal": self.args.kill_signal}),
                format!("/containers/{id}/kill?signal={signal}"),
            )
        } else {
            let timeout = self.args.stop_timeout;
            let wait = timeout.map(|timeout| format!("?t={timeout}"));
            (
                json!({"stopped": id, "timeout": timeout}),
                format!("/containers/{id}/stop{}", wait.unwrap_or_default()),
            )
        };
        self.act(action);
        let effect = self
            .daemon
            .undone_by(format!("stop container {name}"), &["start", &name]);
        self.daemon.post(&path, None, effect).map_err(|failure| {
            Failure::new(format!("Error stopping container {id}: {}", failure.msg))
        })?;
        Ok(())
    }

    /// Removes it; what it was like is not made again by any one command.
    fn remove(&mut self, container: &Json) -> Result<(), Failure> {
        let id = id(container);
        let volumes = !self.args.keep_volumes;
        self.act(json!({
            "removed": id, "volume_state": volumes, "link": false, "force": false,
        }));
        let effect = Effect::opaque(format!("remove container {}", self.args.name));
        let path = format!(
            "/containers/{id}?v={}&link=false&force=false",
            u8::from(volumes)
        );
        let removed = self.daemon.delete(&path, effect).map_err(|failure| {
            Failure::new(format!("Error removing container {id}: {}", failure.msg))
        })?;
        if removed.is_none() {
            return Ok(());
        }
        let limit = self.args.removal_wait_timeout;
        let started = Instant::now();
        while self.daemon.container(&id)?.is_some() {
            if limit.is_some_and(|limit| started.elapsed().as_secs_f64() > limit) {
                return Err(Failure::new(format!(
                    "Timeout of {} seconds exceeded while waiting for container \"{id}\"",
                    limit.unwrap_or_default()
                )));
            }
            self.daemon.machine.sleep(Duration::from_millis(200))?;
        }
        Ok(())
    }

    /// Gives a container that stays what it can be given while it is.
    fn update(&mut self, container: &mut Json, wanted: &[Wanted]) -> Result<(), Failure> {
        let (mut new, mut old) = (JsonMap::new(), JsonMap::new());
        for one in wanted.iter().filter(|one| one.updates) {
            if let Some(there) = one.difference(container) {
                let there = there.clone();
                self.differs(one.option, one.value.clone(), there.clone());
                new.insert(one.key.into(), one.value.clone());
                old.insert(one.key.into(), there);
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let id = id(container);
        self.act(json!({"updated": id, "update_parameters": new}));
        let name = &self.args.name;
        let words = update_words(&old);
        let mut undo = vec!["update"];
        undo.extend(words.iter().map(String::as_str));
        undo.push(name);
        let effect = self
            .daemon
            .undone_by(format!("update container {name}"), &undo);
        let path = format!("/containers/{id}/update");
        let done = self
            .daemon
            .post(&path, Some(&new.into()), effect)
            .map_err(|failure| {
                Failure::new(format!("Error updating container {id}: {}", failure.msg))
            })?;
        if done.is_some() {
            self.look_again(container)?;
        }
        Ok(())
    }

    fn look_again(&mut self, container: &mut Json) -> Result<(), Failure> {
        if let Some(new) = self.daemon.container(&id(container))? {
            *container = new;
        }
        Ok(())
    }
}

fn id(container: &Json) -> String {
    let id = container.get("Id").and_then(Json::as_str);
    id.unwrap_or_default().to_owned()
}

fn is(container: Option<&Json>, what: &str) -> bool {
    container
        .and_then(|it| it.get("State"))
        .and_then(|state| state.get(what))
        .and_then(Json::as_bool)
        .unwrap_or(false)
}

/// Returns the options of `docker update` for old limits.
fn update_words(old: &JsonMap<String, Json>) -> Vec<String> {
    let names = [
        ("BlkioWeight", "--blkio-weight"),
        ("CpuPeriod", "--cpu-period"),
        ("CpuQuota", "--cpu-quota"),
        ("CpuShares", "--cpu-shares"),
        ("CpusetCpus", "--cpuset-cpus"),
        ("CpusetMems", "--cpuset-mems"),
        ("KernelMemory", "--kernel-memory"),
        ("Memory", "--memory"),
        ("MemoryReservation", "--memory-reservation"),
        ("MemorySwap", "--memory-swap"),
    ];
    let mut words = Vec::new();
    for (key, option) in names {
        match old.get(key) {
            Some(Json::String(text)) => words.push(format!("{option}={text}")),
            Some(Json::Number(number)) => words.push(format!("{option}={number}")),
            _ => {}
        }
    }
    if let Some(policy) = old.get("RestartPolicy") {
        let name = policy.get("Name").and_then(Json::as_str);
        let name = name.filter(|name| !name.is_empty()).unwrap_or("no");
        let retries = policy.get("MaximumRetryCount").and_then(Json::as_i64);
        words.push(match retries {
            Some(retries) if retries > 0 => format!("--restart={name}:{retries}"),
            _ => format!("--restart={name}"),
        });
    }
    words
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::modules::docker::testing::{Host, State};

    const NAME: &str = "community.docker.docker_container";

    /// A daemon with one image and at most one container, which it remembers.
    fn daemon() -> (Host, State) {
        let state: State = Arc::new(Mutex::new(std::collections::HashMap::new()));
        let kept = Arc::clone(&state);
        let host = Host::with_bodies(move |request, body| {
            let mut kept = kept.lock().unwrap();
            let running = kept.get("running").is_some_and(|it| it == "true");
            let path = request.split('?').next().unwrap();
            match path {
                "GET /images/nginx:1/json" => {
                    r#"{"Id": "sha256:1", "Config": {"Env": ["PATH=/bin"]}}"#.into()
                }
                "GET /containers/web/json" | "GET /containers/c1/json" => match kept.get("made") {
                    None => String::new(),
                    Some(made) => {
                        let made: Json = serde_json::from_str(made).unwrap();
                        let mut host = made["HostConfig"].clone();
                        if let Some(update) = kept.get("update") {
                            let update: Json = serde_json::from_str(update).unwrap();
                            for (key, value) in update.as_object().unwrap() {
                                host[key] = value.clone();
                            }
                        }
                        json!({
                            "Id": "c1", "Image": "sha256:1", "Config": made, "HostConfig": host,
                            "State": {"Running": running, "Paused": false},
                            "NetworkSettings": {"Networks": {"bridge": {}}},
                        })
                        .to_string()
                    }
                },
                "POST /containers/create" => {
                    kept.insert("made".into(), body.to_owned());
                    r#"{"Id": "c1"}"#.into()
                }
                "POST /containers/c1/start" => {
                    kept.insert("running".into(), "true".into());
                    "{}".into()
                }
                "POST /containers/c1/stop" => {
                    kept.insert("running".into(), "false".into());
                    "{}".into()
                }
                "POST /containers/c1/update" => {
                    kept.insert("update".into(), body.to_owned());
                    "{}".into()
                }
                "POST /containers/c1/wait" => r#"{"StatusCode": 3}"#.into(),
                "GET /containers/c1/logs" => "\u{1}\0\0\0\0\0\0\u{3}hi\n".into(),
                "DELETE /containers/c1" => {
                    kept.clear();
                    "{}".into()
                }
                _ => String::new(),
            }
        });
        (host, state)
    }

    fn changed(result: &str) -> bool {
        let result: Value = serde_json::from_str(result).unwrap();
        result.get("changed").and_then(Value::as_bool).unwrap()
    }

    const WEB: &str = r#""name": "web", "image": "nginx:1", "ports": ["8080:80"], "env": {"A": "1"}, "volumes": ["/srv:/data:ro"], "restart_policy": "always", "memory": "64M""#;

    #[test]
    fn a_container_is_made_once_as_the_options_say_and_removed() {
        let (host, state) = daemon();
        assert!(changed(&host.predict(NAME, WEB)));
        assert_eq!(host.changes(), Vec::<String>::new());
        assert!(changed(&host.run(NAME, WEB)));
        assert_eq!(
            state.lock().unwrap()["made"],
            r#"{"Env":["A=1"],"ExposedPorts":{"80/tcp":{}},"Image":"nginx:1","HostConfig":{"Memory":67108864,"RestartPolicy":{"Name":"always","MaximumRetryCount":0},"PortBindings":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]},"Binds":["/srv:/data:ro"]}}"#
        );
        let again = host.run(NAME, WEB);
        assert!(!changed(&again), "{again}");
        assert!(!changed(&host.predict(NAME, WEB)));
        assert!(changed(
            &host.run(NAME, r#""name": "web", "state": "absent""#)
        ));
        assert!(!changed(
            &host.run(NAME, r#""name": "web", "state": "absent""#)
        ));
        assert_eq!(host.undo_steps(), ["rm -f web", "stop web", "start web"]);
    }

    #[test]
    fn limits_are_updated_and_other_differences_make_it_anew() {
        let (host, _) = daemon();
        host.run(NAME, WEB);
        let bigger = WEB.replace("64M", "128M");
        assert!(changed(&host.run(NAME, &bigger)));
        assert_eq!(host.changes().last().unwrap(), "POST /containers/c1/update");
        assert_eq!(
            host.undo_steps().last().unwrap(),
            "update --memory=67108864 web"
        );
        assert!(!changed(&host.run(NAME, &bigger)));
        let other = WEB.replace("8080", "8081");
        assert!(changed(&host.run(NAME, &other)));
        assert!(
            host.changes()
                .contains(&"DELETE /containers/c1?v=0&link=false&force=false".to_owned())
        );
        let ignored = WEB.replace("8080", "9090") + r#", "comparisons": {"*": "ignore"}"#;
        assert!(!changed(&host.run(NAME, &ignored)));
        assert!(changed(
            &host.run(NAME, r#""name": "web", "state": "stopped""#)
        ));
        assert!(!changed(
            &host.run(NAME, r#""name": "web", "state": "stopped""#)
        ));
    }

    #[test]
    fn an_attached_command_that_fails_is_the_tasks_failure() {
        let (host, _) = daemon();
        let result = host.run(
            NAME,
            r#""name": "web", "image": "nginx:1", "command": "false", "detach": false"#,
        );
        assert!(
            result.starts_with(r#"{"failed":true,"changed":true,"msg":"hi\n""#),
            "{result}"
        );
        assert!(result.contains(r#""status":3"#));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (host, _) = daemon();
        for (options, msg) in [
            (
                r#""name": "x""#,
                "Cannot create container when image is not specified!",
            ),
            (
                r#""name": "x", "image": "nope:2", "pull": "never""#,
                "Cannot find image with name nope:2, and pull=never",
            ),
            (
                r#""name": "x", "image": "nginx:1", "env": {"A": 1}"#,
                "Non-string value found for env option.",
            ),
            (
                r#""name": "x", "image": "nginx:1", "comparisons": {"imge": "ignore"}"#,
                "Unknown module option 'imge' in comparisons dict!",
            ),
            (
                r#""name": "x", "image": "nginx:1", "memory": "lots""#,
                "Failed to convert memory to bytes",
            ),
        ] {
            let result = host.run(NAME, options);
            assert!(result.contains(msg), "{options}: {result}");
        }
    }
}
