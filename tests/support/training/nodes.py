"""A torchrun job of several machines, each in a network namespace of its own, or on loopback where none can be made.

Run as a file it is a worker of the job: a tiny training that writes down every step, and waits where the test says.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from tests.support import ROOT
from tests.support.hostile.fault_injection import wrap
from tests.support.processes import descendants
from tests.support.servers import ports

STORE = "import time; from torch.distributed import TCPStore; store = TCPStore('0.0.0.0', {port}, is_master=True, "
STORE += "wait_for_workers=False); print('ready', flush=True); time.sleep(1e9)"
HUB = 254  # the last number of the address of the machine with the store
# an agent that is not scheduled for as long as a lost machine is waited for never joins, see docs/scaling.md
RENDEZVOUS = "is_host=false,last_call_timeout=5,keep_alive_interval=2,keep_alive_max_attempt=15"


class Job:
    """Machines numbered from 1, which come and go, and the store by which their agents find each other."""

    def __init__(self, folder, size, flags, isolated):
        self.folder, self.size, self.flags = folder, size, flags
        self.network = Namespaces(size) if isolated else Loopback()
        self.agents = {}

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run_to(0)
        try:
            self.network.open()
            words = [sys.executable, "-c", STORE.format(port=self.network.port)]
            self.store = subprocess.Popen(self.network.inside(HUB, words), stdout=subprocess.PIPE, text=True)
            assert self.store.stdout.readline() == "ready\n"
        except BaseException:
            self.network.close()
            raise
        return self

    def __exit__(self, *_):
        for node in [*self.agents]:
            self.kill(node)
        self.store.kill()
        self.store.wait()
        self.network.close()

    def start(self, node):
        """Start the agent of a machine."""
        address = self.network.address(node)
        words = [sys.executable, "-m", "torch.distributed.run", "--nnodes", f"1:{self.size}", "--nproc-per-node", "1"]
        words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{self.network.address(HUB)}:{self.network.port}"]
        words += ["--rdzv-id", "elastic", "--rdzv-conf", RENDEZVOUS, "--local-addr", address, "--max-restarts", "9"]
        words += [__file__, str(self.folder), *self.flags]
        more = {
            "LOGLEVEL": "INFO",
            "PYTHONFAULTHANDLER": "1",
            "OMP_NUM_THREADS": "1",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        } | self.network.variables
        with open(self.folder / f"node{node}.log", "a") as log:
            self.agents[node] = subprocess.Popen(
                self.network.inside(node, words), env=os.environ | more, stdout=log, stderr=log, cwd=ROOT
            )

    def kill(self, node):
        """SIGKILL the agent of a machine and all processes that it started."""
        agent = self.agents.pop(node)
        for pid in [agent.pid, *descendants(agent.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        agent.wait()

    def drain(self, node):
        """SIGTERM to the agent of a machine, as before it is switched off; the process of the agent."""
        self.agents[node].terminate()
        return self.agents.pop(node)

    def run_to(self, step):
        """Let the training go on until this step is done."""
        (self.folder / "limit.tmp").write_text(str(step))
        os.replace(self.folder / "limit.tmp", self.folder / "limit")

    def wait_for(self, processes, step, seconds=400):
        """Wait until so many processes have done this step; the steps done so far."""
        end = time.monotonic() + seconds
        while not ((done := steps(self.folder)) and done[-1]["step"] >= step and done[-1]["world"] == processes):
            assert time.monotonic() < end, f"step {step} of {processes} processes is not done:\n{self.abort()}"
            assert any(agent.poll() is None for agent in self.agents.values()), self.logs()
            time.sleep(0.1)
        return done

    def end(self, seconds=400):
        """Let the training run to its end; the exit statuses of the agents."""
        self.run_to(10**9)
        return [agent.wait(seconds) for agent in self.agents.values()]

    def abort(self):
        """End all agents with a traceback of their threads; the logs."""
        for agent in self.agents.values():
            agent.send_signal(signal.SIGABRT)
            agent.wait()
        return self.logs()

    def logs(self):
        return "\n".join(f"== {path.name}\n{path.read_text()[-9000:]}" for path in sorted(self.folder.glob("*.log")))


class Loopback:
    """All machines on this one, with addresses of loopback."""

    def __init__(self):
        self.variables = {}

    def open(self):
        self.held = ports.reserve()
        self.port = self.held.getsockname()[1]

    def close(self):
        self.held.close()

    def address(self, node):
        return f"127.0.0.{node}"

    def inside(self, _node, words):
        return words


class Namespaces:
    """Each machine in a network namespace, with a cable to a switch in that of the store."""

    port = 29400

    def __init__(self, size):
        self.variables = {"GLOO_SOCKET_IFNAME": "eth0"}
        self.names = {node: f"bf{os.getpid()}n{node}" for node in (HUB, *range(1, size + 1))}

    def open(self):
        hub = self.names[HUB]
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", hub, "link", "add", "switch", "type", "bridge")
        ip("-n", hub, "address", "add", f"{self.address(HUB)}/24", "dev", "switch")
        ip("-n", hub, "link", "set", "switch", "up")
        for node, name in self.names.items():
            if node != HUB:
                ip("-n", hub, "link", "add", f"port{node}", "type", "veth", "peer", "name", "eth0", "netns", name)
                ip("-n", hub, "link", "set", f"port{node}", "master", "switch", "up")
                ip("-n", name, "address", "add", f"{self.address(node)}/24", "dev", "eth0")
                ip("-n", name, "link", "set", "eth0", "up")

    def close(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)

    def address(self, node):
        return f"10.77.0.{node}"

    def inside(self, node, words):
        return ["ip", "netns", "exec", self.names[node], *words]

    def cable(self, node, is_plugged):
        """Pull the network cable of a machine, or plug it in."""
        ip("-n", self.names[HUB], "link", "set", f"port{node}", "up" if is_plugged else "down")


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def has_namespaces():
    """Whether network namespaces with a bridge can be made here."""
    try:
        network = Namespaces(1)
        try:
            network.open()
        finally:
            network.close()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def steps(folder):
    """What the training has written down of each step that it has done, see `note_steps`."""
    path = folder / "steps.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def kept(done):
    """By number, the steps that stayed: the last start that did a step counts, as others went back before it."""
    return {one["step"]: one for one in done}


def note_steps(folder):
    """Let the first process of a training write down each step it has done, and all wait at the limit of the test."""

    def make(count):
        def noted(run, results, healthy):
            count(run, results, healthy)
            position, group = run.position, run.job.group
            slots = [[position.epoch, r.index, r.record, str(r.digest), sum(r.terms.values())] for r in results]
            line = {"step": position.step, "start": os.getpid(), "world": group.world_size, "slots": slots}
            if group.is_main:
                with open(folder / "steps.jsonl", "a") as file:
                    file.write(json.dumps(line) + "\n")
            while position.step >= int((folder / "limit").read_text()) and not run.job.stop.name:
                time.sleep(0.02)

        return noted

    wrap("train.step.count", make)


def work(folder, *flags):
    """Run a worker of the job in this process, which ends with it."""
    import torch

    from tests.support.training.trainings import create_tiny
    from tools import cli
    from train import build as setup
    from train import main

    torch.set_num_threads(1)
    sys.argv = ["train/main.py", *flags]
    setup.create_network = create_tiny
    note_steps(Path(folder))
    cli.run(main.main)


if __name__ == "__main__":
    work(*sys.argv[1:])
