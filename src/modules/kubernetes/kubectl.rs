//! The target's `kubectl`: which cluster it asks, as whom, and what it is told.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::machine::{Command, Machine, TemporaryFile};
use crate::modules::{Failure, http, tool};
use crate::value::{Map, Value};

/// Declares a module's options and those that say which cluster is meant, and who asks.
macro_rules! cluster_arguments {
    (
        $(#[doc = $about:literal])*
        struct $name:ident for $module:literal { $($fields:tt)* }
        $($rules:tt)*
    ) => {
        crate::arguments! {
            $(#[doc = $about])*
            pub(crate) struct $name for $module {
                $($fields)*
                /// The configuration: a path, or what it says.
                kubeconfig: Option<crate::value::Value> { no_log },
                /// The context of the configuration.
                context: Option<String> {},
                /// The cluster's address.
                host: Option<String> {},
                /// A token to log in with.
                api_key: Option<String> { no_log },
                username: Option<String> {},
                password: Option<String> { no_log },
                /// Check the cluster's certificate.
                validate_certs: Option<bool> { aliases: ["verify_ssl"] },
                /// The authority of the cluster's certificate.
                ca_cert: Option<std::path::PathBuf> { aliases: ["ssl_ca_cert"] },
                client_cert: Option<std::path::PathBuf> { aliases: ["cert_file"] },
                client_key: Option<std::path::PathBuf> { aliases: ["key_file"] },
                /// The proxy to go through.
                proxy: Option<String> {},
                /// Hosts that are reached without the proxy.
                no_proxy: Option<String> {},
                /// Further headers; refused here.
                proxy_headers: Option<crate::value::Map> {},
                /// Keep a token that was renewed in the configuration, as `kubectl` does anyway.
                persist_config: Option<bool> {},
                /// Ask as another user.
                impersonate_user: Option<String> {},
                impersonate_groups: Option<Vec<String>> {},
            }
            $($rules)*
        }

        impl $name {
            fn cluster(&self) -> $crate::modules::kubernetes::kubectl::Cluster {
                $crate::modules::kubernetes::kubectl::Cluster {
                    kubeconfig: self.kubeconfig.clone(),
                    context: self.context.clone(),
                    host: self.host.clone(),
                    api_key: self.api_key.clone(),
                    username: self.username.clone(),
                    password: self.password.clone(),
                    validate_certs: self.validate_certs,
                    ca_cert: self.ca_cert.clone(),
                    client_cert: self.client_cert.clone(),
                    client_key: self.client_key.clone(),
                    proxy: self.proxy.clone(),
                    no_proxy: self.no_proxy.clone(),
                    proxy_headers: self.proxy_headers.clone(),
                    impersonate_user: self.impersonate_user.clone(),
                    impersonate_groups: self.impersonate_groups.clone().unwrap_or_default(),
                }
            }
        }
    };
}
pub(super) use cluster_arguments;

/// What the options say of the cluster.
pub(super) struct Cluster {
    pub(super) kubeconfig: Option<Value>,
    pub(super) context: Option<String>,
    pub(super) host: Option<String>,
    pub(super) api_key: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) validate_certs: Option<bool>,
    pub(super) ca_cert: Option<PathBuf>,
    pub(super) client_cert: Option<PathBuf>,
    pub(super) client_key: Option<PathBuf>,
    pub(super) proxy: Option<String>,
    pub(super) no_proxy: Option<String>,
    pub(super) proxy_headers: Option<Map>,
    pub(super) impersonate_user: Option<String>,
    pub(super) impersonate_groups: Vec<String>,
}

/// The program, and what says which cluster it asks.
pub(super) struct Kubectl<'m> {
    pub(super) machine: &'m mut Machine,
    argv: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// The configurations that were written for it.
    _files: Vec<TemporaryFile>,
}

/// What the API answered.
pub(super) enum Answer {
    Is(Json),
    /// There is no such thing, or the question had no sense.
    Nothing,
    Refused(String),
}

