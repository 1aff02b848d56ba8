"""Services, packages, users, transfers and facts on a real Debian, and many hosts in turn."""

import hashlib
import http.server
import json
import os
import re
import threading

from lab import promise

UNIT = r"[Unit]\nDescription=ticks\n[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


def task(trial, host, module, options, **counts):
    """Runs one task on one host; options are YAML."""
    played = trial.play(f"- {{hosts: {host}, gather_facts: false, tasks: [{{{module}: {options}}}]}}")
    return played.exits(2 if counts.get("failed") else 0).counts(host, **counts)


@promise
def a_unit_is_installed_started_enabled_and_removed(trial):
    try:
        plays_with_a_unit(trial)
    finally:
        trial.lab.shell("h1", "rm -f /etc/systemd/system/tick.service; systemctl daemon-reload")


def plays_with_a_unit(trial):
    lab = trial.lab
    state = "systemctl show -P ActiveState -P UnitFileState tick.service"
    task(trial, "h1", "copy", f'{{dest: /etc/systemd/system/tick.service, content: "{UNIT}"}}', changed=1)
    started = "{name: tick, state: started, enabled: true, daemon_reload: true}"
    task(trial, "h1", "systemd_service", started, changed=1)
    assert lab.shell("h1", state).split() == ["active", "enabled"]
    task(trial, "h1", "systemd_service", "{name: tick, state: started, enabled: true}", ok=1, changed=0)
    task(trial, "h1", "service", "{name: tick, state: started, enabled: true}", ok=1, changed=0)

    before = lab.shell("h1", "systemctl show -P MainPID tick")
    task(trial, "h1", "service", "{name: tick, state: restarted}", changed=1)
    assert lab.shell("h1", "systemctl show -P MainPID tick") != before, "not restarted"
    before = lab.shell("h1", "systemctl show -P MainPID tick")
    task(trial, "h1", "service", "{name: tick, state: reloaded}", changed=1)
    assert lab.shell("h1", "systemctl show -P MainPID tick") == before, "restarted, not reloaded"

    task(trial, "h1", "systemd_service", "{name: tick, state: stopped, enabled: false}", changed=1)
    assert lab.shell("h1", state).split() == ["inactive", "disabled"]


@promise
def a_unit_is_masked_and_unmasked(trial):
    state = "systemctl show -P LoadState apt-daily.service"
    task(trial, "h1", "systemd_service", "{name: apt-daily.service, masked: true}", changed=1)
    assert trial.lab.shell("h1", state) == "masked\n"
    task(trial, "h1", "systemd_service", "{name: apt-daily.service, masked: true}", ok=1, changed=0)
    task(trial, "h1", "systemd_service", "{name: apt-daily.service, masked: false}", changed=1)
    assert trial.lab.shell("h1", state) == "loaded\n"


@promise
def a_unit_that_does_not_exist_fails(trial):
    task(trial, "h1", "systemd_service", "{name: nonesuch, state: started}", ok=0, failed=1).says("Could not find the requested service nonesuch")


@promise
def a_package_comes_and_goes(trial):
    lab = trial.lab
    here = "dpkg-query -W -f '${Status}' hello 2>/dev/null | grep -q '^install ok installed'"
    played = trial.play("- {hosts: h1, gather_facts: false, tasks: [{apt: {name: hello, update_cache: true}}]}", "--check")
    played.exits(0).counts("h1", changed=1)
    assert not lab.holds("h1", here), "check mode installed it"
    task(trial, "h1", "apt", "{name: hello, state: present}", changed=1)
    assert lab.holds("h1", here)
    task(trial, "h1", "apt", "{name: [hello], state: present}", ok=1, changed=0)
    task(trial, "h1", "package", "{name: hello, state: present}", ok=1, changed=0)
    task(trial, "h1", "apt", "{name: hello, state: absent, purge: true}", changed=1)
    assert not lab.holds("h1", here)
    task(trial, "h1", "apt", "{name: hello, state: absent}", ok=1, changed=0)


@promise
def a_package_that_does_not_exist_fails(trial):
    task(trial, "h1", "apt", "{name: no-such-package}", ok=0, failed=1).says("No package matching 'no-such-package' is available")


