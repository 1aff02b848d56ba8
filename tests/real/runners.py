"""Deploys from runners: the twelve scenarios, what repeats, chaos, and many deploys in a row.

docs/runners.md names the test of each scenario; some are promises of `deploys`. Two of the lab's
hosts are the runners, three have the application.
"""

import base64
import http.server
import json
import os
import random
import re
import shlex
import signal
import socket
import statistics
import subprocess
import threading
import time
from contextlib import ExitStack

from lab import Cable, promise_of_backstay, tree
from shop import HOSTS, Shop, ends, shop_with_a_release

RUNBOOKS = tree / "docs/runbooks"
PASSWORD = ["--vault-password-file", tree / "inventories/staging/.vault_password.example"]


def backstay(trial, *words, environment=None, seconds=300):
    """Runs the binary in the trial's directory, as a workflow's step does."""
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(trial.work), **(environment or {})}
    command = [trial.engine.command[0], *map(str, words)]
    return subprocess.run(command, cwd=trial.work, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)


def remedies(page, section):
    """The commands that a section of a runbook says, as written."""
    text = (RUNBOOKS / page).read_text()
    part = re.split(r"^## ", text, flags=re.MULTILINE)
    part = part[0] if section is None else next(it for it in part[1:] if it.partition("\n")[0] == section)
    return re.findall(r"^    (backstay .*)$|`((?:backstay|systemctl) [^`]*)`", part, re.MULTILINE)


def written(page, section, start):
    """The one command of a section that starts so; the words it is made of."""
    found = {text for pair in remedies(page, section) for text in pair if text.startswith(start)}
    assert len(found) == 1, f"{page}#{section} has {found or 'no command'} that starts with {start}"
    return found.pop().replace("'", "").split()[1:]


# --- two runners ---

UNIT = """[Service]
ExecStart=/bin/sleep infinity
"""


# Keeps rules as the kernel does; the real one would change the machine that all hosts share.
FILTER = """#!/bin/sh
case " $* " in
    *" --version "*) echo "iptables v1.8.9 (nf_tables)" ;;
    *" -C "*) grep -qxF -- "$(echo "$*" | sed "s/ -C / -A /")" /run/filter ;;
    *" -A "*) echo "$*" >>/run/filter ;;
    *) exit 2 ;;
esac
"""


class Runners:
    """h4 is the primary and h5 the secondary: each with a unit, logs, and the exporter as shipped."""

    roles = {"h4": "primary", "h5": "secondary"}

    def __init__(self, trial):
        self.trial = trial
        self.lab = trial.lab
        for host in self.roles:
            unit = f"printf '{UNIT}' >/etc/systemd/system/actions.runner.service"
            self.lab.shell(host, f"mkdir -p /opt/actions-runner/_diag && ln -sfn bin.2.321.0 /opt/actions-runner/bin && {unit} && systemctl daemon-reload && systemctl start actions.runner")
            self.check_in(host)
        self.list = trial.file("runners.yml", "runners:\n" + "".join(self.entry(host) for host in self.roles))
        self.group = trial.file("groups.ini", "[runners]\n" + "".join(f"{host} exporter_address={self.lab.address(host)}\n" for host in self.roles))
        self.installed = self.install().exits(0)

    def entry(self, host):
        url = f"http://{self.lab.address(host)}:9101/metrics"
        return f"  - {{name: {host}, role: {self.roles[host]}, environments: [production], exporter: '{url}'}}\n"

    def install(self, *arguments):
        variables = ["-e", f"exporter_binary={self.trial.engine.command[0]}", "-e", f"exporter_runners={self.list}"]
        return self.trial.run(tree / "playbooks/runners.yml", "-i", self.lab.inventory, "-i", self.group, *variables, *arguments).finish()

    def check_in(self, host):
        self.lab.shell(host, "echo '[2026-01-01 00:00:00Z INFO Runner] Listening for Jobs' >>/opt/actions-runner/_diag/Runner_1.log")

    def preflight(self, host, *more):
        words = ["preflight", "--role", self.roles[host], "--runners", "runners.yml", *more]
        return backstay(self.trial, *words, environment={"RUNNER_NAME": host})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in self.roles:
            self.lab.shell(
                host,
                "systemctl disable -q --now backstay-exporter; systemctl stop -q actions.runner; umount -q /opt/actions-runner/_work 2>/dev/null;"
                " rm -rf /opt/actions-runner /etc/backstay /run/filter /usr/local/sbin/iptables /usr/local/bin/backstay /etc/systemd/system/backstay-exporter.service /etc/systemd/system/actions.runner.service;"
                " systemctl daemon-reload",
            )


