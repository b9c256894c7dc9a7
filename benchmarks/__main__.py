"""`python -m benchmarks STAGE`, in a checkout: compare a stage with its reference implementation."""

import sys

from benchmarks.agreement import Agreement
from benchmarks.brain import Brain
from benchmarks.budget import Budget
from benchmarks.candidates import Candidates
from benchmarks.fine_tuning import FineTuning
from benchmarks.folds import Folds
from benchmarks.inference import Inference
from benchmarks.metrics import Metrics
from benchmarks.pages import Pages
from benchmarks.painted import Painted
from benchmarks.postprocess import Postprocess
from benchmarks.quality import Quality
from benchmarks.registration import Registration
from benchmarks.round_trip import RoundTrip
from benchmarks.score import Score
from benchmarks.training import Training
from mapping_stroke.cli import Program, main

STAGES = (
    Postprocess,
    Score,
    Metrics,
    Folds,
    Inference,
    Agreement,
    Budget,
    Training,
    Quality,
    FineTuning,
    Registration,
    RoundTrip,
    Brain,
    Pages,
    Candidates,
    Painted,
)
BENCHMARKS = Program("python -m benchmarks", "Compare a stage with its reference implementation.", STAGES)

if __name__ == "__main__":
    sys.exit(main(program=BENCHMARKS))
