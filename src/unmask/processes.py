"""The processes that share a command's work, as torchrun starts them; most often there is one.

Who does what follows from numbers (of a micro-batch, a batch, a sample), never from who is free, so
a result does not depend on how many they are, but for the rounding of sums.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class OtherProcessError(OSError):
    """Another process of the same command has stopped; it says why."""


@dataclass(frozen=True)
class Processes:
    """Of `size` processes, the one with the number `rank`.

    Every method but `share` is called by all of them, in the same order.
    """

    rank: int = 0
    size: int = 1

    def share(self, count: int) -> range:
        """Which of `count` things are this process's."""
        return range(self.rank, count, self.size)

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.size == 1:
            return list(flags)
        told = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return told.bool().tolist()

    def sum(self, values: Tensor) -> Tensor:
        """Added up over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def of_first(self, function: Callable[[], Any]) -> Any:
        """What `function` returns in the first process, which alone calls it; OtherProcessError
        elsewhere if it fails there."""
        if self.size == 1:
            return function()
        answer: list[Any] = [None, "it has stopped"]
        try:
            if self.rank == 0:
                answer = [function(), None]
        finally:
            dist.broadcast_object_list(answer)
        if answer[1] is not None:
            raise OtherProcessError("the first process has stopped, and says why")
        return answer[0]

    def gather(self, mine: Sequence[Any]) -> list[Any]:
        """Of things of which every process has its `share`, all, in their order.

        Tensors on the CPU, tuples of such, or numbers.
        """
        if self.size == 1:
            return list(mine)
        shares: list[Any] = [None] * self.size
        dist.all_gather_object(shares, list(mine))
        count = sum(map(len, shares))
        return [shares[i % self.size][i // self.size] for i in range(count)]

    def piece(self, whole: Tensor, dim: int = 0) -> Tensor:
        """This process's rows along `dim`, which may be none: what `rows` takes."""
        most = -(-whole.shape[dim] // self.size)
        first = min(self.rank * most, whole.shape[dim])
        return whole.narrow(dim, first, min(most, whole.shape[dim] - first))

    def rows(self, mine: Tensor, count: int, dim: int = 0) -> Tensor:
        """The `count` rows along `dim`, of which every process has a piece: as long as
        `torch.chunk` makes them, in their order."""
        most = -(-count // self.size)
        mine = mine.movedim(dim, 0)
        padded = mine.new_zeros(most, *mine.shape[1:])
        padded[: len(mine)] = mine
        together = mine.new_empty(most * self.size, *mine.shape[1:])
        dist.all_gather(list(together.chunk(self.size)), padded)
        return together[:count].movedim(0, dim)


ALONE = Processes()
# What connects processes is kept until they end: where it was freed before, threads of PyTorch have
# been seen to wait for each other for ever, or to abort.
CONNECTED: list[Any] = []


def started() -> Processes:
    """What torchrun says in the environment."""
    return Processes(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def own_device(name: str) -> str:
    """Of a command's --device: where torchrun started several processes on a machine with GPUs, the
    one that is this process's.

    ValueError where there is none for it.
    """
    local, there = os.environ.get("LOCAL_RANK"), torch.cuda.device_count()
    if local is None or name == "cpu" or not there:
        return name
    if name not in ("auto", "cuda") and int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:
        raise ValueError(f"device {name} is one for several processes: leave out --device")
    if int(local) >= there:
        raise ValueError(
            f"there are more processes than GPUs ({there}): give --nproc-per-node {there}, or "
            "--device cpu"
        )
    return f"cuda:{local}" if name in ("auto", "cuda") else name


@contextmanager
def together() -> Iterator[Processes]:
    """The processes that torchrun started, connected; alone without it.

    OtherProcessError if they cannot be connected, or another of them stops.
    """
    processes = started()
    if "RANK" not in os.environ or dist.is_initialized():
        yield processes
        return
    backend, local = "gloo", int(os.environ.get("LOCAL_RANK", 0))
    if local < torch.cuda.device_count():
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"  # flags and records are on the CPU
    together_at_the_end = False
    try:
        # where torchrun starts processes again, its store still holds the addresses of those before
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store, rank, size = next(dist.rendezvous("env://"))
        store = dist.PrefixStore(f"unmask/{attempt}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        CONNECTED.append((store, dist.group.WORLD))
        yield processes
        together_at_the_end = True
    except KeyboardInterrupt:
        together_at_the_end = True
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        why = " ".join(str(error).split())[:300]
        raise OtherProcessError(
            f"the connection to another process is lost; if that one says nothing: {why}"
        ) from error
    finally:
        # NCCL would wait here for those who do not come
        if dist.is_initialized() and (together_at_the_end or backend == "gloo"):
            dist.destroy_process_group()