@promise_of_backstay
def a_healthy_primary_deploys_and_the_secondary_takes_over_when_it_is_down(trial):
    """Scenarios 1, 2, 6 and 7: the gate decides by what the exporters say, and names why."""
    with Runners(trial) as runners:
        metrics = trial.lab.shell("h4", f"cat /etc/systemd/system/backstay-exporter.service; exec 3<>/dev/tcp/{trial.lab.address('h4')}/9101; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3")
        assert 'backstay_runner_online{name="h4",role="primary",environment="production",authorised="true"} 1' in metrics, metrics
        assert 'version="2.321.0"} 1' in metrics, metrics
        runners.install().exits(0).counts("h4", changed=0).counts("h5", changed=0)
        gate = runners.preflight("h4")
        assert gate.returncode == 0, gate
        assert runners.preflight("h5").returncode == 10
        shop = Shop(trial)
        ends(shop.deploy(), 0, "committed on 3 hosts")

        trial.lab.shell("h4", "systemctl stop actions.runner")
        gate = runners.preflight("h4")
        assert gate.returncode == 11, gate
        assert re.search(r"^runner: the primary runner `h4`: it is offline, says its exporter; .*; see docs/runbooks/runner-offline.md#runner$", gate.stdout, re.M), gate
        assert runners.preflight("h5").returncode == 0
        ends(shop.deploy(release="2"), 0, "committed on 3 hosts")

        # Where scrapers are named, others are kept out after them, and each rule is made once.
        trial.lab.shell("h4", f"printf %s {shlex.quote(FILTER)} >/usr/local/sbin/iptables; chmod 755 /usr/local/sbin/iptables; : >/run/filter")
        scrapers = ["--limit", "h4", "-e", '{"exporter_scrapers": ["10.0.0.8", "10.0.0.9"]}']
        runners.install(*scrapers).exits(0).counts("h4", changed=2)
        runners.install(*scrapers).exits(0).counts("h4", changed=0)
        rules = [re.findall(r" -s (\S+)| -j (\S+)|--destination-port (\d+)", line) for line in trial.lab.shell("h4", "cat /run/filter").splitlines()]
        rules = [[word for found in rule for word in found if word] for rule in rules]
        assert rules == [["10.0.0.8", "ACCEPT", "9101"], ["10.0.0.9", "ACCEPT", "9101"], ["DROP", "9101"]], rules

        # Both are down: it says so of each, at once.
        trial.lab.shell("h5", "systemctl stop actions.runner")
        gate = runners.preflight("h5")
        assert gate.returncode == 13 and gate.stdout.count("says its exporter") == 2, gate

        # The runbook, as written.
        trial.lab.shell("h5", "systemctl start actions.runner")
        decided = backstay(trial, *written("runner-offline.md", None, "backstay preflight --role secondary"), environment={"RUNNER_NAME": "h5"})
        assert decided.returncode == 0, decided
        listed = written("runner-offline.md", "Runner", "systemctl list-unit-files")
        [unit] = re.findall(r"^(actions\.runner\S*)", trial.lab.shell("h4", f"systemctl {' '.join(listed)}"), re.M)
        restart = written("runner-offline.md", "Runner", "systemctl restart")
        trial.lab.shell("h4", f"systemctl {' '.join(restart)}".replace("UNIT", unit))
        runners.check_in("h4")
        repaired = backstay(trial, *written("runner-offline.md", "Runner", "backstay preflight --role primary"), environment={"RUNNER_NAME": "h4"})
        assert repaired.returncode == 0, repaired


