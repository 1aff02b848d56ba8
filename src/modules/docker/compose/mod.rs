//! `docker_compose_v2` and `docker_compose_v2_pull`: projects of containers, with the plugin of
//! `docker` that knows compose files.
//!
//! Check mode is Compose's own dry run. Knows nothing of what the files say.

mod events;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::machine::{Command, Effect, Machine, Output, TemporaryProgram};
use crate::modules::{Failure, ModuleResult, Outcome, http, tool};
use crate::transaction::journal::UndoStep;
use crate::value::{Map, Value};

use super::cli::{Client, Reach, cli_arguments};
use events::{Events, Ignored, from_json, from_text};

/// Declares a module's options, and those that say which project and which daemon.
macro_rules! compose_arguments {
    (
        $(#[doc = $about:literal])*
        struct $name:ident for $module:literal { $($fields:tt)* }
    ) => {
        cli_arguments! {
            $(#[doc = $about])*
            struct $name for $module {
                $($fields)*
                /// The directory of the compose file.
                project_src: Option<PathBuf> {},
                /// The project's name; that of its directory unless it is given.
                project_name: Option<String> {},
                /// Compose files in the directory, instead of the usual one.
                files: Option<Vec<String>> {},
                /// What a compose file would say, instead of one.
                definition: Option<Map> {},
                /// Files of variables, instead of `.env`.
                env_files: Option<Vec<String>> {},
                /// Profiles to enable.
                profiles: Option<Vec<String>> {},
                /// Look first whether there is a compose file.
                check_files_existing: bool { default: "true" },
            }
            mutually_exclusive [
                ["docker_host", "cli_context"],
                ["definition", "project_src"],
                ["definition", "files"],
            ]
            required_one_of [["definition", "project_src"]]
            required_by [("definition", ["project_name"])]
        }

        impl $name {
            fn about(&self) -> About<'_> {
                About {
                    project_src: self.project_src.as_deref(),
                    project_name: self.project_name.as_deref(),
                    files: self.files.as_deref().unwrap_or_default(),
                    definition: self.definition.as_ref(),
                    env_files: self.env_files.as_deref().unwrap_or_default(),
                    profiles: self.profiles.as_deref().unwrap_or_default(),
                    check_files_existing: self.check_files_existing,
                    reach: self.reach(),
                }
            }
        }
    };
}

compose_arguments! {
    /// Manage multi-container Docker applications with Docker Compose CLI plugin.
    struct DockerComposeV2Args for "community.docker.docker_compose_v2" {
        /// Whether the project's containers should be there, and run.
        state: String {
            default: "present", choices: ["absent", "present", "stopped", "restarted"],
        },
        /// Bring up, or restart, what the services need too.
        dependencies: bool { default: "true" },
        /// When images are pulled.
        pull: String { default: "policy", choices: ["always", "missing", "never", "policy"] },
        /// When images are built.
        build: String { default: "policy", choices: ["always", "never", "policy"] },
        /// When containers are made anew.
        recreate: String { default: "auto", choices: ["always", "never", "auto"] },
        /// Make volumes without a name anew.
        renew_anon_volumes: bool { default: "false" },
        /// Which images go with an absent project.
        remove_images: Option<String> { choices: ["all", "local"] },
        /// Volumes go with an absent project.
        remove_volumes: bool { default: "false" },
        /// Containers go whose services the file does not name.
        remove_orphans: bool { default: "false" },
        /// Seconds a container may take to stop.
        timeout: Option<i64> {},
        /// The services, of all.
        services: Option<Vec<String>> {},
        /// How many containers a service has.
        scale: Option<Map> {},
        /// Wait until services run and are healthy.
        wait: bool { default: "false" },
        /// Seconds to wait.
        wait_timeout: Option<i64> {},
        /// A build is no change.
        ignore_build_events: bool { default: "true" },
        /// Answer what Compose asks with yes.
        assume_yes: bool { default: "false" },
    }
}

compose_arguments! {
    /// Pull a Docker compose project.
    struct DockerComposeV2PullArgs for "community.docker.docker_compose_v2_pull" {
        /// Pull all images, or those that are not there.
        policy: String { default: "always", choices: ["always", "missing"] },
        /// Leave out images that can be built.
        ignore_buildable: bool { default: "false" },
        /// Pull what the services need too.
        include_deps: bool { default: "false" },
        /// The services, of all.
        services: Option<Vec<String>> {},
    }
}

/// Which project, and which daemon.
struct About<'a> {
    project_src: Option<&'a Path>,
    project_name: Option<&'a str>,
    files: &'a [String],
    definition: Option<&'a Map>,
    env_files: &'a [String],
    profiles: &'a [String],
    check_files_existing: bool,
    reach: Reach<'a>,
}

