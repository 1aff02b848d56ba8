//! `zypper_repository`: where SUSE's packages come from.

use std::io::Read;

use configparser::ini::Ini;

use super::xml::elements;
use crate::machine::Machine;
use crate::modules::foresight::skipped_in_check_mode;
use crate::modules::http::{self, Options, Request};
use crate::modules::{Failure, ModuleResult, Outcome, tool};
use crate::value::{Map, Value};

crate::arguments! {
    /// Add and remove Zypper repositories.
    pub(crate) struct ZypperRepositoryArgs for "community.general.zypper_repository" {
        /// The repository's alias; a `.repo` file has its own.
        name: Option<String> {},
        /// Its address, or a `.repo` file.
        repo: Option<String> {},
        state: String { default: "present", choices: ["absent", "present"] },
        /// Read its list of packages anew.
        runrefresh: bool { default: "false" },
        /// What it is called.
        description: Option<String> {},
        /// Do not check signatures.
        disable_gpg_check: bool { default: "false" },
        /// Read its list of packages anew whenever zypper runs.
        autorefresh: bool { default: "true", aliases: ["refresh"] },
        /// Packages come from the repository with the smallest number.
        priority: Option<i64> {},
        enabled: bool { default: "true" },
        /// Replace several repositories, of the same alias or address.
        overwrite_multiple: bool { default: "false" },
        /// Trust its key.
        auto_import_keys: bool { default: "false" },
    }
}

/// Adds, changes or removes the repository.
pub(crate) fn run_repository(machine: &mut Machine, args: ZypperRepositoryArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, ZypperRepositoryArgs::SPEC.module) {
        return Ok(skipped);
    }
    let program = tool::required(machine, "zypper")?;
    let mut zypper = Zypper { machine, program };
    let version = zypper.version()?;
    let (repo, alias) = (args.repo.as_deref(), args.name.as_deref());
    let presents = args.state == "present";
    if repo == Some("*") || alias == Some("*") {
        if !args.runrefresh {
            return Err(Failure::new(
                "repo=* can only be used with the runrefresh option.",
            ));
        }
        zypper.refresh(None, args.auto_import_keys)?;
        return Ok(Outcome::unchanged().with("runrefresh", true));
    }
    let file = repo.filter(|repo| repo.ends_with(".repo"));
    let wrong = match (repo, alias) {
        (None | Some(""), _) if presents => Some("Module option state=present requires repo"),
        (None | Some(""), None | Some("")) => {
            Some("Alias or repo parameter required when state=absent")
        }
        (_, Some(_)) if file.is_some() => {
            Some("Incompatible option: 'name'. Do not use name when adding .repo files")
        }
        (_, None) if file.is_none() && presents => {
            Some("Name required when adding non-repo files.")
        }
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(Failure::new(wrong));
    }
    let mut wanted = Repository::wanted(&args);
    let mut imports_keys = args.auto_import_keys;
    if let Some(file) = file {
        let text = text_of(zypper.machine, file)?;
        imports_keys |= wanted.read_file(&text)?;
    }
    let old = zypper.matching(&wanted, args.overwrite_multiple)?;
    let is_same = match &old[..] {
        [] => false,
        [old] => !zypper.differs(old, &wanted)?,
        _ => false,
    };
    let short = wanted.alias.clone().or_else(|| args.repo.clone());
    let short = short.unwrap_or_default();
    let mut outcome = Outcome::unchanged();
    if presents && is_same {
        if args.runrefresh {
            zypper.refresh(Some(&short), imports_keys)?;
        }
    } else if presents {
        for (is_meant, least, warning) in [
            (
                wanted.priority.is_some(),
                [1, 12, 25],
                "Setting priority only available for zypper >= 1.12.25. Ignoring priority \
                 argument.",
            ),
            (
                true,
                [1, 6, 2],
                "Enabling/disabling gpgcheck only available for zypper >= 1.6.2. Using zypper \
                 default value.",
            ),
        ] {
            if is_meant && version < least {
                outcome = outcome.warn(warning);
            }
        }
        for old in &old {
            let again = zypper.adding(old, version);
            zypper.act("removerepo", std::slice::from_ref(&old.url), again)?;
        }
        let argv = zypper.adding(&wanted, version);
        let undo = zypper.argv(&["removerepo"], std::slice::from_ref(&short));
        let output = tool::act(zypper.machine, &argv, &undo)?;
        tool::check(output.as_ref(), |output| {
            format!("Zypper failed with rc {}", output.status)
        })
        .map_err(|failure| {
            failure
                .with("repodata", wanted.told())
                .with("state", args.state.as_str())
        })?;
        if args.runrefresh || imports_keys {
            zypper.refresh(Some(&short), imports_keys)?;
        }
        outcome.changed = true;
    } else if let Some(first) = old.first() {
        let again = zypper.adding(first, version);
        zypper.act("removerepo", &[short], again)?;
        outcome.changed = true;
    }
    Ok(outcome
        .with("repodata", wanted.told())
        .with("state", args.state.as_str()))
}

