"""Deploys on real hosts: whatever dies, every host is all old or all new, and the exit code says which."""

import json

from lab import Cable, promise_of_backstay
from shop import HOSTS, Shop, ends, shop_with_a_release


@promise_of_backstay
def a_deploy_is_committed_and_a_rollback_brings_everything_back(trial):
    shop = Shop(trial)
    old = shop.look()
    ends(shop.deploy(), 0, "committed on 3 hosts")
    shop.is_idle()
    first = shop.look()
    assert all("release 1" in first[host] for host in HOSTS)
    ends(shop.deploy(), 0, "committed: nothing had changed")
    shop.is_as(first)
    ends(shop.deploy(release="2"), 0, "committed on 3 hosts")
    shop.ask("rollback", "-e", "release=1").exits(0)
    shop.is_as(first)
    shop.ask("rollback", "--to", "0", "--no-health").exits(0)
    shop.is_as(old)


@promise_of_backstay
def a_failed_health_check_on_one_host_puts_every_host_back(trial):
    shop = Shop(trial)
    old = shop.look()
    ends(shop.deploy("-e", "sick=h2"), 20, "rolled back: all 3 hosts are as before (h2: task \"Check its health\"")
    shop.is_as(old)
    ends(shop.deploy(), 0, "committed on 3 hosts")
    first = shop.look()
    ends(shop.deploy("-e", "sick=h3", release="2"), 20, "rolled back: all 3 hosts are as before")
    shop.is_as(first)
    ends(shop.deploy(release="2"), 0, "committed on 3 hosts")


@promise_of_backstay
def a_killed_runner_leaves_hosts_that_put_themselves_back(trial):
    shop, first = shop_with_a_release(trial)
    with shop.standing(release="2") as running:
        running.process.kill()
        shop.comes_back(first)
    ends(shop.deploy(release="2"), 0, "committed on 3 hosts")


def worker_of(lab, host):
    """The number of the process that changes things on a host."""
    return lab.shell(host, "cd $(dirname $(ls /var/lib/backstay/transactions/*/socket)) && sed 's/[^0-9].*//;q' worker").strip()


@promise_of_backstay
def a_killed_agent_fails_the_deploy_and_every_host_is_put_back(trial):
    shop, first = shop_with_a_release(trial)
    with shop.standing(release="2") as running:
        trial.lab.shell("h2", f"kill -KILL {worker_of(trial.lab, 'h2')}")
        shop.open_gate()
        ends(running.finish(), 20, "rolled back: all 3 hosts are as before")
    shop.is_as(first)


@promise_of_backstay
def a_killed_guardian_fails_the_deploy_and_every_host_is_put_back(trial):
    shop, first = shop_with_a_release(trial)
    with shop.standing(release="2") as running:
        trial.lab.shell("h2", "pkill -KILL -f 'guardian [-]-directory'")
        shop.open_gate()
        ends(running.finish(), 20, "rolled back: all 3 hosts are as before")
    shop.is_as(first)


@promise_of_backstay
def a_killed_session_is_taken_up_again_and_the_deploy_goes_on(trial):
    shop, _ = shop_with_a_release(trial)
    with shop.standing(release="2", lease=40) as running:
        pid = worker_of(trial.lab, "h2")
        to_sshd = "while [ $(ps -o comm= -p $pid) != sshd ]; do pid=$(ps -o ppid= -p $pid | tr -d ' '); [ $pid -gt 1 ] || exit 1; done"
        trial.lab.shell("h2", f"pid={pid}; {to_sshd}; kill -KILL $pid")
        shop.open_gate()
        ends(running.finish().says("the connection was lost"), 0, "committed on 3 hosts")
    shop.is_idle()
    assert all("release 2" in host for host in shop.look().values())


@promise_of_backstay
def a_host_that_loses_power_is_recovered_by_its_boot_while_nobody_else_is_there(trial):
    shop, first = shop_with_a_release(trial)
    with shop.standing(release="2", lease=600) as running:
        assert trial.lab.holds("h2", "test -e /etc/systemd/system/multi-user.target.wants/backstay-recover.service")
        running.process.kill()
        trial.lab.reset("h2")
        # Nobody but the boot: the others' lease is long, and it is only their grace that ends.
        shop.comes_back({"h2": first["h2"]})
        trial.lab.shell("h1", "pkill -KILL -f 'guardian [-]-directory'")
        trial.lab.shell("h3", "pkill -KILL -f 'guardian [-]-directory'")
    shop.ask("status")
    shop.comes_back(first)