/// Brings the project up or down, stops or restarts it.
pub(in crate::modules) fn run_compose(
    machine: &mut Machine,
    args: DockerComposeV2Args,
) -> ModuleResult {
    let mut compose = Compose::new(machine, &args.about())?;
    let up = up(&args, &compose)?;
    let words =
        |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
    let timeout = args.timeout.map(|seconds| seconds.to_string());
    let timed = |mut argv: Vec<String>| {
        if let Some(seconds) = &timeout {
            argv.extend(["--timeout".into(), seconds.clone()]);
        }
        argv
    };
    let services = args.services.as_deref().unwrap_or_default();
    let before = compose.containers()?;
    let was_up = before.iter().any(|it| !is_stopped(it));
    let up_again = compose.again(&up, services);
    let mut told = Told::default();
    match args.state.as_str() {
        "present" => {
            let effect = |what: String, compose: &Compose<'_>| {
                if before.is_empty() {
                    Effect::Compensated {
                        what,
                        undo: compose.again(&words(&["down"]), &[]),
                    }
                } else {
                    compose.done_again(what, up_again.clone())
                }
            };
            let ignored = Ignored {
                pulls: true,
                builds: args.ignore_build_events,
            };
            compose.act(&up, services, effect, ignored, &mut told)?;
        }
        "stopped" => {
            let mut create = up.clone();
            create.push("--no-start".into());
            let ignored = Ignored {
                pulls: true,
                builds: args.ignore_build_events,
            };
            let effect = |what: String, compose: &Compose<'_>| {
                if before.is_empty() {
                    Effect::Compensated {
                        what,
                        undo: compose.again(&words(&["down"]), &[]),
                    }
                } else {
                    compose.done_again(what, Vec::new())
                }
            };
            compose.act(&create, services, effect, ignored, &mut told)?;
            // Compose claims to stop also what does not run.
            let found = compose.containers()?;
            if !found.iter().all(is_stopped) {
                let stop = timed(words(&["stop"]));
                let effect = |what: String, compose: &Compose<'_>| Effect::Compensated {
                    what,
                    undo: if was_up {
                        compose.again(&words(&["start"]), services)
                    } else {
                        Vec::new()
                    },
                };
                compose.act(&stop, services, effect, Ignored::default(), &mut told)?;
            }
        }
        "restarted" => {
            let mut restart = words(&["restart"]);
            if !args.dependencies {
                restart.push("--no-deps".into());
            }
            let restart = timed(restart);
            let again = compose.again(&restart, services);
            let effect = |what: String, _: &Compose<'_>| Effect::Again {
                what,
                again: again.clone(),
            };
            compose.act(&restart, services, effect, Ignored::default(), &mut told)?;
        }
        _ => {
            let mut down = words(&["down"]);
            if args.remove_orphans {
                down.push("--remove-orphans".into());
            }
            if let Some(images) = &args.remove_images {
                down.extend(["--rmi".into(), images.clone()]);
            }
            if args.remove_volumes {
                down.push("--volumes".into());
            }
            let down = timed(down);
            let loses = args.remove_volumes;
            let effect = |what: String, compose: &Compose<'_>| {
                if loses {
                    Effect::opaque(what)
                } else {
                    compose.done_again(what, up_again.clone())
                }
            };
            compose.act(&down, services, effect, Ignored::default(), &mut told)?;
        }
    }
    let containers = compose.containers()?.into_iter().map(container);
    let containers = Value::list(containers.collect::<Vec<_>>());
    let images = compose.images()?;
    Ok(told
        .outcome()
        .with("containers", containers)
        .with("images", images))
}

/// Pulls the project's images.
pub(in crate::modules) fn run_compose_pull(
    machine: &mut Machine,
    args: DockerComposeV2PullArgs,
) -> ModuleResult {
    let mut compose = Compose::new(machine, &args.about())?;
    if args.policy != "always" && compose.version < [2, 22, 0] {
        return Err(Failure::new(format!(
            "A pull policy other than always is only supported since Docker Compose 2.22.0. {} \
             has version {}",
            compose.program(),
            compose.shown_version()
        )));
    }
    let mut argv = vec!["pull".to_owned()];
    if args.policy != "always" {
        argv.extend(["--policy".into(), args.policy.clone()]);
    }
    if args.ignore_buildable {
        argv.push("--ignore-buildable".into());
    }
    if args.include_deps {
        argv.push("--include-deps".into());
    }
    let ignored = Ignored {
        pulls: args.policy != "missing" && !compose.machine.is_check(),
        builds: false,
    };
    let effect = |what: String, _: &Compose<'_>| Effect::Compensated {
        what,
        undo: Vec::new(),
    };
    let mut told = Told::default();
    let services = args.services.as_deref().unwrap_or_default();
    compose.act(&argv, services, effect, ignored, &mut told)?;
    Ok(told.outcome())
}