/// A repository, in zypper's words.
#[derive(Clone, Debug, Default, PartialEq)]
struct Repository {
    alias: Option<String>,
    url: String,
    name: Option<String>,
    priority: Option<i64>,
    enabled: String,
    gpgcheck: String,
    autorefresh: String,
}

impl Repository {
    fn wanted(args: &ZypperRepositoryArgs) -> Self {
        let flag = |is: bool| if is { "1" } else { "0" }.to_owned();
        Self {
            alias: args.name.clone(),
            url: args.repo.clone().unwrap_or_default(),
            name: args.description.clone(),
            priority: args.priority,
            enabled: flag(args.enabled),
            gpgcheck: flag(!args.disable_gpg_check),
            autorefresh: flag(args.autorefresh),
        }
    }

    /// Takes over what a `.repo` file says; tells whether it names a key.
    fn read_file(&mut self, text: &str) -> Result<bool, Failure> {
        let sections = Ini::new_cs()
            .read(text.to_owned())
            .map_err(|_| Failure::new("Invalid format, .repo file could not be parsed"))?;
        let mut sections = sections.into_iter();
        let (Some((alias, options)), None) = (sections.next(), sections.next()) else {
            let number = text
                .lines()
                .filter(|line| line.trim().starts_with('['))
                .count();
            return Err(Failure::new(format!(
                "Invalid format, .repo file contains {number} repositories, expected 1"
            )));
        };
        let option = |name: &str| {
            let mut all = options.iter();
            all.find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone().unwrap_or_default())
        };
        self.url =
            option("baseurl").ok_or_else(|| Failure::new("No baseurl found in .repo file"))?;
        self.alias = Some(alias);
        self.name = option("name").or(self.name.take());
        for (name, field) in [
            ("enabled", &mut self.enabled),
            ("autorefresh", &mut self.autorefresh),
            ("gpgcheck", &mut self.gpgcheck),
        ] {
            if let Some(value) = option(name) {
                *field = value;
            }
        }
        Ok(option("gpgkey").is_some())
    }

    fn told(&self) -> Map {
        let or_null = |text: &Option<String>| text.clone().map_or(Value::Null, Value::from);
        let mut told = Map::new();
        for (name, value) in [
            ("url", Value::from(self.url.as_str())),
            ("alias", or_null(&self.alias)),
            ("name", or_null(&self.name)),
            ("priority", self.priority.map_or(Value::Null, Value::from)),
            ("enabled", self.enabled.as_str().into()),
            ("gpgcheck", self.gpgcheck.as_str().into()),
            ("autorefresh", self.autorefresh.as_str().into()),
        ] {
            told.insert(name.into(), value);
        }
        told
    }
}

fn text_of(machine: &mut Machine, file: &str) -> Result<String, Failure> {
    if !file.starts_with("http://") && !file.starts_with("https://") {
        let path = machine.expand(file.as_ref());
        let bytes = machine.read(&path);
        let bytes =
            bytes.map_err(|_| Failure::new("Error opening .repo file from provided path"))?;
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let failed = || Failure::new("Error downloading .repo file from provided URL");
    let response = http::send(machine, Request::get(file), &Options::default())?;
    if !response.is_success() {
        return Err(failed());
    }
    let mut text = String::new();
    let read = response.into_body().read_to_string(&mut text);
    read.map_err(|_| failed())?;
    Ok(text)
}

struct Zypper<'m> {
    machine: &'m mut Machine,
    program: String,
}

