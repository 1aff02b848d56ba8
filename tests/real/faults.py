"""What a host does to a play: it is away, it refuses, it is full, it talks, its processes die.

Such a host fails with what happened; the others go on; no temporary file stays behind.
"""

import re
import socket

from lab import promise, promise_of_backstay

# Where each engine keeps what it keeps on purpose.
KEPT = ("/root/.ansible", "/root/.cache")


def both(trial, text, *arguments, **options):
    """Plays a text whose hosts are h2, which is well, and `target`, which is not."""
    return trial.play(text, *arguments, **options).counts("h2", ok=2, failed=0, unreachable=0)


PING_TWICE = """
    - hosts: target,h2
      gather_facts: false
      tasks:
        - ping:
        - command: id
"""


@promise
def a_host_that_is_away_does_not_hold_up_the_others(trial):
    inventory = trial.host(ansible_host=f"127.0.{trial.lab.net}.99")
    played = both(trial, PING_TWICE, inventory=inventory).exits(4)
    played.counts("target", ok=0, unreachable=1, failed=0).says("target.*UNREACHABLE!").says("(?i)connection refused|refused the connection")


@promise
def a_host_that_says_nothing_is_given_up(trial):
    """Something listens there and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inventory = trial.host(ansible_host="127.0.0.1", ansible_port=listener.getsockname()[1])
        played = both(trial, PING_TWICE, "--timeout", "2", inventory=inventory).exits(4)
    played.counts("target", ok=0, unreachable=1).says("(?i)timed out|did not answer within 2 s")


@promise
def a_name_that_nobody_knows_is_unreachable(trial):
    inventory = trial.host(ansible_host="nobody.invalid")
    both(trial, PING_TWICE, inventory=inventory).exits(4).counts("target", unreachable=1).says("nobody.invalid")


@promise
def a_refused_key_is_unreachable(trial):
    inventory = trial.host(ansible_ssh_private_key_file=trial.lab.key("stranger"), ansible_ssh_common_args=trial.known())
    both(trial, PING_TWICE, inventory=inventory).exits(4).counts("target", unreachable=1).says("(?i)permission denied|refused the login")


@promise
def sudo_that_asks_for_a_password_it_did_not_get_fails(trial):
    inventory = trial.host(ansible_user="sudoer", ansible_become="true", ansible_ssh_common_args=trial.known())
    both(trial, PING_TWICE, inventory=inventory).exits(2).counts("target", ok=0, failed=1, unreachable=0).says("Missing sudo password")


@promise
def a_wrong_sudo_password_fails(trial):
    inventory = trial.host(ansible_user="sudoer", ansible_become="true", ansible_become_password="wrong", ansible_ssh_common_args=trial.known())
    both(trial, PING_TWICE, inventory=inventory).exits(2).counts("target", ok=0, failed=1).says("Incorrect sudo password")


@promise
def a_wrong_su_password_fails(trial):
    inventory = trial.host(
        ansible_user="plain",
        ansible_become="true",
        ansible_become_method="su",
        ansible_become_password="wrong",
        ansible_ssh_common_args=trial.known(),
    )
    both(trial, PING_TWICE, inventory=inventory).exits(2).counts("target", ok=0, failed=1).says("Incorrect su password")


@promise
def a_user_who_may_not_sudo_fails(trial):
    inventory = trial.host(ansible_user="plain", ansible_become="true", ansible_become_password=trial.lab.secret, ansible_ssh_common_args=trial.known())
    both(trial, PING_TWICE, inventory=inventory).exits(2).counts("target", ok=0, failed=1).hides(trial.lab.secret)


@promise
def a_login_shell_that_talks_is_not_listened_to(trial):
    trial.play("""
        - hosts: h1-noisy
          gather_facts: false
          tasks:
            - command: cat /etc/hostname
              become: false
              register: name
            - assert: {that: name.stdout == 'h1' and name.stderr == '', quiet: true}
            - copy: {dest: /srv/quiet, content: quiet}
            - file: {path: /srv/quiet, state: absent}
        """).exits(0).counts("h1-noisy", ok=4, changed=3).hides("have a nice day")


@promise
def a_full_disk_fails_the_host_and_leaves_nothing(trial):
    """/srv/small is a tmpfs of 128 KiB, and the file has 1 MiB."""
    lab = trial.lab
    lab.shell("h1", "mkdir -p /srv/small && mount -t tmpfs -o size=128k tmpfs /srv/small && echo old >/srv/small/file")
    try:
        (trial.work / "large").write_bytes(b"x" * 1024 * 1024)
        lab.mark("h1")
        played = trial.play(f"""
            - hosts: h1,h2
              gather_facts: false
              tasks:
                - copy: {{src: {trial.work}/large, dest: "{{{{ '/srv/small/file' if inventory_hostname == 'h1' else '/srv/large' }}}}"}}
                - file: {{path: /srv/large, state: absent}}
            """)
        played.exits(2).counts("h1", failed=1, ok=0).counts("h2", ok=2).says("(?i)no space left on device")
        assert lab.shell("h1", "ls -A /srv/small; cat /srv/small/file") == "file\nold\n"
        changed = lab.touched("h1", "/srv/small", *KEPT)
        assert changed == [], f"left behind: {changed}"
    finally:
        lab.shell("h1", "umount /srv/small && rmdir /srv/small")


# Both kinds of death: the process that runs the task, and the session it came by.
SLEEPS = """
    - hosts: h1,h2
      gather_facts: false
      tasks:
        - command: sleep {{ 4321 if inventory_hostname == 'h1' else 0 }}
        - command: hostname
