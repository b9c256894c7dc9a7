"""Train with the stock `nnUNetTrainer`, in the Python of an nnU-Net environment. Never imported.

`python nnunet_driver.py SETTINGS`. nnU-Net's own command has no arguments for the numbers of epochs and steps or for a
seed, so these few attributes are set here before its own loop starts. Loop, loaders, augmentation, loss and optimiser
are unchanged. It needs none of our code, and imports nnU-Net by name, since this package must not import it.
"""

import importlib
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any


def train_stock(settings: dict[str, Any]) -> None:
    """Train as `nnUNetv2_train` does, with fewer steps, and write the peak GPU memory to `memory`.

    Args:
        settings: `dataset`, `plans`, `epochs`, `steps`, `validation_steps`, `seed`, `device`, `threads`, `memory`.
    """
    torch, numpy = importlib.import_module("torch"), importlib.import_module("numpy")
    command = importlib.import_module("nnunetv2.run.run_training")
    on_gpu = settings["device"] == "cuda"
    if on_gpu:  # as its command does
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
        torch.backends.cudnn.benchmark = True
    else:
        torch.set_num_threads(settings["threads"] or multiprocessing.cpu_count())
    torch.manual_seed(settings["seed"])
    numpy.random.seed(settings["seed"])
    trainer = command.get_trainer_from_args(
        settings["dataset"],
        "3d_fullres",
        0,
        "nnUNetTrainer",
        settings["plans"],
        device=torch.device(settings["device"]),
    )
    trainer.num_epochs = settings["epochs"]
    trainer.num_iterations_per_epoch = settings["steps"]
    trainer.num_val_iterations_per_epoch = settings["validation_steps"]
    trainer.run_training()
    if on_gpu:
        kinds = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
        Path(settings["memory"]).write_text(json.dumps(kinds))


if __name__ == "__main__":
    train_stock(json.loads(Path(sys.argv[1]).read_text()))
