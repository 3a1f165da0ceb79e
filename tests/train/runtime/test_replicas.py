"""The sums of gradients over the processes of a job."""

import signal
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch.nn.parallel import DistributedDataParallel

from tests.support.servers import ports
from tests.support.shards import make_data
from tests.support.training import trainings
from train.runtime.dist import Group
from train.runtime.replicas import last_pass, replicate, sum_bucket

WORLD = 4
TINY_BUCKETS = 0.0004  # MB, so that there are several
GAN = ("--tile", 80, "--discriminator", "ffce", "--generator-warmup-iteration", 2)
SMALL = [["small discriminators"]]


def layers():
    torch.manual_seed(0)
    return torch.nn.Sequential(*(torch.nn.Linear(13, 13) for _ in range(4)))


def inputs(rank, number):
    return torch.randn(5, 13, generator=torch.Generator().manual_seed(100 * rank + number))


def alone(rank, number, network):
    """The gradients that a process has by itself."""
    return torch.autograd.grad(network(inputs(rank, number)).square().sum(), [*network.parameters()])


def run(rank, port):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD)
    try:
        for check in (check_silence, check_buckets, check_passes, check_compiled, check_sums):
            check(rank, Group(rank, WORLD, torch.device("cpu")))
    finally:
        dist.destroy_process_group()


def check_buckets(rank, group):
    """Before and after DDP forms its buckets anew, and with one bucket, sums are those in the order of ranks."""
    one, many = layers(), layers()
    replicas = replicate(one, group), DistributedDataParallel(many, bucket_cap_mb=TINY_BUCKETS)
    replicas[1].register_comm_hook(group, sum_bucket)
    for number in range(3):
        expected = [
            sum(parts[1:], parts[0]) for parts in zip(*(alone(r, number, one) for r in range(WORLD)), strict=True)
        ]
        for replica in replicas:
            replica.zero_grad()
            replica(inputs(rank, number)).square().sum().backward()
            assert all(torch.equal(p.grad, sum_) for p, sum_ in zip(replica.parameters(), expected, strict=True))
    assert replicas[1]._has_rebuilt_buckets


def check_passes(rank, group):
    """Only the last pass of a step sums, and what it sums are the gradients of all passes."""
    network = layers()
    replica = replicate(network, group)
    own = [[sum(g) for g in zip(alone(r, 0, network), alone(r, 1, network), strict=True)] for r in range(WORLD)]
    for number in range(2):
        with last_pass(replica, number == 1):
            replica(inputs(rank, number)).square().sum().backward()
        if number == 0:
            first = alone(rank, 0, network)
            assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), first, strict=True))
    expected = [sum(parts[1:], parts[0]) for parts in zip(*own, strict=True)]
    for parameter, total in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, total)


def check_compiled(rank, group):
    """A compiled network sums like the network itself, whose weights it shares."""
    network = layers()
    replica = replicate(torch.compile(network, backend="aot_eager"), group)
    for number in range(3):
        parts = zip(*(alone(r, number, network) for r in range(WORLD)), strict=True)
        network.zero_grad()
        replica(inputs(rank, number)).square().sum().backward()
        for parameter, gradients in zip(network.parameters(), parts, strict=True):
            torch.testing.assert_close(parameter.grad, sum(gradients[1:], gradients[0]))


def check_silence(rank, group):
    """The layout of a bf16 kernel's gradient is not that of the kernel, of which DDP would warn every user once."""
    network = torch.nn.Conv2d(8, 8, 1)
    replica = replicate(network, group)
    x = torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last)
    with warnings.catch_warnings(record=True) as told, torch.autocast("cpu", torch.bfloat16):
        replica(x).square().sum().backward()
    assert not told, told[0].message


def check_sums(rank, group):
    """Of any number of values, also fewer than there are processes."""
    for count in (1, 3, 4, 1001):
        values = [torch.randn(count, generator=torch.Generator().manual_seed(r)) for r in range(WORLD)]
        own = values[rank].clone()
        group.sum_by_rank(own)
        assert torch.equal(own, values[0] + values[1] + values[2] + values[3])


@pytest.mark.slow
def test_sums_are_in_the_order_of_ranks_whatever_the_buckets():
    with ports.reserved() as port:
        processes.spawn(run, (port,), nprocs=WORLD)


def test_the_network_of_one_process_is_not_wrapped():
    network = layers()
    assert replicate(network, Group(0, 1, torch.device("cpu"))) is network


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("replicas") / "data", records=8, evaluation=2, size=96)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "more"), [(2, ("--ema-model", *GAN)), (4, ("--ema-model",)), (4, ("--optimizer", "adamw_schedulefree"))]
)
def test_a_run_that_is_killed_and_resumed_keeps_the_last_bit_on_several_processes(world, more, data, tmp_path):
    """Two passes a step and process; killed after a step, so that DDP's buckets are those of a first step again."""
    flags = ("--backward-step", 2 * world, "--num-samples", 24 * world * 3, "--max-epoch", 2, *more)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    trainings.train(whole, *trainings.command(data, whole, *flags), world=world, hooks=SMALL)
    hooks = [*SMALL, ["signal at", "train.loop.step", 2, signal.SIGKILL]]
    words = trainings.command(data, killed, *flags, "--resume")
    assert trainings.start(killed, *words, world=world, hooks=hooks).wait() == [-signal.SIGKILL] * world
    assert "resumed in" in trainings.train(killed, *words, world=world, hooks=SMALL).log()
    assert trainings.results(killed) == trainings.results(whole)
