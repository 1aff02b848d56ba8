//! `yum_repository`: a repository of RPM packages, in a file below `/etc/yum.repos.d`.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::machine::{Content, Follow, Machine, NewFile};

use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Add or remove YUM repositories.
    pub(crate) struct YumRepositoryArgs for "yum_repository" with file_attributes as attributes {
        r#async: Option<bool> {},
        bandwidth: Option<String> {},
        /// Where the packages are.
        baseurl: Option<Vec<String>> {},
        /// What a package from here costs against one from elsewhere.
        cost: Option<String> {},
        countme: Option<bool> {},
        deltarpm_metadata_percentage: Option<String> {},
        deltarpm_percentage: Option<String> {},
        /// What people call the repository.
        description: Option<String> {},
        enabled: Option<bool> {},
        enablegroups: Option<bool> {},
        /// Packages that are never taken from it.
        exclude: Option<Vec<String>> { aliases: ["excludepkgs"] },
        failovermethod: Option<String> { choices: ["roundrobin", "priority"] },
        /// The file's name without `.repo`; that of the repository otherwise.
        file: Option<String> {},
        gpgcakey: Option<String> {},
        gpgcheck: Option<bool> {},
        /// Where the keys are.
        gpgkey: Option<Vec<String>> {},
        module_hotfixes: Option<bool> {},
        http_caching: Option<String> { choices: ["all", "packages", "none"] },
        include: Option<String> {},
        /// The only packages that are taken from it.
        includepkgs: Option<Vec<String>> {},
        ip_resolve: Option<String> { choices: ["4", "6", "IPv4", "IPv6", "whatever"] },
        keepalive: Option<bool> {},
        keepcache: Option<String> { choices: ["0", "1"] },
        metadata_expire: Option<String> {},
        metadata_expire_filter: Option<String> {
            choices: ["never", "read-only:past", "read-only:present", "read-only:future"],
        },
        metalink: Option<String> {},
        mirrorlist: Option<String> {},
        mirrorlist_expire: Option<String> {},
        /// The repository.
        name: String { required },
        password: Option<String> { no_log },
        priority: Option<String> {},
        protect: Option<bool> {},
        proxy: Option<String> {},
        proxy_password: Option<String> { no_log },
        proxy_username: Option<String> {},
        repo_gpgcheck: Option<bool> {},
        /// The directory of the file.
        reposdir: PathBuf { default: "/etc/yum.repos.d" },
        retries: Option<String> {},
        s3_enabled: Option<bool> {},
        skip_if_unavailable: Option<bool> {},
        sslcacert: Option<String> { aliases: ["ca_cert"] },
        ssl_check_cert_permissions: Option<bool> {},
        sslclientcert: Option<String> { aliases: ["client_cert"] },
        sslclientkey: Option<String> { aliases: ["client_key"] },
        sslverify: Option<bool> { aliases: ["validate_certs"] },
        /// Whether the repository should be known.
        state: String { default: "present", choices: ["present", "absent"] },
        throttle: Option<String> {},
        timeout: Option<String> {},
        ui_repoid_vars: Option<String> {},
        username: Option<String> {},
    }
    required_if [
        ("state", "present", ["baseurl", "mirrorlist", "metalink"], true),
        ("state", "present", ["description"], false),
    ]
}

/// Writes or removes the repository's section, and applies the file options.
pub(crate) fn run(machine: &mut Machine, args: YumRepositoryArgs) -> ModuleResult {
    let directory = machine.expand(&args.reposdir);
    if !machine.is_dir(&directory)? {
        let shown = directory.display();
        return Err(Failure::new(format!(
            "Repo directory '{shown}' does not exist."
        )));
    }
    let file = args.file.as_ref().unwrap_or(&args.name);
    let path = directory.join(format!("{file}.repo"));
    let text = if machine.exists(&path)? {
        String::from_utf8_lossy(&machine.read(&path)?).into_owned()
    } else {
        String::new()
    };
    let mut sections = parse(&text);
    let before = dump(&sections);
    sections.shift_remove(&args.name);
    if args.state == "present" {
        sections.insert(args.name.clone(), lines(&args));
    }
    let after = dump(&sections);
    let mut changed = before != after;
    if changed {
        save(machine, &path, &sections)?;
    }
    if machine.exists(&path)? {
        let change = machine.apply_file_attributes(&path, &args.attributes, Follow::No)?;
        changed |= change.changed;
    }
    let mut outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("repo", args.name.as_str())
        .with("state", args.state.as_str());
    if machine.wants_diff() {
        let header = path.display().to_string();
        outcome = outcome.only_diff(Diff::new(before, after).headers(header.clone(), header));
    }
    if args.state == "present" {
        for (name, why) in deprecated(&args) {
            outcome = outcome.deprecate(format!("'{name}' parameter is deprecated as {why}."));
        }
    }
    Ok(outcome)
}

