"""The playbooks that ship, and that backstay and Ansible bring a machine into the same state."""

import json
import os
import re
import subprocess

from lab import promise, promise_of_backstay, same, tree

DEPLOY = tree / "playbooks/deploy.yml"
PASSWORDS = {
    "sandbox": [],
    "staging": ["--vault-password-file", tree / "inventories/staging/.vault_password.example"],
    "production": ["--vault-id", f"production@{tree}/inventories/production/.vault_password.example"],
}


def deploy(trial, host, *arguments, supervisor="systemd", engine=None):
    """Deploys to one host of the lab with staging's variables, and an answer that names no host."""
    group = "web" if supervisor == "systemd" else "legacy"
    more = trial.file("groups", f"[{group}]\n{host}\n")
    sources = ["-i", tree / "inventories/staging", "-i", trial.lab.inventory, "-i", more, *PASSWORDS["staging"]]
    return trial.run(DEPLOY, *sources, "--limit", host, "-e", "app_greeting=Hello", *arguments, engine=engine).finish()


def answer(trial, host, path):
    """What the application answers to its own host."""
    request = f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | perl -MIO::Socket::INET -e "
    script = "'$s = IO::Socket::INET->new(\"127.0.0.1:8080\") or exit 1; print $s join(\"\", <STDIN>); print <$s>'"
    return trial.lab.shell(host[:2], request + script).partition("\n\n")[2].strip()


def sweep(trial, *hosts):
    """Takes the application off the hosts again: they share the machine's ports."""
    for host in hosts:
        trial.lab.shell(
            host[:2],
            "systemctl disable --now greeter 2>/dev/null; rm -rf /opt/greeter /etc/systemd/system/greeter.service;"
            "systemctl daemon-reload; userdel greeter 2>/dev/null;"
            "[ ! -e /home/plain/greeter ] || { su plain -c '/home/plain/greeter/current/bin/appctl stop /home/plain/greeter';"
            "rm -rf /home/plain/greeter; }",
        )


@promise
def every_playbook_has_a_good_syntax_in_every_environment(trial):
    for name, password in PASSWORDS.items():
        for playbook in sorted((tree / "playbooks").glob("*.yml")):
            trial.run(playbook, "-i", tree / "inventories" / name, *password, "--syntax-check").finish().exits(0)


