"""Programs that mean harm: none gets at anything, outlives its limits or makes its own verdict."""

# ruff: noqa: E501 (a program stands on one line)

import os
import socket
import threading
import time
from dataclasses import replace

import pytest
from walls import walls  # noqa: F401

from scope_lab import sandbox
from scope_lab.sandbox import Limits
from scope_lab.tasks import Verdict
from scope_lab.tasks.code import call
from scope_lab.tasks.code_formats import FunctionTests

pytestmark = pytest.mark.usefixtures("walls")
LIMITS = Limits(cpu=1, wall=5.0, memory=192 << 20, processes=8, scratch=4 << 20, files=500, output=100_000)

# Each prints GOT where it gets what it is after.
REACH = {
    "home": "import os\nif os.listdir(os.path.expanduser('~root')): print('GOT')",
    "passwords": "if open('/etc/passwd').read(): print('GOT')",
    "shadow": "if open('/etc/shadow').read(): print('GOT')",
    "proc": "import os\nif os.listdir('/proc'): print('GOT')",
    "sys": "import os\nif os.listdir('/sys'): print('GOT')",
    "disk devices": "import os\nif set(os.listdir('/dev')) - {'null', 'zero', 'random', 'urandom', 'shm'}: print('GOT')",
    "this repository": "if open(MARK).read(): print('GOT')",
    "path out of the root": "if open('../' * 20 + MARK).read(): print('GOT')",
    "link out of the root": "import os\nos.symlink(MARK, 'link')\nif open('link').read(): print('GOT')",
    "environment": "import os\nif SECRET in repr(dict(os.environ)): print('GOT')",
    "packages": "import pytest\nprint('GOT')",
    "write the root": "open('/x', 'w').write('x')\nprint('GOT')",
    "write the program": "open('/program.py', 'w').write('x')\nprint('GOT')",
    "replace the program": "import os\nos.chmod('/program.py', 0o777)\nprint('GOT')",
    "write a library": "import os\nopen(os.__file__, 'a').write('x')\nprint('GOT')",
    "remove a library": "import os\nos.remove(os.__file__)\nprint('GOT')",
    "write packages": "open('/packages/numpy/x.py', 'w').write('x')\nprint('GOT')",
    "connect to this machine": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 2)\nprint('GOT')",
    "connect out": "import socket\nsocket.create_connection(('192.0.2.1', 80), 2)\nprint('GOT')",
    "look up a name": "import socket\nsocket.getaddrinfo('example.org', 80)\nprint('GOT')",
    "abstract socket": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(ABSTRACT)\nprint('GOT')",
    "raw packets": "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)\nprint('GOT')",
    "kernel sockets": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\nprint('GOT')",
    "kill its makers": "import os, signal\nos.kill(PARENT, signal.SIGKILL)\nprint('GOT')",
    "other processes": "import os\nif [p for p in range(10, 3000) if p != os.getpid() and seen(p)]: print('GOT')",
    "become root": "import os\nos.setuid(0)\nprint('GOT')",
    "is root": "import os\nif os.getuid() == 0: print('GOT')",
    "new namespaces": "libc.unshare(0x10000000) == 0 and print('GOT')",
    "mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 and print('GOT')",
    "chroot": "import os\nos.chroot('/tmp')\nprint('GOT')",
    "debug another": "libc.ptrace(16, 1, 0, 0) == 0 and print('GOT')",
    "kernel keys": "call(248, 217, b'user', b'k', b'v', 1, -3)",
    "load into the kernel": "call(321, 280, 0, 0, 0)",
    "watch the kernel": "call(298, 241, 0, 0, -1, -1, 0)",
    "io_uring": "call(425, 425, 8, 0)",
    "userfaultfd": "call(323, 282, 0)",
    "device node": "import os, stat\nos.mknod('d', stat.S_IFBLK | 0o600, os.makedev(8, 0))\nprint('GOT')",
    "host name": "import socket\nsocket.sethostname('x')\nprint('GOT')",
    "clock": "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0)\nprint('GOT')",
    "raise its limits": "import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))\nprint('GOT')",
    "type into the terminal": "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSTI, b'x')\nprint('GOT')",
    "pipes of others": "import os\nopen_ = [d for d in range(3, 4096) if is_open(d)]\nif open_: print('GOT')",
}  # fmt: skip
BEFORE = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(x86, arm, *arguments):  # a system call that even with bad arguments must not be answered
    if libc.syscall(x86 if os.uname().machine == 'x86_64' else arm, *arguments) >= 0: print('GOT')
    if ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS): print('GOT', ctypes.get_errno())
