//! `docker_image_build`: an image from a directory, with the plugin of `docker` that builds.
//!
//! Knows nothing of what the Dockerfile says.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value as Json, json};

use super::cli::{Client, cli_arguments};
use super::daemon::is_id;
use super::reference::{Reference, id};
use super::values::{bytes, field, from_json, only};
use crate::machine::{Effect, Machine};
use crate::modules::{Failure, ModuleResult, Outcome, tool};
use crate::value::{Map, Value};

cli_arguments! {
    /// Build Docker images using Docker buildx.
    struct DockerImageBuildArgs for "community.docker.docker_image_build" {
        /// The image; a tag in it beats `tag`.
        name: String { required },
        tag: String { default: "latest" },
        /// The directory to build from.
        path: std::path::PathBuf { required },
        /// The file that says how, beneath the directory.
        dockerfile: Option<String> {},
        /// Images whose layers can be taken.
        cache_from: Option<Vec<String>> {},
        /// Pull newer images to build on.
        pull: bool { default: "false" },
        /// The network of what runs meanwhile.
        network: Option<String> {},
        nocache: bool { default: "false" },
        /// Hosts and their addresses.
        etc_hosts: Option<Map> {},
        /// The values of `ARG` lines.
        args: Option<Map> {},
        /// The stage to build.
        target: Option<String> {},
        platform: Option<Vec<String>> {},
        /// The size of `/dev/shm`.
        shm_size: Option<String> {},
        labels: Option<Map> {},
        /// Whether an image that is there is built again.
        rebuild: String { default: "never", choices: ["never", "always"] },
        /// Secrets of the build: `id`, `type` and `src`, `env` or `value`.
        secrets: Option<Vec<Map>> { no_log },
        /// Where the image goes: `type`, `dest`, `context`, `name`, `push`.
        outputs: Option<Vec<Map>> {},
    }
    mutually_exclusive [["docker_host", "cli_context"]]
}

/// Builds the image.
pub(crate) fn run_image_build(machine: &mut Machine, args: DockerImageBuildArgs) -> ModuleResult {
    let client = Client::new(machine, &args.reach())?;
    let version = buildx(machine, &client)?;
    let path = machine.expand(&args.path);
    if !machine.is_dir(&path)? {
        return Err(Failure::new(format!(
            "\"{}\" is not an existing directory",
            path.display()
        )));
    }
    if let Some(name) = &args.dockerfile {
        let file = path.join(name);
        let is_file = machine.metadata(&file)?.is_some_and(|it| !it.is_dir());
        if !is_file {
            return Err(Failure::new(format!(
                "\"{}\" is not an existing file",
                file.display()
            )));
        }
    }
    let reference = Reference::new(&args.name, &args.tag, "")?;
    if is_id(&args.name) {
        return Err(Failure::new("Image name must not be a digest"));
    }
    if is_id(&reference.tag) {
        return Err(Failure::new(
            "Image name must not contain a digest, but have a tag",
        ));
    }
    let outputs = outputs(machine, &args, &reference, &version)?;
    let secrets = secrets(machine, &args, &version)?;
    let found = image(machine, &client, &reference)?;
    let outcome = Outcome::unchanged().with("actions", Value::list::<Value>([]));
    if let Some(found) = &found
        && args.rebuild == "never"
    {
        return Ok(outcome.with("image", from_json(found.clone())));
    }
    let mut words = words(&args, &path, &reference, &outputs)?;
    for secret in &secrets {
        words.extend(["--secret".into(), secret.word.clone()]);
    }
    words.extend(["--".into(), path.display().to_string()]);
    let command = Value::list(words.iter().map(String::as_str));
    let shown = reference.shown();
    let what = format!("build image {shown}");
    let effect = if outputs.iter().any(|output| !output.stays) {
        Effect::opaque(what)
    } else {
        let undo = match &found {
            Some(old) => client.step(&["tag", id(old), &shown]),
            None => client.step(&["rmi", &shown]),
        };
        Effect::Compensated {
            what,
            undo: vec![undo],
        }
    };
    let mut build = client.command(&words);
    for secret in secrets {
        if let Some((name, value)) = secret.variable {
            build = build.env(name, value);
        }
    }
    let outcome = outcome.with_changed(true);
    let Some(output) = machine.execute(&build, effect)?.output() else {
        return Ok(outcome.with("image", from_json(found.unwrap_or_else(|| json!({})))));
    };
    if !output.success() {
        return Err(Failure::new(format!("Building {shown} failed"))
            .with("stdout", output.stdout_text())
            .with("stderr", output.stderr_text())
            .with("command", command));
    }
    let built = image(machine, &client, &reference)?.unwrap_or_else(|| json!({}));
    Ok(outcome
        .with("image", from_json(built))
        .with("stdout", output.stdout_text())
        .with("stderr", output.stderr_text())
        .with("command", command))
}