impl<'m> Kubectl<'m> {
    pub(super) fn new(machine: &'m mut Machine, cluster: Cluster) -> Result<Self, Failure> {
        if cluster.proxy_headers.is_some() {
            return Err(Failure::new(
                "proxy_headers: `kubectl` sends no headers of a user (a user of the proxy can \
                 stand in its address)",
            ));
        }
        let mut argv = vec![tool::required(machine, "kubectl")?];
        let mut environment = Vec::new();
        let mut files = Vec::new();
        let mut paths = Vec::new();
        let or_variable = |given: Option<String>, name: &str| {
            given.or_else(|| machine.variable(&format!("K8S_AUTH_{name}")))
        };
        let api_key = or_variable(cluster.api_key, "API_KEY");
        let username = or_variable(cluster.username, "USERNAME");
        let password = or_variable(cluster.password, "PASSWORD");
        let kubeconfig = match cluster.kubeconfig {
            Some(Value::Null) | None => machine.variable("K8S_AUTH_KUBECONFIG").map(Value::from),
            given => given,
        };
        let verify = or_variable(
            cluster.validate_certs.map(|it| it.to_string()),
            "VERIFY_SSL",
        );
        let groups = match cluster.impersonate_groups {
            groups if !groups.is_empty() => groups,
            _ => or_variable(None, "IMPERSONATE_GROUPS")
                .map(|list| list.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
        };
        let path = |path: Option<PathBuf>| path.map(|path| path.display().to_string());
        let words = [
            ("--context", cluster.context, "CONTEXT"),
            ("--server", cluster.host, "HOST"),
            (
                "--certificate-authority",
                path(cluster.ca_cert),
                "SSL_CA_CERT",
            ),
            (
                "--client-certificate",
                path(cluster.client_cert),
                "CERT_FILE",
            ),
            ("--client-key", path(cluster.client_key), "KEY_FILE"),
            ("--as", cluster.impersonate_user, "IMPERSONATE_USER"),
        ]
        .map(|(flag, given, name)| (flag, or_variable(given, name)));
        let proxy = or_variable(cluster.proxy, "PROXY");
        let no_proxy = or_variable(cluster.no_proxy, "NO_PROXY");
        for (flag, value) in words {
            let is_path = flag.contains("cert") || flag.ends_with("key");
            argv.extend(value.map(|value| {
                let value = if is_path {
                    machine.expand_text(&value)
                } else {
                    value
                };
                format!("{flag}={value}")
            }));
        }
        argv.extend(groups.iter().map(|group| format!("--as-group={group}")));
        let verify = verify.and_then(|text| Value::from(text).to_soft_bool());
        if let Some(verify) = verify {
            argv.push(format!("--insecure-skip-tls-verify={}", !verify));
        }
        if let Some(proxy) = proxy {
            environment.extend([("HTTPS_PROXY", proxy.clone()), ("HTTP_PROXY", proxy)]);
        }
        if let Some(hosts) = no_proxy {
            environment.push(("NO_PROXY", hosts));
        }
        let is_given = kubeconfig.is_some();
        match kubeconfig {
            Some(config @ Value::Map(_)) => {
                // JSON is YAML too.
                let text = http::json_text(&config);
                let file = machine.temporary_file(text.as_bytes())?;
                paths.push(file.path().display().to_string());
                files.push(file);
            }
            Some(path) => paths.push(machine.expand_text(&path.to_string())),
            None => {}
        }
        // A secret must not be seen among the words of a running program.
        let mut user = serde_json::Map::new();
        for (name, secret) in [
            ("token", api_key),
            ("username", username),
            ("password", password),
        ] {
            user.extend(secret.map(|secret| (name.to_owned(), Json::from(secret))));
        }
        if !user.is_empty() {
            if !is_given {
                paths.extend(machine.variable("KUBECONFIG"));
                if paths.is_empty() {
                    paths.push(machine.expand_text("~/.kube/config"));
                }
            }
            let config = json!({
                "apiVersion": "v1", "kind": "Config",
                "users": [{"name": "backstay-task", "user": user}],
            });
            let file = machine.temporary_file(config.to_string().as_bytes())?;
            paths.push(file.path().display().to_string());
            files.push(file);
            argv.push("--user=backstay-task".into());
        }
        if !paths.is_empty() {
            environment.push(("KUBECONFIG", paths.join(":")));
        }
        Ok(Self {
            machine,
            argv,
            environment,
            _files: files,
        })
    }

    /// Asks the API for a path.
    pub(super) fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        let words = ["get", "--raw", path].map(str::to_owned);
        let mut command = Command::new(self.argv.iter().chain(&words));
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        let output = self.machine.query(&command)?;
        if output.success() {
            let answer = serde_json::from_slice(&output.stdout);
            return answer.map(Answer::Is).map_err(|error| {
                Failure::new(format!("the cluster's answer is not JSON: {error}"))
            });
        }
        let said = tool::complaint(&output);
        let kind = said
            .rsplit("Error from server (")
            .next()
            .filter(|_| said.contains("Error from server ("))
            .and_then(|rest| rest.split(')').next());
        Ok(match kind {
            Some("NotFound" | "BadRequest") => Answer::Nothing,
            _ => Answer::Refused(said),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    fn cluster() -> Cluster {
        Cluster {
            kubeconfig: None,
            context: None,
            host: None,
            api_key: None,
            username: None,
            password: None,
            validate_certs: None,
            ca_cert: None,
            client_cert: None,
            client_key: None,
            proxy: None,
            no_proxy: None,
            proxy_headers: None,
            impersonate_user: None,
            impersonate_groups: Vec::new(),
        }
    }

    #[test]
    fn secrets_travel_in_a_file() {
        let host = Programs::new([(
            "kubectl",
            r#"for file in $(echo "$KUBECONFIG" | tr : ' '); do
                 [ "$file" = /given ] && echo given >>"$here/seen" || cat "$file" >>"$here/seen"
               done
               echo '{}'"#,
        )]);
        let mut machine = host.machine();
        let mut kubectl = Kubectl::new(
            &mut machine,
            Cluster {
                kubeconfig: Some("/given".into()),
                api_key: Some("hush".into()),
                host: Some("https://k:6443".into()),
                validate_certs: Some(false),
                impersonate_user: Some("amy".into()),
                impersonate_groups: vec!["a".into(), "b".into()],
                ..cluster()
            },
        )
        .unwrap();
        assert!(matches!(kubectl.get("/api/v1"), Ok(Answer::Is(_))));
        assert_eq!(
            host.calls(),
            [
                "kubectl --server=https://k:6443 --as=amy --as-group=a --as-group=b --insecure-skip-tls-verify=true --user=backstay-task get --raw /api/v1"
            ]
        );
        assert_eq!(
            std::fs::read_to_string(host.path("seen")).unwrap(),
            "given\n{\"apiVersion\":\"v1\",\"kind\":\"Config\",\"users\":[{\"name\":\"backstay-task\",\"user\":{\"token\":\"hush\"}}]}"
        );
    }

    #[test]
    fn headers_cannot_be_sent() {
        let host = Programs::new([("kubectl", "")]);
        let mut machine = host.machine();
        let given = Cluster {
            proxy_headers: Some(Map::new()),
            ..cluster()
        };
        let refused = Kubectl::new(&mut machine, given).err().unwrap();
        assert_eq!(
            refused.msg,
            "proxy_headers: `kubectl` sends no headers of a user (a user of the proxy can stand in its address)"
        );
    }
}
