"""The network of a job of several processes: torch's DistributedDataParallel, whose sums are in the order of ranks."""

import contextlib
import warnings

import torch
from torch.nn.parallel import DistributedDataParallel

from train.runtime.dist import Group


def replicate(network: torch.nn.Module, group: Group) -> torch.nn.Module:
    """The network whose backward passes sum the gradients of all processes; of one process, the network itself.

    It shares its weights with `network`. See `last_pass` for passes that only add to the gradients of this process.
    """
    if group.world_size == 1:
        return network
    replica = group.collective(DistributedDataParallel, network, gradient_as_bucket_view=True)
    replica.register_comm_hook(group, sum_bucket)
    # Half-precision kernels have gradients in channels-last memory. Copying these few values costs nothing.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
    return replica


def last_pass(forward: torch.nn.Module, is_last: bool) -> contextlib.AbstractContextManager[None]:
    """Around a forward and backward pass: gradients are summed over the processes in the last pass of a step only."""
    if isinstance(forward, DistributedDataParallel) and not is_last:
        return forward.no_sync()
    return contextlib.nullcontext()


def sum_bucket(group: Group, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """DDP's communication hook: the sums of a bucket of gradients over all processes.

    DDP forms other buckets after its first step, and so after a resume. In a ring all-reduce the order of the additions
    depends on the place in the bucket; here it does not, so that a resumed run keeps the last bit.
    """
    gradients = bucket.buffer()
    group.collective(group.sum_by_rank, gradients)
    future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    future.set_result(gradients)
    return future
