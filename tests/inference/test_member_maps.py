from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.images.image import Image
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Ensemble, predict_each
from mapping_stroke.inference.segmentation import make_ensemble
from mapping_stroke.networks.cards import Averaging
from phantoms import AFFINE, phantom
from small_models import write_seeing_model


@pytest.mark.parametrize("average", ["probability", "logit"])
def test_each_member_s_map_and_the_ensemble_s_are_those_of_predicting_them_alone(
    average: Averaging, tmp_path: Path
) -> None:
    bundle, engine = write_seeing_model(tmp_path / "m.mapping", average=average), choose_engine("cpu", "torch")
    ensemble = make_ensemble(bundle, "balanced", engine)
    prepared = ensemble.prepare(Image(phantom(0)[0], AFFINE))
    shares: list[float] = []
    found = list(predict_each(ensemble, prepared, shares.append))
    assert [member for member, _ in found] == [*bundle.card.members, None]
    assert sum(shares) == pytest.approx(1)
    for member, probability in found[:-1]:
        assert member is not None
        alone = Ensemble(bundle, engine, ensemble.window, [member]).predict(prepared).probability
        np.testing.assert_array_equal(probability, alone)
    np.testing.assert_array_equal(found[-1][1], ensemble.predict(prepared).probability)
    assert not np.array_equal(found[0][1], found[1][1])
