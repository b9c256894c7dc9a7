"""Where the cases lie while a member is trained: on the training device where they fit, else mapped from disk."""

import torch

from mapping_stroke.dataset.case_source import Cases, CaseSource

LARGEST_SHARE = 0.5
"""Of a GPU's free memory that cases may take; the rest is for the network and what it computes."""


def bring_to(device: torch.device, cases: Cases) -> Cases:
    """The cases on the training device; as they are where it is the processor, or a GPU without room for all of them.

    Cases that stay behind are read patch by patch: only the box of a patch then crosses to the GPU, at every step.

    Args:
        device: Where patches are made.
        cases: Mapped from disk; a source makes its cases where they are wanted, and is given back as it is.
    """
    if isinstance(cases, CaseSource) or device.type == "cpu" or not has_room(device, sum(c.bytes for c in cases)):
        return cases
    return [case.to(device) for case in cases]


def has_room(device: torch.device, wanted_bytes: int) -> bool:
    """Whether a GPU has so much to spare for cases; devices that share the processor's memory always do."""
    if device.type != "cuda":
        return True
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return wanted_bytes <= LARGEST_SHARE * free_bytes