/// Names the options that mean nothing any more, and why.
fn deprecated(args: &YumRepositoryArgs) -> Vec<(&'static str, &'static str)> {
    const NO_EFFECT: &str = "it has no effect with dnf as an underlying package manager";
    let given = [
        (
            "async",
            args.r#async.is_some(),
            "it has been removed on systems supported by ansible-core",
        ),
        (
            "deltarpm_metadata_percentage",
            args.deltarpm_metadata_percentage.is_some(),
            NO_EFFECT,
        ),
        ("gpgcakey", args.gpgcakey.is_some(), NO_EFFECT),
        ("http_caching", args.http_caching.is_some(), NO_EFFECT),
        ("keepalive", args.keepalive.is_some(), NO_EFFECT),
        (
            "keepcache",
            args.keepcache.is_some(),
            "it is only valid in the main configuration",
        ),
        (
            "metadata_expire_filter",
            args.metadata_expire_filter.is_some(),
            NO_EFFECT,
        ),
        (
            "mirrorlist_expire",
            args.mirrorlist_expire.is_some(),
            NO_EFFECT,
        ),
        ("protect", args.protect.is_some(), NO_EFFECT),
        (
            "ssl_check_cert_permissions",
            args.ssl_check_cert_permissions.is_some(),
            NO_EFFECT,
        ),
        ("ui_repoid_vars", args.ui_repoid_vars.is_some(), NO_EFFECT),
    ];
    let set = given.into_iter().filter(|(_, is_set, _)| *is_set);
    set.map(|(name, _, why)| (name, why)).collect()
}

/// The sections of a file, each with its lines in order.
type Sections = IndexMap<String, IndexMap<String, String>>;

