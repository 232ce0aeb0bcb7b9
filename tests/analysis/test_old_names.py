"""Names of earlier versions, which notebooks of theirs import."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("old", "new", "constants"),
    [
        ("claims", "report.claims", {"COLUMNS"}),
        ("derive", "measures.derive", {"EPISODE", "CONDITION"}),
        ("effects", "statistics.effects", {"CONFIDENCE", "SAME", "OF_INTERVAL", "OF_DIFFERENCE"}),
        ("inference", "statistics.inference", {"COLUMNS"}),
        ("notebook", "report.notebook", set()),
        ("stats", "statistics.binomial", {"REFERENCE_LEVELS", "Contrasts", "Family"}),
    ],
)
def test_an_old_name_has_all_that_the_new_one_has(old, new, constants):
    there, here = (importlib.import_module(f"analysis.{name}") for name in (old, new))
    made_here = {name for name, value in vars(here).items() if getattr(value, "__module__", None) == here.__name__}
    names = {name for name in made_here if not name.startswith("_")} | constants
    assert names <= set(there.__all__)
    assert all(getattr(there, name) is getattr(here, name) for name in names)
    assert all(hasattr(there, name) for name in there.__all__)
