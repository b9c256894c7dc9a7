import hashlib
from typing import get_args

from mapping_stroke.dataset.sources import Person, part_of_mask, parts_of_people
from mapping_stroke.names import Part

PARTS = get_args(Part)
PEOPLE = [Person(f"p{number}", (f"p{number}a", f"p{number}b")) for number in range(25)]


def test_of_25_people_17_are_for_training_3_for_validation_and_5_for_test() -> None:
    parts = parts_of_people(PEOPLE)
    assert [list(parts.values()).count(part) // 2 for part in PARTS] == [17, 3, 5]
    assert parts_of_people(PEOPLE[::-1]) == parts


def test_all_scans_of_a_person_are_in_one_part() -> None:
    parts = parts_of_people(PEOPLE)
    assert all(parts[f"p{number}a"] == parts[f"p{number}b"] for number in range(25))


def test_a_single_person_is_for_training() -> None:
    assert parts_of_people(PEOPLE[:1]) == {"p0a": "training", "p0b": "training"}


def test_masks_are_dealt_by_their_content() -> None:
    parts = [part_of_mask(hashlib.sha256(str(number).encode()).hexdigest()) for number in range(2000)]
    shares = [parts.count(part) / 2000 for part in PARTS]
    assert abs(shares[0] - 0.80) < 0.03
    assert abs(shares[1] - 0.05) < 0.02
    assert abs(shares[2] - 0.15) < 0.03
