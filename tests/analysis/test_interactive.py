"""The charts of the page."""

import json
import re

import pandas as pd
import pytest

from analysis.report.interactive import COLUMNS, chart, script


@pytest.fixture
def data():
    rows = [("rule-like, blocked", "1", "study, group A", updates, updates / 40) for updates in (0, 20, 40)]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_the_page_has_the_chart_of_the_notebooks_with_the_curves_beside_it(data):
    texts = (script(data), chart(data).to_json())  # a view's name is a hash of the chart
    page, notebook = (json.loads(re.sub(r"view_[0-9a-f]{16}", "view", text)) for text in texts)
    assert page.pop("datasets") == {"curves": data.to_dict("records")}
    assert notebook["data"] == {"values": data.to_dict("records")}
    assert page == notebook | {"data": {"name": "curves"}}


def test_a_value_that_json_lacks_is_an_error(data):
    data.loc[1, "accuracy"] = float("nan")
    with pytest.raises(ValueError, match="JSON compliant"):
        script(data)