@promise
def ansible_lint_finds_nothing(trial):
    lint = trial.oracle.command[0].parent / "ansible-lint"
    environment = {**os.environ, "PATH": f"{lint.parent}:{os.environ['PATH']}", "HOME": str(trial.work)}
    command = [lint, "--offline", "--profile", "production", "--strict", "playbooks", "inventories"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@promise
def every_inventory_is_read_as_ansible_reads_it(trial):
    """The graph and the variables of every host, vaulted ones among them."""
    text = """
        - hosts: all
          gather_facts: false
          tasks:
            - copy:
                content: "{{ groups | to_nice_json }} {{ vaulted }} {{ [ansible_host, ansible_port, app_version, app_token] | string }}"
                dest: "{{ out }}/{{ inventory_hostname }}"
              vars: {vaulted: "{{ vault_app_token }}", ansible_port: "{{ hostvars[inventory_hostname].get('ansible_port', 22) }}"}
              delegate_to: localhost
        """
    playbook = trial.file("read.yml", text)
    for name in ["staging", "production"]:
        seen = {}
        for engine in (trial.oracle, trial.engine):
            out = trial.work / name / engine.name
            out.mkdir(parents=True, exist_ok=True)
            trial.run(playbook, "-i", tree / "inventories" / name, *PASSWORDS[name], "-e", f"out={out}", engine=engine).finish().exits(0)
            seen[engine.name] = {path.name: path.read_text() for path in out.iterdir()}
        assert seen[trial.engine.name] == seen[trial.oracle.name]
        assert len(seen[trial.engine.name]) == 4


@promise
def packing_the_sources_gives_the_artifacts_that_ship(trial):
    files = tree / "playbooks/files"
    for artifact in sorted(files.glob("*.tar.gz")):
        version = re.fullmatch(r"greeter-(.*)\.tar\.gz", artifact.name)[1]
        subprocess.run([files / "greeter/pack", version, trial.work], check=True)
        for name in [artifact.name, artifact.name + ".sha256"]:
            assert (trial.work / name).read_bytes() == (files / name).read_bytes(), f"{name} is not what the sources give"


@promise
def a_dry_run_on_a_new_host_shows_all_and_makes_nothing(trial):
    for supervisor, host, home in [("systemd", "h1", "/opt/greeter"), ("script", "h1-plain", "/home/plain/greeter")]:
        trial.lab.mark("h1")
        played = deploy(trial, host, "--check", "--diff", supervisor=supervisor).exits(0)
        assert played.recap()[host]["changed"] >= 7, played.told("too little is shown")
        played.says(r"(?m)^\+listen = 127\.0\.0\.1:8080$").says(rf'"path": "{home}/current"').hides("an-example-token")
        changed = trial.lab.touched("h1", "/root/.ansible", "/root/.cache", "/home/plain/.ansible", "/home/plain/.cache", "/home/plain")
        assert changed == [], f"changed: {changed}"


@promise
def a_deploy_starts_the_unit_and_a_second_one_changes_nothing(trial):
    try:
        deploy(trial, "h1").exits(0).counts("h1", failed=0)
        assert trial.lab.shell("h1", "systemctl show -P ActiveState -P UnitFileState -P User greeter").split() == ["greeter", "active", "enabled"]
        assert json.loads(answer(trial, "h1", "/health")) == {"status": "ok", "version": "1.1.0"}
        assert answer(trial, "h1", "/") == "Hello"
        assert json.loads(trial.lab.shell("h1", "cat /opt/greeter/state.json"))["version"] == "1.1.0"
        deploy(trial, "h1").exits(0).counts("h1", changed=0, failed=0)
        deploy(trial, "h1", "--check", "--diff").exits(0).counts("h1", changed=0)
    finally:
        sweep(trial, "h1")


@promise
def a_deploy_without_systemd_outlives_its_session(trial):
    try:
        deploy(trial, "h1-plain", supervisor="script").exits(0).counts("h1-plain", failed=0)
        assert json.loads(answer(trial, "h1", "/health"))["version"] == "1.1.0"
        deploy(trial, "h1-plain", supervisor="script").exits(0).counts("h1-plain", changed=0)
        trial.lab.shell("h1", "pkill -xf '/usr/bin/perl /home/plain/greeter/current/bin/greeter .*'")
        trial.lab.wait_until("h1", "pgrep -xf '/usr/bin/perl /home/plain/greeter/current/bin/greeter .*'")
    finally:
        sweep(trial, "h1")


@promise
def an_upgrade_that_is_not_healthy_goes_back(trial):
    """The new version is told to listen on a port that its user may not have."""
    try:
        deploy(trial, "h1", "-e", "app_version=1.0.0").exits(0)
        played = deploy(trial, "h1", "-e", "app_port=1", "-e", "app_health_retries=2").exits(2)
        played.counts("h1", failed=1, rescued=1).says("greeter 1.1.0 failed at .*; back on releases/1.0.0")
        assert trial.lab.shell("h1", "readlink /opt/greeter/current") == "releases/1.0.0\n"
        # The unit is started by the time it is restarted; its socket comes a moment later.
        trial.lab.wait_until("h1", "perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(\"127.0.0.1:8080\")'")
        assert json.loads(answer(trial, "h1", "/health"))["version"] == "1.0.0"
        deploy(trial, "h1").exits(0)
        assert json.loads(answer(trial, "h1", "/health"))["version"] == "1.1.0"
    finally:
        sweep(trial, "h1")


@promise
def an_artifact_that_is_not_the_one_named_never_leaves(trial):
    trial.lab.mark("h1")
    played = deploy(trial, "h1", "-e", f"app_sha256={'0' * 64}").exits(2)
    played.counts("h1", failed=1, changed=0).says("is not what greeter-1.1.0.tar.gz.sha256 says")
    changed = trial.lab.touched("h1", "/root/.ansible", "/root/.cache")
    assert changed == [], f"changed: {changed}"


@promise
def both_engines_bring_a_host_into_the_same_state(trial):
    """First a release, then the one after it, on h1 by Ansible and on h2 by the engine under test."""
    states = {}
    for host, engine in [("h1", trial.oracle), ("h2", trial.engine)]:
        try:
            deploy(trial, host, "-e", "app_version=1.0.0", engine=engine).exits(0)
            deploy(trial, host, engine=engine).exits(0)
            states[host] = (
                trial.lab.state_of(host, "/opt/greeter", "/etc/systemd/system")
                + trial.lab.shell(host, "systemctl show -P ActiveState -P UnitFileState -P NeedDaemonReload greeter")
                + trial.lab.shell(host, "getent passwd greeter; id greeter")
                + trial.lab.shell(host, "find /opt/greeter/releases -newermt 2025-01-02 -o -type f -printf '%p %t\\n' | sort")
            )
        finally:
            sweep(trial, host)
    same(states["h1"], states["h2"])


@promise
def both_engines_say_the_same(trial):
    """The whole text of a dry run, a first and a second deploy, but for names of temporary files."""
    told = {}
    for engine in (trial.oracle, trial.engine):
        try:
            steps = [["--check", "--diff"], ["--diff"], [], ["--check", "--diff", "-e", "app_version=1.0.0"]]
            texts = [deploy(trial, "h1", *step, engine=engine).exits(0).out for step in steps]
        finally:
            sweep(trial, "h1")
        told[engine.name] = [re.sub(r"(\+\+\+ after: ).*/(\S+)", r"\1\2", text) for text in texts]
    for wanted, found in zip(told[trial.oracle.name], told[trial.engine.name]):
        same(wanted, found)


@promise_of_backstay
def the_sandbox_deploys_three_hosts_and_then_changes_nothing(trial):
    """The first minute of a new user: no root needed, no host, no address."""
    hosts = ["amber", "birch", "cedar"]
    try:
        def play(*arguments):
            return trial.run(DEPLOY, "-i", tree / "inventories/sandbox", *arguments).finish().exits(0)

        dry = play("--check", "--diff")
        first = play()
        second = play()
        for host in hosts:
            assert dry.recap()[host]["changed"] >= 7, dry.told("too little is shown")
            first.counts(host, failed=0)
            second.counts(host, changed=0, failed=0)
    finally:
        for pid in trial.work.glob("**/greeter/run/pid"):
            home = pid.parent.parent
            subprocess.run([home / "current/bin/appctl", "stop", home], check=True)