"""
FIND_SLEEP = "pid=$(pgrep -xf 'sleep 4321') && "
PARENT = FIND_SLEEP + "ps -o ppid= -p $pid"
SESSION = (
    FIND_SLEEP
    + "while [ $(ps -o comm= -p $pid) != sshd ]; do pid=$(ps -o ppid= -p $pid | tr -d ' '); [ $pid -gt 1 ] || exit 1; done; echo $pid"
)


def dies(trial, victim):
    """Starts the play, kills the victim on h1 in the middle of its task, and waits for the end."""
    trial.lab.mark("h1")
    running = trial.start(SLEEPS)
    try:
        trial.lab.wait_until("h1", FIND_SLEEP + "true")
        trial.lab.shell("h1", f"kill -KILL $({victim})")
        played = running.finish(60)
    finally:
        running.process.kill()
        trial.lab.holds("h1", "pkill -xf 'sleep 4321'")
    played.counts("h2", ok=2, failed=0, unreachable=0)
    return played


@promise
def a_killed_process_fails_its_host_only(trial):
    played = dies(trial, PARENT)
    assert played.status in (2, 4), played.told("not a failure")
    assert played.recap()["h1"]["failed"] + played.recap()["h1"]["unreachable"] == 1, played.told("h1 did not fail once")


@promise
def a_killed_session_leaves_its_host_unreachable(trial):
    dies(trial, SESSION).exits(4).counts("h1", unreachable=1, failed=0, ok=0)


@promise_of_backstay
def a_killed_process_leaves_no_file(trial):
    dies(trial, PARENT)
    changed = trial.lab.touched("h1", *KEPT)
    assert changed == [], f"left behind: {changed}"


@promise_of_backstay
def nothing_runs_on_after_a_killed_session(trial):
    """The agent notices that its channel is gone, ends what it ran and ends itself."""
    trial.lab.mark("h1")
    running = trial.start(SLEEPS)
    try:
        trial.lab.wait_until("h1", FIND_SLEEP + "true")
        agent = trial.lab.shell("h1", PARENT).strip()
        trial.lab.shell("h1", f"kill -KILL $({SESSION})")
        running.finish(60).counts("h1", unreachable=1)
        trial.lab.wait_until("h1", f"! test -e /proc/{agent}")
        trial.lab.wait_until("h1", "! pgrep -xf 'sleep 4321'")
    finally:
        running.process.kill()
        trial.lab.holds("h1", "pkill -xf 'sleep 4321'")
    changed = trial.lab.touched("h1", *KEPT)
    assert changed == [], f"left behind: {changed}"


@promise_of_backstay
def nothing_runs_on_after_the_controller_is_killed(trial):
    trial.lab.mark("h1")
    running = trial.start(SLEEPS)
    try:
        trial.lab.wait_until("h1", FIND_SLEEP + "true")
        agent = trial.lab.shell("h1", PARENT).strip()
        running.process.kill()
        trial.lab.wait_until("h1", f"! test -e /proc/{agent}")
        trial.lab.wait_until("h1", "! pgrep -xf 'sleep 4321'")
    finally:
        running.process.kill()
        running.finish(10)
        trial.lab.holds("h1", "pkill -xf 'sleep 4321'")
    changed = trial.lab.touched("h1", *KEPT)
    assert changed == [], f"left behind: {changed}"


@promise_of_backstay
def what_a_killed_process_left_is_gone_after_the_next_visit(trial):
    dies(trial, PARENT)
    trial.play("- {hosts: h1, gather_facts: false, tasks: [{ping: }]}").exits(0)
    left = trial.lab.shell("h1", "find /root/.cache/backstay /tmp /var/tmp -mindepth 1 -type d -name '*run-*' -o -name '.new-*'")
    assert left == "", f"left behind: {left}"


@promise_of_backstay
def every_host_that_fails_is_told_with_what_to_do(trial):
    lab = trial.lab
    changed = lab.known_hosts.read_text().replace(f"[{lab.address('h2')}]", "[other]").replace(f"[{lab.address('h1')}]", f"[{lab.address('h2')}]")
    inventory = "\n".join([
        trial.host("away", ansible_host=f"127.0.{lab.net}.99"),
        trial.host("changed", on="h2", ansible_ssh_common_args=trial.known(trial.file("changed", changed))),
        trial.host("unknown", ansible_ssh_common_args=trial.known(trial.file("empty", ""))),
        trial.host("refused", ansible_ssh_private_key_file=lab.key("stranger"), ansible_ssh_common_args=trial.known()),
        trial.host("unasked", ansible_user="sudoer", ansible_become="true", ansible_ssh_common_args=trial.known()),
        trial.host("talking", ansible_user="noisy", ansible_ssh_common_args=trial.known()),
        trial.host("target", ansible_ssh_common_args=trial.known()),
    ])
    played = trial.play(PING_TWICE.replace("target,h2", "more"), inventory=inventory).exits(4)
    for host, what, then in [
        ("away", "refused the connection", "check that sshd runs there"),
        ("changed", "has changed", "remove its old key: `ssh-keygen"),
        ("unknown", "is not known", "compare the fingerprint with the host's own"),
        ("refused", "refused the login of `root`", "name a key with `ansible_ssh_private_key_file`"),
    ]:
        played.counts(host, ok=0, unreachable=1, failed=0).says(rf"fatal: \[{host}\]: UNREACHABLE! .*{what}.*{then}")
    played.counts("unasked", ok=0, failed=1).says("give it with `--ask-become-pass`")
    for host in ["talking", "target"]:
        played.counts(host, ok=2, failed=0, unreachable=0)


ROUND = """
    - hosts: {host}
      gather_facts: false
      tasks:
        - command: id -un
        - copy: {{dest: /var/tmp/round, content: round, mode: "0600"}}
        - file: {{path: /var/tmp/round, state: absent}}
