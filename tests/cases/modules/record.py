#!/usr/bin/env python3
"""Records what ansible-core's own modules return for the cases beside this file.

Run it with the Python of an environment that holds ansible-core, and collections on PYTHONPATH; it
rewrites each `*.json`, or those whose names are given.
`$ROOT` stands for a fresh directory; what differs from run to run is masked as `*`.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import ansible.release

MASKED = {
    "uid", "gid", "owner", "group", "pw_name", "gr_name", "inode", "dev", "device_type", "blocks",
    "block_size", "atime", "mtime", "ctime", "start", "end", "delta", "version", "attributes",
    "attr_flags", "backup_file", "elapsed", "mimetype", "charset",
}
DROPPED = {"invocation", "extract_results", "exception", "stdout_lines", "stderr_lines"}


def set_up(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif isinstance(content, dict):
            path.symlink_to(content["link"].replace("$ROOT", str(root)))
        else:
            path.write_bytes(content.encode("latin-1" if "\xff" in content else "utf-8"))


def masked(value):
    if isinstance(value, dict):
        return {
            key: "*" if key in MASKED and item not in (None, "") else masked(item)
            for key, item in sorted(value.items())
            if key not in DROPPED
        }
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value


def run(root, step):
    arguments = json.loads(json.dumps(step["args"]).replace("$ROOT", str(root)))
    arguments.update(_ansible_diff=step.get("diff", False), _ansible_check_mode=step.get("check", False))
    module = step["module"]
    if module == "shell":
        module, arguments["_uses_shell"] = "command", True
    collection, _, name = module.rpartition(".")
    package = f"ansible_collections.{collection}.plugins" if collection else "ansible"
    done = subprocess.run(
        [sys.executable, "-m", f"{package}.modules.{name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True, text=True, cwd=root, umask=0o022,
        env={"PATH": os.environ["PATH"], "HOME": str(root), "LC_ALL": "C.UTF-8", "GREETING": "hello",
             "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"{step}: {done.stdout}{done.stderr}")
    result = json.loads(lines[-1].replace(str(root), "$ROOT"))
    warnings = result.get("warnings")
    if warnings:
        result["warnings"] = [w["event"]["msg"] if isinstance(w, dict) else w for w in warnings]
    return masked(result)


for file in sorted(pathlib.Path(__file__).parent.glob("*.json")):
    if sys.argv[1:] and file.stem not in sys.argv[1:]:
        continue
    document = json.loads(file.read_text())
    document["ansible"] = ansible.release.__version__
    for case in document["cases"]:
        root = pathlib.Path(tempfile.mkdtemp()).resolve()
        root.chmod(0o755)
        set_up(root, case.get("files", {}))
        for step in case["steps"]:
            step["result"] = run(root, step)
        for name in case.get("after", {}):
            path = root / name
            case["after"][name] = path.read_text() if path.is_file() else None
        shutil.rmtree(root)
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