/// Returns the command that brings the project up.
fn up(args: &DockerComposeV2Args, compose: &Compose<'_>) -> Result<Vec<String>, Failure> {
    if args.assume_yes && compose.version < [2, 32, 0] {
        return Err(Failure::new(format!(
            "assume_yes=true needs Docker Compose 2.32.0 or newer, not version {}",
            compose.shown_version()
        )));
    }
    let mut argv: Vec<String> = ["up", "--detach", "--no-color", "--quiet-pull"]
        .map(str::to_owned)
        .to_vec();
    let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    if args.pull != "policy" {
        add(&["--pull", &args.pull]);
    }
    if args.remove_orphans {
        add(&["--remove-orphans"]);
    }
    match args.recreate.as_str() {
        "always" => add(&["--force-recreate"]),
        "never" => add(&["--no-recreate"]),
        _ => {}
    }
    if args.renew_anon_volumes {
        add(&["--renew-anon-volumes"]);
    }
    if !args.dependencies {
        add(&["--no-deps"]);
    }
    if let Some(seconds) = args.timeout {
        add(&["--timeout", &seconds.to_string()]);
    }
    match args.build.as_str() {
        "always" => add(&["--build"]),
        "never" => add(&["--no-build"]),
        _ => {}
    }
    for (service, number) in scales(args.scale.as_ref())? {
        add(&["--scale", &format!("{service}={number}")]);
    }
    if args.wait {
        add(&["--wait"]);
        if let Some(seconds) = args.wait_timeout {
            add(&["--wait-timeout", &seconds.to_string()]);
        }
    }
    if args.assume_yes {
        // Compose misspelt the long form at first.
        add(&[if compose.version < [2, 34, 0] {
            "-y"
        } else {
            "--yes"
        }]);
    }
    Ok(argv)
}

fn scales(given: Option<&Map>) -> Result<Vec<(String, i64)>, Failure> {
    use crate::arguments::Argument;
    let mut scales = Vec::new();
    for (service, value) in given.into_iter().flatten() {
        let shown = crate::value::repr(value);
        let number = i64::convert(value).map_err(|_| {
            Failure::new(format!(
                "The value {shown} for `scale['{service}']` is not an integer"
            ))
        })?;
        if number < 0 {
            return Err(Failure::new(format!(
                "The value {shown} for `scale['{service}']` is negative"
            )));
        }
        scales.push((service.to_string(), number));
    }
    scales.sort();
    Ok(scales)
}

/// What the runs of Compose told, together.
#[derive(Default)]
struct Told {
    changed: bool,
    actions: Vec<Value>,
    stdout: Vec<String>,
    stderr: Vec<String>,
    warnings: Vec<String>,
}

impl Told {
    fn add(&mut self, events: Events, output: &Output, ignored: Ignored) {
        self.changed |= events.has_changes(ignored);
        self.actions.extend(events.actions());
        let texts = [
            (&mut self.stdout, output.stdout_text()),
            (&mut self.stderr, output.stderr_text()),
        ];
        for (all, text) in texts {
            all.extend(Some(text).filter(|text| !text.is_empty()));
        }
        self.warnings.extend(events.warnings);
    }

    fn outcome(self) -> Outcome {
        let mut outcome = Outcome::unchanged()
            .with_changed(self.changed)
            .with("actions", Value::list(self.actions));
        for (name, texts) in [("stdout", self.stdout), ("stderr", self.stderr)] {
            if !texts.is_empty() {
                outcome = outcome.with(name, texts.join("\n"));
            }
        }
        self.warnings.into_iter().fold(outcome, Outcome::warn)
    }
}

/// Compose, for one project.
struct Compose<'m> {
    machine: &'m mut Machine,
    docker: Client,
    /// What says which project, after `compose`.
    project: Vec<String>,
    directory: PathBuf,
    version: [u32; 3],
    /// The file that a definition was written to.
    definition: Option<TemporaryProgram>,
}

