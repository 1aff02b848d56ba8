"""Every way to log in, and every way to become somebody else."""

import os
import subprocess

from lab import promise, promise_of_backstay

WHO = """
    - hosts: {host}
      gather_facts: false
      {become}
      tasks:
        - command: id -un
          register: who
        - copy:
            content: "{{{{ who.stdout }}}}"
            dest: /var/tmp/who
            mode: "0644"
        - file: {{path: /var/tmp/who, state: absent}}
        - assert:
            that: who.stdout == "{user}"
"""


def logs_in(trial, host, user, become="", *arguments, **options):
    text = WHO.format(host=host, user=user, become=become)
    return trial.play(text, *arguments, **options).exits(0).counts(host, ok=4, changed=3, failed=0)


@promise
def root_logs_in_with_a_key(trial):
    logs_in(trial, "h1", "root")


@promise
def an_rsa_key_logs_in(trial):
    logs_in(trial, "target", "root", inventory=trial.host(ansible_ssh_private_key_file=trial.lab.key("id_rsa"), ansible_ssh_common_args=trial.known()))


@promise
def a_host_answers_on_ipv6(trial):
    logs_in(trial, "h1-six", "root")


@promise
def sudo_without_a_password_becomes_root(trial):
    logs_in(trial, "h1-deploy", "root")


@promise
def sudo_with_its_password_becomes_root(trial):
    logs_in(trial, "h1-sudoer", "root").hides(trial.lab.secret)


@promise
def su_with_roots_password_becomes_root(trial):
    logs_in(trial, "h1-su", "root").hides(trial.lab.secret)


@promise_of_backstay
def doas_becomes_root_with_and_without_a_password(trial):
    """Ansible's own doas is in a collection."""
    doas = {"ansible_become": "true", "ansible_become_method": "doas", "ansible_ssh_common_args": trial.known()}
    logs_in(trial, "target", "root", inventory=trial.host(ansible_user="deploy", **doas))
    inventory = trial.host(ansible_user="sudoer", ansible_become_password=trial.lab.secret, **doas)
    logs_in(trial, "target", "root", inventory=inventory).hides(trial.lab.secret)


@promise_of_backstay
def runuser_takes_root_to_another_user(trial):
    inventory = trial.host(ansible_become="true", ansible_become_method="runuser", ansible_become_user="plain", ansible_ssh_common_args=trial.known())
    logs_in(trial, "target", "plain", inventory=inventory)


@promise
def the_become_password_is_read_from_a_file(trial):
    password = trial.file("password", trial.lab.secret + "\n")
    inventory = trial.host(ansible_user="sudoer", ansible_ssh_common_args=trial.known())
    logs_in(trial, "target", "root", "become: true", "--become-password-file", password, inventory=inventory)


@promise
def one_unprivileged_user_becomes_another(trial):
    logs_in(trial, "h1-deploy", "plain", "become_user: plain")


@promise
def become_is_asked_for_one_task_only(trial):
    trial.play(
        """
        - hosts: target
          gather_facts: false
          tasks:
            - command: id -un
              become: false
              register: before
            - command: id -un
              become: true
              register: within
            - command: id -un
              become: true
              become_user: plain
              register: other
            - assert:
                that: before.stdout == "deploy" and within.stdout == "root" and other.stdout == "plain"
        """,
        inventory=trial.host(ansible_user="deploy", ansible_ssh_common_args=trial.known()),
    ).exits(0).counts("target", ok=4, changed=3)


@promise
def a_password_logs_in(trial):
    logs_in(trial, "h1-password", "root").hides(trial.lab.secret)


@promise
def the_connection_password_is_read_from_a_file(trial):
    password = trial.file("password", trial.lab.secret + "\n")
    inventory = trial.host(ansible_user="secretive", ansible_ssh_private_key_file=None, ansible_ssh_common_args=trial.known())
    logs_in(trial, "target", "secretive", "", "--connection-password-file", password, inventory=inventory)


@promise
def keyboard_interactive_logs_in(trial):
    logs_in(trial, "h1-asked", "asked").hides(trial.lab.secret)


@promise
def a_wrong_password_leaves_the_host_unreachable(trial):
    inventory = trial.host(ansible_user="secretive", ansible_ssh_private_key_file=None, ansible_password="wrong", ansible_ssh_common_args=trial.known())
    played = trial.play("- {hosts: target, gather_facts: false, tasks: [{ping: }]}", inventory=inventory)
    played.exits(4).counts("target", unreachable=1, failed=0).says("(?i)permission denied|invalid/incorrect password|password")


