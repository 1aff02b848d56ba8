"""Each module on twin hosts: real ansible-core on one, the engine under test on the other.

The cases are data, `modules/*.yml`; what a block of them may say stands at the head of builtin.yml.
Both engines play all of them in one play, each case in check mode, for real and, where that changed
something, once more, and write down what was registered. The results must be equal key by key, and
then the hosts.
"""

import concurrent.futures
import hashlib
import http.server
import itertools
import json
import re
import shlex
import subprocess
import tarfile
import threading

from lab import here, promise

# What no two runs have in common.
VARIES = {"start", "end", "delta", "elapsed", "atime", "mtime", "ctime", "inode", "dev", "ansible_job_id", "results_file"}
SAME = [
    (r"\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~", ".BACKUP~"),
    (r"\d+ not upgraded", "N not upgraded"),
    (r"\(Reading database \.\.\. \d+ files", "(Reading database ... N files"),
    (r"Fetched [\d.]+ k?B in \d+s \(.*?/s\)", "Fetched"),
]
# In results of both alike, and not the module's.
FOREIGN = {"invocation", "exception", "deprecations", "ansible_facts.discovered_interpreter_python"}
SAMPLE = {"copy", "file", "lineinfile", "template"}
RUNS = [("in check mode", {"check_mode": True}), ("for real", {}), ("once more", {})]


@promise
def what_playbooks_call_most_ends_and_answers_as_ansibles(trial):
    """The others take Ansible minutes: `suite --modules` compares all."""
    compare(trial, [block for block in read(trial, here / "modules/builtin.yml") if block["module"] in SAMPLE])


def register(name):
    """Makes the whole of a file of cases a promise."""

    def modules_end_and_answer_as_ansibles(trial):
        compare(trial, read(trial, here / "modules" / f"{name}.yml"))

    modules_end_and_answer_as_ansibles.__name__ = f"{name}_{modules_end_and_answer_as_ansibles.__name__}"
    promise(modules_end_and_answer_as_ansibles)


def compare(trial, blocks):
    """Plays the blocks on twins; the complaint names module, case and key."""
    # Ansible takes its time, so it has two hosts. Blocks know nothing of one another.
    shares = [(trial.engine, "h1", blocks), (trial.oracle, "h2", blocks[0::2]), (trial.oracle, "h3", blocks[1::2])]
    for _, host, _ in shares:
        trial.lab.renew(host)
    with Served(lay_out(trial)) as address, concurrent.futures.ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(lambda share: furnish(trial.lab, share[1], blocks), shares))
        found, *wanted = pool.map(lambda share: outcome(trial, address, *share), shares)
    wanted = {**wanted[0], **wanted[1]}
    if trial.engine is trial.oracle:
        blocks = [{**block, "differs": {}} for block in blocks]
    complaints = [line for block in blocks for line in differences(block, wanted[block["module"]], found[block["module"]])]
    assert not complaints, "\n".join(complaints)


def read(trial, path):
    """The oracle's Python can read YAML; the one that runs this needs not."""
    python = trial.oracle.command[0].parent / "python"
    program = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
    with path.open() as file:
        return json.loads(subprocess.run([python, "-c", program], stdin=file, stdout=subprocess.PIPE, check=True).stdout)


def lay_out(trial):
    """What both engines send, and the server shows."""
    page = trial.file("files/page", "a page\n")
    trial.file("files/data.json", '{"number": 1, "list": ["a"]}')
    trial.file("files/sums", f"{hashlib.sha256(page.read_bytes()).hexdigest()}  page\n")
    trial.file("files/site/index.html", "index\n")
    trial.file("files/site/style/plain.css", "plain\n")
    trial.file("files/script", '#!/bin/sh\necho "$0" | wc -l; pwd; echo "$@"; exit "$(($1))"\n')
    trial.file("files/template.j2", "{% if word is defined %}\nword: {{ word }}\n{% endif %}\nend of {{ ansible_managed }}\n")
    with tarfile.open(trial.work / "files/site.tar", "w") as archive:
        archive.add(trial.work / "files/site", "site")
    return trial.work / "files"


def furnish(lab, host, blocks):
    """Makes a host what the blocks need: every host for all of them, so that facts are equal."""
    needs = " ".join(package for block in blocks for package in block.get("needs", []))
    lab.shell(host, f"DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends {needs}")
    # Ansible's first task would warn that it makes it.
    lab.shell(host, "mkdir -p -m 0700 /root/.ansible/tmp; " + script(ground(block) for block in blocks))