@promise_of_backstay
def a_degraded_runner_and_a_degraded_host_are_named(trial):
    """Scenario 5: processor, disk and latency."""
    with Runners(trial) as runners:
        gate = runners.preflight("h4", "--load", "0")
        assert gate.returncode == 13 and "it is degraded: a load of " in gate.stdout, gate
        trial.lab.shell("h4", "mount -t tmpfs -o size=4m tmpfs /opt/actions-runner && mkdir /opt/actions-runner/_diag")
        runners.check_in("h4")
        gate = runners.preflight("h4")
        assert gate.returncode == 11 and re.search(r"`h4`: it is degraded: only [0-4] MiB free where it works", gate.stdout), gate
        trial.lab.shell("h4", "umount -l /opt/actions-runner")
        assert runners.preflight("h4").returncode == 0
        # Its exporter takes longer than anybody waits.
        trial.lab.shell("h4", "kill -STOP $(systemctl show -P MainPID backstay-exporter)")
        gate = runners.preflight("h4")
        assert gate.returncode == 11 and re.search(r"`h4`: http://\S+: .*time", gate.stdout), gate
        trial.lab.shell("h4", "kill -CONT $(systemctl show -P MainPID backstay-exporter)")
    shop = Shop(trial)
    played = shop.ask("doctor", "--latency", "0", "--load", "0").exits(1)
    played.says(r"(?m)^h1: degraded: it answered after \d+ ms; ").says(r"(?m)^h1: degraded: the load of the last minute is ")
    shop.ask("doctor").exits(0)


@promise_of_backstay
def doctor_tells_of_fifty_hosts_within_a_minute_also_where_ten_are_down(trial):
    """Down in every way: nobody listens, nobody answers, no such name, no way there."""
    lab = trial.lab
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(2)]
        # Each host of the lab is reached on eight ways, each of which is a host to doctor.
        cables = [stack.enter_context(Cable(lab.address(f"h{number % 5 + 1}"))) for number in range(40)]
        known = lab.known_hosts.read_text()
        known = trial.file("known", "".join(known.replace(f"[{cable.target[0]}]:2222", f"[127.0.0.1]:{cable.port}") for cable in cables))
        here = {"ansible_host": "127.0.0.1", "ansible_ssh_common_args": trial.known(known)}
        hosts = [trial.host(f"up{number}", **here, ansible_port=cable.port) for number, cable in enumerate(cables)]
        for number, port in enumerate(silent):
            hosts += [
                trial.host(f"down{number}", **here, ansible_port=9 + number),
                trial.host(f"down{number + 2}", **here, ansible_port=port),
                trial.host(f"down{number + 4}", ansible_host=f"no-such-host-{number}.invalid", ansible_ssh_common_args=trial.known()),
                trial.host(f"down{number + 6}", ansible_host=f"192.0.2.{number + 1}", ansible_ssh_common_args=trial.known()),
                trial.host(f"down{number + 8}", ansible_host=f"10.0.0.{number + 1}", ansible_ssh_common_args="-o ProxyJump=root@127.0.0.1:9"),
            ]
        told = backstay(trial, "doctor", "-i", trial.file("fifty.ini", "\n".join(hosts) + "\n"), seconds=60)
    assert told.returncode == 4, told
    lines = told.stdout.splitlines()
    assert len([line for line in lines if re.match(r"up\d+: ok: ", line)]) == 40, told.stdout
    assert len([line for line in lines if re.match(r"down\d+: network: .*; see docs/runbooks/network-unreachable.md", line)]) == 10, told.stdout


# --- one deploy after another ---


def read_until(stream, text):
    """Reads lines until one has the text."""
    said = ""
    while text not in said:
        line = stream.readline()
        assert line, f"it never says {text}: {said}"
        said += line


