//! `apt_repository`: one line of apt's lists of sources.

mod sources;

use std::path::{Path, PathBuf};

use crate::arguments::{FileAttributes, Mode};
use crate::machine::{Content, Follow, Machine, NewFile};
use crate::value::Value;

use super::http::{self, Options, Request};
use super::{Diff, Failure, ModuleResult, Outcome, apt};
use sources::{Source, Sources};

crate::arguments! {
    /// Add and remove APT repositories.
    pub(crate) struct AptRepositoryArgs for "apt_repository" {
        /// The source line, or `ppa:OWNER/NAME`.
        repo: String { required },
        /// Whether apt should know the source.
        state: String { default: "present", choices: ["absent", "present"] },
        /// The permissions of a new file.
        mode: Option<Mode> {},
        /// Fetch the package lists when something changed.
        update_cache: bool { default: "true", aliases: ["update-cache"] },
        /// How often a failed fetch is tried.
        update_cache_retries: i64 { default: "5" },
        /// The longest wait between two tries, in seconds.
        update_cache_retry_max_delay: i64 { default: "12" },
        /// The file's name without `.list`; made of the source otherwise.
        filename: Option<String> {},
        /// Accepted as Ansible accepts it: no bindings are needed here.
        install_python_apt: bool { default: "true" },
        /// Check the certificate of Launchpad.
        validate_certs: bool { default: "true" },
        /// The release that a PPA is for; the target's otherwise.
        codename: Option<String> {},
    }
}

const LIST: &str = "/etc/apt/sources.list";
const LISTS: &str = "/etc/apt/sources.list.d";
const KEYS: &str = "/etc/apt/trusted.gpg.d";

/// Adds or removes the source, and fetches the package lists.
pub(crate) fn run(machine: &mut Machine, args: AptRepositoryArgs) -> ModuleResult {
    // Always met: apt's files are read here.
    let _: bool = args.install_python_apt;
    if args.repo.is_empty() {
        return Err(Failure::new(
            "Please set argument 'repo' to a non-empty value",
        ));
    }
    let mut lists = read_lists(machine)?;
    let before = lists.dump();
    let source = wanted(machine, &args)?;
    if args.state == "absent" {
        lists.remove(&source.line);
    } else if !(source.ppa.is_some() && lists.has(&source.line)) {
        if let Some((owner, name)) = &source.ppa {
            trust_ppa(machine, &args, owner, name)?;
        }
        lists.add(&source.line, &file_name(&args, &source));
    }
    let after = lists.dump();
    let added: Vec<_> = after
        .keys()
        .filter(|file| !before.contains_key(*file))
        .collect();
    let removed: Vec<_> = before
        .keys()
        .filter(|file| !after.contains_key(*file))
        .collect();
    let mut outcome = Outcome::unchanged()
        .with_changed(before != after)
        .with("repo", args.repo.as_str())
        .with(
            "sources_added",
            Value::list(added.iter().map(|file| file.as_str())),
        )
        .with(
            "sources_removed",
            Value::list(removed.iter().map(|file| file.as_str())),
        )
        .with("state", args.state.as_str());
    if machine.wants_diff() {
        for file in added.iter().chain(&removed) {
            let text = |side: &indexmap::IndexMap<String, String>| side.get(*file).cloned();
            let header = |side: &Option<String>| match side {
                Some(_) => file.as_str(),
                None => "/dev/null",
            };
            let (old, new) = (text(&before), text(&after));
            let headers = (header(&old), header(&new));
            let diff = Diff::new(old.unwrap_or_default(), new.unwrap_or_default());
            outcome = outcome.diff(diff.headers(headers.0, headers.1));
        }
        if outcome.diff.is_empty() {
            outcome = outcome.with("diff", Value::list(Vec::<Value>::new()));
        }
    }
    if before != after {
        save(machine, &args, &before, &after)?;
        if args.update_cache
            && let Err(failure) = apt::update(
                machine,
                args.update_cache_retries,
                args.update_cache_retry_max_delay,
            )
        {
            // What apt cannot use must not stay.
            save(machine, &args, &after, &before)?;
            return Err(failure);
        }
    }
    Ok(outcome)
}

