"""What the real nnU-Net does with a model and a scan; run by `.oracles/bin/python`, never imported by a test.

    oracle_nnunet.py v2 RESULT_FOLDER SCAN OUT        predict with v2's predictor
    oracle_nnunet.py v1 TRAINER FOLDER SCAN OUT       make a full-size network with v1's trainer, and predict

OUT is an .npz file: `patch` and `logits` of the network, the `prepared` scan, and the `probability` on the scan's grid
(all z, y, x); for v2 also `exact`, the probability where its predictor is made to add in float32, not in float16.
"""

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

EDGE = 64
"""Of the patch; the smallest that leaves six stages more than one voxel."""


def predict_v2(folder: str, scan: str, out: str) -> None:
    import nnunetv2.inference.predict_from_raw_data as module

    predictor = module.nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(folder, None)
    ((mask, probability),) = predictor.predict_from_files_sequential([[scan]], None, save_probabilities=True)
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    prepared, _, _ = preprocessor.run_case(
        [scan], None, predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    )
    patch, logits = run_network(predictor.network, predictor.configuration_manager.patch_size)
    torch.half = torch.float32  # its sums of tiles
    module.compute_gaussian = functools.partial(module.compute_gaussian, dtype=torch.float32)
    module.compute_gaussian.cache_clear = lambda: None  # type: ignore[attr-defined]
    ((_, exact),) = predictor.predict_from_files_sequential([[scan]], None, save_probabilities=True)
    np.savez(
        out, patch=patch, logits=logits, prepared=prepared[0], mask=mask, probability=probability[1], exact=exact[1]
    )


def predict_v1(trainer_name: str, folder: str, scan: str, out: str) -> None:
    from make_fixtures import make_v1_trainer, v1_plans

    resenc = "Resenc" in trainer_name
    torch.manual_seed(1)
    plans = v1_plans([[3, 3, 3]] * 6, [0, 1, 2], resenc=resenc, patch=EDGE, features=24 if resenc else 32)
    trainer = make_v1_trainer(Path(folder), trainer_name, plans)
    patch, logits = run_network(trainer.network, (EDGE,) * 3)
    prepared, _, properties = trainer.preprocess_patient([scan])
    _, softmax = trainer.predict_preprocessed_data_return_seg_and_softmax(
        prepared, do_mirroring=False, mirror_axes=(0, 1, 2), mixed_precision=False
    )
    probability = np.zeros(properties["original_size_of_raw_data"], np.float32)
    probability[tuple(slice(*edge) for edge in properties["crop_bbox"])] = softmax[1]
    np.savez(out, patch=patch, logits=logits, prepared=prepared[0], probability=probability)


def run_network(network: Any, shape: Any) -> tuple[np.ndarray, np.ndarray]:
    patch = torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits = network.eval()(patch)
    return patch[0, 0].numpy(), logits[0].numpy()


if __name__ == "__main__":
    {"v1": predict_v1, "v2": predict_v2}[sys.argv[1]](*sys.argv[2:])