@promise_of_backstay
def the_second_of_two_deploys_waits_for_the_first_and_then_deploys(trial):
    """Scenario 3."""
    shop = Shop(trial)
    with shop.standing(release="1") as first, shop.start(release="2") as second:
        read_until(second.process.stdout, "waiting for the lock of h1: held by ")
        shop.open_gate()
        ends(first.finish(), 0, "committed on 3 hosts")
        ends(second.finish(), 0, "committed on 3 hosts")
    shop.is_idle()
    assert all("release 2" in host for host in shop.look().values())
    told = json.loads(shop.ask("history", "--json").out)
    assert [[it["state"] for it in host["transactions"]] for host in told] == [["committed", "committed"]] * 3, told


@promise_of_backstay
def a_terminated_deploy_is_undone_before_it_ends_and_the_next_one_converges(trial):
    """Scenarios 4 and 9; interrupted, then converged."""
    shop, first = shop_with_a_release(trial)
    for word in (signal.SIGTERM, signal.SIGINT):
        with shop.standing(release="2") as running:
            running.process.send_signal(word)
            played = running.finish()
            played.exits(128 + word).says("diagnosis: interrupted: ").says("docs/runbooks/rollback.md#interrupted")
        shop.comes_back(first)
        shop.ask(*written("rollback.md", "Interrupted", "backstay status")[:1]).exits(0)
    trial.lab.shell("h1", "rm -f /srv/gate")
    ends(shop.deploy(release="2"), 0, "committed on 3 hosts")
    ends(shop.deploy(release="2"), 0, "committed: nothing had changed")


@promise_of_backstay
def a_deploy_that_failed_is_tried_again_and_succeeds(trial):
    """Scenario 12: the fault goes away between two attempts, each from the state before."""
    shop, first = shop_with_a_release(trial)
    shop.then("{command: test ! -e /srv/fault, changed_when: false}")
    # Each attempt begins with the release that stood before.
    text = shop.playbook.read_text()
    shop.playbook.write_text(text.replace("  tasks:\n", "  tasks:\n    - {command: grep -x 'release 1' /etc/shop.conf, changed_when: false}\n", 1))
    trial.lab.shell("h2", "touch /srv/fault")
    with shop.start("--attempts", "4", "--backoff", "5", release="2") as running:
        read_until(running.process.stderr, "attempt 1 of 4 ended with 20; the next one starts in 5 s")
        trial.lab.shell("h2", "rm /srv/fault")
        ends(running.finish(), 0, "committed on 3 hosts")
    shop.is_idle()
    assert all("release 2" in host for host in shop.look().values())
    told = json.loads(shop.ask("history", "--json").out)
    assert all([it["state"] for it in host["transactions"]][:2] == ["committed", "rolled_back"] for host in told), told


@promise_of_backstay
def a_release_and_the_one_before_and_it_again_end_where_the_first_did(trial):
    """Twice is a no-op; X, back to Y, X again; check mode changes nothing; nothing is left behind."""
    shop, first = shop_with_a_release(trial)
    ends(shop.deploy(), 0, "committed: nothing had changed")
    shop.is_as(first)
    shop.deploy("--check", "--diff", release="2").exits(0)
    shop.is_as(first)
    paths = ["/srv/shop", "/etc/shop.conf", "/etc/shop.list", "/etc/systemd/system/shop.service"]
    state = lambda: [trial.lab.state_of(host, *paths) for host in HOSTS]  # noqa: E731
    ends(shop.deploy("--release", "2", release="2"), 0, "committed on 3 hosts")
    second = state()
    shop.ask("rollback", "-e", "release=1").exits(0)
    shop.is_as(first)
    ends(shop.deploy("--release", "2", release="2"), 0, "committed on 3 hosts")
    assert state() == second
    shop.is_idle()