/// Returns the version of the plugin that builds.
fn buildx(machine: &mut Machine, client: &Client) -> Result<Buildx, Failure> {
    let output = client.ask(machine, &["info", "--format", "{{ json . }}"])?;
    tool::check(Some(&output), tool::complaint)?;
    let told: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let about = told.get("ClientInfo").filter(|it| it.is_object());
    let about = about.ok_or_else(|| {
        Failure::new(
            "Cannot determine Docker client information. Are you maybe using podman instead of \
             docker?",
        )
    })?;
    let plugins = about.get("Plugins").and_then(Json::as_array);
    let plugin = plugins
        .into_iter()
        .flatten()
        .find(|plugin| plugin.get("Name").is_some_and(|name| name == "buildx"));
    let plugin = plugin.ok_or_else(|| {
        Failure::new(format!(
            "Docker CLI {} does not have the buildx plugin installed",
            client.program()
        ))
    })?;
    let told = plugin.get("Version").and_then(Json::as_str);
    let version = told.unwrap_or_default().trim_start_matches('v').to_owned();
    let mut numbers = version
        .split(|letter: char| !letter.is_ascii_digit())
        .map_while(|part| part.parse().ok());
    Ok(Buildx {
        numbers: [(); 2].map(|()| numbers.next().unwrap_or(0)),
        version,
    })
}

/// The plugin's version.
struct Buildx {
    version: String,
    numbers: [u32; 2],
}

impl Buildx {
    fn at_least(&self, numbers: [u32; 2], what: &str) -> Result<(), Failure> {
        if self.numbers >= numbers {
            return Ok(());
        }
        let (version, [major, minor]) = (&self.version, numbers);
        Err(Failure::new(format!(
            "The Docker buildx plugin has version {version}, but {major}.{minor}.0 is needed {what}"
        )))
    }
}

fn image(
    machine: &mut Machine,
    client: &Client,
    reference: &Reference,
) -> Result<Option<Json>, Failure> {
    let shown = reference.shown();
    let output = client.ask(machine, &["image", "inspect", &shown])?;
    let told: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match told.as_array().map(Vec::as_slice) {
        Some([]) => Ok(None),
        Some([image, ..]) => Ok(Some(image.clone())),
        None => Err(tool::failed(
            &output,
            format!(
                "Error inspecting image {shown} - {}",
                tool::complaint(&output)
            ),
        )),
    }
}

fn words(
    args: &DockerImageBuildArgs,
    path: &Path,
    reference: &Reference,
    outputs: &[Target],
) -> Result<Vec<String>, Failure> {
    let mut words: Vec<String> = ["buildx", "build", "--progress", "plain"]
        .map(str::to_owned)
        .into();
    let file = args.dockerfile.as_ref().map(|name| path.join(name));
    let size = args.shm_size.as_ref().map(|size| bytes("shm_size", size));
    let size = size.transpose()?;
    let many = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
    let is_tagged = outputs.is_empty().then(|| reference.shown());
    for (flag, values) in [
        ("--tag", one(&is_tagged)),
        ("--file", one(&file.map(|file| file.display().to_string()))),
        ("--cache-from", many(&args.cache_from)),
    ] {
        add(&mut words, flag, values);
    }
    words.extend(args.pull.then(|| "--pull".to_owned()));
    add(&mut words, "--network", one(&args.network));
    words.extend(args.nocache.then(|| "--no-cache".to_owned()));
    let outputs = outputs.iter().map(|output| output.word.clone());
    for (flag, values) in [
        ("--add-host", pairs(args.etc_hosts.as_ref(), ':')),
        ("--build-arg", pairs(args.args.as_ref(), '=')),
        ("--target", one(&args.target)),
        ("--platform", many(&args.platform)),
        ("--shm-size", one(&size.map(|size| size.to_string()))),
        ("--label", pairs(args.labels.as_ref(), '=')),
        ("--output", outputs.collect()),
    ] {
        add(&mut words, flag, values);
    }
    Ok(words)
}

