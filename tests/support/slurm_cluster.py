"""A real Slurm on this machine: munged, slurmctld and slurmd as processes of the caller, on free ports of the loopback.

Everything that the daemons read and write lies in one temporary folder; they end with the block, or with the caller.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llm.common.processes import die_with

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("munge", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
PATIENCE = 60.0  # seconds that the daemons have to be ready, or to end
SYSTEM = ("/usr/sbin", "/usr/local/sbin", "/sbin")  # folders of daemons, which need not be on the user's PATH

# KillWait: seconds from SIGTERM to SIGKILL. cred_expire: seconds that a requeued job waits at least.
CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=30
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=worker NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 State=UNKNOWN
PartitionName=study Nodes=worker Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=0
PartitionName=urgent Nodes=worker MaxTime=INFINITE State=UP PriorityTier=2
"""


def missing() -> str:
    """The programs of Slurm and munge that are not installed; "" if all are."""
    return " ".join(name for name in (*DAEMONS, *COMMANDS) if _program(name) is None)


@dataclass(frozen=True)
class Cluster:
    """A Slurm that accepts jobs: the environment of its commands, and their version."""

    folder: Path
    environment: dict[str, str]
    version: str

    def __call__(self, *argv: str) -> str:
        """The output of a command of Slurm; CalledProcessError if it fails."""
        done = subprocess.run(argv, env=self.environment, check=True, capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout.strip()

    def states(self) -> dict[str, str]:
        """The states of all jobs that wait or run, an array's one by one."""
        lines = self("squeue", "--noheader", "--array", "--format", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{f.name}:\n{f.read_text(encoding='utf-8', errors='replace')[-3000:]}" for f in files)


class UnstartableError(RuntimeError):
    """Daemons that are installed, and do not start here."""


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start the daemons and wait until a job can be submitted; UnstartableError, with their logs, if they do not."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, for a socket's path has at most 107 bytes
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name in ("state", "spool"):
            (folder / name).mkdir(mode=0o755)
        folder.chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        conf = folder / "slurm.conf"
        ports = _free_ports(2)
        conf.write_text(
            CONF.format(
                host=socket.gethostname().partition(".")[0], user=getpass.getuser(), folder=folder,
                controller_port=ports[0], node_port=ports[1],
            ),
            encoding="utf-8",
        )  # fmt: skip
        path = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM])
        made = Cluster(folder, {**os.environ, "SLURM_CONF": str(conf), "PATH": path}, "")
        munged = [
            "munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}",
            f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munge.log",
        ]  # fmt: skip
        daemon = _Daemon(munged, made)
        stack.callback(daemon.end)
        _wait(made, [daemon], lambda: (folder / "munge.socket").exists())
        daemons = [daemon]
        for argv in (["slurmctld", "-D", "-f", str(conf)], ["slurmd", "-D", "-f", str(conf), "-N", "worker"]):
            daemons.append(_Daemon(argv, made))
            stack.callback(daemons[-1].end)
        _wait(made, daemons, lambda: _says(made, "sinfo", "--noheader", "--format", "%T") in ("idle", "idle\nidle"))
        stack.callback(_cancel_all, made)
        yield Cluster(folder, made.environment, made("sinfo", "--version"))


class _Daemon:
    """A daemon in the foreground, killed when this process ends."""

    def __init__(self, argv: list[str], made: Cluster) -> None:
        program, parent = _program(argv[0]), os.getpid()
        assert program is not None
        with (made.folder / f"{argv[0]}.out.log").open("wb") as log:
            self.process = subprocess.Popen(
                [program, *argv[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=made.environment,
                start_new_session=True, preexec_fn=lambda: die_with(parent),
            )  # fmt: skip

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _wait(made: Cluster, daemons: list[_Daemon], ready: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > end or any(d.process.poll() is not None for d in daemons):
            raise UnstartableError(made.logs())
        time.sleep(0.1)


def _says(made: Cluster, *argv: str) -> str:
    """The output of a command; "" if it fails, as long as the controller is not there."""
    done = subprocess.run(argv, env=made.environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
    return done.stdout.strip() if done.returncode == 0 else ""


def _cancel_all(made: Cluster) -> None:
    """Cancel all jobs and wait until their processes have ended."""
    _says(made, "scancel", "--user", getpass.getuser())
    _says(made, "scancel", "--signal=KILL", "--user", getpass.getuser())
    end = time.monotonic() + PATIENCE
    while _says(made, "squeue", "--noheader") and time.monotonic() < end:
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(SYSTEM))
