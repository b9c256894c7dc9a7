from mapping_stroke.report.pages import CohortRow, write_cohort_page

NOTHING = {"load_ml": None, "lesions": None, "left_ml": None, "right_ml": None, "agreement": None}


def test_numbers_are_short_and_what_is_not_known_is_said() -> None:
    known = {"load_ml": 27.9241, "lesions": 3, "left_ml": 0.0518, "right_ml": 0.0, "agreement": 0.4964}
    assert CohortRow("a", "done", (), known, "").cells == ["27.9", "3", "0.0518", "0", "50%"]
    assert CohortRow("a", "failed", (), NOTHING, "").cells == ["n/a"] * 5


def test_names_and_reasons_are_text_and_never_markup() -> None:
    row = CohortRow("<b>.nii.gz", "failed", ("cannot be read <i>",), NOTHING, "a b/c#1.png")
    page = write_cohort_page([row])
    assert "<b>" not in page
    assert "&lt;b&gt;.nii.gz" in page
    assert "cannot be read &lt;i&gt;" in page
    assert 'src="a%20b/c%231.png"' in page
    assert "1 scans, 1 of them" not in page
    assert "1 scan, 1 of them" in page


def test_participants_without_a_scan_are_counted_apart() -> None:
    rows = [
        CohortRow("sub-1_T1w.nii.gz", "done", (), NOTHING, ""),
        CohortRow("sub-2", "no-scan", ("no T1w scan",), NOTHING, ""),
    ]
    assert "1 scan and 1 participant without one, 1 of them" in write_cohort_page(rows)