@promise
def users_and_groups_come_and_go(trial):
    lab = trial.lab
    task(trial, "h1", "group", "{name: crew, gid: 4242}", changed=1)
    wanted = "{name: ann, uid: 4243, comment: Ann, groups: [crew], append: true, shell: /bin/sh, home: /srv/ann, generate_ssh_key: false}"
    task(trial, "h1", "user", wanted, changed=1)
    task(trial, "h1", "user", wanted, ok=1, changed=0)
    assert lab.shell("h1", "getent passwd ann; id -Gn ann; stat -c %U /srv/ann").splitlines() == [
        "ann:x:4243:4243:Ann:/srv/ann:/bin/sh",
        "ann crew",
        "ann",
    ]
    task(trial, "h1", "user", "{name: ann, state: absent, remove: true}", changed=1)
    task(trial, "h1", "group", "{name: crew, state: absent}", changed=1)
    assert not lab.holds("h1", "getent passwd ann || getent group crew || test -e /srv/ann")


@promise
def a_large_file_goes_there_and_comes_back(trial):
    original = trial.work / "original"
    original.write_bytes(os.urandom(24 * 1024 * 1024))
    text = f"""
        - hosts: h1-deploy
          gather_facts: false
          tasks:
            - copy: {{src: {original}, dest: /srv/large, mode: "0640", owner: plain}}
            - fetch: {{src: /srv/large, dest: {trial.work}/back, flat: true}}
        """
    trial.play(text).exits(0).counts("h1-deploy", ok=2, changed=2)
    digest = hashlib.sha256(original.read_bytes()).hexdigest()
    assert hashlib.sha256((trial.work / "back").read_bytes()).hexdigest() == digest
    assert trial.lab.shell("h1", "sha256sum </srv/large; stat -c '%a %U' /srv/large").split() == [digest, "-", "640", "plain"]
    trial.play(text).exits(0).counts("h1-deploy", ok=2, changed=0)
    trial.lab.shell("h1", "rm /srv/large")


@promise
def a_url_is_downloaded_and_its_checksum_kept(trial):
    (trial.work / "served").mkdir()
    (trial.work / "served/page").write_text("a page\n")

    def handler(*arguments):
        return Silent(*arguments, directory=trial.work / "served")

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/page"
        digest = hashlib.sha256(b"a page\n").hexdigest()
        wanted = f'{{url: "{url}", dest: /srv/page, checksum: "sha256:{digest}", mode: "0600"}}'
        task(trial, "h1", "get_url", wanted, changed=1)
        task(trial, "h1", "get_url", wanted, ok=1, changed=0)
        wrong = f'{{url: "{url}", dest: /srv/other, checksum: "sha256:{"0" * 64}"}}'
        task(trial, "h1", "get_url", wrong, ok=0, failed=1).says("(?i)checksum")
        assert not trial.lab.holds("h1", "test -e /srv/other"), "a file of the wrong checksum was kept"
        task(trial, "h1", "uri", f'{{url: "{url}-missing", status_code: 404}}', ok=1)
    finally:
        server.shutdown()
        server.server_close()
    trial.lab.shell("h1", "rm /srv/page")


@promise
def a_script_of_the_controller_runs_there(trial):
    script = trial.file("script", "#!/bin/sh\necho $1 $(hostname) >/srv/said\n")
    task(trial, "h2-deploy", "script", f"{script} hello", changed=1)
    assert trial.lab.shell("h2", "cat /srv/said; rm /srv/said") == "hello h2\n"


@promise
def five_hosts_go_two_by_two(trial):
    played = trial.play("""
        - hosts: real
          gather_facts: false
          serial: 2
          tasks:
            - command: hostname
              register: name
            - assert: {that: name.stdout == inventory_hostname, quiet: true}
            - debug: {msg: "{{ ansible_play_batch | join(' ') }}"}
        """).exits(0)
    assert played.out.count("PLAY [real]") == 3, played.told("not three batches")
    assert re.findall(r'"msg": "(.*)"', played.out) == ["h1 h2"] * 2 + ["h3 h4"] * 2 + ["h5"], played.told("other batches")
    for host in ["h1", "h2", "h3", "h4", "h5"]:
        played.counts(host, ok=3, changed=1, failed=0)


@promise
def a_failed_batch_stops_the_ones_after_it(trial):
    played = trial.play("""
        - hosts: real
          gather_facts: false
          serial: [1, 2]
          max_fail_percentage: 0
          tasks:
            - command: test h2 != {{ inventory_hostname }}
        """).exits(2)
    assert sorted(played.recap()) == ["h1", "h2", "h3"], played.told("other hosts ran")
    played.counts("h1", ok=1).counts("h2", failed=1).counts("h3", ok=1)


