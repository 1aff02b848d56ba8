//! When an object is what somebody waits for.

use serde_json::Value as Json;

use crate::value::Value;

/// What is waited for of an object's conditions.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) kind: String,
    pub(super) status: Value,
    pub(super) reason: Option<String>,
}

impl Condition {
    fn is_met(&self, object: &Json) -> bool {
        let conditions = at(object, &["status", "conditions"]).as_array();
        let found = conditions
            .into_iter()
            .flatten()
            .find(|it| it.get("type").and_then(Json::as_str) == Some(&self.kind));
        let Some(found) = found else { return false };
        let is_reason = || {
            let reason = found.get("reason").and_then(Json::as_str);
            self.reason.as_deref().is_none_or(|it| reason == Some(it))
        };
        match found.get("status").and_then(Json::as_str) {
            Some("Unknown") => self.status.as_str() == Some("Unknown") && is_reason(),
            status => self.status.to_soft_bool() == Some(status == Some("True")) && is_reason(),
        }
    }
}

/// Tells whether an object is ready, by the condition or by what its kind makes ready.
pub(super) fn is_ready(object: &Json, condition: Option<&Condition>) -> bool {
    if let Some(condition) = condition {
        return condition.is_met(object);
    }
    let number = |path: &[&str]| at(object, path).as_i64();
    let status = |name: &str| number(&["status", name]);
    let is_seen = status("observedGeneration").unwrap_or(0)
        == number(&["metadata", "generation"]).unwrap_or(0);
    let has_status = at(object, &["status"])
        .as_object()
        .is_some_and(|status| !status.is_empty());
    match object.get("kind").and_then(Json::as_str) {
        Some("Pod") => at(object, &["status", "containerStatuses"])
            .as_array()
            .is_some_and(|all| {
                all.iter()
                    .all(|it| it.get("ready") == Some(&Json::Bool(true)))
            }),
        Some("Deployment") => {
            has_status
                && number(&["spec", "replicas"]) == Some(status("replicas").unwrap_or(0))
                && status("availableReplicas") == status("replicas")
                && is_seen
                && status("unavailableReplicas").unwrap_or(0) == 0
        }
        Some("DaemonSet") => {
            let wanted = status("desiredNumberScheduled");
            wanted.is_some()
                && status("updatedNumberScheduled").unwrap_or(0) == wanted.unwrap_or(0)
                && status("numberReady") == wanted
                && is_seen
                && status("unavailableReplicas").unwrap_or(0) == 0
        }
        Some("StatefulSet") => {
            let wanted = number(&["spec", "replicas"]);
            let all = has_status && is_seen && status("replicas") == wanted;
            match at(object, &["spec", "updateStrategy", "type"]).as_str() {
                Some("OnDelete") => all,
                Some("RollingUpdate") => {
                    all && at(object, &["status", "updateRevision"])
                        == at(object, &["status", "currentRevision"])
                        && Some(status("updatedReplicas").unwrap_or(0)) == wanted
                        && Some(status("readyReplicas").unwrap_or(0)) == wanted
                }
                _ => false,
            }
        }
        Some("ClusterOperator") => {
            let is = |kind: &str, status: &str| {
                let conditions = at(object, &["status", "conditions"]).as_array();
                conditions.into_iter().flatten().any(|it| {
                    it.get("type").and_then(Json::as_str) == Some(kind)
                        && it.get("status").and_then(Json::as_str) == Some(status)
                })
            };
            is("Degraded", "False") && is("Progressing", "False") && is("Available", "True")
        }
        _ => true,
    }
}

fn at<'a>(object: &'a Json, path: &[&str]) -> &'a Json {
    let mut found = object;
    for name in path {
        found = found.get(name).unwrap_or(&Json::Null);
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_has_its_own_readiness() {
        let pod = |ready: bool| json!({"kind": "Pod", "status": {"containerStatuses": [{"ready": true}, {"ready": ready}]}});
        assert!(is_ready(&pod(true), None));
        assert!(!is_ready(&pod(false), None));
        assert!(!is_ready(&json!({"kind": "Pod", "status": {}}), None));
        let deployment = |available: i64, seen: i64| {
            json!({
                "kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 3},
                "status": {
                    "replicas": 3, "availableReplicas": available, "observedGeneration": seen,
                },
            })
        };
        assert!(is_ready(&deployment(3, 2), None));
        assert!(!is_ready(&deployment(2, 2), None));
        assert!(!is_ready(&deployment(3, 1), None));
        let set = |revision: &str| {
            json!({
                "kind": "StatefulSet", "metadata": {"generation": 1},
                "spec": {"replicas": 1, "updateStrategy": {"type": "RollingUpdate"}},
                "status": {
                    "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1,
                    "observedGeneration": 1, "updateRevision": revision, "currentRevision": "a",
                },
            })
        };
        assert!(is_ready(&set("a"), None));
        assert!(!is_ready(&set("b"), None));
        assert!(is_ready(&json!({"kind": "Secret"}), None));
    }

    #[test]
    fn a_condition_has_a_status_and_perhaps_a_reason() {
        let job = json!({"kind": "Job", "status": {"conditions": [
            {"type": "Complete", "status": "True", "reason": "Done"},
            {"type": "Odd", "status": "Unknown"},
        ]}});
        let is_met = |kind: &str, status: Value, reason: Option<&str>| {
            let condition = Condition {
                kind: kind.into(),
                status,
                reason: reason.map(str::to_owned),
            };
            is_ready(&job, Some(&condition))
        };
        assert!(is_met("Complete", true.into(), None));
        assert!(is_met("Complete", "True".into(), Some("Done")));
        assert!(!is_met("Complete", true.into(), Some("Late")));
        assert!(!is_met("Complete", false.into(), None));
        assert!(!is_met("Failed", true.into(), None));
        assert!(is_met("Odd", "Unknown".into(), None));
        assert!(!is_met("Odd", true.into(), None));
    }
}