fn read_lists(machine: &mut Machine) -> Result<Sources, Failure> {
    let mut files = vec![PathBuf::from(LIST)];
    if machine.is_dir(Path::new(LISTS))? {
        for entry in machine.read_dir(Path::new(LISTS))? {
            if entry.name.to_string_lossy().ends_with(".list") {
                files.push(Path::new(LISTS).join(entry.name));
            }
        }
    }
    let mut lists = Sources::default();
    for file in files {
        if machine
            .metadata(&file)?
            .is_some_and(|found| found.is_file())
        {
            let bytes = machine.read(&file)?;
            lists.load(
                &file.display().to_string(),
                &String::from_utf8_lossy(&bytes),
            );
        }
    }
    Ok(lists)
}

/// What the option `repo` stands for.
struct Wanted {
    line: String,
    /// Owner and name.
    ppa: Option<(String, String)>,
    codename: String,
}

fn wanted(machine: &mut Machine, args: &AptRepositoryArgs) -> Result<Wanted, Failure> {
    let Some(ppa) = args.repo.strip_prefix("ppa:") else {
        let source = Source::parse(&args.repo);
        if !source.is_valid || !source.is_enabled {
            return Err(Failure::new(format!(
                "Invalid repository string: {}",
                args.repo.trim().trim_start_matches('#')
            )));
        }
        return Ok(Wanted {
            line: source.text,
            ppa: None,
            codename: String::new(),
        });
    };
    let codename = match &args.codename {
        Some(codename) => codename.clone(),
        None => codename(machine)?,
    };
    let mut parts = ppa.split('/');
    let owner = parts.next().unwrap_or_default().to_owned();
    let name = parts.next().unwrap_or("ppa").to_owned();
    Ok(Wanted {
        line: format!("deb https://ppa.launchpadcontent.net/{owner}/{name}/ubuntu {codename} main"),
        ppa: Some((owner, name)),
        codename,
    })
}