impl<'m> Compose<'m> {
    fn new(machine: &'m mut Machine, about: &About<'_>) -> Result<Self, Failure> {
        let definition = match about.definition {
            // JSON is YAML too.
            Some(definition) => {
                let text = http::json_text(&definition.clone().into());
                Some(machine.temporary_program("compose.yaml", text.as_bytes())?)
            }
            None => None,
        };
        let directory = match (&definition, about.project_src) {
            (Some(file), _) => file.path().parent().unwrap_or(Path::new("/")).to_owned(),
            (None, Some(path)) => machine.expand(path),
            (None, None) => PathBuf::from("/"),
        };
        let mut compose = Self {
            docker: Client::new(machine, &about.reach)?,
            project: Vec::new(),
            directory,
            version: [0; 3],
            definition,
            machine,
        };
        compose.version = compose.find_version()?;
        if compose.version < [2, 18, 0] {
            return Err(Failure::new(format!(
                "Docker CLI {} has the compose plugin with version {}; need version 2.18.0 or \
                 later",
                compose.program(),
                compose.shown_version()
            )));
        }
        compose.check_files(about)?;
        compose.project = compose.project(about);
        Ok(compose)
    }

    fn program(&self) -> &str {
        self.docker.program()
    }

    fn shown_version(&self) -> String {
        self.version.map(|number| number.to_string()).join(".")
    }

    fn find_version(&mut self) -> Result<[u32; 3], Failure> {
        let words = ["compose", "version", "--format", "json"].map(str::to_owned);
        let output = self.ask(&words)?;
        let told: Option<Value> = serde_json::from_str(&output.stdout_text()).ok();
        let version = told.as_ref().and_then(|it| it.get("version")?.as_str());
        let missing = || {
            Failure::new(format!(
                "Docker CLI {} does not have the compose plugin installed",
                self.docker.program()
            ))
        };
        let version = version.filter(|_| output.success()).ok_or_else(missing)?;
        let mut numbers = version
            .trim_start_matches('v')
            .split(|letter: char| !letter.is_ascii_digit())
            .map_while(|part| part.parse().ok());
        Ok([(); 3].map(|()| numbers.next().unwrap_or(0)))
    }

    fn check_files(&self, about: &About<'_>) -> Result<(), Failure> {
        const USUAL: [&str; 4] = [
            "compose.yaml",
            "compose.yml",
            "docker-compose.yaml",
            "docker-compose.yml",
        ];
        let shown = self.directory.display();
        if !self.machine.is_dir(&self.directory)? && self.definition.is_none() {
            return Err(Failure::new(format!("\"{shown}\" is not a directory")));
        }
        for file in about.files {
            if !self.machine.exists(&self.directory.join(file))? {
                return Err(Failure::new(format!(
                    "Cannot find Compose file \"{file}\" relative to project directory \"{shown}\""
                )));
            }
        }
        if !about.files.is_empty() || !about.check_files_existing || self.definition.is_some() {
            return Ok(());
        }
        for name in USUAL {
            if self.machine.exists(&self.directory.join(name))? {
                return Ok(());
            }
        }
        Err(Failure::new(format!(
            "\"{shown}\" does not contain {}, or {}",
            USUAL[..3].join(", "),
            USUAL[3]
        )))
    }

    fn project(&self, about: &About<'_>) -> Vec<String> {
        let mut argv = ["compose", "--ansi", "never"].map(str::to_owned).to_vec();
        let mut add = |words: [&str; 2]| argv.extend(words.map(str::to_owned));
        if self.tells_json() {
            add(["--progress", "json"]);
        } else if self.version >= [2, 19, 0] {
            add(["--progress", "plain"]);
        }
        add(["--project-directory", &self.directory.display().to_string()]);
        if let Some(name) = about.project_name.filter(|name| !name.is_empty()) {
            add(["--project-name", name]);
        }
        for (flag, values) in [
            ("--file", about.files),
            ("--env-file", about.env_files),
            ("--profile", about.profiles),
        ] {
            for value in values {
                add([flag, value]);
            }
        }
        argv
    }

    fn tells_json(&self) -> bool {
        self.version >= [2, 29, 0]
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = self.docker.command(words);
        if self.directory.is_dir() {
            command = command.directory(&self.directory);
        }
        command
    }

    fn ask(&mut self, words: &[String]) -> Result<Output, Failure> {
        let command = self.command(words);
        Ok(self.machine.query(&command)?)
    }

    fn argv(&self, words: &[String], services: &[String]) -> Vec<String> {
        let mut argv = self.project.clone();
        argv.extend_from_slice(words);
        argv.push("--".into());
        argv.extend_from_slice(services);
        argv
    }

