//! `k8s_info`: objects of a cluster, now or as soon as they are ready.

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::hidden::Hidden;
use super::kubectl::{Answer, Kubectl, cluster_arguments};
use super::ready::{Condition, is_ready};
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

cluster_arguments! {
    /// Describe Kubernetes (K8s) objects.
    struct K8sInfoArgs for "kubernetes.core.k8s_info" {
        /// The kind of object, by any of its names.
        kind: String { required },
        /// The group and version of the kind.
        api_version: String { default: "v1", aliases: ["api", "version"] },
        name: Option<String> {},
        /// Look in this namespace only.
        namespace: Option<String> {},
        label_selectors: Vec<String> { default: "" },
        field_selectors: Vec<String> { default: "" },
        /// Fields that the result leaves out.
        hidden_fields: Option<Vec<String>> {},
        /// Wait until each object is ready.
        wait: bool { default: "false" },
        /// Seconds between two looks.
        wait_sleep: i64 { default: "5" },
        /// Seconds to wait at most.
        wait_timeout: i64 { default: "120" },
        /// The condition to wait for: `type`, `status`, `reason`.
        wait_condition: Option<Map> {},
    }
}

/// Finds the objects.
pub(crate) fn run_info(machine: &mut Machine, args: K8sInfoArgs) -> ModuleResult {
    let hidden = Hidden::read(args.hidden_fields.as_deref().unwrap_or_default())?;
    let condition = args.wait_condition.as_ref().map(condition).transpose()?;
    let condition = condition.flatten();
    let mut kubectl = Kubectl::new(machine, args.cluster())?;
    let none = || Value::list::<Value>([]);
    let Some(resource) = Resource::find(&mut kubectl, &args.kind, &args.api_version)? else {
        let (api, kind) = (&args.api_version, &args.kind);
        return Ok(Outcome::unchanged()
            .with("resources", none())
            .msg(format!(
                "Failed to find API for resource with apiVersion \"{api}\" and kind \"{kind}\""
            ))
            .with("api_found", false));
    };
    let path = resource.path(&args, args.name.as_deref(), args.namespace.as_deref());
    let mut wait = Wait::new(&args);
    let found = loop {
        let found = look(&mut kubectl, &args, &path)?;
        if !found.is_empty() || !wait.goes_on(kubectl.machine)? {
            break found;
        }
    };
    let mut resources = Vec::new();
    for object in found {
        let mut object = if args.wait {
            settled(&mut kubectl, &args, &resource, object, condition.as_ref())?
        } else {
            object
        };
        hidden.hide(&mut object);
        resources.push(serde_json::from_value::<Value>(object).unwrap_or_default());
    }
    Ok(Outcome::unchanged()
        .with("resources", Value::list(resources))
        .with("api_found", true))
}

fn condition(given: &Map) -> Result<Option<Condition>, Failure> {
    const KNOWN: [&str; 3] = ["type", "status", "reason"];
    if let Some(key) = given
        .keys()
        .map(ToString::to_string)
        .find(|key| !KNOWN.contains(&key.as_str()))
    {
        return Err(Failure::new(format!(
            "Unsupported parameters for wait_condition: {key}. Supported parameters include: {}.",
            KNOWN.join(", ")
        )));
    }
    let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
    let status = match given.get("status") {
        None | Some(Value::Null) => Value::from(true),
        Some(status) => status.clone(),
    };
    if status.as_str() != Some("Unknown") && status.to_soft_bool().is_none() {
        return Err(Failure::new(format!(
            "value of status must be one of: True, False, Unknown, got: {status} found in \
             wait_condition"
        )));
    }
    Ok(text("type")
        .filter(|kind| !kind.is_empty())
        .map(|kind| Condition {
            kind,
            status,
            reason: text("reason"),
        }))
}

/// A kind of objects, as the API knows it.
struct Resource {
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    base: String,
    /// Its name in paths.
    plural: String,
    is_namespaced: bool,
}

impl Resource {
    /// Finds a kind by one of its names.
    fn find(
        kubectl: &mut Kubectl<'_>,
        kind: &str,
        api_version: &str,
    ) -> Result<Option<Self>, Failure> {
        let base = if api_version.contains('/') {
            format!("/apis/{api_version}")
        } else {
            format!("/api/{api_version}")
        };
        let known = match kubectl.get(&base)? {
            Answer::Is(known) => known,
            Answer::Nothing => return Ok(None),
            Answer::Refused(why) => {
                return Err(Failure::new(format!("Failed to get client due to {why}")));
            }
        };
        let all = known.get("resources").and_then(Json::as_array);
        // What has a slash is a part of another kind.
        let all: Vec<&Json> = all
            .into_iter()
            .flatten()
            .filter(|it| text(it, "name").is_some_and(|name| !name.contains('/')))
            .collect();
        let one = |has: &dyn Fn(&Json) -> bool| all.iter().find(|it| has(it)).copied();
        let is = |name: &'static str| move |it: &Json| text(it, name) == Some(kind);
        let is_short = |it: &Json| {
            let names = it.get("shortNames").and_then(Json::as_array);
            names.into_iter().flatten().any(|name| name == kind)
        };
        let is_list = |it: &Json| kind.strip_suffix("List") == text(it, "kind");
        let found = one(&is("kind"))
            .or_else(|| one(&is("name")))
            .or_else(|| one(&is("singularName")))
            .or_else(|| one(&is_short))
            .or_else(|| one(&is_list));
        Ok(found.map(|it| Self {
            plural: text(it, "name").unwrap_or_default().to_owned(),
            is_namespaced: it.get("namespaced") == Some(&Json::Bool(true)),
            base,
        }))
    }

