"""The logs of runners, shipped by logging.yml to the host that keeps them, and the questions for them."""

import json
import shlex

from lab import promise, tree

GROUPS = """
[logs]
h5
[runners]
h4
"""
# As a runner writes them, with what JSON has to escape.
LINES = [
    '[2026-01-31 14:00:00Z INFO JobDispatcher] Running job: deploy "blue" in C:\\work',
    "[2026-01-31 14:00:01Z ERR  Runner] System.Exception: Name or service not known",
    "[2026-01-31 14:00:02Z WARN MessageListener] connection refused, back off and retry",
]


def questions(trial, *words):
    """What runner-logs answers on the host of the logs, each line read as JSON."""
    return [json.loads(line) for line in trial.lab.shell("h5", " ".join(["runner-logs", *words])).splitlines()]


@promise
def the_logs_of_runners_arrive_and_answer_the_questions(trial):
    lab = trial.lab
    groups = trial.file("groups.ini", GROUPS)

    def ship(*arguments):
        return trial.run(tree / "playbooks/logging.yml", "-i", lab.inventory, "-i", groups, *arguments).finish(seconds=300)

    def write(line):
        lab.shell("h4", f"echo {shlex.quote(line)} >>/opt/actions-runner/_diag/Runner_1.log")

    try:
        for host in ("h4", "h5"):
            lab.shell(host, "apt-get update -qq")
        lab.shell("h4", "mkdir -p /opt/actions-runner/_diag")
        ship().exits(0)
        ship().exits(0).counts("h4", changed=0).counts("h5", changed=0)
        for line in LINES:
            write(line)
        lab.wait_until("h5", "runner-logs find 'back off' | grep -q .")
        jobs = [it["message"] for it in questions(trial, "jobs")]
        assert jobs == LINES[:1], jobs
        [error] = questions(trial, "errors")
        assert (error["runner"], error["file"]) == ("h4", "/opt/actions-runner/_diag/Runner_1.log"), error
        assert "Name or service not known" in error["message"], error
        assert ["refused" in it["message"] for it in questions(trial, "offline")] == [True]
        assert len(questions(trial, "since", error["time"][:10])) == 3
        assert questions(trial, "since", "2999-01-01") == []
        assert [len(questions(trial, "find", word)) for word in ("Dispatcher", "nothing-such")] == [1, 0]

        # What is rotated away is begun anew. Its host is away for a while: nothing is lost.
        lab.shell("h5", "logrotate -f /etc/logrotate.d/runner-logs && test -s /var/log/runners/h4.jsonl.1 && systemctl stop rsyslog")
        write("[2026-01-31 14:05:00Z INFO Runner] written while nobody listened")
        lab.shell("h5", "systemctl start rsyslog")
        lab.wait_until("h5", "grep -q 'while nobody listened' /var/log/runners/h4.jsonl", seconds=90)
        assert lab.shell("h5", "stat -c %a:%G /var/log/runners/h4.jsonl").strip() == "640:adm"
    finally:
        for host in ("h4", "h5"):
            lab.shell(
                host,
                "DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq rsyslog >/dev/null;"
                " rm -rf /opt/actions-runner /var/log/runners /usr/local/bin/runner-logs /etc/logrotate.d/runner-logs /etc/rsyslog.d /var/spool/rsyslog",
            )