fn add(words: &mut Vec<String>, flag: &str, values: Vec<String>) {
    for value in values {
        words.extend([flag.to_owned(), value]);
    }
}

/// Returns `key=value` of each member, in the order of the keys.
fn pairs(map: Option<&Map>, between: char) -> Vec<String> {
    let Json::Object(texts) = super::values::texts(map.unwrap_or(&Map::new())) else {
        return Vec::new();
    };
    let mut pairs: Vec<String> = texts
        .iter()
        .map(|(key, value)| format!("{key}{between}{}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// A secret as the plugin takes it.
struct Secret {
    word: String,
    variable: Option<(String, String)>,
}

fn secrets(
    machine: &mut Machine,
    args: &DockerImageBuildArgs,
    version: &Buildx,
) -> Result<Vec<Secret>, Failure> {
    let mut secrets = Vec::new();
    let mark = STANDARD_NO_PAD.encode(rand::random::<[u8; 16]>());
    for (index, given) in args.secrets.iter().flatten().enumerate() {
        only("secrets", given, &["id", "type", "src", "env", "value"])?;
        let name = needed("secrets", given, "id")?;
        let kind = needed("secrets", given, "type")?;
        let key = match kind.as_str() {
            "file" => "src",
            "env" => "env",
            "value" => "value",
            other => return Err(no_choice("type", "file, env, value", other, "secrets")),
        };
        let value = field(given, key).ok_or_else(|| missing_for(&kind, key, "secrets"))?;
        exclusive("secrets", given, &[&["src", "env", "value"]])?;
        if kind != "file" {
            version.at_least([0, 6], "for secrets of type=env and type=value")?;
        }
        let value = value.to_string();
        secrets.push(match kind.as_str() {
            "file" => {
                let path = machine.expand(value.as_ref());
                Secret {
                    word: format!("id={name},type=file,src={}", path.display()),
                    variable: None,
                }
            }
            "env" => Secret {
                word: format!("id={name},type=env,env={value}"),
                variable: None,
            },
            _ => {
                let variable = format!("ANSIBLE_DOCKER_COMPOSE_ENV_SECRET_{mark}_{index}");
                Secret {
                    word: format!("id={name},type=env,env={variable}"),
                    variable: Some((variable, value)),
                }
            }
        });
    }
    Ok(secrets)
}

/// Where the plugin puts what it built.
struct Target {
    word: String,
    /// It is nothing but an image of the daemon.
    stays: bool,
}

fn outputs(
    machine: &mut Machine,
    args: &DockerImageBuildArgs,
    reference: &Reference,
    version: &Buildx,
) -> Result<Vec<Target>, Failure> {
    let given = args.outputs.as_deref().unwrap_or_default();
    if given.len() > 1 {
        version.at_least([0, 13], "to specify more than one output")?;
    }
    let own = reference.shown();
    let mut has_own = false;
    let mut targets = Vec::new();
    for output in given {
        only(
            "outputs",
            output,
            &["type", "dest", "context", "name", "push"],
        )?;
        let kind = needed("outputs", output, "type")?;
        let pushes = field(output, "push").and_then(Value::to_soft_bool) == Some(true);
        exclusive(
            "outputs",
            output,
            &[
                &["dest", "name"],
                &["dest", "push"],
                &["context", "name"],
                &["context", "push"],
            ],
        )?;
        let dest = field(output, "dest").map(|path| {
            let path = machine.expand(path.to_string().as_ref());
            format!("dest={}", path.display())
        });
        let mut parts = vec![format!("type={kind}")];
        match kind.as_str() {
            "local" | "tar" | "oci" => {
                parts.push(dest.ok_or_else(|| missing_for(&kind, "dest", "outputs"))?);
            }
            "docker" => {
                parts.extend(dest);
                parts.extend(field(output, "context").map(|name| format!("context={name}")));
            }
            "image" => {
                let names = match field(output, "name") {
                    None => vec![own.clone()],
                    Some(Value::List(names)) => names.iter().map(Value::to_string).collect(),
                    Some(name) => name.to_string().split(',').map(str::to_owned).collect(),
                };
                has_own |= names.contains(&own);
                parts.push(format!("name={}", names.join(",")));
                parts.extend(pushes.then(|| "push=true".to_owned()));
            }
            other => {
                let choices = "local, tar, oci, docker, image";
                return Err(no_choice("type", choices, other, "outputs"));
            }
        }
        let quoted: Vec<String> = parts.iter().map(|part| csv(part)).collect();
        targets.push(Target {
            word: quoted.join(","),
            stays: kind == "image" && !pushes && field(output, "name").is_none(),
        });
    }
    if !targets.is_empty() && !has_own {
        if version.numbers < [0, 13] {
            return Err(Failure::new(format!(
                "The output does not include an image with name {own}, and the Docker buildx \
                 plugin has version {} which only supports one output.",
                version.version
            )));
        }
        targets.push(Target {
            word: format!("type=image,{}", csv(&format!("name={own}"))),
            stays: true,
        });
    }
    Ok(targets)
}

fn needed(option: &str, given: &Map, name: &str) -> Result<String, Failure> {
    field(given, name).map(Value::to_string).ok_or_else(|| {
        Failure::new(format!(
            "missing required arguments: {name} found in {option}"
        ))
    })
}

fn missing_for(kind: &str, name: &str, option: &str) -> Failure {
    Failure::new(format!(
        "type is {kind} but all of the following are missing: {name} found in {option}"
    ))
}

fn no_choice(name: &str, choices: &str, got: &str, option: &str) -> Failure {
    Failure::new(format!(
        "value of {name} must be one of: {choices}, got: {got} found in {option}"
    ))
}

fn exclusive(option: &str, given: &Map, groups: &[&[&str]]) -> Result<(), Failure> {
    for group in groups {
        let there = group.iter().filter(|name| field(given, name).is_some());
        if there.count() > 1 {
            return Err(Failure::new(format!(
                "parameters are mutually exclusive: {} found in {option}",
                group.join("|")
            )));
        }
    }
    Ok(())
}

/// Quotes a part of a comma-separated list where it must be.
fn csv(text: &str) -> String {
    if text.trim() == text && !text.contains(['"', ',', '\r', '\n']) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.docker.docker_image_build";
    /// A docker that keeps how often it built.
    const DOCKER: &str = r#"
shift 2
case "$*" in
  version*) echo '{}' ;;
  info*) echo '{"ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "v0.12.1"}]}}' ;;
  'image inspect'*) if [ -e "$here/built" ]; then echo "[{\"Id\": \"sha256:$(cat "$here/built")\"}]"
     else echo '[]'; echo 'no such image' >&2; exit 1; fi ;;
  *broken*) echo 'cannot solve' >&2; exit 1 ;;
  *build*) echo "x$(cat "$here/built" 2>/dev/null)" >"$here/built.new"
     mv "$here/built.new" "$here/built"; echo built ;;
