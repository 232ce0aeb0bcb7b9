"""A real SLURM of one node, in a folder of its own, for as long as it is needed. Needs root, and Debian's packages:
munge slurmctld slurmd slurm-client.

python -m tests.slurm.cluster start FOLDER    then: export SLURM_CONF=FOLDER/slurm.conf
python -m tests.slurm.cluster stop FOLDER
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
DAEMONS = ("slurmd", "slurmctld", "munged")  # in the order in which they are stopped

# More cores and memory than there may be (config_overrides), so that the scripts' requests fit; two GPUs that are none.
CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
MinJobAge=3600
KillWait=10
ReturnToService=2
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 Port={node_port} CPUs=8 RealMemory=200000 Gres=gpu:2 State=UNKNOWN
PartitionName=test Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if not shutil.which(name, path=_path())]


def start(folder: Path) -> Path:
    """Start the daemons in a folder, wait until the node is idle, and return slurm.conf. Raises RuntimeError if it does
    not come up."""
    for part in ("state", "spool"):
        (folder / part).mkdir(parents=True)
    folder.chmod(0o755)
    for number in (0, 1):  # SLURM takes GPUs by their device files; any character device will do
        os.mknod(folder / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    ctld_port, node_port = _free_ports(2)
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, ctld_port=ctld_port, node_port=node_port))
    (folder / "gres.conf").write_text(f"NodeName=localhost Name=gpu File={folder}/gpu[0-1]\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    munge = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munged.pid"}
    munge |= {"log-file": folder / "munged.log", "seed-file": folder / "munge.seed"}
    _run("munged", "--force", *(f"--{name}={path}" for name, path in munge.items()))
    # whatever the host is called, the daemons are on localhost
    for daemon in ("slurmctld", "slurmd"):
        extra = " -N localhost" if daemon == "slurmd" else ""
        _run("unshare", "--uts", "sh", "-c", f"hostname localhost; exec {daemon} -f {conf}{extra}", SLURM_CONF=str(conf))
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        nodes = _run("sinfo", "--noheader", "--format=%T", SLURM_CONF=str(conf), check=False).strip()
        if nodes == "idle":
            return conf
        time.sleep(0.2)
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    stop(folder)
    raise RuntimeError(f"SLURM did not come up in a minute; its node is {nodes!r}\n{logs}")


def stop(folder: Path) -> None:
    """Stop the daemons of a folder and wait until they are gone."""
    for name in DAEMONS:
        file = folder / f"{name}.pid"
        if not file.exists():
            continue
        pid = int(file.read_text())
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            limit = time.monotonic() + 10
            while Path(f"/proc/{pid}").exists() and time.monotonic() < limit:
                time.sleep(0.05)


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _run(*command: str, check: bool = True, **environment: str) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=check, env={**os.environ, "PATH": _path(), **environment}
    )
    return done.stdout


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


if __name__ == "__main__":
    action, where = sys.argv[1], Path(sys.argv[2]).resolve()
    print(f"export SLURM_CONF={start(where)}") if action == "start" else stop(where)
