"""Who holds something, and how others see whether that process still lives."""

import os
import platform
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process that holds cases, jobs or a file being written.

    Attributes:
        token: random, so that one process can be several owners.
        host: where process numbers mean the same processes: machine, its start, pid namespace.
        pid: of the process.
        started: when the process started, since process numbers are used again; "" if unknown.

    Example:
        >>> Owner.current().is_known_dead()
        False
    """

    token: str
    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> "Owner":
        """A new owner in this process."""
        return cls(secrets.token_hex(8), _host(), os.getpid(), start_of(os.getpid()) or "")

    def is_known_dead(self) -> bool:
        """Whether the process ran where we run, and is gone; of other hosts nothing is known."""
        if self.host != _host():
            return False
        started = start_of(self.pid)
        if started is None and _is_hidden(self.pid):
            return False
        return (started or "") != self.started


def start_of(pid: int) -> str | None:
    """When a process of this host started, as the system writes it; none if it is gone.

    Always none where the system does not tell (Windows): there only a lease tells life from death.

    Example:
        >>> start_of(os.getpid()) == start_of(os.getpid())
        True
    """
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        # proc(5): the second field, a name in parentheses, may hold anything; then come the third,
        # the state, and as 22nd the start in clock ticks since the machine's.
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    if os.name != "posix":
        return None
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def _is_hidden(pid: int) -> bool:
    """Whether a process is there, but another user's, of which the system tells us nothing else.

    All of others are where `/proc` is mounted with `hidepid` (proc(5)), as on many clusters.
    """
    if os.name != "posix":
        return False  # signal 0 is not harmless there
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _host() -> str:
    # Containers on one machine may have one name and different processes of one number.
    parts = [platform.node()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        pass
    return " ".join(parts)