esac
"#;

    fn host() -> Programs {
        let host = Programs::new([("docker", DOCKER)]);
        host.put("Containerfile", "FROM scratch\n");
        host
    }

    fn builds(host: &Programs) -> Vec<String> {
        let about = "docker --host unix:///var/run/docker.sock buildx build --progress plain ";
        let bin = host.path("").display().to_string();
        let bin = bin.trim_end_matches('/');
        let calls = host.calls().into_iter();
        calls
            .filter_map(|call| Some(call.strip_prefix(about)?.replace(bin, "$BIN")))
            .collect()
    }

    #[test]
    fn an_image_is_built_once() {
        let host = host();
        let options = r#"{"name": "app", "tag": "2", "path": "$BIN", "dockerfile": "Containerfile", "args": {"B": true, "A": 1}, "labels": {"l": "v"}, "shm_size": "1M", "platform": ["linux/amd64"], "pull": true, "nocache": true, "etc_hosts": {"h": "1.2.3.4"}, "network": "host", "target": "t", "cache_from": ["c"]}"#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":true,"actions":[],"image":{}}"#
        );
        assert_eq!(builds(&host), Vec::<String>::new());
        let result = host.run(NAME, options);
        assert!(
            result.starts_with(
                r#"{"changed":true,"actions":[],"image":{"Id":"sha256:x"},"stdout":"built\n","stderr":"","command":["buildx","build","--progress","plain","--tag","app:2","#
            ),
            "{result}"
        );
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"actions":[],"image":{"Id":"sha256:x"}}"#
        );
        assert_eq!(
            builds(&host),
            [
                "--tag app:2 --file $BIN/Containerfile --cache-from c --pull --network host --no-cache --add-host h:1.2.3.4 --build-arg A=1 --build-arg B=true --target t --platform linux/amd64 --shm-size 1048576 --label l=v -- $BIN"
            ]
        );
        let again = options.replace(r#""name""#, r#""rebuild": "always", "name""#);
        assert!(host.run(NAME, &again).contains(r#""Id":"sha256:xx""#));
        assert_eq!(
            host.undo_steps(),
            [
                "docker --host unix:///var/run/docker.sock rmi app:2",
                "docker --host unix:///var/run/docker.sock tag sha256:x app:2"
            ]
        );
    }

    #[test]
    fn a_secret_travels_in_the_environment() {
        let host = host();
        let options = r#"{"name": "app", "path": "$BIN", "secrets": [{"id": "a", "type": "value", "value": "hush"}, {"id": "b", "type": "file", "src": "/b"}]}"#;
        assert!(host.run(NAME, options).starts_with(r#"{"changed":true"#));
        let call = builds(&host).remove(0);
        assert!(!call.contains("hush"), "{call}");
        assert!(
            call.contains("--secret id=a,type=env,env=ANSIBLE_DOCKER_COMPOSE_ENV_SECRET_"),
            "{call}"
        );
        assert!(
            call.contains("_0 --secret id=b,type=file,src=/b -- "),
            "{call}"
        );
    }

    #[test]
    fn what_goes_elsewhere_can_be_undone_by_nobody() {
        let host = host();
        let options =
            r#"{"name": "app", "path": "$BIN", "outputs": [{"type": "image", "push": true}]}"#;
        assert!(host.run(NAME, options).starts_with(r#"{"changed":true"#));
        assert_eq!(
            builds(&host),
            ["--output type=image,name=app:latest,push=true -- $BIN"]
        );
        assert_eq!(host.undo_steps(), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_built_is_said() {
        let host = host();
        for (options, msg) in [
            (
                r#"{"name": "app", "path": "/backstay/none"}"#,
                r#""msg":"\"/backstay/none\" is not an existing directory"}"#,
            ),
            (
                r#"{"name": "app", "path": "$BIN", "dockerfile": "none"}"#,
                r#""msg":"\"$BIN/none\" is not an existing file"}"#,
            ),
            (
                r#"{"name": "app@sha256:00", "path": "$BIN", "target": "broken"}"#,
                r#""msg":"Building app@sha256:00 failed","stdout":"","stderr":"cannot solve\n""#,
            ),
            (
                r#"{"name": "app", "path": "$BIN", "outputs": [{"type": "tar", "dest": "/x"}]}"#,
                r#""msg":"The output does not include an image with name app:latest, and the Docker buildx plugin has version 0.12.1 which only supports one output."}"#,
            ),
            (
                r#"{"name": "app", "path": "$BIN", "outputs": [{"type": "tar"}]}"#,
                r#""msg":"type is tar but all of the following are missing: dest found in outputs"}"#,
            ),
            (
                r#"{"name": "app", "path": "$BIN", "secrets": [{"id": "a", "type": "vault"}]}"#,
                r#""msg":"value of type must be one of: file, env, value, got: vault found in secrets"}"#,
            ),
        ] {
            let result = host.run(NAME, options);
            assert!(result.contains(msg), "{options}: {result}");
        }
    }
}