impl Zypper<'_> {
    fn argv(&self, words: &[&str], more: &[String]) -> Vec<String> {
        let start = [self.program.as_str(), "--quiet", "--non-interactive"];
        let words = start.iter().chain(words).map(|word| (*word).to_owned());
        words.chain(more.iter().cloned()).collect()
    }

    fn version(&mut self) -> Result<[u32; 3], Failure> {
        let output = tool::ask(self.machine, &[self.program.as_str(), "--version"])?;
        let said = output.stdout_text();
        let told = said.strip_prefix("zypper ").filter(|_| output.success());
        let mut numbers = told
            .unwrap_or("1.0")
            .trim()
            .split('.')
            .map_while(|part| part.parse().ok());
        Ok([(); 3].map(|()| numbers.next().unwrap_or(0)))
    }

    /// Finds the repositories that have the alias or the address.
    fn matching(&mut self, wanted: &Repository, many: bool) -> Result<Vec<Repository>, Failure> {
        let argv = self.argv(&["--xmlout", "repos"], &[]);
        let output = tool::ask(self.machine, &argv)?;
        // There are none.
        if output.status == 6 {
            return Ok(Vec::new());
        }
        let command = argv.join(" ");
        tool::check(Some(&output), |_| {
            format!("Failed to execute \"{command}\"")
        })?;
        let all = known(&output.stdout_text())?;
        let by_alias = all.iter().filter(|it| it.alias == wanted.alias);
        let by_url = all
            .iter()
            .filter(|it| it.url == wanted.url && it.alias != wanted.alias);
        let found: Vec<Repository> = by_alias.chain(by_url).cloned().collect();
        if found.len() > 1 && !many {
            let shown = Value::list(found.iter().map(|it| Value::from(it.told())));
            return Err(Failure::new(format!(
                "More than one repo matched \"{}\": \"{shown}\". Use overwrite_multiple to allow \
                 more than one repo to be overwritten",
                wanted.url
            )));
        }
        Ok(found)
    }

    /// Tells whether a repository has other settings than those that are asked for.
    fn differs(&mut self, old: &Repository, wanted: &Repository) -> Result<bool, Failure> {
        let is_other = |old: &Option<String>, wanted: &Option<String>| {
            let wanted = wanted.as_deref().filter(|text| !text.is_empty());
            wanted.is_some_and(|wanted| old.as_deref() != Some(wanted))
        };
        if is_other(&old.alias, &wanted.alias) || is_other(&old.name, &wanted.name) {
            return Ok(true);
        }
        let priority = wanted.priority.filter(|number| *number != 0);
        if priority.is_some() && priority != old.priority {
            return Ok(true);
        }
        let (mut there, mut here) = (old.url.clone(), wanted.url.clone());
        for (name, tag) in [("$releasever", "%{version}"), ("$basearch", "%{arch}")] {
            if there.contains(name) || here.contains(name) {
                let argv = ["rpm", "-q", "--qf", tag, "-f", "/etc/os-release"];
                let output = tool::ask(self.machine, &argv)?;
                tool::check(Some(&output), tool::complaint)?;
                let value = output.stdout_text();
                there = there.replace(name, &value);
                here = here.replace(name, &value);
            }
        }
        let is_same = there.trim_end_matches('/') == here.trim_end_matches('/')
            && old.enabled == wanted.enabled
            && old.gpgcheck == wanted.gpgcheck
            && old.autorefresh == wanted.autorefresh;
        Ok(!is_same)
    }

    /// Returns the command that adds a repository.
    fn adding(&self, repository: &Repository, version: [u32; 3]) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(name) = repository.name.as_ref().filter(|name| !name.is_empty()) {
            words.extend(["--name".to_owned(), name.clone()]);
        }
        let priority = repository.priority.filter(|number| *number != 0);
        if let Some(priority) = priority.filter(|_| version >= [1, 12, 25]) {
            words.extend(["--priority".to_owned(), priority.to_string()]);
        }
        if repository.enabled == "0" {
            words.push("--disable".into());
        }
        if version >= [1, 6, 2] {
            let is_checked = repository.gpgcheck == "1";
            let flag = if is_checked {
                "--gpgcheck"
            } else {
                "--no-gpgcheck"
            };
            words.push(flag.into());
        }
        if repository.autorefresh == "1" {
            words.push("--refresh".into());
        }
        words.push(repository.url.clone());
        if !repository.url.ends_with(".repo") {
            words.extend(repository.alias.clone());
        }
        self.argv(&["addrepo", "--check"], &words)
    }

    fn act(&mut self, command: &str, more: &[String], undo: Vec<String>) -> Result<(), Failure> {
        let argv = self.argv(&[command], more);
        let output = tool::act(self.machine, &argv, &undo)?;
        tool::check(output.as_ref(), tool::complaint)
            .map_err(|failure| failure.with("cmd", Value::list(argv)))
    }

    fn refresh(&mut self, alias: Option<&str>, imports_keys: bool) -> Result<(), Failure> {
        let mut words = vec!["refresh", "--force"];
        if imports_keys {
            words.insert(0, "--gpg-auto-import-keys");
        }
        if let Some(alias) = alias {
            words.extend(["-r", alias]);
        }
        let argv = self.argv(&words, &[]);
        let output = tool::act_undone_by(self.machine, &argv, Vec::new())?;
        tool::check(output.as_ref(), tool::complaint)
            .map_err(|failure| failure.with("cmd", Value::list(argv)))
    }
}