@promise_of_backstay
def every_host_tells_which_version_stands_and_which_stood_before(trial):
    """The state file: version, previous, time, runner, page of the run, generation."""
    shop = Shop(trial, hosts=("h1",))
    page = {"GITHUB_SERVER_URL": "https://ci", "GITHUB_REPOSITORY": "a/shop", "GITHUB_RUN_ID": "7"}

    def deploy(version):
        kept = ["--state-dir", trial.work / version, "--state-path", "/etc/shop.conf"]
        options = [*shop.sources, "--lease", 8, "-e", f"release={version}", "--release", version, *kept]
        played = trial.run(shop.playbook, *options, engine=shop.engine("deploy"), environment=page).finish()
        ends(played, 0, "committed on 1 host")

    def current():
        told = json.loads(trial.lab.shell("h1", "cat /var/lib/backstay/current/default.json"))
        return {key: told[key] for key in ("version", "previous", "generation", "run_url", "kind")}

    deploy("1")
    deploy("2")
    url = "https://ci/a/shop/actions/runs/7"
    assert current() == {"version": "2", "previous": "1", "generation": 2, "run_url": url, "kind": "deploy"}
    # What stood before each deploy, of which the second finds the first.
    [state] = (trial.work / "2").iterdir()
    [host] = json.loads(state.read_text())["hosts"]
    assert host["units"]["shop.service"] == "running" and host["packages"]["sudo"], host
    assert host["transactions"][0]["version"] == "1" and len(host["files"]["/etc/shop.conf"]) == 64, host
    shop.ask("status").exits(0).says(r"default: generation 2, version 2 \(before: 1\), deploy of 20\S+ by .*, run https://ci/a/shop/actions/runs/7")
    told = json.loads(shop.ask("status", "--json").out)["hosts"][0]["applications"][0]
    assert (told["version"], told["previous"]) == ("2", "1"), told
    shop.ask("rollback", "-e", "release=1").exits(0)
    assert current() == {"version": "1", "previous": None, "generation": 3, "run_url": None, "kind": "rollback"}


# --- failures and what is said of them ---

# Each fault, as tasks of a release, and the class it is to be named by.
FAULTS = {
    "service": ["copy: {dest: /etc/systemd/system/sick.service, content: \"[Service]\\nExecStart=/bin/false\\nType=oneshot\\n\"}", "systemd_service: {name: sick, state: started, daemon_reload: true}"],
    "health": ["uri: {url: \"http://127.0.0.1:9/health\"}"],
    "checksum": ["get_url: {url: \"file:///etc/hostname\", dest: /srv/artifact, checksum: \"sha256:" + "0" * 64 + "\"}"],
    "package_manager": ["apt: {name: no-such-package-7341}"],
    "playbook": ["debug: {msg: \"{{ nothing_such }}\"}"],
    "task": ["{command: \"sh -c 'echo it broke >&2; exit 3'\", changed_when: false}"],
}


@promise_of_backstay
def every_fault_ends_with_its_cause_remedy_and_page_in_every_log(trial):
    """Scenarios 6 and 8: within the five minutes that `finish` would wait at most."""
    shop, first = shop_with_a_release(trial)
    text = shop.playbook.read_text()
    summary = trial.work / "summary.md"
    for name, tasks in FAULTS.items():
        shop.then(*tasks)
        summary.write_text("")
        options = [*shop.sources, "--lease", 8, "-e", "release=2", "--output", "github", "--metrics-file", trial.work / "metrics.prom"]
        surroundings = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_WORKSPACE": str(trial.work)}
        played = trial.run(shop.playbook, *options, engine=shop.engine("deploy"), environment=surroundings).finish(seconds=300)
        said = name.replace("_", " ")
        played.exits(20).says(rf"(?m)^diagnosis: {said}: h[123].*; see docs/runbooks/\S+#{said.replace(' ', '-')}$")
        played.says(rf"(?m)^::error file=release.yml,line=\d+,.*::{said}: .*; see docs/runbooks/")
        told = summary.read_text()
        for words in ("rolled back: all 3 hosts are as before", said, "docs/runbooks/"):
            assert words in told, f"{words}: {told}"
        metrics = (trial.work / "metrics.prom").read_text()
        assert re.search(rf'^backstay_deploy_failed{{.*reason="{name}"}} 1$', metrics, re.M), metrics
        assert re.search(r"^backstay_deploy_seconds_to_detect{.*} [\d.]+$", metrics, re.M), metrics
        shop.is_as(first)
        shop.playbook.write_text(text)


