"""The lab of real hosts, the engines that play on it, and what a test may ask of either.

Knows nothing of any one test. A test gets a `Trial`, plays text with it and looks at the hosts
behind the engine's back, through a root shell of their own.
"""

import difflib
import json
import os
import re
import socket
import subprocess
import textwrap
import threading
import time
from pathlib import Path

here = Path(__file__).resolve().parent
tree = here.parent.parent

promises = []


def promise(function):
    """Registers a test that holds for every engine."""
    promises.append((function, None))
    return function


def promise_of_backstay(function):
    """Registers a test of what only backstay promises; it is left out when Ansible is tried."""
    promises.append((function, "backstay"))
    return function


def same(wanted, found):
    """Compares two texts, Ansible's first; the complaint is a diff."""
    assert found == wanted, "\n".join(difflib.unified_diff(wanted.splitlines(), found.splitlines(), "ansible", "found", lineterm=""))


class Lab:
    """Five hosts, h1 to h5, of the lab that `hosts up` makes."""

    def __init__(self, name, net):
        self.net = net
        self._environment = {**os.environ, "BACKSTAY_LAB": name, "BACKSTAY_LAB_NET": str(net)}
        self.directory = Path(self._hosts("lab").strip())
        self.inventory = self.directory / "inventory"
        self.known_hosts = self.directory / "known_hosts"

    def up(self):
        self._hosts("up", "5")

    def down(self):
        self._hosts("down")

    def renew(self, host):
        """Replaces a host by a new one."""
        self._hosts("down", host)
        self.up()

    def reset(self, host):
        """Takes the power from a host and boots it again; returns when it lets root in."""
        self._hosts("reset", host)

    @property
    def secret(self):
        return (self.directory / "secret").read_text().strip()

    def key(self, name):
        return self.directory / "keys" / name

    def address(self, host):
        return f"127.0.{self.net}.{host[1:]}"

    def shell(self, host, command):
        """Runs a command as root; its standard output. A failure is the test's."""
        return self._hosts("shell", host, command)

    def holds(self, host, command):
        """Whether a command succeeds."""
        return self._run("shell", host, command).returncode == 0

    def wait_until(self, host, command, seconds=30):
        """Asks again and again until the command succeeds."""
        deadline = time.monotonic() + seconds
        while not self.holds(host, command):
            assert time.monotonic() < deadline, f"{host}: never became true: {command}"
            time.sleep(0.1)

    def mark(self, host):
        """Starts to watch the host's files for `touched`."""
        self.shell(host, "touch /run/mark; sleep 0.02")

    def touched(self, host, *besides):
        """Paths that came, went or changed since `mark`, but for logs and the paths below `besides`."""
        unwatched = ("/var/log", "/var/lib/systemd", "/dev", "/proc", "/run", "/sys", *besides)
        found = self.shell(host, "find / /tmp -xdev -cnewer /run/mark").splitlines()
        parents = {"/", "/root", "/tmp", "/home", "/etc", "/var", "/var/lib", "/var/tmp", "/srv"}
        return sorted(
            path
            for path in set(found) - parents
            if not any(path == other or path.startswith(other + "/") for other in unwatched)
        )

    def state_of(self, host, *paths):
        """Type, mode, owner, group, link target and content of all below the paths, and no times."""
        listed = " ".join(paths)
        return self.shell(
            host,
            f"find {listed} -printf '%p %y %m %u %g %l\\n' | sort; find {listed} -type f -exec sha256sum {{}} + | sort -k2",
        )

    def _run(self, *arguments):
        return subprocess.run(
            [here / "hosts", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _hosts(self, *arguments):
        done = self._run(*arguments)
        assert done.returncode == 0, f"hosts {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


class Engine:
    """A way to run a playbook: real Ansible, or backstay."""

    def __init__(self, name, command, **environment):
        self.name = name
        self.command = command
        self.environment = environment


class Trial:
    """What one test works with: a directory of its own, the engine under test, the lab."""

    def __init__(self, lab, engine, oracle, work):
        self.lab = lab
        self.engine = engine
        self.oracle = oracle
        self.work = work

    def file(self, name, content):
        """Writes a file into the test's directory; its path."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
        return path

    def host(self, name="target", on="h1", **variables):
        """An inventory line for a way of its own to log in to a host of the lab."""
        settings = {
            "ansible_host": self.lab.address(on),
            "ansible_port": 2222,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": self.lab.key("id"),
            **variables,
        }
        # Read as a Python literal first, so what is not a number is quoted.
        return " ".join([name, *(f"{key}={json.dumps(str(value))}" for key, value in settings.items() if value is not None)])

    def known(self, path=None, **options):
        """`ansible_ssh_common_args` that looks for host keys in one file."""
        settings = {"UserKnownHostsFile": path or self.lab.known_hosts, "StrictHostKeyChecking": "yes", "IdentitiesOnly": "yes", **options}
        return " ".join(f"-o {key}={value}" for key, value in settings.items() if value is not None)

    def play(self, text, *arguments, **options):
        """Plays the text and waits for its end."""
        return self.start(text, *arguments, **options).finish()

    def start(self, text, *arguments, inventory="", environment=None, engine=None):
        """Starts to play the text, on the lab's inventory and the lines given."""
        playbook = self.file("play.yml", text)
        more = self.file("inventory.ini", "[more]\n" + inventory + "\n") if inventory else None
        sources = ["-i", self.lab.inventory, *(["-i", more] if more else [])]
        return self.run(playbook, *sources, *arguments, environment=environment, engine=engine)

    def run(self, playbook, *arguments, environment=None, engine=None):
        """Starts a playbook that is a file, with nothing of this process's environment."""
        engine = engine or self.engine
        command = [*engine.command, *map(str, arguments), str(playbook)]
        surroundings = {"PATH": os.environ["PATH"], "HOME": str(self.work), "LANG": "C.UTF-8", **engine.environment, **(environment or {})}
        return Running(command, surroundings)


class Running:
    """A play under way."""

    def __init__(self, command, environment):
        self.command = command
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=tree,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def finish(self, seconds=120):
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"still running after {seconds} s\n{out}{err}") from None
        finally:
            self.process.kill()
        return Played(self.command, self.process.returncode, out, err)


class Cable:
    """A way to a host that can be cut: a port of this machine, forwarded to the host's sshd."""

    def __init__(self, address):
        self.target = (address, 2222)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        # What is set passes; what is not is held back, and no end is told.
        self.there, self.back = threading.Event(), threading.Event()
        self.mend()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.mend()

    def cut(self, there=True, back=True):
        """Holds back what goes to the host, what comes back from it, or both."""
        for direction, cut in ((self.there, there), (self.back, back)):
            if cut:
                direction.clear()

    def mend(self):
        self.there.set()
        self.back.set()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            for source, sink, passes in ((near, far, self.there), (far, near, self.back)):
                threading.Thread(target=self._carry, args=(source, sink, passes), daemon=True).start()

    @staticmethod
    def _carry(source, sink, passes):
        try:
            while data := source.recv(65536):
                passes.wait()
                sink.sendall(data)
        except OSError:
            pass
        passes.wait()
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Played:
    """The end of a play: its exit status and what it printed."""

    def __init__(self, command, status, out, err):
        self.command = command
        self.status = status
        self.out = out
        self.err = err

    def exits(self, status):
        assert self.status == status, self.told(f"exit status {self.status}, not {status}")
        return self

    def counts(self, host, **expected):
        """Compares the named numbers of the host's line in the recap."""
        found = self.recap().get(host)
        assert found is not None, self.told(f"no line for {host} in the recap")
        actual = {name: found[name] for name in expected}
        assert actual == expected, self.told(f"{host}: {actual}, not {expected}")
        return self

    def says(self, pattern):
        assert re.search(pattern, self.out + self.err), self.told(f"nothing matches {pattern}")
        return self

    def hides(self, text):
        assert text not in self.out + self.err, self.told(f"it shows {text}")
        return self

    def recap(self):
        lines = re.findall(r"^(\S+) +: (ok=.*)$", self.out.partition("PLAY RECAP")[2], re.MULTILINE)
        return {host: {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)} for host, line in lines}

    def told(self, complaint):
        return f"{complaint}\n$ {' '.join(map(str, self.command))}\n{self.out}{self.err}"