/// Reads the repositories that zypper knows.
fn known(text: &str) -> Result<Vec<Repository>, Failure> {
    let all = elements(text)
        .map_err(|why| Failure::new(format!("Failed to parse zypper xml output: {why}")))?;
    let mut url = None;
    let mut known = Vec::new();
    for element in &all {
        if element.name == "url" && element.parent == "repo" {
            url.get_or_insert_with(|| element.text.trim().to_owned());
        }
        if element.name != "repo" {
            continue;
        }
        let text = |name: &str| element.attribute(name).to_owned();
        let some = |name: &str| Some(text(name)).filter(|text| !text.is_empty());
        known.push(Repository {
            alias: some("alias"),
            url: url.take().unwrap_or_else(|| text("metalink")),
            name: some("name"),
            priority: text("priority").parse().ok(),
            enabled: text("enabled"),
            gpgcheck: text("gpgcheck"),
            autorefresh: text("autorefresh"),
        });
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.zypper_repository";
    /// A zypper with the repository `old`; what is added and removed is kept in a file.
    const ZYPPER: &str = r#"
here_are="$here/repos"
[ -e "$here_are" ] || echo '<repo alias="old" name="Old" priority="99" enabled="1" autorefresh="1" gpgcheck="1"><url>http://h/old/$releasever</url></repo>' >"$here_are"
case "$*" in
  --version) echo 'zypper 1.14.59' ;;
  *'--xmlout repos') echo "<stream><repo-list>$(cat "$here_are")</repo-list></stream>" ;;
  *removerepo*) for last; do :; done
     grep -vF -e "alias=\"$last\"" -e ">$last<" "$here_are" >"$here_are.new"
     mv "$here_are.new" "$here_are" ;;
  *addrepo*refused) echo 'no such place' >&2; exit 4 ;;
  *addrepo*) for last; do before=$now; now=$last; done
     case "$*" in *--no-gpgcheck*) check=0 ;; *) check=1 ;; esac
     echo "<repo alias=\"$now\" name=\"N\" priority=\"5\" enabled=\"1\" autorefresh=\"1\" gpgcheck=\"$check\"><url>$before</url></repo>" >>"$here_are" ;;
