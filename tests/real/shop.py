"""An application on real hosts: how it is deployed, and what a host looks like.

A host is looked at whole: content, owner, mode, times, attributes and links of its files, what its
service is and runs with, and that nothing of a transaction is left.
"""

import shlex
import tarfile
import time

from lab import Engine

HOSTS = ("h1", "h2", "h3")

# Where the application is, and where a deploy has no business to leave anything.
PLACES = ["/etc", "/srv", "/opt", "/home", "/root", "/usr/local", "/var/spool", "/var/tmp", "/tmp"]

LOOK = """
import hashlib, os, subprocess, sys
skipped = ("/root/.cache", "/root/.ansible", "/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/srv/gate")
skipped += tuple(f"/home/{name}/{own}" for name in os.listdir("/home") for own in (".cache", ".local"))
names_of = {}
def told(path):
    stat = os.lstat(path)
    label = [stat.st_mode, stat.st_uid, stat.st_gid]
    if os.path.islink(path):
        return [*label, os.readlink(path)]
    label += [(name, os.getxattr(path, name).hex()) for name in sorted(os.listxattr(path))]
    if not os.path.isfile(path):
        return label
    # These are written by others' programs, also when they are put back.
    time = None if path in ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow") else stat.st_mtime_ns
    return [*label, names_of[stat.st_ino], time, hashlib.sha256(open(path, "rb").read()).hexdigest()]
paths = []
for place in sys.argv[1:]:
    for directory, names, files in os.walk(place):
        names[:] = sorted(name for name in names if os.path.join(directory, name) not in skipped and not name.startswith("systemd-private-"))
        paths += [path for name in sorted(names + files) if (path := os.path.join(directory, name)) not in skipped]
try:
    for path in paths:
        names_of.setdefault(os.lstat(path).st_ino, []).append(path)
    for path in paths:
        print(path, told(path))
except (FileNotFoundError, KeyError) as error:
    # It is being undone at this moment.
    print(error)
for command in (
    "systemctl show -P ActiveState -P UnitFileState -P NeedDaemonReload shop.service",
    "systemctl is-active -q shop && cat /run/shop.running",
    "getent passwd | sort",
    "getent group | sort",
):
    print(command, subprocess.run(command, shell=True, capture_output=True, text=True).stdout)
"""

# Nothing of a transaction runs, is mounted to be run at boot, or is locked.
IDLE = (
    "! grep -lqs BACKSTAY_TRANSACTION= /proc/[0-9]*/environ"
    " && ! ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q 'backstay'"
    " && ! systemctl list-units --state=active,activating --plain --no-legend 'backstay-*' | grep -q ."
    " && ! test -e /etc/systemd/system/backstay-recover.service"
    " && ! test -e /etc/cron.d/backstay-recover"
    " && ! ls /var/lib/backstay/transactions/*/socket 2>/dev/null | grep -q ."
)

RELEASE = """
    - hosts: {hosts}
      gather_facts: false
      tasks:
        - user: {{name: shop, system: true, create_home: false, home: /srv/shop}}
        - file: {{path: "/srv/shop/releases/{{{{ release }}}}", state: directory, mode: "0755"}}
        - unarchive: {{src: "{work}/release.tar", dest: "/srv/shop/releases/{{{{ release }}}}", owner: shop}}
        - copy: {{dest: /etc/shop.conf, content: "release {{{{ release }}}}\\n", mode: "0640", group: shop}}
          notify: Restart
        - lineinfile: {{path: /etc/shop.list, line: "release {{{{ release }}}}"}}
        - file: {{path: /srv/shop/old, state: absent}}
        - file: {{src: "releases/{{{{ release }}}}", dest: /srv/shop/current, state: link}}
        - copy:
            dest: /etc/systemd/system/shop.service
            content: |
              [Unit]
              Description=release {{{{ release }}}}
              [Service]
              ExecStart=/bin/sh -c 'cp /etc/shop.conf /run/shop.running; exec sleep infinity'
              [Install]
              WantedBy=multi-user.target
          notify: Restart
        - systemd_service: {{name: shop, state: started, enabled: true, daemon_reload: true}}
        - meta: flush_handlers
        - name: Wait at the gate
          wait_for: {{path: /srv/gate, timeout: 100}}
          when: gate is defined
        - command: grep -x "release {{{{ release }}}}" /run/shop.running
          changed_when: false
          register: running
          until: running is success
          retries: 100
          delay: 0.1
          tags: [backstay_health]
        - name: Check its health
          command: test "{{{{ sick | default('none') }}}}" != "{{{{ inventory_hostname }}}}"
          changed_when: false
      handlers:
        - name: Restart
          systemd_service: {{name: shop, state: restarted, daemon_reload: true}}
"""