/// Returns the section's lines, in the order of their names.
fn lines(args: &YumRepositoryArgs) -> IndexMap<String, String> {
    let flag = |value: Option<bool>| value.map(|value| i32::from(value).to_string());
    let text = |value: &Option<String>| value.clone();
    let list = |value: &Option<Vec<String>>, separator: &str| {
        value.as_ref().map(|items| items.join(separator))
    };
    let all = [
        ("async", flag(args.r#async)),
        ("bandwidth", text(&args.bandwidth)),
        ("baseurl", list(&args.baseurl, "\n")),
        ("cost", text(&args.cost)),
        ("countme", flag(args.countme)),
        (
            "deltarpm_metadata_percentage",
            text(&args.deltarpm_metadata_percentage),
        ),
        ("deltarpm_percentage", text(&args.deltarpm_percentage)),
        ("enabled", flag(args.enabled)),
        ("enablegroups", flag(args.enablegroups)),
        ("exclude", list(&args.exclude, " ")),
        ("failovermethod", text(&args.failovermethod)),
        ("gpgcakey", text(&args.gpgcakey)),
        ("gpgcheck", flag(args.gpgcheck)),
        ("gpgkey", list(&args.gpgkey, "\n")),
        ("http_caching", text(&args.http_caching)),
        ("include", text(&args.include)),
        ("includepkgs", list(&args.includepkgs, " ")),
        ("ip_resolve", text(&args.ip_resolve)),
        ("keepalive", flag(args.keepalive)),
        ("keepcache", text(&args.keepcache)),
        ("metadata_expire", text(&args.metadata_expire)),
        ("metadata_expire_filter", text(&args.metadata_expire_filter)),
        ("metalink", text(&args.metalink)),
        ("mirrorlist", text(&args.mirrorlist)),
        ("mirrorlist_expire", text(&args.mirrorlist_expire)),
        ("module_hotfixes", flag(args.module_hotfixes)),
        ("name", text(&args.description)),
        ("password", text(&args.password)),
        ("priority", text(&args.priority)),
        ("protect", flag(args.protect)),
        ("proxy", text(&args.proxy)),
        ("proxy_password", text(&args.proxy_password)),
        ("proxy_username", text(&args.proxy_username)),
        ("repo_gpgcheck", flag(args.repo_gpgcheck)),
        ("retries", text(&args.retries)),
        ("s3_enabled", flag(args.s3_enabled)),
        ("skip_if_unavailable", flag(args.skip_if_unavailable)),
        (
            "ssl_check_cert_permissions",
            flag(args.ssl_check_cert_permissions),
        ),
        ("sslcacert", text(&args.sslcacert)),
        ("sslclientcert", text(&args.sslclientcert)),
        ("sslclientkey", text(&args.sslclientkey)),
        ("sslverify", flag(args.sslverify)),
        ("throttle", text(&args.throttle)),
        ("timeout", text(&args.timeout)),
        ("ui_repoid_vars", text(&args.ui_repoid_vars)),
        ("username", text(&args.username)),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Reads a file; comments are left out, and a line that begins with a blank goes on.
fn parse(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut last = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            sections.entry(name.to_owned()).or_default();
            last = None;
            continue;
        }
        let Some((_, section)) = sections.last_mut() else {
            continue;
        };
        if line.starts_with(char::is_whitespace)
            && let Some(value) = last
                .as_ref()
                .and_then(|name: &String| section.get_mut(name))
        {
            value.push('\n');
            value.push_str(trimmed);
        } else if let Some((name, value)) = trimmed.split_once(['=', ':']) {
            let name = name.trim().to_lowercase();
            section.insert(name.clone(), value.trim().to_owned());
            last = Some(name);
        }
    }
    sections
}

/// Returns everything in order, as it is compared and shown.
fn dump(sections: &Sections) -> String {
    let mut sorted: Vec<_> = sections.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let mut text = String::new();
    for (name, section) in sorted {
        let mut lines: Vec<_> = section.iter().collect();
        lines.sort();
        text += &format!("[{name}]\n");
        for (name, value) in lines {
            text += &format!("{name} = {value}\n");
        }
        text.push('\n');
    }
    text
}

/// Writes the file, or removes one that holds nothing any more.
fn save(machine: &mut Machine, path: &Path, sections: &Sections) -> Result<(), Failure> {
    if sections.is_empty() {
        machine.remove(path)?;
        return Ok(());
    }
    let mut text = String::new();
    for (name, section) in sections {
        text += &format!("[{name}]\n");
        for (name, value) in section {
            text += &format!("{name} = {}\n", value.replace('\n', "\n\t"));
        }
        text.push('\n');
    }
    let path = machine.real_path(path)?;
    let content = Content::Bytes(text.into_bytes());
    Ok(machine.write(&path, content, &NewFile::default())?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    fn call(target: &Target, options: &str) -> String {
        let given = format!(r#"{{"name": "epel", "reposdir": "$ROOT/r", {options}}}"#);
        target.run("yum_repository", &given)
    }

    #[test]
    fn a_repository_is_written_once_and_removed() {
        let target = Target::new().directory("r");
        let options = r#""description": "E", "baseurl": ["https://a", "https://b"],
            "gpgcheck": true, "exclude": ["x", "y"], "enabled": false"#;
        let changed = r#"{"changed":true,"repo":"epel","state":"present"}"#;
        assert_eq!(call(&target, options), changed);
        assert_eq!(
            target.read("r/epel.repo"),
            "[epel]\nbaseurl = https://a\n\thttps://b\nenabled = 0\nexclude = x y\ngpgcheck = 1\n\
             name = E\n\n"
        );
        assert_eq!(call(&target, options), changed.replace("true", "false"));
        let gone = r#"{"changed":true,"repo":"epel","state":"absent"}"#;
        assert_eq!(call(&target, r#""state": "absent""#), gone);
        assert!(!target.path("r/epel.repo").exists());
    }

    #[test]
    fn other_repositories_of_the_file_stay() {
        let target = Target::new().file("r/all.repo", "[one]\nname=1\nbaseurl: x\n  y\n");
        let options = r#""description": "E", "mirrorlist": "https://m", "file": "all""#;
        call(&target, options);
        assert_eq!(
            target.read("r/all.repo"),
            "[one]\nname = 1\nbaseurl = x\n\ty\n\n[epel]\nmirrorlist = https://m\nname = E\n\n"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let target = Target::new();
        for (options, msg) in [
            (
                r#""description": "E""#,
                "state is present but any of the following are missing: baseurl, mirrorlist, metalink",
            ),
            (
                r#""baseurl": "x""#,
                "state is present but all of the following are missing: description",
            ),
            (
                r#""state": "absent""#,
                "Repo directory '$ROOT/r' does not exist.",
            ),
        ] {
            let expected = format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#);
            assert_eq!(call(&target, options), expected);
        }
    }
}
