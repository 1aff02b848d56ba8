#!/usr/bin/env python3
"""Records what ansible-core 2.19.14 prints for the playbooks whose first line names their hosts.

Run it with the Python that ansible-core is installed in:
    python tests/cases/play/record.py
"""
import subprocess
import sys
from pathlib import Path

from ansible import release

assert release.__version__ == "2.19.14", release.__version__
HERE = Path(__file__).resolve().parent
PROGRAM = Path(sys.executable).with_name("ansible-playbook")

for playbook in sorted(HERE.glob("*.yml")):
    first = playbook.read_text().splitlines()[0]
    if not first.startswith("# hosts: "):
        continue
    hosts = first.removeprefix("# hosts: ")
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "TZ": "UTC", "LC_ALL": "C.UTF-8", "ANSIBLE_HOME": "/tmp/ansible-record"}
    done = subprocess.run(
        [PROGRAM, "-i", hosts, "-f", "1", "-c", "local", playbook.name],
        cwd=HERE, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )
    head = f"ansible-core 2.19.14, -i {hosts} -f 1, exit {done.returncode}\n"
    text = done.stdout.replace(str(HERE), "$CASES")
    playbook.with_suffix(".txt").write_text(head + text)
