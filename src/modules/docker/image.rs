//! `docker_image`: an image that is there: pulled, built, loaded, tagged, pushed or kept as a file.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::daemon::{Daemon, is_id, joined, quoted, split_tag};
use super::docker_arguments;
use super::values::{bytes, field, from_json, only, texts, to_json};
use crate::machine::{Content, Machine, NewFile};
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

docker_arguments! {
    /// Manage docker images.
    struct DockerImageArgs for "community.docker.docker_image" {
        /// Where the image comes from.
        source: Option<String> { choices: ["build", "load", "pull", "local"] },
        /// How it is built.
        build: Option<Map> {},
        /// The file to keep the image as.
        archive_path: Option<std::path::PathBuf> {},
        /// Build, load or pull although the image is there.
        force_source: bool { default: "false" },
        /// Remove an image that is in use.
        force_absent: bool { default: "false" },
        /// Tag although the tag is there.
        force_tag: bool { default: "false" },
        /// The file to load the image from.
        load_path: Option<std::path::PathBuf> {},
        /// The image, by name and tag or ID.
        name: String { required },
        /// How it is pulled: `platform`.
        pull: Option<Map> {},
        /// Push the image.
        push: bool { default: "false" },
        /// Another name to give the image.
        repository: Option<String> {},
        state: String { default: "present", choices: ["absent", "present"] },
        tag: String { default: "latest" },
    }
    required_if [
        ("state", "present", ["source"], false), ("source", "build", ["build"], false),
        ("source", "load", ["load_path"], false),
    ]
}

/// Brings the image into the wanted state.
pub(crate) fn run_image(machine: &mut Machine, args: DockerImageArgs) -> ModuleResult {
    let (name, tag) = match split_tag(&args.name) {
        _ if is_id(&args.name) => (args.name.as_str(), ""),
        (_, "") => (args.name.as_str(), args.tag.as_str()),
        (name, tag) => (name, tag),
    };
    let shown = if tag.is_empty() {
        name.to_owned()
    } else {
        joined(name, tag)
    };
    let daemon = args.daemon(machine)?;
    let mut work = Work {
        daemon,
        args: &args,
        name: name.to_owned(),
        tag: tag.to_owned(),
        shown,
        outcome: Outcome::unchanged(),
        actions: Vec::new(),
        image: json!({}),
    };
    if args.state == "absent" {
        work.remove()?;
    } else {
        work.settle()?;
    }
    Ok(work
        .outcome
        .with("actions", Value::list(work.actions))
        .with("image", from_json(work.image)))
}

struct Work<'a> {
    daemon: Daemon<'a>,
    args: &'a DockerImageArgs,
    name: String,
    tag: String,
    /// Name and tag together.
    shown: String,
    outcome: Outcome,
    actions: Vec<String>,
    image: Json,
}

