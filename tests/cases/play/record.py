#!/usr/bin/env python3
"""Records what ansible-core 2.19.14 prints for the playbooks whose first line names their hosts.

Below the first line may stand `# options:` of the command, once for each time it is played,
`# environment:` of it, `# input:`, one line for each `|`, `# runs:`, how often it is played, and
`# stderr: shown`, if warnings count too; `$HOME` is an empty directory.

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

def record(playbook, head, options):
    hosts = head["hosts"]
    with tempfile.TemporaryDirectory() as home:
        set_home = lambda words: [word.replace("$HOME", home) for word in words]
        environment = {"PATH": "/usr/bin:/bin", "HOME": home, "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "TZ": "UTC", "LC_ALL": "C.UTF-8", "ANSIBLE_HOME": f"{home}/.ansible"}
        environment |= dict(word.split("=", 1) for word in set_home(head.get("environment", "").split()))
        text = ""
        for words in options * int(head.get("runs", 1)):
            done = subprocess.run(
                [PROGRAM, "-i", hosts, "-f", "1", "-c", "local", playbook.name, *set_home(words.split())],
                cwd=HERE, env=environment, capture_output=True, text=True, input=head.get("input", "").replace("|", "\n"),
            )
            shows_errors = head.get("stderr") == "shown"
            assert done.stdout or shows_errors, f"{playbook}: {done.stderr}"
            if len(options) > 1:
                text += f"$ {words}, exit {done.returncode}\n"
            told = done.stdout + (f"--- stderr\n{done.stderr}" if shows_errors else "")
            text += told.replace(str(HERE), "$CASES").replace(home, "$HOME")
    # At -vv: what stands for the Python of the controller.
    text = re.sub(r"^(?:ansible-playbook \[core.*\n(?:  .*\n)*|Skipping callback .*\n|statically imported: .*\n)", "", text, flags=re.M)
    # A template is rendered into a file of the controller first; here there is none.
    text = re.sub(r"\$HOME/\.ansible/tmp/ansible-local-[^/]+/tmp[^/]+/(\S+\.j2)", r"$CASES/templates/\1", text)
    # Names of classes of its own, and a set, whose order changes from run to run.
    text = re.sub(r"(?:ansible\.module_utils\._internal\._datatag\.)?_AnsibleTagged(\w+)", lambda found: found[1].lower(), text)
    text = re.sub(r" Valid booleans include: ('\w+'|\w)(, ('\w+'|\w))*", "", text)
    playbook.with_suffix(".txt").write_text(f"ansible-core 2.19.14, -i {hosts} -f 1, exit {done.returncode}\n{text}")


for playbook in sorted(HERE.glob("*.yml")):
    said = re.findall(r"^# (\w+):(?: (.*))?\n", playbook.read_text(), re.M)
    head, options = dict(said), [words for key, words in said if key == "options"]
    if "hosts" in head and playbook.stem in (sys.argv[1:] or [playbook.stem]):
        record(playbook, head, options or [""])
