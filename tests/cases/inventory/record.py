"""Records tests/cases/inventory/*.jsonl from ansible-core 2.19.14.

Run it with the Python of an environment that has ansible-core and tomli-w, in this directory.
listings.jsonl: [directory, arguments of ansible-inventory, what it prints on stdout].
patterns.jsonl: [directory, pattern, limit or null, hosts or null where it is an error, warnings].
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.utils.display import Display

HERE = pathlib.Path(__file__).parent.resolve()
COMMAND = [str(pathlib.Path(sys.executable).parent / "ansible-inventory")]
SHAPES = [
    ["--list"], ["--list", "--yaml"], ["--list", "--export"], ["--list", "--export", "--yaml"],
    ["--graph"], ["--graph", "--vars"],
]
# Of a group below two others Ansible's TOML loses what its hosts have: `structure` is none of these.
TOML = [["--list", "--toml"], ["--list", "--export", "--toml"]]
LISTINGS = [
    ("ini", ["-i", "hosts"], [["--host", "web01"], ["--list", "--limit", "web,&prod,!web02"], *TOML]),
    ("structure", ["-i", "hosts.yml"], [
        ["--host", "web01"], ["--host", "web01", "--yaml"], ["--host", "localhost"], ["--graph", "prod"],
        ["--list", "--limit", "web[0:1],db"],
    ]),
    ("directory", ["-i", "."], [["--host", "a1"]]),
    ("toml", ["-i", "hosts.toml"], [["--host", "tomcat2"], ["--host", "tomcat2", "--toml"], *TOML]),
    ("plugins", ["-i", "."], [["--host", "web1"]]),
    ("vaulted", ["-i", "hosts.yml"], [["--host", "h1"]]),
    (".", ["-i", "directory", "-i", "structure/hosts.yml", "-i", "ini/hosts"], [["--host", "a1"]]),
    (".", ["-i", "a,b:22, c[1:2],::1"], [["--host", "b"]]),
]
PATTERNS = [
    "all", "*", "web", "web01", "web*", "web0?", "web0[12]", "web0[!1]", "~web0[12]$", "~.*db", "web:db", "web,db",
    "web:&prod", "web:!web01", "!web", "&web", "web[0]", "web[-1]", "web[0:1]", "web[1:]", "web[0-1]", "web[9]",
    "web[5:9]", "prod[1:3]", "*[0:2]", ",,web01", "'web01, ,  ,dbhost'", "web01,nosuch", "nosuch", "localhost",
    "127.0.0.1", "fe80::1", "[fe80::1]", "ungrouped", "ungr*", "mail.example.com", "*.example.com", "",
    "web:db:!web0*", "web,!web01,&prod", "all,!all", "web[0:0]", "~[", "lonely[0]", "we*:&d*", "WEB", "other,web",
]
LIMITS = ["web", "!web01", "nosuch", "web[0]", ":", "dbhost,lonely"]


def listing(directory, arguments):
    environment = {"PATH": "/usr/bin:/bin", "HOME": tempfile.mkdtemp(), "ANSIBLE_VAULT_PASSWORD_FILE": str(HERE / "vault-password")}
    done = subprocess.run(COMMAND + arguments, cwd=HERE / directory, env=environment, capture_output=True, text=True)
    return [directory, arguments, done.stdout]


def selection(directory, pattern, limit):
    warnings = []
    Display.warning = lambda self, msg, *args, **kwargs: warnings.append(msg)
    inventory = InventoryManager(DataLoader(), sources=[str(HERE / directory)])
    del warnings[:]
    try:
        inventory.subset(limit)
        hosts = [host.name for host in inventory.get_hosts(pattern)]
    except Exception:
        hosts = None
    return [directory, pattern, limit, hosts, warnings]


def record(name, rows):
    (HERE / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    record("listings.jsonl", [
        listing(directory, sources + shape)
        for directory, sources, more in LISTINGS for shape in SHAPES + more
    ])
    selections = [("structure/hosts.yml", pattern, None) for pattern in PATTERNS]
    selections += [("structure/hosts.yml", pattern, limit) for pattern in ("all", "prod") for limit in LIMITS]
    record("patterns.jsonl", [selection(*row) for row in selections])