esac
"#;

    fn host() -> Programs {
        Programs::new([("zypper", ZYPPER), ("rpm", "printf 15.5")])
    }

    fn changes(host: &Programs) -> Vec<String> {
        let calls = host.calls().into_iter();
        calls
            .filter_map(|call| {
                Some(
                    call.strip_prefix("zypper --quiet --non-interactive ")?
                        .to_owned(),
                )
            })
            .filter(|call| !call.starts_with("--xmlout"))
            .collect()
    }

    #[test]
    fn a_repository_is_added_once_changed_and_removed() {
        let host = host();
        let options = r#"{"name": "new", "repo": "http://h/new", "description": "N", "priority": 5, "auto_import_keys": true}"#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":false,"msg":"remote module (community.general.zypper_repository) does not support check mode","skipped":true}"#
        );
        let told = |changed: bool, check: &str, state: &str| {
            format!(
                r#"{{"changed":{changed},"repodata":{{"url":"http://h/new","alias":"new","name":"N","priority":5,"enabled":"1","gpgcheck":"{check}","autorefresh":"1"}},"state":"{state}"}}"#
            )
        };
        assert_eq!(host.run(NAME, options), told(true, "1", "present"));
        assert_eq!(host.run(NAME, options), told(false, "1", "present"));
        let changed = options.replace(r#""name""#, r#""disable_gpg_check": true, "name""#);
        assert_eq!(host.run(NAME, &changed), told(true, "0", "present"));
        let absent = changed.replace(r#""name""#, r#""state": "absent", "name""#);
        assert_eq!(host.run(NAME, &absent), told(true, "0", "absent"));
        assert_eq!(host.run(NAME, &absent), told(false, "0", "absent"));
        let add = "addrepo --check --name N --priority 5";
        let refresh = "--gpg-auto-import-keys refresh --force -r new";
        assert_eq!(
            changes(&host),
            [
                &format!("{add} --gpgcheck --refresh http://h/new new"),
                refresh,
                "removerepo http://h/new",
                &format!("{add} --no-gpgcheck --refresh http://h/new new"),
                refresh,
                "removerepo new",
            ]
        );
        let start = "zypper --quiet --non-interactive ";
        let steps = host.undo_steps().into_iter();
        let steps: Vec<_> = steps.map(|step| step.replace(start, "")).collect();
        assert_eq!(
            steps,
            [
                "removerepo new",
                &format!("{add} --gpgcheck --refresh http://h/new new"),
                "removerepo new",
                &format!("{add} --no-gpgcheck --refresh http://h/new new"),
            ]
        );
    }

    #[test]
    fn a_file_says_what_the_repository_is() {
        let host = host();
        host.put(
            "old.repo",
            "[old]\nname=Old\nbaseurl=http://h/old/15.5/\nenabled=1\nautorefresh=1\n",
        );
        let options = r#"{"repo": "$BIN/old.repo"}"#;
        let result = host.run(NAME, options);
        assert!(result.starts_with(r#"{"changed":false,"repodata":{"url":"http://h/old/15.5/","alias":"old","name":"Old","#), "{result}");
        host.put("two.repo", "[a]\nbaseurl=x\n[b]\nbaseurl=y\n");
        host.put("none.repo", "[a]\nname=x\n");
        for (options, msg) in [
            (
                r#"{"repo": "$BIN/two.repo"}"#,
                "Invalid format, .repo file contains 2 repositories, expected 1",
            ),
            (
                r#"{"repo": "$BIN/none.repo"}"#,
                "No baseurl found in .repo file",
            ),
            (
                r#"{"repo": "/backstay/none.repo"}"#,
                "Error opening .repo file from provided path",
            ),
            (
                r#"{"repo": "$BIN/old.repo", "name": "x"}"#,
                "Incompatible option: 'name'. Do not use name when adding .repo files",
            ),
            (
                r#"{"repo": "http://h"}"#,
                "Name required when adding non-repo files.",
            ),
            (
                r#"{"name": "x"}"#,
                "Module option state=present requires repo",
            ),
            (
                r#"{"state": "absent"}"#,
                "Alias or repo parameter required when state=absent",
            ),
            (
                r#"{"repo": "*"}"#,
                "repo=* can only be used with the runrefresh option.",
            ),
        ] {
            assert_eq!(
                host.run(NAME, options),
                format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#)
            );
        }
        let refused = host.run(NAME, r#"{"repo": "http://h/x", "name": "refused"}"#);
        assert!(refused.starts_with(r#"{"failed":true,"changed":false,"msg":"Zypper failed with rc 4","rc":4,"stdout":"","stderr":"no such place\n","repodata":{"#), "{refused}");
    }

    #[test]
    fn several_repositories_are_replaced_only_when_asked() {
        let host = host();
        host.run(NAME, r#"{"repo": "http://h/x", "name": "x"}"#);
        let options = r#"{"repo": "http://h/x", "name": "old"}"#;
        let refused = host.run(NAME, options);
        assert!(
            refused.contains("More than one repo matched \\\"http://h/x\\\""),
            "{refused}"
        );
        let many = options.replace(r#""name""#, r#""overwrite_multiple": true, "name""#);
        assert!(host.run(NAME, &many).starts_with(r#"{"changed":true,"#));
        assert!(host.run(NAME, options).starts_with(r#"{"changed":false,"#));
    }
}
