//! A `docker` that only pretends: what is asked of it, and what its answers come to.

use crate::modules::fake::Programs;

const NAME: &str = "community.docker.docker_compose_v2";
/// A compose that keeps whether its one container is there, and whether it runs.
const DOCKER: &str = r#"
state=$(cat "$here/state" 2>/dev/null)
event() { echo "{\"id\":\"Container app-web-1\",\"text\":\"$1\"}" >&2; }
set -- $(echo " $* " | sed 's/ --host [^ ]*//; s/ --project-directory [^ ]*//; s/ --project-name [^ ]*//; s/ --ansi never//; s/ --progress json//')
case "$*" in
  'version '*) echo '{}' ;;
  'compose version '*) echo '{"version":"v2.39.1"}' ;;
  'compose ps '*) [ -z "$state" ] || echo "{\"Name\":\"app-web-1\",\"State\":\"$state\",\"Labels\":\"a=b,c\",\"Networks\":\"app_default\"}" ;;
  'compose images '*) echo '[{"Repository":"nginx"}]' ;;
  *broken*) echo '{"id":"broken","error":true,"message":"no such service"}' >&2; exit 1 ;;
  *--dry-run*) case $state in running) event Running ;; *) event Creating ;; esac ;;
  *up*--no-start*) [ -n "$state" ] || { event Creating; echo created >"$here/state"; } ;;
  *' up '*) if [ "$state" = running ]; then event Running
     else event Creating; event Starting; echo running >"$here/state"; fi ;;
  *' stop '*) event Stopping; echo exited >"$here/state" ;;
  *' restart '*) event Restarting ;;
  *' down '*) [ -z "$state" ] || { event Removing; rm "$here/state"; } ;;
esac
"#;

fn host() -> Programs {
    let host = Programs::new([("docker", DOCKER)]);
    host.put("compose.yml", "services: {}\n");
    host
}

fn steps(host: &Programs) -> Vec<String> {
    let bin = host.path("").display().to_string();
    let about = format!(
        "docker --host unix:///var/run/docker.sock compose --ansi never --progress json \
         --project-directory {} ",
        bin.trim_end_matches('/')
    );
    let steps = host.undo_steps().into_iter();
    steps.map(|step| step.replace(&about, "")).collect()
}

#[test]
fn a_project_comes_up_once_and_goes_down_once() {
    let host = host();
    let up = r#"{"project_src": "$BIN"}"#;
    let predicted = host.predict(NAME, up);
    assert!(predicted.starts_with(r#"{"changed":true,"#), "{predicted}");
    assert_eq!(
        host.run(NAME, up),
        r#"{"changed":true,"actions":[{"what":"container","id":"app-web-1","status":"Creating"},{"what":"container","id":"app-web-1","status":"Starting"}],"stderr":"{\"id\":\"Container app-web-1\",\"text\":\"Creating\"}\n{\"id\":\"Container app-web-1\",\"text\":\"Starting\"}\n","containers":[{"Name":"app-web-1","State":"running","Labels":{"a":"b","c":""},"Networks":["app_default"],"Names":["app-web-1"],"Publishers":[]}],"images":[{"Repository":"nginx"}],"stderr_lines":["{\"id\":\"Container app-web-1\",\"text\":\"Creating\"}","{\"id\":\"Container app-web-1\",\"text\":\"Starting\"}"]}"#
    );
    assert!(host.run(NAME, up).starts_with(r#"{"changed":false,"#));
    assert!(host.predict(NAME, up).starts_with(r#"{"changed":false,"#));
    assert_eq!(steps(&host), ["down --"]);
    let down = r#"{"project_src": "$BIN", "state": "absent"}"#;
    assert!(host.run(NAME, down).starts_with(r#"{"changed":true,"#));
    assert!(host.run(NAME, down).starts_with(r#"{"changed":false,"#));
}

#[test]
fn a_project_is_stopped_once_and_restarted_each_time() {
    let host = host();
    host.run(NAME, r#"{"project_src": "$BIN"}"#);
    let stop = r#"{"project_src": "$BIN", "state": "stopped", "timeout": 5}"#;
    assert!(host.run(NAME, stop).starts_with(r#"{"changed":true,"#));
    assert!(host.run(NAME, stop).starts_with(r#"{"changed":false,"#));
    assert_eq!(steps(&host), ["down --", "start --"]);
    let restart = r#"{"project_src": "$BIN", "state": "restarted", "services": ["web"]}"#;
    assert!(host.run(NAME, restart).starts_with(r#"{"changed":true,"#));
    let calls = host.calls().join("\n");
    assert!(calls.contains(" stop --timeout 5 --\n"), "{calls}");
    assert!(calls.contains(" restart -- web\n"), "{calls}");
}

#[test]
fn the_options_of_up_are_those_of_compose() {
    let host = host();
    let options = r#"{"project_src": "$BIN", "files": ["compose.yml"], "profiles": ["web"],
            "project_name": "shop", "pull": "always", "build": "never", "recreate": "never",
            "scale": {"web": "3"}, "wait": true, "wait_timeout": 60, "remove_orphans": true,
            "dependencies": false, "renew_anon_volumes": true, "assume_yes": true}"#;
    host.run(NAME, options);
    let calls = host.calls().join("\n");
    assert!(
        calls.contains(
            " --project-name shop --file compose.yml --profile web up --detach --no-color \
             --quiet-pull --pull always --remove-orphans --no-recreate --renew-anon-volumes \
             --no-deps --no-build --scale web=3 --wait --wait-timeout 60 --yes --\n"
        ),
        "{calls}"
    );
}

#[test]
fn what_is_wrong_is_told() {
    let host = host();
    for (options, msg) in [
        (
            r#"{"project_src": "$BIN/none"}"#,
            r#"\"$BIN/none\" is not a directory"#,
        ),
        (
            r#"{"project_src": "/"}"#,
            r#"\"/\" does not contain compose.yaml, compose.yml, docker-compose.yaml, or docker-compose.yml"#,
        ),
        (
            r#"{"project_src": "$BIN", "files": ["x.yml"]}"#,
            r#"Cannot find Compose file \"x.yml\" relative to project directory \"$BIN\""#,
        ),
        (
            r#"{"project_src": "$BIN", "services": ["broken"]}"#,
            "Error when processing broken: no such service",
        ),
        (
            r#"{"project_src": "$BIN", "scale": {"web": -1}}"#,
            "The value -1 for `scale['web']` is negative",
        ),
        (
            r#"{"definition": {"services": {}}}"#,
            "missing parameter(s) required by 'definition': project_name",
        ),
    ] {
        let result = host.run(NAME, options);
        assert!(result.contains(&format!(r#""msg":"{msg}""#)), "{result}");
    }
}

#[test]
fn a_definition_is_a_file_for_as_long_as_compose_reads_it() {
    let host = host();
    let options =
        r#"{"project_name": "shop", "definition": {"services": {"web": {"image": "nginx"}}}}"#;
    let result = host.run(NAME, options);
    assert!(result.starts_with(r#"{"changed":true,"#), "{result}");
}

#[test]
fn images_are_pulled() {
    let host = host();
    let pull = r#"{"project_src": "$BIN", "policy": "missing", "services": ["web"]}"#;
    let result = host.run("community.docker.docker_compose_v2_pull", pull);
    assert_eq!(result, r#"{"changed":false,"actions":[]}"#);
    let calls = host.calls().join("\n");
    assert!(calls.ends_with(" pull --policy missing -- web"), "{calls}");
}