"""


@promise
def a_tmp_without_exec_is_no_hindrance(trial):
    assert trial.lab.holds("h5", "grep -q ' /tmp tmpfs .*noexec' /proc/mounts")
    for host in ["h5", "h5-deploy", "h5-plain"]:
        trial.play(ROUND.format(host=host)).exits(0).counts(host, ok=3)


def plays_without_a_cache(trial, options, then="true"):
    """Plays as `plain` on h5, whose /tmp is noexec, with something mounted on its ~/.cache."""
    lab = trial.lab
    cache = "/home/plain/.cache"
    lab.shell("h5", f"install -d -o plain {cache} && mount -t tmpfs -o {options},uid=plain tmpfs {cache} && {then}")
    try:
        trial.play(ROUND.format(host="h5-plain")).exits(0).counts("h5-plain", ok=3)
    finally:
        lab.shell("h5", f"umount {cache} && rm -r {cache}")


@promise_of_backstay
def a_cache_without_exec_is_skipped(trial):
    plays_without_a_cache(trial, "noexec")


@promise_of_backstay
def a_full_cache_is_skipped(trial):
    plays_without_a_cache(trial, "size=64k", "dd if=/dev/zero of=/home/plain/.cache/full bs=64k count=1 status=none")


@promise_of_backstay
def a_cache_that_is_read_only_is_skipped(trial):
    plays_without_a_cache(trial, "ro")


@promise_of_backstay
def a_host_without_a_place_for_the_agent_is_unreachable_and_stays_clean(trial):
    """All that `plain` may write to on h5 is full or noexec."""
    lab = trial.lab
    places = "/home/plain/.cache /var/tmp /dev/shm"
    lab.shell("h5", f"install -d -o plain /home/plain/.cache; for d in {places}; do mount -t tmpfs -o noexec,mode=1777,size=64k tmpfs $d || exit 1; done")
    try:
        inventory = trial.host(on="h5", ansible_user="plain", ansible_ssh_common_args=trial.known())
        played = both(trial, PING_TWICE, inventory=inventory).exits(4).counts("target", ok=0, unreachable=1)
        played.says("free some space, or give the user a home where programs may run")
        left = lab.shell("h5", f"find {places} /tmp -type f")
        assert left == "", f"left behind: {left}"
    finally:
        lab.shell("h5", f"for d in {places}; do umount $d; done")


@promise_of_backstay
def a_host_without_python_runs_everything(trial):
    lab = trial.lab
    lab.shell("h2", "mv /usr/bin/python3 /usr/bin/away.python3 && mv /usr/bin/python3.11 /usr/bin/away.python3.11")
    try:
        trial.play("""
            - hosts: h2-deploy
              tasks:
                - assert: {that: ansible_facts.distribution == 'Debian', quiet: true}
                - copy: {dest: /srv/file, content: "a\\n"}
                - lineinfile: {path: /srv/file, line: b}
                - user: {name: carl}
                - user: {name: carl, state: absent, remove: true}
                - apt: {name: hello}
                - apt: {name: hello, state: absent}
                - service: {name: ssh, state: reloaded}
                - command: cat /srv/file
                  register: file
                - file: {path: /srv/file, state: absent}
                - assert: {that: "file.stdout_lines == ['a', 'b']", quiet: true}
            """).exits(0).counts("h2-deploy", ok=12, changed=9)
    finally:
        lab.shell("h2", "mv /usr/bin/away.python3 /usr/bin/python3 && mv /usr/bin/away.python3.11 /usr/bin/python3.11")


@promise
def a_failed_task_says_so_once_and_the_rest_goes_on(trial):
    played = trial.play("""
        - hosts: h1,h2
          gather_facts: false
          tasks:
            - command: test h2 = {{ inventory_hostname }}
            - ping:
        """).exits(2)
    played.counts("h1", ok=0, failed=1).counts("h2", ok=2)
    assert len(re.findall(r"fatal: \[h1\]", played.out)) == 1, played.told("not said once")