@promise_of_backstay
def a_host_that_reboots_under_a_deploy_has_everybody_put_back(trial):
    shop, first = shop_with_a_release(trial)
    with shop.standing(release="2", lease=30) as running:
        trial.lab.reset("h2")
        shop.open_gate()
        ends(running.finish(), 20, "rolled back: all 3 hosts are as before")
    shop.is_as(first)


def cabled(trial, cable):
    """A shop whose second host is reached over a cable."""
    own = trial.lab.known_hosts.read_text().replace(f"[{trial.lab.address('h2')}]:2222", f"[127.0.0.1]:{cable.port}")
    known = trial.known(trial.file("known", own))
    line = trial.host("cabled", ansible_host="127.0.0.1", ansible_port=cable.port, ansible_ssh_common_args=known)
    return shop_with_a_release(trial, names=("h1", "cabled", "h3"), inventory=line)


@promise_of_backstay
def a_host_that_falls_silent_undoes_by_itself_and_so_do_the_others(trial):
    """Both ways, and only on the way back."""
    for there, back in ((True, True), (False, True)):
        with Cable(trial.lab.address("h2")) as cable:
            shop, first = cabled(trial, cable)
            with shop.standing(release="2", lease=5) as running:
                cable.cut(there, back)
                shop.open_gate()
                ends(running.finish(), 22, "IN DOUBT: rolled back on h1, h3; unknown on cabled")
                shop.comes_back(first)
            cable.mend()
            shop.ask("recover").exits(0)
            shop.ask("status").exits(0)
            shop.is_as(first)


@promise_of_backstay
def a_silence_shorter_than_the_lease_costs_nothing(trial):
    with Cable(trial.lab.address("h2")) as cable:
        shop, _ = cabled(trial, cable)
        with shop.standing(release="2", lease=40) as running:
            cable.cut()
            shop.open_gate()
            trial.lab.wait_until("h2", "grep -q '\"name\":\"wait_for\"' /var/lib/backstay/transactions/*/journal")
            cable.mend()
            ends(running.finish(), 0, "committed on 3 hosts")
        shop.is_idle()
        assert all("release 2" in host for host in shop.look().values())


@promise_of_backstay
def a_disk_that_is_full_on_one_host_puts_every_host_back(trial):
    (trial.work / "large").write_bytes(b"x" * 1024 * 1024)
    lab = trial.lab
    lab.shell("h2", "mkdir -p /opt/small && mount -t tmpfs -o size=128k tmpfs /opt/small && echo old >/opt/small/file")
    try:
        shop, first = shop_with_a_release(trial)
        shop.then(f"copy: {{src: {trial.work}/large, dest: '{{{{ \"/opt/small/file\" if inventory_hostname == \"h2\" else \"/opt/large\" }}}}'}}")
        ends(shop.deploy(release="2").says("(?i)no space left on device"), 20, "rolled back: all 3 hosts are as before")
        shop.is_as(first)
    finally:
        lab.shell("h2", "umount /opt/small && rmdir /opt/small")


@promise_of_backstay
def a_state_directory_that_fills_up_fails_the_host_and_every_host_is_put_back(trial):
    lab = trial.lab
    shop = Shop(trial)
    lab.shell("h2", "mkdir -p /var/lib/backstay && mount -t tmpfs -o size=40m,mode=700 tmpfs /var/lib/backstay")
    try:
        ends(shop.deploy(), 0, "committed on 3 hosts")
        shop.is_idle()
        first = shop.look()
        # The journal has some room of its own, and results go there.
        shop.then("{shell: head -c 3000000 /dev/zero | tr '\\0' x, changed_when: false}", "copy: {dest: /etc/shop.more, content: more}")
        with shop.standing(release="2") as running:
            lab.holds("h2", "dd if=/dev/zero of=/var/lib/backstay/full bs=64k status=none")
            shop.open_gate()
            played = running.finish().exits(20).says("(?i)no space left on device")
        lab.shell("h2", "rm /var/lib/backstay/full")
        shop.is_as(first)
        # One that is too small is refused before anything is changed.
        lab.shell("h2", "dd if=/dev/zero of=/var/lib/backstay/full bs=1M count=25 status=none")
        shop.deploy(release="2").exits(1).says("to be undone safely")
        lab.shell("h2", "rm /var/lib/backstay/full")
        shop.is_as(first)
    finally:
        lab.shell("h2", "umount /var/lib/backstay")