impl Work<'_> {
    fn is_check(&self) -> bool {
        self.daemon.machine.is_check()
    }

    fn act(&mut self, action: String) {
        self.outcome.changed = true;
        self.actions.push(action);
    }

    fn settle(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let found = self.daemon.image(&self.shown)?;
        if found.is_none() || args.force_source {
            self.provide(found.as_ref())?;
            let id = |image: &Json| image.get("Id").cloned();
            if !self.is_check() && found.as_ref().is_some_and(|it| id(it) == id(&self.image)) {
                self.outcome.changed = false;
            }
        } else {
            self.image = found.unwrap_or_default();
        }
        if let Some(path) = &args.archive_path {
            self.archive(path)?;
        }
        match &args.repository {
            Some(repository) => self.tag(repository),
            None if args.push => self.push(&self.name.clone(), &self.tag.clone()),
            None => Ok(()),
        }
    }

    fn provide(&mut self, found: Option<&Json>) -> Result<(), Failure> {
        let source = self.args.source.as_deref().unwrap_or_default();
        if is_id(&self.args.name) && matches!(source, "pull" | "build") {
            return Err(Failure::new(format!(
                "Image name must not be an image ID for source={source}; got: {}",
                self.args.name
            )));
        }
        match source {
            "pull" => {
                self.act(format!("Pulled image {}", self.shown));
                let platform = match &self.args.pull {
                    Some(pull) => {
                        only("pull", pull, &["platform"])?;
                        field(pull, "platform").map(Value::to_string)
                    }
                    None => None,
                };
                if !self.is_check() {
                    let (name, tag) = (self.name.clone(), self.tag.clone());
                    self.daemon.pull(&name, &tag, platform.as_deref())?;
                    self.look_again()?;
                }
                Ok(())
            }
            "build" => self.build(),
            "load" => self.load(),
            _ if found.is_none() => Err(Failure::new(format!(
                "Cannot find the image {} locally.",
                self.shown
            ))),
            _ => self.look_again(),
        }
    }

    fn look_again(&mut self) -> Result<(), Failure> {
        self.image = self.daemon.image(&self.shown)?.unwrap_or_else(|| json!({}));
        Ok(())
    }

    fn build(&mut self) -> Result<(), Failure> {
        let given = self.args.build.clone().unwrap_or_default();
        only(
            "build",
            &given,
            &[
                "cache_from",
                "container_limits",
                "dockerfile",
                "http_timeout",
                "network",
                "nocache",
                "path",
                "pull",
                "rm",
                "args",
                "target",
                "etc_hosts",
                "platform",
                "shm_size",
                "labels",
            ],
        )?;
        let text = |name: &str| field(&given, name).map(Value::to_string);
        let path = text("path").ok_or_else(|| {
            Failure::new(
                "If \"source\" is set to \"build\", the \"build.path\" option must be specified.",
            )
        })?;
        let directory = self.daemon.machine.expand(path.as_ref());
        if !self.daemon.machine.is_dir(&directory)? {
            return Err(Failure::new(format!(
                "Requested build path {path} could not be found or you do not have access."
            )));
        }
        self.act(format!("Built image {} from {path}", self.shown));
        if self.is_check() {
            return Ok(());
        }
        let query = build_query(&given, &self.shown)?;
        let context = context(self.daemon.machine, &directory)?;
        let headers = [("Content-Type".to_owned(), "application/x-tar".to_owned())];
        let effect = self
            .daemon
            .undone_by(format!("build image {}", self.shown), &["rmi", &self.shown]);
        let said = self
            .daemon
            .change(
                "POST",
                &format!("/build?{query}"),
                Some(context),
                &headers,
                effect,
            )?
            .unwrap_or_default();
        let events = said.as_array().cloned().unwrap_or_default();
        let mut output = String::new();
        for event in &events {
            if let Some(error) = event.get("error").and_then(Json::as_str) {
                return Err(Failure::new(format!(
                    "Error building {} - message: {error}, logs: {output}",
                    self.name
                )));
            }
            let line = event.get("stream").or_else(|| event.get("status"));
            output.push_str(line.and_then(Json::as_str).unwrap_or_default());
        }
        self.outcome = std::mem::take(&mut self.outcome).with("stdout", output);
        self.look_again()
    }

    fn load(&mut self) -> Result<(), Failure> {
        let given = self.args.load_path.clone().unwrap_or_default();
        let path = self.daemon.machine.expand(&given);
        if !self.daemon.machine.exists(&path)? {
            return Err(Failure::new(format!(
                "Error loading image {}. Specified path {} does not exist.",
                self.name,
                path.display()
            )));
        }
        self.act(format!(
            "Loaded image {} from {}",
            self.shown,
            path.display()
        ));
        if self.is_check() {
            return Ok(());
        }
        let archive = self.daemon.machine.read(&path)?;
        let headers = [("Content-Type".to_owned(), "application/x-tar".to_owned())];
        let effect = self
            .daemon
            .undone_by(format!("load image {}", self.shown), &["rmi", &self.shown]);
        self.daemon
            .change("POST", "/images/load", Some(archive), &headers, effect)?;
        self.look_again()?;
        if self.image.get("Id").is_none() {
            return Err(Failure::new(format!(
                "The archive did not contain image '{}'.",
                self.shown
            )));
        }
        Ok(())
    }

    fn archive(&mut self, path: &Path) -> Result<(), Failure> {
        let path = self.daemon.machine.expand(path);
        let Some(image) = self.daemon.image(&self.shown)? else {
            return Ok(());
        };
        let id = image.get("Id").and_then(Json::as_str).unwrap_or_default();
        let kept = if self.daemon.machine.exists(&path)? {
            let bytes = self.daemon.machine.read(&path)?;
            Some(manifest(&bytes))
        } else {
            None
        };
        let why = match kept {
            None => Some("since none present".to_owned()),
            Some(None) => Some("overwriting an unreadable archive file".into()),
            Some(Some((kept, names))) if id.ends_with(&kept) && names == [self.shown.as_str()] => {
                None
            }
            Some(Some((kept, names))) => Some(format!(
                "overwriting archive with image {kept} named {}",
                names.join(", ")
            )),
        };
        self.outcome.changed = why.is_some();
        if let Some(why) = why {
            let path_shown = path.display();
            self.act(format!(
                "Archived image {} to {path_shown}, {why}",
                self.shown
            ));
            if !self.is_check() {
                let from = format!("/images/{}/get", quoted(&self.shown));
                let bytes = self.daemon.get_bytes(&from)?;
                let content = Content::Bytes(bytes);
                self.daemon
                    .machine
                    .write(&path, content, &NewFile::default())?;
            }
        }
        self.image = image;
        Ok(())
    }

    fn tag(&mut self, repository: &str) -> Result<(), Failure> {
        let (name, tag) = split_tag(repository);
        let tag = match tag {
            "" if self.tag.is_empty() => "latest",
            "" => &self.tag,
            tag => tag,
        };
        let tag = tag.to_owned();
        let new = joined(name, &tag);
        let old = self.daemon.image(&new)?;
        if old.is_none() || self.args.force_tag {
            self.act(format!("Tagged image {} to {new}", self.shown));
            let id = |image: &Json| image.get("Id").and_then(Json::as_str).map(str::to_owned);
            let was = old.as_ref().and_then(id);
            let done = self
                .daemon
                .tag(&self.shown, name, &tag, was.as_deref())
                .map_err(|failure| {
                    Failure::new(format!("Error: failed to tag image - {}", failure.msg))
                })?;
            if done {
                self.image = self.daemon.image(&new)?.unwrap_or_default();
                if was.is_some() && was == id(&self.image) {
                    self.outcome.changed = false;
                }
            }
        }
        if self.args.push {
            self.push(name, &tag)?;
        }
        Ok(())
    }

    fn push(&mut self, name: &str, tag: &str) -> Result<(), Failure> {
        if is_id(name) {
            return Err(Failure::new(format!("Cannot push an image ID: {name}")));
        }
        self.act(format!(
            "Pushed image {} to {}",
            self.name,
            joined(name, tag)
        ));
        if self.is_check() {
            return Ok(());
        }
        let pushed = self.daemon.push(name, tag).map_err(|failure| {
            Failure::new(format!("Error pushing image {name}: {}", failure.msg))
        })?;
        self.outcome.changed = pushed.changed;
        self.image = self
            .daemon
            .image(&joined(name, tag))?
            .unwrap_or_else(|| json!({}));
        self.image["push_status"] = pushed.status;
        Ok(())
    }

    fn remove(&mut self) -> Result<(), Failure> {
        let Some(image) = self.daemon.image(&self.shown)? else {
            return Ok(());
        };
        self.act(format!("Removed image {}", self.shown));
        let shown = self.shown.clone();
        let query = format!("force={}", self.args.force_absent);
        self.daemon
            .remove_image(&shown, &image, &query)
            .map_err(|failure| {
                Failure::new(format!("Error removing image {shown} - {}", failure.msg))
            })?;
        self.image["state"] = "Deleted".into();
        Ok(())
    }
}

