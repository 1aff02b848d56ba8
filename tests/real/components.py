"""Three components: a schema, a service and its pages, each on a host of its own.

Deployed as one transaction by backstay, and taken back by rollback.yml where plays deploy.
"""

import json

from lab import Engine, promise, promise_of_backstay, tree
from shop import HOSTS, ends

SITE = """
[app]
h1
[database]
h2
[frontend]
h3
[app:vars]
app_address=127.0.0.1
[all:vars]
app_token=not-a-secret-of-anybody
frontend_url=http://127.0.0.1:8088/
"""
WEB = "[Service]\\nExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /var/www/greeter/current 8088\\nRestart=always\\nRestartSec=1\\n"


class Site:
    """h1 has the service, h2 the database, h3 the pages with a web server."""

    def __init__(self, trial):
        self.trial = trial
        self.lab = trial.lab
        self.inventory = trial.file("site.ini", SITE)
        self.lab.shell("h2", "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq sqlite3")
        self.lab.shell("h3", f"mkdir -p /var/www/greeter && printf '{WEB}' >/etc/systemd/system/web.service && systemctl daemon-reload")

    def run(self, playbook, *arguments, command=None):
        """Plays a playbook that ships by the engine under test, or by a command of backstay."""
        sources = ["-i", self.lab.inventory, "-i", self.inventory, "-e", "app_become=false", "-e", "health_deadline=60"]
        engine = Engine("backstay", [self.trial.engine.command[0], command]) if command else None
        return self.trial.run(tree / "playbooks" / playbook, *sources, *arguments, engine=engine).finish()

    def deploy(self, *arguments):
        return self.run("deploy.yml", "--lease", 10, *arguments, command="deploy")

    def look(self):
        return (
            self.lab.shell("h1", "readlink /opt/greeter/current; cat /opt/greeter/state.json; systemctl is-active greeter"),
            self.lab.shell("h2", "sqlite3 /var/lib/greeter.db .dump"),
            self.lab.shell("h3", "readlink /var/www/greeter/current; cat /var/www/greeter/current/index.html"),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lab.shell("h3", "systemctl stop web; rm -rf /etc/systemd/system/web.service /var/www/greeter; systemctl daemon-reload")
        self.lab.shell("h2", "rm -f /var/lib/greeter.db")
        self.lab.shell(
            "h1",
            "umount -q /opt/greeter; systemctl disable -q --now greeter; rm -rf /opt/greeter /etc/systemd/system/greeter.service;"
            " systemctl daemon-reload; userdel greeter 2>/dev/null; true",
        )
        for host in HOSTS:
            self.lab.shell(host, "rm -rf /var/lib/backstay")


@promise_of_backstay
def of_three_components_one_fails_and_none_is_left_partial(trial):
    """Scenario 11, with the shipped playbooks: schema, service and pages are one transaction."""
    with Site(trial) as site:
        endpoints = json.dumps({"validate_endpoints": [{"host": trial.lab.address("h1"), "port": 2222}]})
        site.run("validate.yml", "-e", "app_version=1.0.0", "-e", endpoints).exits(0)
        first = site.deploy("-e", "app_version=1.0.0", "-e", "frontend_url=", "--release", "1.0.0")
        ends(first, 0, "committed on 3 hosts")
        trial.lab.shell("h3", "systemctl start web")
        again = site.deploy("-e", "app_version=1.0.0", "--release", "1.0.0")
        again.exits(0).says("nothing had changed").says(r"(?s)Ship the artifact\].*?skipping: \[h1\]")
        site.run("health.yml", "-e", "app_version=1.0.0", "-e", '{"health_external": ["http://127.0.0.1:8080/health"]}').exits(0).counts("h2", changed=0, failed=0)
        before = site.look()
        assert "VALUES(1)" in before[1] and "1.0.0" in before[0] and 'content="1.0.0"' in before[2], before

        # The pages are not where they are asked for: the last component fails, all three go back.
        played = site.deploy("-e", "app_version=1.1.0", "-e", "frontend_url=http://127.0.0.1:9/", "-e", "app_health_retries=2")
        ends(played, 20, "rolled back: all 3 hosts are as before").says("diagnosis: health: h3")
        assert site.look() == before
        # The first component fails: what comes after it is never touched.
        played = site.deploy("-e", "app_version=1.1.0", "-e", "database_schema=3")
        ends(played, 20, "rolled back: all 3 hosts are as before")
        assert site.look() == before

        ends(site.deploy("-e", "app_version=1.1.0", "--release", "1.1.0"), 0, "committed on 3 hosts")
        after = site.look()
        assert "VALUES(2)" in after[1] and 'content="1.1.0"' in after[2], after
        site.run("health.yml", "-e", "app_version=1.1.0").exits(0)
        site.run("health.yml", "-e", "app_version=1.0.0", "-e", "health_retries=1").exits(2).counts("h2", failed=1)


@promise
def a_rollback_takes_service_schema_and_pages_back_and_keeps_what_failed(trial):
    """Where plays deploy, with no transaction: rollback.yml on all three."""
    lab = trial.lab
    with Site(trial) as site:
        site.run("deploy.yml", "-e", "app_version=1.0.0", "-e", "frontend_url=").exits(0)
        lab.shell("h3", "systemctl start web")
        first = site.look()
        refused = site.run("rollback.yml").exits(2)
        refused.says("h1 has no release none").counts("h1", failed=1, changed=0)
        site.run("deploy.yml", "-e", "app_version=1.1.0").exits(0)
        second = site.look()
        assert "1.1.0" in second[0] and "VALUES(2)" in second[1] and 'content="1.1.0"' in second[2], second

        # A release that is not there: no component goes back, and no page is made of its name.
        for refused in (site.run("rollback.yml", "-e", "rollback_version=9.9.9"), gone(site)):
            refused.exits(2).says("h1 has no release (9.9.9|none)").counts("h1", failed=1, changed=0)
            assert site.look() == second
        assert lab.shell("h3", "ls /var/www/greeter/releases").split() == ["1.0.0", "1.1.0"]
        assert not lab.holds("h1", "test -e /opt/greeter/forensics")

        site.run("rollback.yml", "--check", "--diff").exits(0)
        assert site.look() == second
        site.run("rollback.yml").exits(0)
        assert site.look() == first
        kept = json.loads(lab.shell("h1", "cat /opt/greeter/forensics/1.1.0.json"))
        assert kept["version"] == "1.1.0", kept
        site.run("health.yml", "-e", "app_version=1.0.0").exits(0)
        # What failed is not gone back to by itself.
        site.run("rollback.yml").exits(2).says("h1 has no release none")
        assert site.look() == first

        # It is repaired and deployed anew, and is not healthy after it was gone back from: that is said.
        site.run("deploy.yml", "-e", "app_version=1.1.0").exits(0)
        assert site.look() == second
        assert not lab.holds("h1", "test -e /opt/greeter/forensics/1.1.0.json")
        sick = site.run("rollback.yml", "-e", "app_port=1", "-e", "app_health_retries=1").exits(2)
        sick.says(r"TASK \[Wait until it is healthy\]").counts("h1", failed=1)
        # The components after it are as they were.
        assert site.look()[1:] == second[1:]


def gone(site):
    """A rollback while the release before has been removed from its host."""
    site.lab.shell("h1", "mv /opt/greeter/releases/1.0.0 /opt/greeter/removed")
    try:
        return site.run("rollback.yml")
    finally:
        site.lab.shell("h1", "mv /opt/greeter/removed /opt/greeter/releases/1.0.0")


@promise
def a_release_that_was_never_healthy_is_not_gone_back_to(trial):
    """It is left in its directory by a deploy that went back by itself."""
    with Site(trial) as site:
        site.run("deploy.yml", "--limit", "h1", "-e", "app_version=1.0.0").exits(0)
        site.run("deploy.yml", "--limit", "h1", "-e", "app_version=1.1.0", "-e", "app_port=1", "-e", "app_health_retries=1").exits(2)
        kept = json.loads(trial.lab.shell("h1", "cat /opt/greeter/forensics/1.1.0.json"))
        assert kept == {"version": "1.1.0", "failed": "Wait until it is healthy"}, kept
        site.run("rollback.yml", "--limit", "h1").exits(2).says("h1 has no release none").counts("h1", changed=0)


@promise
def a_disk_without_room_is_named_before_anything_is_changed(trial):
    """The host's own disk, as full as it can be, and the machine's room for what undoes a deploy."""
    with Site(trial) as site:
        site.run("validate.yml", "--limit", "h1,localhost", "-e", "validate_free_mib=1").exits(0).counts("h1", changed=0)
        trial.lab.shell("h1", "mkdir /opt/greeter && mount -t tmpfs -o size=4m tmpfs /opt/greeter && dd if=/dev/zero of=/opt/greeter/full bs=1M count=4 2>/dev/null; true")
        before = trial.lab.shell("h1", "find /opt/greeter /etc/systemd/system -newer /opt/greeter/full")
        full = site.run("validate.yml", "--limit", "h1,localhost", "-e", "validate_free_mib=1").exits(2)
        full.says(r"No space left on device: /opt/greeter has 0 MiB, 1 MiB are needed").counts("h1", failed=1, changed=0)
        assert trial.lab.shell("h1", "find /opt/greeter /etc/systemd/system -newer /opt/greeter/full") == before