@promise_of_backstay
def an_open_file_system_that_becomes_read_only_is_told_as_stuck_and_recovered_later(trial):
    lab = trial.lab
    lab.shell("h2", "mkdir -p /opt/own && mount -t tmpfs tmpfs /opt/own && echo old >/opt/own/file")
    try:
        shop = Shop(trial)
        gate = "    - name: Wait at the gate"
        text = shop.playbook.read_text()
        shop.playbook.write_text(text.replace(gate, "    - copy: {dest: /opt/own/file, content: new}\n" + gate))
        for host in ("h1", "h3"):
            lab.shell(host, "mkdir /opt/own && echo old >/opt/own/file")
        old = shop.look()
        with shop.standing("-e", "sick=h1") as running:
            lab.shell("h2", "mount -o remount,ro /opt/own")
            shop.open_gate()
            played = ends(running.finish(), 21, "STUCK: rolled back except for 1 thing on h2")
            played.says("/opt/own/file.*[Rr]ead-only file system")
        assert lab.shell("h2", "cat /opt/own/file") == "new"
        shop.ask("status").exits(21).says("/opt/own/file")
        shop.ask("recover").exits(21)
        lab.shell("h2", "mount -o remount,rw /opt/own")
        shop.ask("recover").exits(0)
        shop.ask("status").exits(0)
        shop.is_as(old)
    finally:
        lab.shell("h2", "umount /opt/own")
        for host in HOSTS:
            lab.shell(host, "rm -r /opt/own")


@promise_of_backstay
def what_others_changed_after_a_deploy_is_saved_and_told_before_the_old_comes_back(trial):
    shop, first = shop_with_a_release(trial)
    with shop.standing("-e", "sick=h1", release="2") as running:
        trial.lab.shell("h2", "echo theirs >>/etc/shop.conf")
        shop.open_gate()
        ends(running.finish().says("/etc/shop.conf"), 20, "rolled back: all 3 hosts are as before")
    shop.is_as(first)
    told = json.loads(shop.ask("history", "--json").out)
    newest = next(host for host in told if host["name"] == "h2")["transactions"][0]
    assert [drift["path"] for drift in newest["drift"]] == ["/etc/shop.conf"], newest
    saved = newest["drift"][0]["saved"]
    assert trial.lab.shell("h2", f"cat {saved}") == "release 2\ntheirs\n"


# A host that can be reached no more, in ways that only a fresh login notices.
LOCKED_OUT = {
    "sshd": [
        "copy: {dest: /etc/ssh/sshd_config.d/00-shop.conf, content: \"DenyUsers *\\n\"}",
        "systemd_service: {name: ssh, state: restarted}",
    ],
    "keys": ["copy: {dest: /root/.ssh/authorized_keys, content: \"nobody\\n\"}"],
}


@promise_of_backstay
def a_change_that_locks_us_out_is_undone(trial):
    lab = trial.lab
    for what, tasks in LOCKED_OUT.items():
        shop, first = shop_with_a_release(trial)
        text = shop.playbook.read_text()
        shop.then(*[f"{{{task}, when: inventory_hostname == 'h2'}}" for task in tasks])
        played = shop.deploy(release="2", lease=10)
        ends(played, 20, "rolled back: all 3 hosts are as before")
        shop.playbook.write_text(text)
        lab.wait_until("h2", "true")
        shop.is_as(first)