fn codename(machine: &mut Machine) -> Result<String, Failure> {
    let bytes = machine.read(Path::new("/etc/os-release"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| Failure::new("Module apt_repository is not supported on target."))
}

fn file_name(args: &AptRepositoryArgs, source: &Wanted) -> String {
    let name = match &args.filename {
        Some(name) => format!("{name}.list"),
        None if source.ppa.is_some() => {
            sources::suggested_name(&format!("{}_{}", args.repo, source.codename))
        }
        None => sources::suggested_name(&source.line),
    };
    if name.contains('/') {
        name
    } else {
        format!("{LISTS}/{name}")
    }
}

/// Makes apt trust a PPA's key, fetched from Ubuntu's key server.
fn trust_ppa(
    machine: &mut Machine,
    args: &AptRepositoryArgs,
    owner: &str,
    name: &str,
) -> Result<(), Failure> {
    let path = PathBuf::from(format!("{KEYS}/ppa-{owner}-{name}.asc"));
    if machine.exists(&path)? {
        return Ok(());
    }
    let url = format!("https://api.launchpad.net/1.0/~{owner}/+archive/{name}");
    let info = fetch(machine, args, &url).map_err(|why| {
        Failure::new(format!("failed to fetch PPA information, error was: {why}"))
    })?;
    let info: Value = serde_json::from_slice(&info)
        .map_err(|error| Failure::new(format!("failed to fetch PPA information: {error}")))?;
    let fingerprint = info.get("signing_key_fingerprint").and_then(Value::as_str);
    let fingerprint = fingerprint
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .ok_or_else(|| Failure::new("Unable to get required signing key"))?;
    let url =
        format!("https://keyserver.ubuntu.com/pks/lookup?op=get&options=mr&search=0x{fingerprint}");
    let key = fetch(machine, args, &url)
        .map_err(|why| Failure::new(format!("Unable to get required signing key: {why}")))?;
    let new = NewFile {
        mode: Some(0o644),
        ..NewFile::default()
    };
    Ok(machine.write(&path, Content::Bytes(key), &new)?)
}

fn fetch(machine: &mut Machine, args: &AptRepositoryArgs, url: &str) -> Result<Vec<u8>, String> {
    let options = Options {
        validate_certs: args.validate_certs,
        ..Options::default()
    };
    let request = Request {
        headers: vec![("Accept".into(), "*/*".into())],
        ..Request::get(url)
    };
    let response = http::send(machine, request, &options).map_err(|failure| failure.msg)?;
    if response.status != 200 {
        return Err(response.msg);
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut response.into_body(), &mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Writes the files that differ.
fn save(
    machine: &mut Machine,
    args: &AptRepositoryArgs,
    before: &indexmap::IndexMap<String, String>,
    after: &indexmap::IndexMap<String, String>,
) -> Result<(), Failure> {
    for file in before.keys().filter(|file| !after.contains_key(*file)) {
        machine.remove(Path::new(file))?;
    }
    for (file, text) in after
        .iter()
        .filter(|(file, text)| before.get(*file) != Some(*text))
    {
        let path = machine.real_path(Path::new(file))?;
        if let Some(directory) = path.parent() {
            machine.create_dir_all(directory, 0o777)?;
        }
        let content = Content::Bytes(text.as_bytes().to_vec());
        machine.write(&path, content, &NewFile::default())?;
        if !before.contains_key(file) {
            let attributes = FileAttributes {
                mode: args.mode.clone(),
                ..FileAttributes::default()
            };
            machine.apply_file_attributes(&path, &attributes, Follow::No)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::predicting;

    fn call(machine: &mut Machine, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        run(machine, AptRepositoryArgs::parse(given.as_map().unwrap())?)
    }

    #[test]
    fn a_source_gets_a_file_of_its_own_and_loses_it_again() {
        let mut machine = predicting();
        let options = r#"{"repo": "deb [signed-by=/k]  http://x.example.org/a b c", "filename": "backstay-x"}"#;
        let outcome = call(&mut machine, options).unwrap();
        assert_eq!(
            serde_json::to_string(&Value::from(outcome.into_result())).unwrap(),
            r#"{"changed":true,"repo":"deb [signed-by=/k]  http://x.example.org/a b c","sources_added":["/etc/apt/sources.list.d/backstay-x.list"],"sources_removed":[],"state":"present","diff":[{"before":"","after":"deb [signed-by=/k] http://x.example.org/a b c\n","before_header":"/dev/null","after_header":"/etc/apt/sources.list.d/backstay-x.list"}]}"#
        );
        let again = call(&mut machine, options).unwrap();
        assert!(!again.changed);
        assert_eq!(
            again.data.get("diff").map(Value::to_string).as_deref(),
            Some("[]")
        );
        let options =
            r#"{"repo": "deb [signed-by=/k] http://x.example.org/a b c", "state": "absent"}"#;
        let outcome = call(&mut machine, options).unwrap();
        assert_eq!(
            outcome.data.get("sources_removed").unwrap(),
            &Value::list(["/etc/apt/sources.list.d/backstay-x.list"])
        );
        let file = Path::new("/etc/apt/sources.list.d/backstay-x.list");
        assert!(!machine.exists(file).unwrap());
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let failure = call(&mut predicting(), r##"{"repo": "# hello"}"##).unwrap_err();
        assert_eq!(failure.msg, "Invalid repository string:  hello");
        let failure = call(&mut predicting(), r#"{"repo": ""}"#).unwrap_err();
        assert_eq!(
            failure.msg,
            "Please set argument 'repo' to a non-empty value"
        );
    }

    #[test]
    fn a_ppa_is_a_source_of_its_release() {
        let mut machine = predicting();
        let given: Value =
            serde_json::from_str(r#"{"repo": "ppa:nginx/stable", "codename": "noble"}"#).unwrap();
        let args = AptRepositoryArgs::parse(given.as_map().unwrap()).unwrap();
        let source = wanted(&mut machine, &args).unwrap();
        assert_eq!(
            source.line,
            "deb https://ppa.launchpadcontent.net/nginx/stable/ubuntu noble main"
        );
        assert_eq!(
            file_name(&args, &source),
            "/etc/apt/sources.list.d/ppa_nginx_stable_noble.list"
        );
    }
}
