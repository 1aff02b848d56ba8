"""Public roles, as their authors published them: they converge, and then change nothing.

They come from the Python package index, pinned by version and digest in roles.txt, and need no more
of the world than Debian's mirror. Nothing in them is touched.
"""

import hashlib
import subprocess
import zipfile

from lab import here, promise, same

FOUND_IN = [
    "lampsible/project/roles",
    "ragleap_ansible/playbooks/roles",
    "ansible_role_chrony-1.3.0.data/data/share/ansible/roles",
]


def roles_path(trial):
    """Downloads and unpacks the roles once a run; what ANSIBLE_ROLES_PATH is to say."""
    directory = trial.lab.directory / f"roles-{hashlib.sha256((here / 'roles.txt').read_bytes()).hexdigest()[:16]}"
    if not directory.exists():
        pip = trial.oracle.command[0].parent / "pip"
        wheels = trial.work / "wheels"
        subprocess.run([pip, "download", "-q", "--no-deps", "--require-hashes", "-r", here / "roles.txt", "-d", wheels], check=True)
        for wheel in wheels.iterdir():
            zipfile.ZipFile(wheel).extractall(directory)
    return ":".join(str(directory / path) for path in FOUND_IN)


def converges(trial, text, paths):
    """Plays twice on h3, and once by Ansible on h4; both hosts must end the same."""
    environment = {"ANSIBLE_ROLES_PATH": roles_path(trial)}
    first = trial.play(text.format(host="h3"), environment=environment).exits(0)
    assert first.recap()["h3"]["changed"] > 0, first.told("nothing was to do")
    # A role may have restarted sshd, which is started before it listens.
    trial.lab.wait_until("h3", "true")
    trial.play(text.format(host="h3"), environment=environment).exits(0).counts("h3", changed=0, failed=0)
    trial.play(text.format(host="h4"), environment=environment, engine=trial.oracle).exits(0)
    found, wanted = trial.lab.state_of("h3", *paths), trial.lab.state_of("h4", *paths)
    same(wanted, found)


@promise
def the_role_apt_of_lampsible_converges(trial):
    text = """
        - hosts: {host}
          vars: {{extra_packages: [hello, unattended-upgrades-is-no-such-package]}}
          roles: [apt]
        """
    converges(trial, text, ["/etc/apt", "/usr/bin/hello"])


@promise
def the_role_chrony_of_openstack_converges(trial):
    """Without the daemon, which may not set a container's clock."""
    text = """
        - hosts: {host}
          vars:
            chrony_role_action: config
            chrony_manage_service: false
            chrony_config_file_location: /etc/chrony.conf
            chrony_driftfile_path: /var/lib/chrony/drift
            chrony_logdir_path: /var/log/chrony
            chrony_makestep: 1.0 3
            chrony_rtc_settings: [rtcsync]
          roles: [chrony]
        """
    converges(trial, text, ["/etc/chrony.conf"])


@promise
def the_role_ragleap_base_converges(trial):
    """It hardens sshd on h3 and h4, so no test with a password can come after it."""
    key = trial.lab.key("id.pub").read_text().strip()
    text = f"""
        - hosts: {{host}}
          vars:
            ragleap_base_deploy_ssh_public_key: {key}
            ragleap_base_harden_ssh: true
          roles: [ragleap_base]
        """
    converges(trial, text, ["/etc/sudoers.d", "/etc/ssh/sshd_config.d/10-ragleap.conf", "/etc/apt/apt.conf.d", "/home/ragleap"])