@promise_of_backstay
def the_remedies_of_the_runbooks_work_as_written(trial):
    """Scenario 7: a lock that hangs, and hosts in doubt."""
    shop, first = shop_with_a_release(trial)

    def remedy(page, section, start):
        command, *words = written(page, section, start)
        names = ["list", "break"]
        inventory = words.index("INVENTORY")
        words[inventory - 1 : inventory + 1] = shop.sources
        verb = [words.pop(0)] if words and words[0] in names else []
        engine = shop.engine(command)
        engine.command += verb
        return trial.run(",".join(shop.names), *words, engine=engine).finish()

    with shop.standing(release="2") as running:
        refused = shop.deploy("--no-wait", release="2").exits(1)
        refused.says(r"diagnosis: lock: |the lock of h[123] is held by")
        remedy("deploy-failed.md", "Lock", "backstay lock list").exits(0).says(r"(?m)^h2")
        remedy("deploy-failed.md", "Lock", "backstay lock break").exits(0)
        shop.comes_back(first)
        shop.open_gate()
        assert running.finish().status != 0
    with Cable(trial.lab.address("h2")) as cable:
        own = trial.lab.known_hosts.read_text().replace(f"[{trial.lab.address('h2')}]:2222", f"[127.0.0.1]:{cable.port}")
        line = trial.host("cabled", ansible_host="127.0.0.1", ansible_port=cable.port, ansible_ssh_common_args=trial.known(trial.file("known", own)))
        shop, first = shop_with_a_release(trial, names=("h1", "cabled", "h3"), inventory=line)
        with shop.standing(release="2", lease=5) as running:
            cable.cut()
            shop.open_gate()
            running.finish().exits(22).says("diagnosis: (network|partial state): ")
        cable.mend()
        remedy("rollback.md", "Partial state", "backstay recover -i").exits(0)
        remedy("rollback.md", "Interrupted", "backstay status").exits(0)
        shop.is_as(first)


# --- a certificate for minutes ---


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer(http.server.ThreadingHTTPServer):
    """GitHub's service of identity tokens and a Vault with the login `jwt` and the engine `ssh`.

    It answers as they do, checks what they check, and really signs: tokens with an RSA key, user
    certificates with the CA that the lab's hosts trust.
    """

    daemon_threads = True

    def __init__(self, trial, lifetime="+5m"):
        super().__init__(("127.0.0.1", 0), Answers)
        self.trial = trial
        self.lifetime = lifetime
        self.revoked = []
        self.key = trial.work / "identity.pem"
        subprocess.run(["openssl", "genrsa", "-out", self.key, "2048"], check=True, capture_output=True)
        subprocess.run(["openssl", "rsa", "-in", self.key, "-pubout", "-out", f"{self.key}.pub"], check=True, capture_output=True)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def token(self, audience):
        claims = {"iss": self.url, "aud": audience, "sub": "repo:a/shop:environment:production", "exp": int(time.time()) + 300}
        text = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), capture_output=True, check=True)
        return f"{text}.{base64url(signed.stdout)}"

    def claims(self, token):
        """What a token says, if this service has signed it."""
        text, _, signature = token.rpartition(".")
        file = self.trial.work / "signature"
        file.write_bytes(base64.urlsafe_b64decode(signature + "=="))
        checked = subprocess.run(["openssl", "dgst", "-sha256", "-verify", f"{self.key}.pub", "-signature", file], input=text.encode(), capture_output=True)
        return json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "==")) if checked.returncode == 0 else None

    def sign(self, public, user):
        file = self.trial.work / "asked.pub"
        file.write_text(public + "\n")
        ca = self.trial.lab.key("user_ca")
        subprocess.run(["ssh-keygen", "-q", "-s", ca, "-I", "backstay", "-n", user, "-V", f"-1m:{self.lifetime}", file], check=True, capture_output=True)
        return (self.trial.work / "asked-cert.pub").read_text()


