"""Several processes that train one network: who draws which patches, and how they agree."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import lightning_fabric
import torch
from jaxtyping import Shaped
from torch import Tensor

from mapping_stroke.errors import MappingError, Stopped, TrainingError
from mapping_stroke.training.batches import Share
from mapping_stroke.training.losses import Gather

T = TypeVar("T")


def share_of(batch: int, fabric: lightning_fabric.Fabric) -> Share:
    """This process's share of a batch."""
    return Share(batch, fabric.global_rank, fabric.world_size)


def gather_from(fabric: lightning_fabric.Fabric) -> Gather | None:
    """How the losses ask the other processes; None where there are none."""
    return None if fabric.world_size == 1 else partial(of_all, fabric=fabric)


def of_all(values: Shaped[Tensor, "..."], fabric: lightning_fabric.Fabric) -> Shaped[Tensor, "w ..."]:
    """The values of every process, in their order; they lie on the training device, and no gradient passes."""
    if fabric.world_size == 1:
        return values[None]
    gathered = [torch.empty_like(values) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(gathered, values.detach().contiguous())  # what Fabric calls is deprecated by torch
    return torch.stack(gathered)


def any_of(flags: tuple[bool, ...], fabric: lightning_fabric.Fabric) -> tuple[bool, ...]:
    """For each flag, whether any process has raised it: the same answer in all."""
    if fabric.world_size == 1:
        return flags
    raised = of_all(torch.tensor(flags, dtype=torch.int32, device=fabric.device), fabric)
    return tuple((raised > 0).any(0).tolist())


def first_does(do: Callable[[], T], fabric: lightning_fabric.Fabric) -> T:
    """Have the first process do something for all, such as writing a file; all get its answer, or its error.

    Args:
        do: Called in the first process only; its answer can be pickled.
        fabric: Launched engine.

    Raises:
        TrainingError: The first process got one: all go on to the next member together.
        SystemExit: In the others, where the first process ends with any other error, and says why.
    """
    if fabric.world_size == 1:
        return do()
    answer: T | None = None
    failure: BaseException | None = None
    if fabric.is_global_zero:
        try:
            answer = do()
        except (MappingError, OSError, Stopped) as error:
            failure = error
    answer, message = fabric.broadcast((answer, None if failure is None else _told(failure)))
    if failure is not None:
        raise failure
    if message is not None:
        raise message
    return answer


def _told(failure: BaseException) -> BaseException:
    """What the other processes raise where the first one failed."""
    return TrainingError(str(failure)) if isinstance(failure, TrainingError) else SystemExit(0)