@promise_of_backstay
def sudo_rights_that_a_deploy_takes_away_are_given_back(trial):
    shop, first = shop_with_a_release(trial, names=("h1-deploy", "h2-deploy", "h3-deploy"))
    shop.then("{file: {path: /etc/sudoers.d/lab, state: absent}, when: inventory_hostname == 'h2-deploy'}")
    ends(shop.deploy(release="2", lease=10), 20, "rolled back: all 3 hosts are as before")
    shop.is_as(first)


OWN = """
    - hosts: h4-plain
      gather_facts: false
      tasks:
        - file: {path: ~/app, state: directory}
        - copy: {dest: ~/app/config, content: "release {{ release }}\n", mode: "0600"}
        - file: {path: ~/app/old, state: absent}
        - file: {src: config, dest: ~/app/current, state: link}
        - wait_for: {path: /home/plain/.cache/gate, timeout: 100}
          when: gate is defined
"""
OWN_PLANTED = (
    "pkill -KILL -u plain; rm -rf /var/lib/backstay; cd /home/plain && rm -rf app .cache/gate .local/state/backstay .config; crontab -r -u plain 2>/dev/null;"
    " mkdir -p app/old && echo old >app/old/file && echo 0 >app/config && chown -R plain: app"
)
OWN_IDLE = "! pgrep -u plain -f 'guardian|backstay' && ! crontab -l -u plain 2>/dev/null | grep -q backstay && ! find /home/plain/.config -name 'backstay*' 2>/dev/null | grep -q ."


def own_shop(trial):
    """An application of a user without rights, on the one host that has cron."""
    lab = trial.lab
    if not lab.holds("h4", "command -v crontab"):
        lab.shell("h4", "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq cron")
    shop = Shop(trial, hosts=("h4",), names=("h4-plain",), planted=OWN_PLANTED)
    shop.playbook = trial.file("own.yml", OWN)
    return shop


def own_standing(shop, *arguments, **options):
    running = shop.start("-e", "gate=shut", *arguments, **options)
    shop.lab.wait_until("h4", "test -L /home/plain/app/current")
    return running


@promise_of_backstay
def a_user_without_rights_deploys_and_the_dead_runner_is_undone(trial):
    shop = own_shop(trial)
    old = shop.look()
    with own_standing(shop) as running:
        assert trial.lab.holds("h4", "crontab -l -u plain | grep -q '^@reboot /home/plain/.*recover-local'")
        running.process.kill()
        shop.comes_back(old)
    trial.lab.wait_until("h4", OWN_IDLE)
    ends(shop.deploy(), 0, "committed on 1 host")
    trial.lab.wait_until("h4", OWN_IDLE)


@promise_of_backstay
def a_user_without_rights_is_recovered_by_cron_when_the_host_boots(trial):
    shop = own_shop(trial)
    old = shop.look()
    with own_standing(shop, lease=600) as running:
        running.process.kill()
        trial.lab.reset("h4")
        shop.comes_back(old)
    trial.lab.wait_until("h4", OWN_IDLE)


@promise_of_backstay
def where_logouts_kill_the_guardian_of_root_lives_on_and_a_user_is_warned(trial):
    lab = trial.lab
    lab.shell("h4", "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libpam-systemd")
    lab.shell("h4", "mkdir -p /etc/systemd/logind.conf.d && printf '[Login]\\nKillUserProcesses=yes\\nKillExcludeUsers=\\n' >/etc/systemd/logind.conf.d/kill.conf && systemctl restart systemd-logind")
    try:
        shop, first = shop_with_a_release(trial, hosts=("h4",), names=("h4-deploy",))
        with shop.standing(release="2") as running:
            assert lab.holds("h4", "loginctl --no-legend list-sessions | grep -q deploy")
            running.process.kill()
            shop.comes_back(first)
        shop = own_shop(trial)
        old = shop.look()
        with own_standing(shop) as running:
            running.process.kill()
            lab.wait_until("h4", "! pgrep -u plain")
            # Nobody is left to undo it; the next contact does.
            told = running.finish()
            assert "loginctl enable-linger plain" in told.err + told.out, told.told("no warning")
        shop.ask("status").exits(0)
        shop.comes_back(old)
    finally:
        lab.shell("h4", "rm /etc/systemd/logind.conf.d/kill.conf && systemctl restart systemd-logind")