fn build_query(given: &Map, name: &str) -> Result<String, Failure> {
    let text = |name: &str| field(given, name).map(Value::to_string);
    let flag = |name: &str, default: bool| {
        let value = field(given, name).and_then(Value::to_soft_bool);
        value.unwrap_or(default).to_string()
    };
    let map = |name: &str| field(given, name).and_then(Value::as_map);
    let mut query = vec![
        ("t", name.to_owned()),
        ("rm", flag("rm", true)),
        ("nocache", flag("nocache", false)),
        ("forcerm", "true".into()),
    ];
    if flag("pull", false) == "true" {
        query.push(("pull", "true".into()));
    }
    for (key, name) in [
        ("dockerfile", "dockerfile"),
        ("networkmode", "network"),
        ("target", "target"),
        ("platform", "platform"),
    ] {
        query.extend(text(name).map(|value| (key, value)));
    }
    for (key, name) in [("buildargs", "args"), ("labels", "labels")] {
        query.extend(map(name).map(|map| (key, texts(map).to_string())));
    }
    if let Some(size) = text("shm_size") {
        query.push(("shmsize", bytes("shm_size", &size)?.to_string()));
    }
    if let Some(images) = field(given, "cache_from") {
        query.push(("cachefrom", to_json(images).to_string()));
    }
    if let Some(hosts) = map("etc_hosts") {
        let lines: Vec<_> = hosts
            .iter()
            .map(|(name, address)| format!("{name}:{address}"))
            .collect();
        query.push(("extrahosts", lines.join(",")));
    }
    if let Some(limits) = map("container_limits") {
        only(
            "container_limits",
            limits,
            &["memory", "memswap", "cpushares", "cpusetcpus"],
        )?;
        for key in ["memory", "memswap"] {
            if let Some(size) = field(limits, key) {
                query.push((key, bytes(key, &size.to_string())?.to_string()));
            }
        }
        for key in ["cpushares", "cpusetcpus"] {
            query.extend(field(limits, key).map(|value| (key, value.to_string())));
        }
    }
    let pairs = query
        .iter()
        .map(|(key, value)| format!("{key}={}", quoted(value)));
    Ok(pairs.collect::<Vec<_>>().join("&"))
}