def outcome(trial, address, engine, host, blocks):
    """What an engine answered on a host and left behind there, by module."""
    lab, controller, results = trial.lab, trial.work / host, trial.work / f"{host}.json"
    controller.mkdir()
    places = {"web": address, "files": str(trial.work / "files"), "controller": str(controller)}
    playbook = trial.file(f"{host}.yml", json.dumps(play(host, blocks, results), indent=1))
    with trial.run(playbook, "-i", lab.inventory, "-e", json.dumps(places), engine=engine) as running:
        played = running.finish(seconds=1800).exits(0)
    assert results.exists(), played.told("it wrote no results")
    answers = json.loads(results.read_text().replace(str(controller), "CONTROLLER"))
    left = lab.shell(host, script(look(block) for block in blocks)).split("\0")
    return {
        block["module"]: {**{name: plain(host, answers[key]) for name, key in names.items()}, "the host": plain(host, state)}
        for block, names, state in zip(blocks, map(registered, blocks), left)
    }


def plain(host, value):
    """The value as it would be on either host."""
    text = json.dumps(value)
    for pattern, name in [*SAME, (rf"(?<!<)(?<!</)\b{host}\b", "HOST")]:
        text = re.sub(pattern, name, text)
    return json.loads(text)


def script(parts):
    return "export LC_ALL=C.UTF-8; " + " ".join(f"( {part} ); [ $? = 0 ] || exit 1;" for part in parts)


def ground(block):
    home = f"/srv/{block['module']}"
    return f"set -e; mkdir {home}; cd {home}; umask 022\n{block.get('ground', ':')}\n"


def look(block):
    home = shlex.quote(f"/srv/{block['module']}")
    paths = " ".join([home, *block.get("paths", [])])
    files = f"find {paths} -type f -exec sha256sum {{}} + | sort -k2"
    listed = f"find {paths} -printf '%p %y %m %u %g %l\\n' | sort"
    return f"cd {home}; {block.get('look', ':')}; {listed}; {files}; printf '\\0'"


def steps(block):
    """Every task of a block with the words that name it and what it shall register."""
    for number, step in enumerate(block["steps"], 1):
        task = step["task"] if "task" in step else {block["module"]: step}
        for run, keywords in RUNS[1:2] if "task" in step else RUNS:
            words = f"{number} {run}"
            yield words, {**task, **keywords, "name": f"{block['module']}: {words}"}


def registered(block):
    """The variables of a block's answers, by their words."""
    name = re.sub(r"\W", "_", block["module"])
    return {words: f"{name}_{number}" for number, (words, _) in enumerate(steps(block))}


def play(host, blocks, results):
    tasks = [
        {**task, **if_changed(words, names), "register": names[words], "diff": True, "ignore_errors": True}
        for block, names in zip(blocks, map(registered, blocks))
        for words, task in steps(block)
    ]
    every = ", ".join(f"'{task['register']}': {task['register']}" for task in tasks)
    written = {"copy": {"content": f"{{{{ {{{every}}} | to_json }}}}", "dest": str(results)}, "delegate_to": "localhost"}
    return [{"hosts": host, "gather_facts": False, "tasks": [*tasks, written]}]


def if_changed(words, names):
    number, _, run = words.partition(" ")
    return {"when": f"{names[f'{number} for real']} is changed"} if run == "once more" else {}


def differences(block, wanted, found):
    """Complaints, one a key. What is said to differ must differ: else it is said no longer."""
    varies = VARIES | set(block.get("varies", []))
    excused, used = set(block.get("differs", {})), set()
    for words, answer in wanted.items():
        later = wanted.get(words.replace("in check mode", "for real"))
        for path, one, other in compared(answer, found[words]):
            keys = re.sub(r"\.\d+", "", path).split(".")
            above = {".".join(keys[:count]) for count in range(1, len(keys) + 1)} | {keys[-1]}
            names = above | {words} | {f"{words.partition(' ')[0]} {key}" for key in above}
            if names & FOREIGN or (names & varies and ABSENT not in (one, other)) or foretold(words, path, one, other, later):
                continue
            used |= names & excused
            if not names & excused:
                yield f"{block['module']}: {words}: {path or 'it'} is {shown(other)}, not {shown(one)}"
    for name in sorted(excused - used):
        yield f"{block['module']}: {name} is said to differ and does not"


def foretold(words, path, one, other, later):
    """Check mode may tell what Ansible tells when it is done, or would if it were not refused then."""
    if not words.endswith("in check mode"):
        return path == "failed" and (one, other) == (ABSENT, False)
    return at(later, path) == other or (path == "failed" and not other) or (one is ABSENT and later["failed"])


ABSENT = type("Absent", (), {"__repr__": lambda _: "absent"})()


def shown(value):
    return repr(value)[:500]


def at(value, path):
    for key in filter(None, path.split(".")):
        value = value.get(key, ABSENT) if isinstance(value, dict) else ABSENT
    return value


def compared(one, other, path=""):
    """Where two values differ, as deep as they have the same shape."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from compared(one.get(key, ABSENT), other.get(key, ABSENT), f"{path}.{key}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other)):
            yield from compared(left, right, f"{path}.{number}")
    elif one != other or type(one) is not type(other):
        yield path, one, other


class Served:
    """A directory over HTTP for both hosts."""

    def __init__(self, directory):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=directory)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
