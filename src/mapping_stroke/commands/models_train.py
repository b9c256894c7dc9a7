"""`mapping models train`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mapping_stroke.models.labels import ModelLabels


@dataclass(frozen=True)
class Train:
    """Train a model on simulated strokes alone: lesions of real masks in healthy brains, a new one at every step.

    Trains the paper's four schemes, self-training last; fits the post-processing rule on people and masks that were
    held out, and judges the model on yet others. Ctrl-C, SIGTERM and SIGUSR1 save and end with status 75; the same
    command goes on.
    """

    run_folder: Positional[Path]
    """Folder to write: `model.mapping`, its scores in `evaluation/`, the members, and what they were made from."""
    brains: Path | None = None
    """Folder of healthy skull-stripped *_T1w.nii.gz in MNI space; without it the ICBM152 template alone."""
    lesions: Path | None = None
    """Folder of real lesion masks in MNI space, on any grid; without it lesions are drawn."""
    rescans: tuple[str, ...] = ()
    """People who are in --brains under two names, such as 1003=1023."""
    labels: ModelLabels = field(default_factory=ModelLabels)
    validation: int = 60
    """Cases of held-out people and masks on which the rule is fitted."""
    test: int = 120
    """Cases of yet other people and masks by which the model is judged."""
    heads: tuple[Path, ...] = ()
    """Healthy scans of whole heads, files or folders, by which the model is judged, too; none is trained on."""
    from_: Annotated[str, arg(name="from")] = ""
    """Go on with this model (as for `mapping segment`) of the same size (or see --size) instead of from nothing, at
    half the learning rate, on new cases: nearly all registered and stripped, as `mapping segment` hands them on. Give
    the --brains and --rescans of that model, so that the same people judge."""
    schemes: tuple[str, ...] = ()
    """With --from, --patches or --minutes: train these of the paper's schemes only. If left out, all four; with
    --patches or --minutes, which allows one, `default`."""
    beside: bool = False
    """With --from: pack the new members beside those of that model. Members that see other voxels make other
    mistakes."""
    size: Literal["full", "compact", "fine", "small", "tiny"] = "compact"
    """Of networks and training. `fine` is for going on with a model of size `compact`: its members grow, and see voxels
    half as large."""
    seed: int = 0
    """Decides initial weights, cases and augmentation."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the convolutions; `auto` takes bfloat16 where the device has instructions for it."""
    epochs: int = 0
    """Of every member (with --branch, 0.4 of them for those that branch off); 0 for those of the size."""
    patches: int = 0
    """Train for days, on a schedule of so many patches, one network at a time; 0 to count in epochs. What is packed is
    the average of the weights. A small file that goes elsewhere is written beside every checkpoint, see --state."""
    minutes: float = 0.0
    """Train by the clock, on a GPU that is to be had for minutes: the command ends within so many, and the next one
    goes on. It makes its cases itself, in the device's memory, and leaves all that is needed elsewhere in
    RUN_FOLDER/pieces, in files below 15 MB. Packing and judging are left to a later call, when all is trained."""
    of: float = 0.0
    """With --minutes: of the whole schedule, all calls together; 0 for one call."""
    batch: int = 0
    """With --patches or --minutes: patches of a step; 0 for the size's own (2). The learning rate changes with the root
    of it."""
    state: Path | None = None
    """With --patches or --minutes: go on from this `.state` file, or from the one for this size and scheme in this
    folder (or the pieces there), unless the run folder has come farther."""
    jobs: int = 1
    """Members trained at once, each in a process with its share of the CPU cores; the weights are the same."""
    cases: int = 0
    """Simulated cases to draw once, keep on disk (2 to 8 MB each) and use again; 0 draws a new one for every patch,
    which a GPU does in no time, and a CPU as slowly as it learns from it. With --patches, so many lie on disk at once:
    a process of low priority makes them, and each is used for at most 25 patches; with --minutes, so many lie in the
    device's memory (256 for 0)."""
    branch: bool = False
    """Train dice-topk10 and self-training from the weights of default, and less: four members in little more than half
    the time, less unlike one another."""
    compile: bool = False
    """Compile the networks: up to twice as fast on a CPU; needs a C++ compiler, and a minute or two at the start."""
    save_minutes: float = 10.0
    """Longest time between two checkpoints; one is written at every epoch's end anyway."""

    def run(self) -> int:
        """Train what is missing."""
        from mapping_stroke.models.lessons import ModelConfig
        from mapping_stroke.models.make import HoldOut, make_model
        from mapping_stroke.processes import listening
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.simulation.cohort import find_sources

        sources = find_sources(self.lesions, self.brains, self.rescans, self.labels.training_data)
        config = ModelConfig(
            self.size,
            self.seed,
            self.device,
            self.precision,
            save_minutes=self.save_minutes,
            jobs=self.jobs,
            cases=self.cases,
            branch=self.branch,
            model=self.from_,
            epochs=self.epochs,
            compiled=self.compile,
            schemes=self.schemes,
            beside=self.beside,
            patches=self.patches,
            state=self.state,
            minutes=self.minutes,
            of=self.of,
            batch=self.batch,
        )
        with listening() as stop:
            held_out = HoldOut(self.validation, self.test, self.heads)
            failed = make_model(RunFolder(self.run_folder), sources, config, held_out, self.labels, stop)
        return 3 if failed else 0