/// Packs the directory as the daemon unpacks it.
fn context(machine: &Machine, directory: &Path) -> Result<Vec<u8>, Failure> {
    machine.check_cancelled()?;
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot pack {}: {error}", directory.display()))
    };
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all("", directory).map_err(failed)?;
    archive.into_inner().map_err(failed)
}

/// Reads the image and its names from the archive of an image.
fn manifest(archive: &[u8]) -> Option<(String, Vec<String>)> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        if entry.path().ok()?.as_ref() != Path::new("manifest.json") {
            continue;
        }
        let manifest: Json = serde_json::from_reader(entry).ok()?;
        let first = manifest.get(0)?;
        let config = first.get("Config")?.as_str()?;
        let id = config.rsplit('/').next()?.trim_end_matches(".json");
        let names = first.get("RepoTags").and_then(Json::as_array);
        let names = names
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned));
        return Some((id.to_owned(), names.collect()));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use crate::modules::docker::testing::{Host, State};

    const NAME: &str = "community.docker.docker_image";

    fn daemon() -> Host {
        let state: State = Arc::new(Mutex::new(std::collections::HashMap::new()));
        Host::new(move |request| {
            let mut kept = state.lock().unwrap();
            let (verb, path) = request.split_once(' ').unwrap();
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            match (verb, path) {
                ("POST", "/images/create") if query.contains("nope") => {
                    "{\"status\": \"Pulling\"}\n{\"error\": \"not found\"}".into()
                }
                ("POST", "/images/create") => {
                    kept.insert("nginx:1".into(), String::new());
                    "{\"status\": \"a\"}\n{\"status\": \"b\"}".into()
                }
                ("POST", "/build") => {
                    kept.insert("app:2".into(), query.to_owned());
                    "{\"stream\": \"Step 1\\n\"}\n{\"stream\": \"done\\n\"}".into()
                }
                ("POST", "/images/nginx:1/tag") => {
                    kept.insert("mine:1".into(), String::new());
                    "{}".into()
                }
                ("DELETE", "/images/nginx:1") => {
                    kept.remove("nginx:1");
                    "[]".into()
                }
                ("GET", path) => {
                    let name = path
                        .trim_start_matches("/images/")
                        .trim_end_matches("/json");
                    if kept.contains_key(name) {
                        format!(r#"{{"Id": "sha256:{name}"}}"#)
                    } else {
                        String::new()
                    }
                }
                _ => String::new(),
            }
        })
    }

    #[test]
    fn an_image_is_pulled_once_tagged_and_removed() {
        let host = daemon();
        let options = r#""name": "nginx", "tag": "1", "source": "pull""#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":true,"actions":["Pulled image nginx:1"],"image":{}}"#
        );
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":true,"actions":["Pulled image nginx:1"],"image":{"Id":"sha256:nginx:1"}}"#
        );
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"actions":[],"image":{"Id":"sha256:nginx:1"}}"#
        );
        let tagged = format!(r#"{options}, "repository": "mine""#);
        assert!(
            host.run(NAME, &tagged)
                .contains("Tagged image nginx:1 to mine:1")
        );
        assert!(host.run(NAME, &tagged).contains(r#""changed":false"#));
        let absent = r#""name": "nginx:1", "state": "absent""#;
        assert!(
            host.run(NAME, absent)
                .contains(r#""image":{"state":"Deleted"}"#)
        );
        assert!(host.run(NAME, absent).contains(r#""changed":false"#));
        assert_eq!(host.undo_steps(), ["rmi nginx:1", "rmi mine:1"]);
    }

    #[test]
    fn an_image_is_built_from_a_directory() {
        let host = daemon();
        let options =
            r#""name": "app:2", "source": "build", "build": {"path": "$DIR", "args": {"A": "1"}}"#;
        // The socket beside it cannot be packed, so the context is a directory of its own.
        let empty = tempfile::tempdir().unwrap();
        let options = options.replace("$DIR", empty.path().to_str().unwrap());
        let result = host.run(NAME, &options);
        assert!(result.contains(r#""stdout":"Step 1\ndone\n""#), "{result}");
        assert!(host.changes()[0].contains("buildargs=%7B%22A%22:%221%22%7D"));
        assert_eq!(host.undo_steps(), ["rmi app:2"]);
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        let host = daemon();
        for (options, msg) in [
            (
                r#""name": "nope", "source": "pull""#,
                "Error pulling nope - not found",
            ),
            (
                r#""name": "x", "source": "local""#,
                "Cannot find the image x:latest locally.",
            ),
            (
                r#""name": "x", "source": "load", "load_path": "/backstay/none""#,
                "Specified path /backstay/none does not exist.",
            ),
            (
                r#""name": "x""#,
                "state is present but all of the following are missing: source",
            ),
        ] {
            let result = host.run(NAME, options);
            assert!(result.contains(msg), "{options}: {result}");
        }
    }
}