class Answers(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path != "/token" or self.headers["Authorization"] != "bearer of-the-job-7341":
            return self.answer(401, {})
        audience = dict(pair.split("=") for pair in query.split("&"))["audience"]
        self.answer(200, {"value": self.server.token(audience)})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/auth/jwt/login":
            claims = self.server.claims(asked["jwt"])
            if not claims or claims["aud"] != "backstay" or claims["exp"] < time.time():
                return self.answer(400, {"errors": ["error validating token"]})
            if asked["role"] != "deploy":
                return self.answer(400, {"errors": [f'role "{asked["role"]}" could not be found']})
            return self.answer(200, {"auth": {"client_token": "hvs.canary-7341", "lease_duration": 60}})
        if self.headers["X-Vault-Token"] != "hvs.canary-7341":
            return self.answer(403, {"errors": ["permission denied"]})
        if self.path == "/v1/ssh/sign/production":
            signed = self.server.sign(asked["public_key"], asked["valid_principals"])
            return self.answer(200, {"data": {"serial_number": "1", "signed_key": signed}})
        if self.path == "/v1/auth/token/revoke-self":
            self.server.revoked.append(self.headers["X-Vault-Token"])
            return self.answer(204, {})
        self.answer(404, {"errors": []})


@promise_of_backstay
def a_runner_without_keys_logs_in_with_a_certificate_for_minutes(trial):
    signer = Signer(trial)
    words = ["secrets", "certificate", "key", "--signer", signer.url, "--login-role", "deploy", "--sign-role", "production"]
    job = {"ACTIONS_ID_TOKEN_REQUEST_URL": signer.url + "/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job-7341"}
    made = backstay(trial, *words, "--user", "certified", environment=job)
    assert made.returncode == 0 and made.stdout.startswith("key: a certificate for certified, good until 20"), made
    assert signer.revoked == ["hvs.canary-7341"]
    assert "7341" not in made.stdout + made.stderr, made
    assert (trial.work / "key").stat().st_mode & 0o777 == 0o600
    line = trial.host("short", ansible_user="certified", ansible_ssh_private_key_file=None, ansible_ssh_common_args=trial.known())
    text = """
        - hosts: short
          gather_facts: false
          tasks: [{command: id -un}]
        """
    trial.play(text, "--private-key", trial.work / "key", "-v", inventory=line).exits(0).says('"certified"')
    # Without the certificate the key opens nothing.
    (trial.work / "key-cert.pub").unlink()
    trial.play(text, "--private-key", trial.work / "key", inventory=line).exits(4)
    # In a log of GitHub Actions what it learnt is masked before anything else is said.
    made = backstay(trial, *words, "--user", "certified", environment={**job, "GITHUB_ACTIONS": "true"})
    assert made.returncode == 0 and "::add-mask::hvs.canary-7341\n" in made.stdout, made
    # What the signer refuses is told in its words, and its certificates are not taken on trust.
    refused = backstay(trial, *words[:-3], "nobody", *words[-2:], "--user", "certified", environment=job)
    assert refused.returncode == 1 and 'answered 400: role "nobody" could not be found' in refused.stderr, refused
    refused = backstay(trial, *words, "--user", "certified", environment={**job, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "another"})
    assert refused.returncode == 1 and "there is no identity token: " in refused.stderr, refused
    signer.lifetime = "-30s"
    refused = backstay(trial, *words, "--user", "certified", environment=job)
    assert refused.returncode == 1 and "the signer's certificate has expired" in refused.stderr, refused


# --- many deploys in a row ---


class Faulty:
    """Breaks something while a deploy is under way, or nothing."""

    def __init__(self, shop, cable, dice):
        self.shop, self.cable, self.dice = shop, cable, dice

    def nothing(self, running):
        pass

    def killed_runner(self, running):
        running.process.kill()

    def terminated_runner(self, running):
        running.process.terminate()

    def killed_agent(self, running):
        worker = "for d in /var/lib/backstay/transactions/*/; do [ ! -e $d/socket ] || kill -KILL $(sed 's/[^0-9].*//;q' $d/worker); done"
        self.shop.lab.holds(self.dice.choice(HOSTS), worker)

    def killed_guardian(self, running):
        self.shop.lab.holds(self.dice.choice(HOSTS), "pkill -KILL -f 'guardian [-]-directory'")

    def lost_network(self, running):
        """Long enough that the host gives up waiting."""
        self.cable.cut()
        try:
            running.finish()
        finally:
            self.cable.mend()

    def all(self):
        return [self.nothing, self.nothing, self.killed_runner, self.terminated_runner, self.killed_agent, self.killed_guardian, self.lost_network]


@promise_of_backstay
def many_deploys_with_random_faults_succeed_and_leave_no_host_partial(trial):
    """As a workflow does it: the primary tries twice; where that is not enough the secondary does.

    BACKSTAY_DEPLOYS says how many (4 here, 20 for docs/runners.md), BACKSTAY_SEED repeats a run.
    """
    count, seed = int(os.environ.get("BACKSTAY_DEPLOYS", "4")), int(os.environ.get("BACKSTAY_SEED") or random.randrange(10**6))
    dice = random.Random(seed)
    print(f"seed {seed}", flush=True)
    took, good, partial = [], 0, []
    with Cable(trial.lab.address("h2")) as cable:
        own = trial.lab.known_hosts.read_text().replace(f"[{trial.lab.address('h2')}]:2222", f"[127.0.0.1]:{cable.port}")
        line = trial.host("cabled", ansible_host="127.0.0.1", ansible_port=cable.port, ansible_ssh_common_args=trial.known(trial.file("known", own)))
        shop = Shop(trial, names=("h1", "cabled", "h3"), inventory=line)
        faulty = Faulty(shop, cable, dice)
        for number in range(1, count + 1):
            fault, moment = dice.choice(faulty.all()), dice.randint(1, 10)
            started = time.monotonic()
            with shop.start("--attempts", "2", "--backoff", "1", release=str(number), lease=5) as running:
                wait_for_task(running, moment)
                fault(running)
                code = running.finish().status if running.process.poll() is None else running.process.wait()
            if code != 0:
                shop.is_idle()
                shop.ask("recover")
                # All old or all new, whatever it was.
                versions = [trial.lab.shell(host, "cat /etc/shop.conf 2>/dev/null || echo none").strip() for host in HOSTS]
                if len(set(versions)) > 1:
                    partial.append(f"deploy {number} with {fault.__name__} at task {moment}: {versions}")
                code = shop.deploy("--attempts", "2", "--backoff", "1", release=str(number), lease=5).status
            took.append(time.monotonic() - started)
            shop.is_idle()
            shop.ask("status").exits(0)
            versions = [trial.lab.shell(host, "cat /etc/shop.conf /run/shop.running").split("\n")[:2] for host in HOSTS]
            if code == 0 and versions != [[f"release {number}"] * 2] * 3:
                partial.append(f"deploy {number} with {fault.__name__}: {versions}")
            good += code == 0
            print(f"{number}: {fault.__name__} at task {moment}: exit {code}, {took[-1]:.1f} s", flush=True)
    took.sort()
    p95 = took[max(0, -(-95 * len(took) // 100) - 1)]
    print(f"{good} of {count} deploys succeeded ({100 * good / count:.0f} %), p50 {statistics.median(took):.1f} s, p95 {p95:.1f} s, {len(partial)} partial states", flush=True)
    assert not partial, "\n".join(partial)
    assert good >= 0.95 * count


def wait_for_task(running, number):
    """Reads what a deploy prints until its task of that number begins; the rest is read on."""
    seen = 0
    while seen < number:
        line = running.process.stdout.readline()
        if not line:
            return
        seen += line.startswith(("TASK [", "RUNNING HANDLER ["))
