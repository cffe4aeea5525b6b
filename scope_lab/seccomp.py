"""A filter of system calls for the sandbox: what namespaces leave open, as a small classic BPF program.

Three holes remain in a process that has namespaces and resource limits: memory that belongs to no process (memfd,
System V shared memory), sockets that no network namespace holds back (vsock reaches a virtual machine's host), and
parts of the kernel that programs do not need and exploits do (namespaces of one's own, BPF, io_uring, keys).
"""

import platform
import struct
from functools import cache

# Name of the call: its number on x86-64 and on aarch64.
REFUSED = {
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "vmsplice": (278, 75),
    "fanotify_init": (300, 262),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "syslog": (103, 116),
}
CLONE, CLONE3, SOCKET = (56, 220), (435, 435), (41, 198)
# Cgroup, UTS, IPC, user, PID and network namespaces, and mounts. clone3 hides its flags behind a pointer: it is "not
# implemented", and the C library then takes clone.
NAMESPACE_FLAGS = 0x7E02_0000
FAMILIES = (1, 2, 10)  # unix, IPv4, IPv6: these belong to the network namespace
MACHINES = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of classic BPF
NUMBER, ARCHITECTURE, ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; the first argument's low half
ALLOW, KILL, ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97


@cache
def seccomp_filter(machine: str = platform.machine()) -> bytes | None:
    """The filter as an array of struct sock_filter, little-endian; None on a machine whose calls are not known here."""
    if machine not in MACHINES:
        return None
    column, architecture = MACHINES[machine]
    program: list[tuple[int, int, int, int]] = []  # code, jump if true, jump if false, value

    def add(code: int, value: int, skip_true: int = 0, skip_false: int = 0) -> None:
        program.append((code, skip_true, skip_false, value))

    add(LOAD, ARCHITECTURE)
    add(EQUAL, architecture, skip_true=1)
    add(RETURN, KILL)  # 32-bit calls have numbers of their own
    add(LOAD, NUMBER)
    add(AT_LEAST, 0x4000_0000, skip_false=1)  # so has the x32 ABI
    add(RETURN, ERRNO | EPERM)
    for numbers in REFUSED.values():
        add(EQUAL, numbers[column], skip_false=1)
        add(RETURN, ERRNO | EPERM)
    add(EQUAL, CLONE3[column], skip_false=1)
    add(RETURN, ERRNO | ENOSYS)
    add(EQUAL, CLONE[column], skip_false=4)
    add(LOAD, ARGUMENT)
    add(ANY_BIT, NAMESPACE_FLAGS, skip_false=1)
    add(RETURN, ERRNO | EPERM)
    add(RETURN, ALLOW)
    add(EQUAL, SOCKET[column], skip_false=len(FAMILIES) + 2)
    add(LOAD, ARGUMENT)
    for place, family in enumerate(FAMILIES):
        add(EQUAL, family, skip_true=len(FAMILIES) - place)
    add(RETURN, ERRNO | EAFNOSUPPORT)
    add(RETURN, ALLOW)
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
