"""Which scans a person should look at, and why."""

from typing import Any

import pytest

from mapping_stroke.cohort.review import review_reasons

NAME = "sub-1_ses-2_T1w"
GOOD: dict[str, Any] = {
    "status": "done",
    "load_ml": 12.0,
    "lesions": 2,
    "warnings": [],
    "measures": {"agreement": 0.9, "uncertain_ml": 1.0, "similarity": 0.5, "overlap": 0.95},
}


def changed(**changes: Any) -> dict[str, Any]:
    measures = {name: value for name, value in changes.items() if name in GOOD["measures"]}
    others = {name: value for name, value in changes.items() if name not in measures}
    return {**GOOD, **others, "measures": {**GOOD["measures"], **measures}}


def test_nothing_speaks_against_a_plain_scan() -> None:
    assert review_reasons(GOOD, NAME) == []
    assert review_reasons({**GOOD, "measures": {"agreement": 0.9, "uncertain_ml": 1.0}}, NAME) == []  # nobody placed it
    assert review_reasons(changed(agreement=None, uncertain_ml=None), NAME) == []  # one member


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "not segmented yet"),
        ({"status": "failed", "error": "Empty file"}, "failed: Empty file"),
        (changed(similarity=0.2), "the registration is doubtful: similarity 0.20, overlap 0.95"),
        (changed(overlap=0.7), "the registration is doubtful: similarity 0.50, overlap 0.70"),
        (changed(lesions=0, load_ml=0.0, agreement=None), "no lesion found"),
        (changed(load_ml=301.0), "a load of 301 mL is unusually large"),
        (changed(lesions=16), "16 lesions are unusually many"),
        (changed(agreement=0.5), "the predictions agree on only 50% of the mask"),
        (changed(uncertain_ml=11.0), "the predictions differ on 11.0 mL"),
        (changed(warnings=["its intensities do not look like those of a T1w scan"]), "its intensities do not look"),
    ],
)
def test_each_doubt_is_a_reason(entry: dict[str, Any], reason: str) -> None:
    assert len(review_reasons(entry, NAME)) == 1
    assert review_reasons(entry, NAME)[0].startswith(reason)


def test_uncertainty_counts_beside_the_load_and_doubts_add_up() -> None:
    assert review_reasons(changed(load_ml=100.0, uncertain_ml=20.0), NAME) == []
    assert len(review_reasons(changed(load_ml=400.0, agreement=0.1, uncertain_ml=300.0, similarity=0.1), NAME)) == 4


def test_results_of_older_versions_have_no_measures() -> None:
    older = {key: value for key, value in GOOD.items() if key != "measures"}
    assert review_reasons(older, NAME) == []


def test_contrast_medium_in_the_name_is_a_reason() -> None:
    assert review_reasons(GOOD, "sub-1_ce-gadolinium_T1w") == [
        "contrast medium (ce-gadolinium): enhancing tissue may be marked or missed"
    ]
    assert len(review_reasons({}, "sub-1_ce-gadolinium_T1w")) == 1