@promise
def a_task_is_delegated_and_runs_once(trial):
    trial.play("""
        - hosts: h1,h2
          gather_facts: false
          tasks:
            - command: hostname
              delegate_to: h3
              run_once: true
              register: name
            - assert: {that: name.stdout == 'h3', quiet: true}
            - command: hostname
              delegate_to: localhost
              register: here
            - assert: {that: here.stdout not in groups.real, quiet: true}
        """).exits(0).counts("h1", ok=4).counts("h2", ok=3)


@promise
def check_mode_with_diff_shows_and_makes_no_change(trial):
    trial.lab.mark("h3")
    played = trial.play("""
        - hosts: h3
          gather_facts: false
          tasks:
            - copy: {dest: /etc/motd, content: "new\\n"}
            - lineinfile: {path: /etc/hosts, line: "10.0.0.9 nine"}
            - file: {path: /srv/new, state: directory}
            - user: {name: bob}
            - group: {name: bobs}
            - systemd_service: {name: ssh, state: restarted}
            - command: touch /srv/touched
            - apt: {name: hello, state: present}
        """, "--check", "--diff").exits(0).counts("h3", changed=7, skipped=1, failed=0)
    played.says(r"(?m)^\+new$").says(r"(?m)^\+10\.0\.0\.9 nine$")
    changed = trial.lab.touched("h3", "/root/.ansible", "/root/.cache/backstay")
    assert changed == [], f"changed: {changed}"


# Facts that two gatherings of one host must agree on.
SAME_FACTS = """
    apparmor architecture distribution distribution_file_parsed distribution_file_path distribution_file_variety
    distribution_major_version distribution_release distribution_version domain effective_group_id effective_user_id
    fqdn hostname interfaces is_chroot kernel kernel_version lsb machine memtotal_mb nodename os_family pkg_mgr
    processor_cores processor_count processor_nproc processor_vcpus real_user_id selinux service_mgr swaptotal_mb system
    user_dir user_gecos user_gid user_id user_shell user_uid userspace_architecture userspace_bits
    virtualization_role virtualization_type all_ipv4_addresses default_ipv4 dns env machine_id
""".split()


@promise
def facts_are_those_that_ansible_gathers(trial):
    def gather(engine):
        trial.play(
            f"""
            - hosts: h1-deploy
              tasks:
                - copy:
                    content: "{{{{ ansible_facts | to_json }}}}"
                    dest: {trial.work}/{engine.name}.json
                  delegate_to: localhost
                  become: false
                  vars: {{ansible_become: false}}
            """,
            engine=engine,
        ).exits(0)
        return json.loads((trial.work / f"{engine.name}.json").read_text())

    wanted, found = gather(trial.oracle), gather(trial.engine)
    for facts in (wanted, found):
        facts["interfaces"] = sorted(facts.get("interfaces", []))
        # Modules that need no interpreter discover none.
        facts.pop("discovered_interpreter_python", None)
        # What differs from one session to the next.
        facts["env"] = {name: value for name, value in facts.get("env", {}).items() if name not in ("SSH_CLIENT", "SSH_CONNECTION", "SUDO_COMMAND", "_")}
    differences = [
        f"{name}: {found.get(name)!r}, not {wanted.get(name)!r}" for name in SAME_FACTS if wanted.get(name) != found.get(name)
    ]
    differences += [
        f"{name}: {found_shape}, not {wanted_shape}"
        for name, wanted_shape, found_shape in shapes(wanted, found)
        if not name.startswith("/env/")
    ]
    assert not differences, "\n".join(differences)


def shapes(wanted, found, name=""):
    """Where the names and the types of two facts are not the same."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted({*wanted, *found}):
            if key in wanted and key in found:
                yield from shapes(wanted[key], found[key], f"{name}/{key}")
            else:
                yield f"{name}/{key}", "there" if key in wanted else "absent", "there" if key in found else "absent"
    elif isinstance(wanted, list) and isinstance(found, list):
        for number, (one, other) in enumerate(zip(wanted, found)):
            yield from shapes(one, other, f"{name}/{number}")
    elif type(wanted) is not type(found):
        yield name, type(wanted).__name__, type(found).__name__
