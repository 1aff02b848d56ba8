"""Records tests/cases/yaml/*.jsonl from ansible-core 2.19.14, PyYAML 6.0.3 and libyaml 0.2.5.

Run it with the Python of an environment that has ansible-core. Each line of read.jsonl is
[text, repr of what Ansible's loader makes of it] or [text, null] where it refuses the text;
dates are recorded as the text that was written, sets and tuples as lists.
Each line of write.jsonl is [value, to_yaml, to_nice_yaml, callback YAML, lossy callback YAML].
"""
import functools
import json
import pathlib
import random

import yaml
from ansible._internal._yaml._constructor import AnsibleConstructor
from ansible._internal._yaml._loader import AnsibleLoader
from ansible.parsing.utils.yaml import from_yaml
from ansible.plugins.callback import _AnsibleCallbackDumper
from ansible.plugins.filter.core import to_nice_yaml, to_yaml
from ansible.utils.display import Display

HERE = pathlib.Path(__file__).parent
Display.warning = Display.deprecated = lambda *args, **kwargs: None
AnsibleLoader.add_constructor("tag:yaml.org,2002:timestamp", AnsibleConstructor.construct_yaml_str)


def plain(value):
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, set):
        return sorted(plain(item) for item in value)
    if isinstance(value, bytes):
        return value.decode()
    if "Encrypted" in type(value).__name__:
        return value._ciphertext
    for kind in (bool, str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


def read(text):
    try:
        return repr(plain(from_yaml(text, file_name="/case.yml")))
    except Exception:
        return None


def write(value):
    def dump(lossy, **options):
        dumper = functools.partial(_AnsibleCallbackDumper, lossy=lossy)
        return yaml.dump(value, Dumper=dumper, allow_unicode=True, default_flow_style=False, **options)

    return [to_yaml(value), to_nice_yaml(value), dump(False), dump(True, indent=4)]


def random_values(count):
    random.seed(2)
    letters = list("abcxyz 0123456789") + [
        "\n", "\n\n", " ", "  ", ":", ": ", " #", "#", "-", "- ", "?", "? ", "'", '"', "{", "}",
        "[", "]", ",", "&", "*", "!", "|", ">", "%", "@", "`", "\t", "\r", "\\", "é", "\u00a0",
        "\u2028", "\u0085", "😀", "\x00", "\x7f", "\ufeff", "=", "~", "---", "...", "true", "no",
        "null", "<<", "2024-01-02", "1:30", "0x1f", "1e3", "1.5", "word ", "longer words ",
        "http://x/y?z=1",
    ]
    scalars = [None, True, False, 0, -5, 10**12, 1.5, 1e16, 1e-7, 1e300, -0.0, 100.0, "x" * 130]

    def text():
        return "".join(random.choice(letters) for _ in range(random.choice([0, 1, 1, 2, 3, 6, 10])))

    def value(depth):
        kind = random.random()
        if depth > 3 or kind < 0.5:
            return text()
        if kind < 0.6:
            return random.choice(scalars)
        if kind < 0.8:
            return [value(depth + 1) for _ in range(random.choice([0, 1, 2, 3]))]
        return {text(): value(depth + 1) for _ in range(random.choice([0, 1, 2, 3]))}

    return [value(0) for _ in range(count)]


def record(name, rows):
    lines = [json.dumps(row, ensure_ascii=True) for row in rows]
    (HERE / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    texts = [json.loads(line)[0] for line in (HERE / "read.jsonl").read_text().splitlines()]
    record("read.jsonl", [[text, read(text)] for text in texts])
    record("write.jsonl", [[value, *write(value)] for value in random_values(250)])