    /// Returns what has Compose do something once more.
    fn again(&self, words: &[String], services: &[String]) -> Vec<UndoStep> {
        vec![self.docker.step(&self.argv(words, services))]
    }

    /// Makes an effect that is done again when the old files are back; a definition has none.
    fn done_again(&self, what: String, again: Vec<UndoStep>) -> Effect {
        match self.definition {
            Some(_) => Effect::opaque(what),
            None => Effect::Again { what, again },
        }
    }

    /// Has Compose change something, or say what it would.
    fn act(
        &mut self,
        words: &[String],
        services: &[String],
        effect: impl Fn(String, &Self) -> Effect,
        ignored: Ignored,
        told: &mut Told,
    ) -> Result<(), Failure> {
        let argv = self.argv(words, services);
        let what = format!("docker {}", argv.join(" "));
        let effect = effect(what, self);
        let command = self.command(&argv);
        let output = match self.machine.execute(&command, effect)?.output() {
            Some(output) => output,
            None => {
                let mut words = words.to_vec();
                words.push("--dry-run".into());
                let argv = self.argv(&words, services);
                self.ask(&argv)?
            }
        };
        let events = self.events(&output);
        if !output.success() {
            return Err(self.failed(&events, &argv, &output));
        }
        told.add(events, &output, ignored);
        Ok(())
    }

    fn events(&self, output: &Output) -> Events {
        if self.tells_json() {
            from_json(&output.stderr_text())
        } else {
            from_text(&output.stderr_text(), output.status)
        }
    }

    fn failed(&self, events: &Events, argv: &[String], output: &Output) -> Failure {
        let cmd = [&[self.program().to_owned()], argv].concat().join(" ");
        tool::failed(output, events.errors(output.status)).with("cmd", cmd)
    }

    /// Lists the project's containers, also those that do not run.
    fn containers(&mut self) -> Result<Vec<Value>, Failure> {
        let mut argv = self.project.clone();
        argv.extend(["ps", "--format", "json", "--all"].map(str::to_owned));
        if self.version >= [2, 23, 0] {
            argv.push("--no-trunc".into());
        }
        let output = self.ask(&argv)?;
        let text = output.stdout_text();
        if !output.success() {
            return Err(self.failed(&self.events(&output), &argv, &output));
        }
        if self.version < [2, 21, 0] {
            return Ok(listed(&read(text.trim())?));
        }
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| line.starts_with('{'))
            .map(read)
            .collect()
    }

    fn images(&mut self) -> Result<Value, Failure> {
        let mut argv = self.project.clone();
        argv.extend(["images", "--format", "json"].map(str::to_owned));
        let output = self.ask(&argv)?;
        if !output.success() {
            return Err(self.failed(&self.events(&output), &argv, &output));
        }
        Ok(Value::list(listed(&read(output.stdout_text().trim())?)))
    }
}

fn read(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(format!(
            "Error while parsing JSON output of docker compose: {error}\nJSON output: {text}"
        ))
    })
}

/// Returns what is listed, in either of the forms that Compose has for it.
fn listed(value: &Value) -> Vec<Value> {
    match value {
        Value::Map(map) => map.values().cloned().collect(),
        value => value.as_list().unwrap_or_default().to_vec(),
    }
}

fn is_stopped(container: &Value) -> bool {
    let state = container.get("State").and_then(Value::as_str);
    state.is_some_and(|state| ["created", "exited", "stopped", "killed"].contains(&state))
}

/// Opens the texts of a container that hold lists.
fn container(told: Value) -> Value {
    let Some(mut map) = told.as_map().cloned() else {
        return told;
    };
    let text = |key: &str| told.get(key).and_then(Value::as_str).map(str::to_owned);
    let labels = text("Labels").unwrap_or_default();
    let labels: Map = labels
        .split(',')
        .filter(|label| !label.is_empty())
        .map(|label| {
            let (name, value) = label.split_once('=').unwrap_or((label, ""));
            (name.into(), value.into())
        })
        .collect();
    map.insert("Labels".into(), labels.into());
    let names = text("Names").or_else(|| text("Name")).unwrap_or_default();
    map.insert("Names".into(), Value::list(names.split(',')));
    let networks = text("Networks").unwrap_or_default();
    map.insert("Networks".into(), Value::list(networks.split(',')));
    if !told.get("Publishers").is_some_and(Value::is_truthy) {
        map.insert("Publishers".into(), Value::list::<Value>([]));
    }
    map.into()
}
