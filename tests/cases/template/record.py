#!/usr/bin/env python3
"""Records what ansible-core 2.19.14 makes of the cases in cases.txt.

Run it with the Python that ansible-core is installed in:
    python tests/cases/template/record.py > tests/cases/template/recorded.jsonl
"""
import json
import os
import sys

os.environ["TZ"] = "UTC"
HERE = os.path.dirname(os.path.abspath(__file__))

from ansible import release
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.utils.display import Display
from ansible._internal._datatag._tags import Origin, TrustedAsTemplate
from ansible._internal._templating._engine import TemplateEngine, TemplateOptions

assert release.__version__ == "2.19.14", release.__version__
for name in ("warning", "deprecated", "error_as_warning", "_deprecated_with_plugin_info"):
    setattr(Display, name, lambda *args, **kwargs: None)
init_plugin_loader([])


def trusted(value):
    if isinstance(value, str):
        return Origin(path="/case", line_num=1, col_num=1).tag(TrustedAsTemplate().tag(value))
    if isinstance(value, list):
        return [trusted(item) for item in value]
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    return value


def plain(value):
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value)


def record(line, variables):
    kind, _, text = line.partition(" ")
    if kind not in ("when", "file"):
        kind, text = "value", line
    text = text.replace("⏎", "\n")
    case = {"kind": kind, "text": text}
    engine = TemplateEngine(loader=DataLoader(), variables=trusted(variables))
    try:
        if kind == "when":
            case["result"] = engine.evaluate_conditional(trusted(text))
        elif kind == "file":
            options = TemplateOptions(escape_backslashes=False)
            case["result"] = plain(engine.template(trusted(text), options=options))
        else:
            case["result"] = plain(engine.template(trusted(text)))
    except Exception as error:
        if type(error).__name__ == "AnsibleValueOmittedError":
            case["omit"] = True
        else:
            case["error"] = getattr(error, "message", None) or str(error)
    return case


with open(os.path.join(HERE, "vars.json"), encoding="utf-8") as file:
    variables = json.load(file)
with open(os.path.join(HERE, "cases.txt"), encoding="utf-8") as file:
    for line in file.read().splitlines():
        if line and not line.startswith(("# ", "## ")):
            print(json.dumps(record(line, variables), ensure_ascii=False))