# What a host has before anything is deployed to it.
PLANTED = (
    "pkill -KILL -f 'guardian [-]-directory'; rm -f /etc/systemd/system/backstay-recover.service /etc/systemd/system/*.wants/backstay-recover.service;"
    "systemctl disable -q --now shop 2>/dev/null; rm -rf /srv/shop /srv/gate /etc/shop.* /etc/systemd/system/shop.service /run/shop.running /var/lib/backstay;"
    " systemctl daemon-reload; userdel shop 2>/dev/null; set -e;"
    " mkdir -p /srv/shop/old/deep; echo old >/srv/shop/old/deep/file; chown -R 7:7 /srv/shop/old; chmod 4750 /srv/shop/old/deep/file;"
    " printf 'one\\ntwo\\n' >/etc/shop.list; chmod 604 /etc/shop.list; chown 5:6 /etc/shop.list; setfacl -m u:9:r /etc/shop.list; ln /etc/shop.list /etc/shop.twin;"
    " python3 -c 'import os; os.setxattr(\"/etc/shop.list\", \"user.note\", b\"kept\")'"
)


class Shop:
    """Three hosts with an application, and ways to deploy to it."""

    def __init__(self, trial, hosts=HOSTS, names=None, inventory="", planted=PLANTED):
        self.trial = trial
        self.lab = trial.lab
        self.hosts = hosts
        self.names = names or hosts
        self.sources = ["-i", self.lab.inventory]
        if inventory:
            self.sources += ["-i", trial.file("inventory.ini", inventory + "\n")]
        for host in hosts:
            self.lab.shell(host, planted)
            self.lab.wait_until(host, IDLE)
        with tarfile.open(trial.work / "release.tar", "w") as archive:
            for name in ["bin/app", "share/text"]:
                trial.file(f"files/{name}", name)
            archive.add(trial.work / "files", arcname=".")
        self.playbook = trial.file("release.yml", RELEASE.format(hosts=",".join(self.names), work=trial.work))

    def start(self, *arguments, release="1", lease=8):
        """Starts to deploy a release."""
        options = [*self.sources, "--lease", lease, "-e", f"release={release}"]
        return self.trial.run(self.playbook, *options, *arguments, engine=self.engine("deploy"))

    def then(self, *tasks):
        """Has a release do more after its gate."""
        text = self.playbook.read_text()
        check = "    - command: grep -x"
        self.playbook.write_text(text.replace(check, "".join(f"    - {task}\n" for task in tasks) + check))

    def deploy(self, *arguments, **options):
        return self.start(*arguments, **options).finish()

    def ask(self, command, *arguments):
        """Runs another command over the shop's hosts."""
        return self.trial.run(",".join(self.names), *self.sources, *arguments, engine=self.engine(command)).finish()

    def engine(self, command):
        return Engine("backstay", [self.trial.engine.command[0], command])

    def standing(self, *arguments, **options):
        """A deploy that waits at its gate on every host, everything before it done."""
        running = self.start("-e", "gate=shut", *arguments, **options)
        for host in self.hosts:
            self.lab.wait_until(host, "test -e /run/shop.running && grep -x 'release {}' /run/shop.running".format(options.get("release", "1")), seconds=90)
        return running

    def open_gate(self):
        for host in self.hosts:
            self.lab.shell(host, "touch /srv/gate")

    def look(self, hosts=None):
        looking = f"python3 -c {shlex.quote(LOOK)} {' '.join(PLACES)}"
        return {host: self.lab.shell(host, looking) for host in hosts or self.hosts}

    def is_idle(self, hosts=None):
        for host in hosts or self.hosts:
            self.lab.wait_until(host, IDLE)

    def comes_back(self, before, seconds=60):
        """Waits until the hosts look as before, and nothing of the transaction is left."""
        deadline = time.monotonic() + seconds
        while (now := self.look(before)) != before:
            if time.monotonic() > deadline:
                self.same(before, now)
            time.sleep(0.5)
        self.is_idle(before)

    def same(self, before, now):
        wrong = []
        for host in before:
            old, new = before[host].splitlines(), now[host].splitlines()
            wrong += [f"{host} -{line}" for line in old if line not in new] + [f"{host} +{line}" for line in new if line not in old]
        assert not wrong, "the hosts differ:\n" + "\n".join(wrong[:40])

    def is_as(self, before):
        self.is_idle()
        self.same(before, self.look())


def last_line(played):
    return played.out.rstrip().splitlines()[-1]


def ends(played, status, line):
    played.exits(status)
    assert last_line(played).startswith(line), played.told(f"the last line is not {line}")
    return played


def shop_with_a_release(trial, **options):
    """A shop where release 1 stands, and how its hosts look."""
    shop = Shop(trial, **options)
    ends(shop.deploy(), 0, f"committed on {len(shop.hosts)} host")
    shop.is_idle()
    return shop, shop.look()