@promise
def the_agent_holds_the_key(trial):
    """The key on disk is encrypted, and only the agent has it open."""
    socket = trial.work / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        ask = trial.file("ask", f"#!/bin/sh\necho {trial.lab.secret}\n")
        ask.chmod(0o700)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        while not socket.exists():
            assert agent.poll() is None, "ssh-agent ended"
        subprocess.run(["ssh-add", "-q", trial.lab.key("id_encrypted")], env=environment, check=True, capture_output=True)
        known = trial.known(IdentitiesOnly="no")
        inventory = trial.host(ansible_ssh_private_key_file=None, ansible_ssh_common_args=known)
        logs_in(trial, "target", "root", inventory=inventory, environment={"SSH_AUTH_SOCK": str(socket)})
    finally:
        agent.kill()
        agent.wait()


@promise
def a_certificate_logs_in(trial):
    logs_in(trial, "h1-certified", "certified")


@promise
def a_key_without_its_certificate_is_refused(trial):
    bare = trial.file("bare", trial.lab.key("id_cert").read_text())
    bare.chmod(0o600)
    inventory = trial.host(ansible_user="certified", ansible_ssh_private_key_file=bare, ansible_ssh_common_args=trial.known())
    played = trial.play("- {hosts: target, gather_facts: false, tasks: [{ping: }]}", inventory=inventory)
    played.exits(4).counts("target", unreachable=1)


def ssh_config(trial):
    return trial.file("config", f"""
        Host jump
            HostName {trial.lab.address("h1")}
            User deploy
        Host *.lab
            ProxyJump jump
        Host nickname
            HostName {trial.lab.address("h2")}
            User plain
        Host *
            Port 2222
            IdentityFile {trial.lab.key("id")}
            IdentitiesOnly yes
            UserKnownHostsFile {trial.lab.known_hosts}
            StrictHostKeyChecking yes
        """)


@promise
def a_jump_host_leads_to_a_name_that_only_it_knows(trial):
    inventory = f"target ansible_host=h2.lab ansible_user=root ansible_ssh_common_args='-F {ssh_config(trial)}'"
    logs_in(trial, "target", "root", inventory=inventory)


@promise
def two_jumps_in_a_row(trial):
    config = trial.file("config", f"""
        Host first second
            User deploy
        Host first
            HostName {trial.lab.address("h1")}
        Host second
            HostName h2.lab
            ProxyJump first
        Host h3.lab
            ProxyJump second
        Host *
            Port 2222
            IdentityFile {trial.lab.key("id")}
            IdentitiesOnly yes
            UserKnownHostsFile {trial.lab.known_hosts}
        """)
    inventory = f"target ansible_host=h3.lab ansible_user=root ansible_ssh_common_args='-F {config}'"
    logs_in(trial, "target", "root", inventory=inventory)


@promise
def a_proxy_command_leads_to_a_name_that_only_it_knows(trial):
    command = f"ssh -F {ssh_config(trial)} -W %h:%p jump"
    known = trial.known() + f" -o ProxyCommand='{command}'"
    logs_in(trial, "target", "root", inventory=trial.host(ansible_host="h2.lab", ansible_ssh_common_args=known))


@promise
def a_jump_host_that_refuses_leaves_the_host_unreachable(trial):
    config = trial.file("config", ssh_config(trial).read_text().replace("User deploy", "User nobody"))
    inventory = f"target ansible_host=h2.lab ansible_user=root ansible_ssh_common_args='-F {config}'"
    played = trial.play("- {hosts: target, gather_facts: false, tasks: [{ping: }]}", inventory=inventory)
    played.exits(4).counts("target", unreachable=1)


@promise
def the_ssh_configuration_names_the_host(trial):
    inventory = f"nickname ansible_ssh_common_args='-F {ssh_config(trial)}'"
    logs_in(trial, "nickname", "plain", inventory=inventory)


@promise_of_backstay
def the_users_own_ssh_configuration_is_read(trial):
    """OpenSSH asks the user database for it, backstay asks HOME."""
    (trial.work / ".ssh").mkdir()
    ssh_config(trial).rename(trial.work / ".ssh/config")
    logs_in(trial, "nickname", "plain", inventory="nickname")
