"""The processes that belong to a state directory: start, find, stop.

Each carries MARK=<directory> in its environment, and so does what it starts (functions' workers). What is running
is read from /proc by that mark, not from a pid file, so nothing is missed after a crash and nothing else is killed.
"""

import os
import pathlib
import random
import signal
import socket
import subprocess
import time

MARK = "FIREBREAK_LOCAL_STATE"


def start(command, log, state, environment):
    """Starts a process in a session of its own with only this environment; its output goes to the file log."""
    with open(log, "ab") as output:
        return subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                env={**environment, MARK: str(state)}, cwd=state, start_new_session=True)


def running(state):
    """The ids of the processes of a state directory, of this user, without zombies."""
    mark = f"{MARK}={state}".encode()
    return [p for p in pids() if mark in read(p, "environ").split(b"\0") and p != os.getpid()]


def pids():
    return sorted(int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit())


def read(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def command(pid):
    return read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def stop(state, grace=5.0):
    """Stops every process of a state directory; those that do not end in time are killed. Returns how many."""
    stopped, deadline, number = set(), time.monotonic() + grace, signal.SIGTERM
    while found := running(state):
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        for pid in found:
            if pid in stopped and number == signal.SIGTERM:
                continue
            stopped.add(pid)
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
    return len(stopped)


def port_owner(port):
    """Who listens on a port, in words, or "" when it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return ""
        except OSError:
            pass
    inodes = {f"socket:[{line.split()[9]}]" for table in ("tcp", "tcp6") for line in listeners(table)
              if int(line.split()[1].rsplit(":", 1)[1], 16) == port}
    for pid in pids():
        try:
            links = [os.readlink(f) for f in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        if inodes & set(links):
            return f"process {pid} ({command(pid)})"
    return "a process that this user cannot see"


def listeners(table):
    lines = read("net", table).decode().splitlines()[1:]
    return [line for line in lines if line.split()[3] == "0A"]


def free_ports():
    """Two neighbouring free ports below those that the kernel gives to clients: a client that asks a port of those before its
    server listens can be given that very port, and then talks to itself and keeps the server out."""
    while True:
        port = random.randrange(16384, 32000, 2)
        if not port_owner(port) and not port_owner(port + 1):
            return port, port + 1
