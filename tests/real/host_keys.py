"""Whose key a host must show, and what happens when it does not."""

import subprocess

from lab import promise

PING = "- {hosts: target, gather_facts: false, tasks: [{command: touch /var/tmp/reached}]}"


def reaches(trial, known, on="h1", environment=None):
    played = play(trial, known, on, environment)
    played.exits(0).counts("target", ok=1)
    trial.lab.shell(on, "rm /var/tmp/reached")


def refuses(trial, known, on="h1"):
    played = play(trial, known, on)
    played.exits(4).counts("target", unreachable=1, ok=0).says("(?i)host key")
    assert not trial.lab.holds(on, "test -e /var/tmp/reached"), "a task ran on a host that was refused"


def play(trial, known, on, environment=None):
    return trial.play(PING, inventory=trial.host(on=on, ansible_ssh_common_args=known), environment=environment)


def keys_of(trial, host):
    return [line for line in trial.lab.known_hosts.read_text().splitlines(keepends=True) if f"[{trial.lab.address(host)}]" in line]


@promise
def an_unknown_host_key_is_refused(trial):
    refuses(trial, trial.known(trial.file("empty", "")))


@promise
def a_changed_host_key_is_refused(trial):
    """h1 is remembered with the keys of h2."""
    remembered = "".join(keys_of(trial, "h2")).replace(trial.lab.address("h2"), trial.lab.address("h1"))
    refuses(trial, trial.known(trial.file("known", remembered)))


@promise
def a_hashed_name_is_known(trial):
    known = trial.file("known", "".join(keys_of(trial, "h1")))
    subprocess.run(["ssh-keygen", "-H", "-f", known], check=True, capture_output=True)
    assert trial.lab.address("h1") not in known.read_text()
    reaches(trial, trial.known(known))


@promise
def a_revoked_key_is_refused(trial):
    keys = keys_of(trial, "h1")
    refuses(trial, trial.known(trial.file("known", "".join(keys) + "".join("@revoked " + key for key in keys))))


@promise
def a_certificate_authority_vouches_for_a_host(trial):
    authority = trial.lab.key("host_ca.pub").read_text()
    known = trial.file("known", f"@cert-authority [127.0.{trial.lab.net}.*]:2222 {authority}")
    reaches(trial, trial.known(known), on="h4")


@promise
def a_host_without_a_certificate_is_refused_where_only_an_authority_is_known(trial):
    authority = trial.lab.key("host_ca.pub").read_text()
    known = trial.file("known", f"@cert-authority [127.0.{trial.lab.net}.*]:2222 {authority}")
    refuses(trial, trial.known(known), on="h1")


@promise
def accept_new_remembers_an_unknown_host(trial):
    known = trial.file("known", "")
    reaches(trial, trial.known(known, StrictHostKeyChecking="accept-new"))
    found = subprocess.run(["ssh-keygen", "-F", f"[{trial.lab.address('h1')}]:2222", "-f", known], capture_output=True)
    assert found.returncode == 0, f"not remembered: {known.read_text()}"
    reaches(trial, trial.known(known))


@promise
def accept_new_refuses_a_changed_key(trial):
    remembered = "".join(keys_of(trial, "h2")).replace(trial.lab.address("h2"), trial.lab.address("h1"))
    refuses(trial, trial.known(trial.file("known", remembered), StrictHostKeyChecking="accept-new"))


@promise
def host_key_checking_can_be_switched_off(trial):
    known = f"-o UserKnownHostsFile={trial.file('known', '')}"
    reaches(trial, known, environment={"ANSIBLE_HOST_KEY_CHECKING": "False"})