    fn path(&self, args: &K8sInfoArgs, name: Option<&str>, namespace: Option<&str>) -> String {
        let mut path = self.base.clone();
        if let Some(namespace) = namespace.filter(|_| self.is_namespaced) {
            path += &format!("/namespaces/{}", quoted(namespace));
        }
        path += &format!("/{}", self.plural);
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            path += &format!("/{}", quoted(name));
        }
        let selectors = [
            ("labelSelector", &args.label_selectors),
            ("fieldSelector", &args.field_selectors),
        ];
        let given = selectors.iter().filter(|(_, list)| !list.is_empty());
        let query: Vec<String> = given
            .map(|(name, list)| format!("{name}={}", quoted(&list.join(","))))
            .collect();
        if !query.is_empty() {
            path += &format!("?{}", query.join("&"));
        }
        path
    }
}

fn text<'a>(json: &'a Json, name: &str) -> Option<&'a str> {
    json.get(name).and_then(Json::as_str)
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Returns the object, or those of the list, that a path names.
fn look(kubectl: &mut Kubectl<'_>, args: &K8sInfoArgs, path: &str) -> Result<Vec<Json>, Failure> {
    let answer = match kubectl.get(path)? {
        Answer::Is(answer) => answer,
        Answer::Nothing => return Ok(Vec::new()),
        Answer::Refused(why) => {
            let none = || "None".to_owned();
            let (name, namespace) = (args.name.clone(), args.namespace.clone());
            let list = |list: &[String]| Value::list(list.to_vec()).to_string();
            return Err(Failure::new(format!(
                "Exception '{why}' raised while trying to get resource using (name={}, \
                 namespace={}, label_selectors={}, field_selectors={})",
                name.unwrap_or_else(none),
                namespace.unwrap_or_else(none),
                list(&args.label_selectors),
                list(&args.field_selectors),
            )));
        }
    };
    let kind = text(&answer, "kind").unwrap_or_default();
    let Some(kind) = kind.strip_suffix("List") else {
        return Ok(vec![answer]);
    };
    let (kind, version) = (kind.to_owned(), answer.get("apiVersion").cloned());
    let mut items = match answer {
        Json::Object(mut list) => match list.remove("items") {
            Some(Json::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    // The items of a list do not say what they are.
    for item in items.iter_mut().filter_map(Json::as_object_mut) {
        item.entry("apiVersion")
            .or_insert_with(|| version.clone().unwrap_or_default());
        item.entry("kind").or_insert_with(|| kind.as_str().into());
    }
    Ok(items)
}

/// Waits until the object is ready, and returns it as it is then.
fn settled(
    kubectl: &mut Kubectl<'_>,
    args: &K8sInfoArgs,
    resource: &Resource,
    object: Json,
    condition: Option<&Condition>,
) -> Result<Json, Failure> {
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    let alone = K8sInfoArgs {
        label_selectors: Vec::new(),
        field_selectors: Vec::new(),
        ..args.clone()
    };
    let path = resource.path(
        &alone,
        text(&metadata, "name"),
        text(&metadata, "namespace"),
    );
    let mut wait = Wait::new(args);
    loop {
        let now = look(kubectl, &alone, &path)?.into_iter().next();
        match now {
            Some(now) if is_ready(&now, condition) => return Ok(now),
            now if !wait.goes_on(kubectl.machine)? => {
                let now = now.unwrap_or(object);
                return Err(Failure::new(format!(
                    "Failed to gather information about {}(s) even after waiting for {} seconds",
                    text(&now, "kind").unwrap_or("None"),
                    wait.start.elapsed().as_secs()
                )));
            }
            _ => {}
        }
    }
}

/// How long it is waited.
struct Wait {
    start: Instant,
    whole: Duration,
    pause: Duration,
}

impl Wait {
    fn new(args: &K8sInfoArgs) -> Self {
        let seconds = |number: i64| Duration::from_secs(number.try_into().unwrap_or(0));
        Self {
            start: Instant::now(),
            whole: seconds(if args.wait { args.wait_timeout } else { 0 }),
            pause: seconds(args.wait_sleep),
        }
    }

    /// Sleeps until the next look, if there is one.
    fn goes_on(&mut self, machine: &Machine) -> Result<bool, Failure> {
        if self.start.elapsed() >= self.whole {
            return Ok(false);
        }
        machine.sleep(self.pause)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "kubernetes.core.k8s_info";
    /// A cluster with two pods, of which the second is ready from the third look on.
    const KUBECTL: &str = r#"
shift $(($# - 3))
pod() { echo "{$3\"metadata\":{\"name\":\"$1\",\"namespace\":\"app\"},\"status\":{\"containerStatuses\":[{\"ready\":$2}]}}"; }
missing() { echo 'Error from server (NotFound): the server could not find the requested resource' >&2; exit 1; }
case "$3" in
  /api/v1) echo '{"resources":[{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","shortNames":["po"]},{"name":"pods/log","kind":"Pod"},{"name":"secrets","singularName":"secret","namespaced":true,"kind":"Secret"}]}' ;;
  /apis/apps/v1) echo '{"resources":[]}' ;;
  /apis/*) missing ;;
  '/api/v1/namespaces/app/pods') echo "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"items\":[$(pod one true),$(pod two false)]}" ;;
  '/api/v1/pods?labelSelector=app%3Dx%2Ctier%21%3Dy&fieldSelector=status.phase%3DRunning') echo "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"items\":[$(pod one true)]}" ;;
  /api/v1/namespaces/app/pods/one) pod one true '"kind":"Pod",' ;;
  /api/v1/namespaces/app/pods/two) echo x >>"$here/looks"; ready=false
    [ "$(wc -l <"$here/looks")" -ge 3 ] && ready=true; pod two $ready '"kind":"Pod",' ;;
  /api/v1/namespaces/app/secrets) echo 'Error from server (Forbidden): secrets is forbidden' >&2; exit 1 ;;
  *) missing ;;
esac
"#;

    fn host() -> Programs {
        Programs::new([("kubectl", KUBECTL)])
    }

    #[test]
    fn objects_are_found_by_kind_name_and_selector() {
        let host = host();
        let one = r#"{"metadata":{"name":"one","namespace":"app"},"status":{"containerStatuses":[{"ready":true}]},"apiVersion":"v1","kind":"Pod"}"#;
        assert_eq!(
            host.run(
                NAME,
                r#"{"kind": "po", "label_selectors": ["app=x", "tier!=y"], "field_selectors": ["status.phase=Running"]}"#
            ),
            format!(r#"{{"changed":false,"resources":[{one}],"api_found":true}}"#)
        );
        assert_eq!(
            host.predict(
                NAME,
                r#"{"kind": "Pod", "namespace": "app", "name": "one", "hidden_fields": ["status"]}"#
            ),
            r#"{"changed":false,"resources":[{"kind":"Pod","metadata":{"name":"one","namespace":"app"}}],"api_found":true}"#
        );
        assert_eq!(
            host.run(
                NAME,
                r#"{"kind": "Pod", "namespace": "app", "name": "none"}"#
            ),
            r#"{"changed":false,"resources":[],"api_found":true}"#
        );
    }

    #[test]
    fn each_object_is_waited_for() {
        let host = host();
        let result = host.run(
            NAME,
            r#"{"kind": "Pod", "namespace": "app", "wait": true, "wait_sleep": 0, "hidden_fields": ["metadata"]}"#,
        );
        let ready = r#"{"kind":"Pod","status":{"containerStatuses":[{"ready":true}]}}"#;
        assert_eq!(
            result,
            format!(r#"{{"changed":false,"resources":[{ready},{ready}],"api_found":true}}"#)
        );
    }

    #[test]
    fn who_waits_in_vain_is_told() {
        let host = host();
        assert_eq!(
            host.run(
                NAME,
                r#"{"kind": "Pod", "namespace": "app", "name": "one", "wait": true, "wait_timeout": 0, "wait_condition": {"type": "Ready"}}"#
            ),
            r#"{"failed":true,"changed":false,"msg":"Failed to gather information about Pod(s) even after waiting for 0 seconds"}"#
        );
    }

    #[test]
    fn a_kind_that_the_cluster_does_not_know_is_no_failure() {
        let host = host();
        for api in ["apps/v1", "none/v1"] {
            assert_eq!(
                host.run(
                    NAME,
                    &format!(r#"{{"kind": "Thing", "api_version": "{api}"}}"#)
                ),
                format!(
                    r#"{{"changed":false,"resources":[],"msg":"Failed to find API for resource with apiVersion \"{api}\" and kind \"Thing\"","api_found":false}}"#
                )
            );
        }
    }

    #[test]
    fn what_the_cluster_refuses_is_said() {
        let host = host();
        for (options, msg) in [
            (
                r#"{"kind": "Secret", "namespace": "app"}"#,
                "Exception 'Error from server (Forbidden): secrets is forbidden' raised while trying to get resource using (name=None, namespace=app, label_selectors=[], field_selectors=[])",
            ),
            ("{}", "missing required arguments: kind"),
            (
                r#"{"kind": "Pod", "wait_condition": {"status": "maybe"}}"#,
                "value of status must be one of: True, False, Unknown, got: maybe found in wait_condition",
            ),
        ] {
            assert_eq!(
                host.run(NAME, options),
                format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#)
            );
        }
    }
}