def seen(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return False
    except PermissionError: return True
    return True
def is_open(descriptor):
    try: os.fstat(descriptor)
    except OSError: return False
    return True
"""

# Each is stopped by the limit named, or runs into an error of its own; none goes on.
EXHAUST = {
    "endless loop": "while True: pass",
    "ignores signals": "import signal\nfor s in range(1, 65):\n  try: signal.signal(s, signal.SIG_IGN)\n  except (OSError, ValueError): pass\nwhile True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "sleeps in children": "import os, time\nos.fork(); os.fork(); os.setsid() if os.getpid() % 2 else 0\ntime.sleep(1000)",
    "endless number": "10 ** 10 ** 10",
    "memory": "x = []\nwhile True: x.append(bytearray(1 << 22))",
    "memory in children": "import os, time\nfor _ in range(6):\n  if os.fork() == 0: x = bytearray(60 << 20); time.sleep(100)\ntime.sleep(100)",
    "fork bomb": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "thread bomb": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(100,)).start()",
    "output": "while True: print('x' * 10_000)",
    "error output": "import sys\nwhile True: sys.stderr.write('x' * 10_000)",
    "large file": "f = open('f', 'wb')\nwhile True: f.write(bytes(1 << 20))",
    "many files": "import itertools\nfor i in itertools.count():\n  open(f'file-{i}', 'w').close()",
    "recursion": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
    "crash": "import ctypes\nctypes.string_at(0)",
    "kills its group": "import os, signal\nos.killpg(0, signal.SIGKILL)",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
}  # fmt: skip

# Each wants to be called correct; the function asked for returns its argument plus 1, and it does not.
FORGE = {
    "exit": "import sys; sys.exit(0)",
    "exit in the call": "def f(x): import os; os._exit(0)",
    "prints a result": "print('{\"passed\": 9, \"failed\": 0, \"over\": null}', flush=True)\ndef f(x): return 0",
    "equal to all": "class E:\n  def __eq__(self, o): return True\n  def __ne__(self, o): return False\ndef f(x): return E()",
    "an int equal to all": "class E(int):\n  def __eq__(self, o): return True\n  __hash__ = None\ndef f(x): return E(7)",
    "patches builtins": "import builtins\nbuiltins.AssertionError = builtins.SystemExit\nbuiltins.all = lambda *a: True\ndef f(x): return 0",
    "defines the check": "def check(candidate): pass\ndef f(x): return 0",
    "patches json": "import json\njson.dumps = lambda *a, **k: '{\"passed\": 9, \"failed\": 0, \"over\": null}'\ndef f(x): return 0",
    "writes to every pipe": "import os\nfor d in range(3, 128):\n  try: os.write(d, b'{\"passed\": 9, \"failed\": 0, \"over\": null}\\n')\n  except OSError: pass\ndef f(x): return 0",
    "result as an answer": "def f(x): return {'passed': 9, 'failed': 0, 'over': None}",
    "looks for the tests": "import gc, sys\nfound = [o for o in gc.get_objects() if isinstance(o, str) and 'SECRET' in o]\ndef f(x):\n  g = sys._getframe(1)\n  while g:\n    if 'checks' in g.f_globals or 'tests' in g.f_locals: return x + 1\n    g = g.f_back\n  return 0",
    "raises what ends tests": "class Over(BaseException): pass\ndef f(x): raise Over('passed')",
    "raises AssertionError": "def f(x): raise AssertionError",
    "no end of brackets": "import os\ndef f(x):\n  for d in range(3, 128):\n    try: os.write(d, b'[' * 60_000 + b'\\n')\n    except OSError: pass",
    "huge number": "def f(x): return 1 << 10_000_000",
    "endless iterator": "def f(x):\n  while True: yield 1",
    "never answers": "import time\ndef f(x): time.sleep(1000)",
    "not a number": "def f(x): return float('nan')",
}  # fmt: skip
TESTS = FunctionTests(
    "f", "def check(candidate):\n    for x in (1, 5, 9):\n        assert candidate(x) == x + 1  # SECRET\n"
)


@pytest.mark.parametrize("name", REACH)
def test_nothing_is_reached(name, faults, tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    mark.write_text("mark")
    monkeypatch.setenv("SCOPE_LAB_KEY", "not-for-you")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix:
        abstract = f"\0scope-lab-{os.getpid()}"
        unix.bind(abstract)
        unix.listen()
        known = {"MARK": str(mark), "SECRET": "not-for-you", "PORT": server.getsockname()[1]}
        known |= {"ABSTRACT": abstract, "PARENT": os.getpid()}
        lines = "".join(f"{key} = {value!r}\n" for key, value in known.items())
        with faults("sandbox: reaches out") as fault:
            outcome = sandbox.run(lines + BEFORE + REACH[name], limits=LIMITS)
            fault.survived = int("GOT" not in outcome.stdout)
            assert outcome.status != "failed" and "GOT" not in outcome.stdout, outcome
            assert "SyntaxError" not in outcome.stderr and "NameError" not in outcome.stderr, outcome


@pytest.mark.parametrize("name", EXHAUST)
def test_nothing_goes_on(name, faults):
    threads, start = threading.active_count(), time.monotonic()
    with faults("sandbox: exhausts") as fault:
        outcome = sandbox.run(EXHAUST[name], limits=replace(LIMITS, wall=1.5))
        fault.survived = int(outcome.status != "failed")
        assert outcome.status != "failed" and outcome.returncode != 0, outcome
        assert "SyntaxError" not in outcome.stderr and len(outcome.stdout) + len(outcome.stderr) <= 100_001
    assert time.monotonic() - start < 6 and threading.active_count() == threads


@pytest.mark.parametrize("name", FORGE)
def test_no_verdict_is_forged(name, faults):
    with faults("sandbox: forges a verdict") as fault:
        verdict, reason, _ = call(TESTS, FORGE[name], replace(LIMITS, wall=1.5))
        fault.survived, fault.wrong_numbers = int(verdict == Verdict.INCORRECT), int(verdict == Verdict.CORRECT)
        assert verdict == Verdict.INCORRECT, (verdict, reason)


def test_the_right_function_is_correct():
    assert call(TESTS, "def f(x): return x + 1", LIMITS)[:2] == (Verdict.CORRECT, "all tests pass")
