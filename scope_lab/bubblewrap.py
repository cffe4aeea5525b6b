"""The command line that starts bubblewrap, and whom the program in it is.

What it sees is Python, the system's libraries, numpy, four devices and an empty /tmp. No /proc is mounted: programs do
without it, attacks do not, and containers often refuse it.
"""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

NOBODY = 65534
FIRST_USER, USERS = 0x7000_0000, 65_535  # on a machine's root account: user numbers that own nothing
ENVIRONMENT = {"HOME": "/tmp", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

# Runs inside, before the program. Limits come late, for the interpreter must start before they hold; the byte says that
# all is set, and so that what happens from here on is the program's doing.
BOOT = """
def _boot():
    import os, resource as r, sys
    path = sys.argv[1]
    user, ready, cpu, memory, processes, size, *keep = map(int, sys.argv[2:])
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    last = r.getrlimit(r.RLIMIT_NOFILE)[0]
    for limit, value in ((r.RLIMIT_AS, memory), (r.RLIMIT_FSIZE, size), (r.RLIMIT_NPROC, processes),
                         (r.RLIMIT_NOFILE, 128), (r.RLIMIT_CORE, 0), (r.RLIMIT_MEMLOCK, 0), (r.RLIMIT_MSGQUEUE, 0)):
        if value >= 0:
            r.setrlimit(limit, (value, value))
    r.setrlimit(r.RLIMIT_CPU, (cpu, cpu + 1))
    with open(path, encoding="utf-8") as file:
        source = file.read()
    os.write(ready, b"1")
    edges = [2, *sorted(keep), last]
    for low, high in zip(edges, edges[1:]):
        os.closerange(low + 1, high)
    sys.argv[:] = ["program.py"]
    sys.path.append("/packages")
    return compile(source, path, "exec")
exec(globals().pop("_boot")())
"""


def bwrap_path() -> str | None:
    return shutil.which("bwrap")


def bwrap_command(
    program: int, seccomp: int, status: int, scratch: int, bounds: Sequence[int]
) -> tuple[list[str], list[int]]:
    """The command that runs a program in a sandbox, and the descriptors it needs besides those in `bounds`.

    program, seccomp, status  descriptors: its source, the filter of system calls, where bubblewrap says how it goes
    scratch                   bytes of /tmp
    bounds                    BOOT's numbers after the user
    """
    user, given = 0, [program, seccomp, status]
    if _is_root_of_machine():  # two capabilities to become another user with, who then has none
        user, namespace = 1 + next(_users) % USERS, _root_namespace()
        given.append(namespace)
        who = ["--userns", str(namespace), "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        who = ["--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL"]
    command = [
        *(bwrap_path() or "bwrap", *who, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--die-with-parent", "--new-session", "--json-status-fd", str(status)),
        *_libraries(),
        *("--perms", "1777", "--size", str(scratch), "--tmpfs", "/tmp"),
        *("--perms", "0444", "--file", str(program), "/program.py"),
        *("--remount-ro", "/", "--chdir", "/tmp", "--seccomp", str(seccomp), "--"),
        *_python(_interpreter(), "/program.py", [user, *bounds]),
    ]
    return command, given


def unsafe_command(folder: str, program: bytes, bounds: Sequence[int]) -> tuple[list[str], list[int]]:
    """Likewise without a sandbox: in a folder, only with the limits of one process."""
    path = Path(folder) / "program.py"
    path.write_bytes(program)
    ready, cpu, memory, _, *rest = bounds
    return _python(sys.executable, str(path), [0, ready, cpu, memory, -1, *rest]), []  # -1: the user has others


def _python(interpreter: str, path: str, numbers: Sequence[int]) -> list[str]:
    return [interpreter, "-I", "-B", "-X", "utf8", "-c", BOOT, path, *map(str, numbers)]


@cache
def _libraries() -> tuple[str, ...]:
    """Python's interpreter and libraries, the system's libraries, numpy and four harmless devices, all read-only."""
    prefixes = {Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve(), Path("/usr"), Path("/")}
    arguments: list[str] = []
    parents: set[Path] = set()

    def add(option: str, source: str | Path, place: str | Path) -> None:
        for parent in reversed(Path(place).parents[:-1]):
            if parent not in parents:  # else only their owner may enter them
                arguments.extend(["--perms", "0755", "--dir", str(parent)])
                parents.add(parent)
        arguments.extend([option, str(source), str(place)])

    for folder in sorted(prefix / name for prefix in prefixes for name in ("lib", "lib32", "lib64", "nix/store")):
        if folder.is_symlink():
            add("--symlink", os.readlink(folder), folder)
        elif folder.is_dir():
            add("--ro-bind", folder, folder)
            for packages in sorted(folder.glob("python3*/*-packages")):
                if packages.is_dir():  # not what happens to be installed here
                    arguments += ["--tmpfs", str(packages), "--remount-ro", str(packages)]
    add("--ro-bind", _interpreter(), _interpreter())
    if (numpy := find_spec("numpy")) and numpy.submodule_search_locations:
        home = Path(numpy.submodule_search_locations[0])
        for folder in (home, home.with_name("numpy.libs")):
            if folder.is_dir():
                add("--ro-bind", folder, f"/packages/{folder.name}")
    for device in ("null", "zero", "random", "urandom"):
        add("--dev-bind", f"/dev/{device}", f"/dev/{device}")
    add("--symlink", "/tmp", "/dev/shm")
    return tuple(arguments)


def _interpreter() -> str:
    """The Python of this environment, not the environment's link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


_users = itertools.count()


@cache
def _is_root_of_machine() -> bool:
    """Whether this is the root that the kernel holds to no number of processes, whatever it is called in a namespace.

    Its programs must become someone else: each another user of one namespace, so that each is counted for itself. All
    other users get a namespace for each program.
    """
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


@cache
def _root_namespace() -> int:
    """A descriptor of a user namespace with root and USERS numbers that own nothing outside."""
    code = "import ctypes, sys; print(ctypes.CDLL(None).unshare(0x10000000), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-I", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as helper:
        assert helper.stdin and helper.stdout
        if helper.stdout.readline().strip() != b"0":
            raise OSError("unshare is not permitted")
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{helper.pid}/{kind}").write_text(f"0 0 1\n1 {FIRST_USER} {USERS}\n")
        return os.open(f"/proc/{helper.pid}/ns/user", os.O_RDONLY)
