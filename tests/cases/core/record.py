#!/usr/bin/env python3
"""Lists the names that ansible-core 2.19.14 gives to playbooks: keywords and plugins.

Run it with the Python that ansible-core is installed in:
    python tests/cases/core/record.py > tests/cases/core/names.txt
"""
from pathlib import Path

import ansible
import jinja2.defaults
from ansible import release
from ansible.playbook.block import Block
from ansible.playbook.handler import Handler
from ansible.playbook.loop_control import LoopControl
from ansible.playbook.play import Play
from ansible.playbook.role.definition import RoleDefinition
from ansible.playbook.task import Task
from ansible.plugins.loader import filter_loader, init_plugin_loader, test_loader

assert release.__version__ == "2.19.14", release.__version__
init_plugin_loader([])
HERE = Path(ansible.__file__).parent


def plugins(kind):
    directory = HERE / "plugins" / kind
    return {path.stem for path in directory.glob("*.py")} - {"__init__", "base"}


def named(loader, builtin):
    names = {plugin.ansible_name.removeprefix("ansible.builtin.") for plugin in loader.all()}
    return names | set(builtin)


def show(kind, names):
    for name in sorted(names):
        if not name.startswith("_"):
            print(kind, name)


for kind, owner in [("play", Play), ("block", Block), ("task", Task), ("handler", Handler), ("role", RoleDefinition)]:
    names = {"async" if name == "async_val" else name for name in owner.fattributes}
    show(f"keyword-{kind}", names - {"action", "args", "loop_with", "tasks", "block", "rescue", "always"})
show("keyword-loop_control", LoopControl.fattributes)
show("module", {path.stem for path in (HERE / "modules").glob("*.py")} - {"__init__", "async_wrapper"})
show("filter", named(filter_loader, jinja2.defaults.DEFAULT_FILTERS))
show("test", named(test_loader, jinja2.defaults.DEFAULT_TESTS))
for kind in ["lookup", "connection", "become", "callback", "strategy", "inventory", "cache", "vars", "shell"]:
    show(kind, plugins(kind))
