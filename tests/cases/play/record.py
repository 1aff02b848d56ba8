#!/usr/bin/env python3
"""Records what ansible-core 2.19.14 prints for the playbooks whose first line names their hosts.

Below the first line may stand `# options:` of the command, `# environment:` of it, `# input:`, one
line for each `|`, and `# runs:`, how often it is played; `$HOME` is an empty directory.

Run it with the Python that ansible-core is installed in:
    python tests/cases/play/record.py [NAME]
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ansible import release

assert release.__version__ == "2.19.14", release.__version__
HERE = Path(__file__).resolve().parent
PROGRAM = Path(sys.executable).with_name("ansible-playbook")

def record(playbook, head):
    hosts = head["hosts"]
    with tempfile.TemporaryDirectory() as home:
        set_home = lambda words: [word.replace("$HOME", home) for word in words]
        environment = {"PATH": "/usr/bin:/bin", "HOME": home, "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "TZ": "UTC", "LC_ALL": "C.UTF-8", "ANSIBLE_HOME": f"{home}/.ansible"}
        environment |= dict(word.split("=", 1) for word in set_home(head.get("environment", "").split()))
        text = ""
        for _ in range(int(head.get("runs", 1))):
            done = subprocess.run(
                [PROGRAM, "-i", hosts, "-f", "1", "-c", "local", playbook.name, *set_home(head.get("options", "").split())],
                cwd=HERE, env=environment, capture_output=True, text=True, input=head.get("input", "").replace("|", "\n"),
            )
            assert done.stdout, f"{playbook}: {done.stderr}"
            text += done.stdout.replace(str(HERE), "$CASES").replace(home, "$HOME")
    # Names of classes of its own, and a set, whose order changes from run to run.
    text = re.sub(r"(?:ansible\.module_utils\._internal\._datatag\.)?_AnsibleTagged(\w+)", lambda found: found[1].lower(), text)
    text = re.sub(r" Valid booleans include: ('\w+'|\w)(, ('\w+'|\w))*", "", text)
    playbook.with_suffix(".txt").write_text(f"ansible-core 2.19.14, -i {hosts} -f 1, exit {done.returncode}\n{text}")


for playbook in sorted(HERE.glob("*.yml")):
    head = dict(re.findall(r"^# (\w+): (.*)\n", playbook.read_text(), re.M))
    if "hosts" in head and playbook.stem in (sys.argv[1:] or [playbook.stem]):
        record(playbook, head)
