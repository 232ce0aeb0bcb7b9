"""Tables as jobs write them, whole and damaged."""

import gzip
import shutil

import pandas as pd
import pytest

from analysis.jobs import tables
from runs import records

HEADER = "seed,step,epoch,subset,n_correct,n_queries,is_best\n"
GOOD = HEADER + "0,0,0,study_A,1,5,0\n0,0,0,novel,0,16,0\n"


def test_the_columns_are_those_that_jobs_write():
    written = {**records.TABLES, **records.LLM_TABLES}
    assert {name: tuple(kinds) for name, kinds in tables.COLUMNS.items()} == written


def test_every_table_of_a_job_reads_as_pandas_reads_it(finished_job):
    _, folder, _ = finished_job
    for name in records.TABLES:
        plain = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values={"block": [""]})
        ours = tables.read(folder, name)
        for column in plain:
            assert ours[column].astype(plain[column].dtype).equals(plain[column]), (name, column)


def test_a_compressed_table_is_the_same(finished_job, tmp_path):
    _, folder, _ = finished_job
    with gzip.open(tmp_path / "finetune_accuracy.csv.gz", "wb") as file:
        file.write((folder / "finetune_accuracy.csv").read_bytes())
    assert tables.read(tmp_path, "finetune_accuracy").equals(tables.read(folder, "finetune_accuracy"))
    whole = (tmp_path / "finetune_accuracy.csv.gz").read_bytes()
    (tmp_path / "finetune_accuracy.csv.gz").write_bytes(whole[:-40])
    with pytest.raises(tables.BadTable, match=r"finetune_accuracy.csv.gz: cannot be read"):
        tables.read(tmp_path, "finetune_accuracy")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "line 1: is not the header"),
        ("a,b\n1,2\n", "line 1: is not the header"),
        (GOOD.replace("study_A", "train"), "line 2: subset is 'train' instead of one of study_A"),
        (GOOD.replace("novel,0", "novel,x"), "line 3: n_correct is 'x' instead of a number"),
        (GOOD.replace("novel,0", "novel,17"), "line 3: n_correct is 17 of 16 queries"),
        (GOOD.replace("novel,0", "novel,-1"), "line 3: n_correct is -1 of 16 queries"),
        (GOOD.replace("0,0,0,novel", "0,0,novel"), "line 3: has 6 fields instead of 7"),
        (GOOD.replace("16,0", "16,0,4"), "line 3: has 8 fields instead of 7"),
        (GOOD.replace("0,0,0,novel", "0,,0,novel"), "line 3: step is '' instead of a number"),
        (GOOD.replace("16,0", "16,nan"), "line 3: is_best is 'nan' instead of a number"),
        (GOOD + "\n", "line 4: has 0 fields instead of 7"),
        (GOOD + "0,50,1,study_A,1,5", "line 4: is cut off"),
        (GOOD.replace("novel", "nov\xffel"), "line 3: subset is"),
    ],
)
def test_what_does_not_belong_is_named_with_its_line(tmp_path, text, where):
    (tmp_path / "pretrain_accuracy.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(tables.BadTable) as error:
        tables.read(tmp_path, "pretrain_accuracy")
    assert str(error.value).startswith(str(tmp_path / "pretrain_accuracy.csv"))
    assert where in str(error.value)


def test_the_last_line_of_an_unfinished_job_may_lack_its_end(tmp_path):
    (tmp_path / "pretrain_accuracy.csv").write_text(GOOD + "0,50,1,study_A,1,5")
    assert len(tables.read(tmp_path, "pretrain_accuracy", finished=False)) == 2


def test_a_table_that_is_missing(tmp_path):
    with pytest.raises(tables.BadTable, match="cannot be read"):
        tables.read(tmp_path / "nowhere", "pretrain_loss")


def test_levels_are_rounded(finished_job, tmp_path):
    _, folder, _ = finished_job
    shutil.copy(folder / "finetune_accuracy.csv", tmp_path)
    path = tmp_path / "finetune_accuracy.csv"
    path.write_text(path.read_text().replace(",0.0,novel", f",{0.1 + 0.2},novel"))
    assert set(tables.read(tmp_path, "finetune_accuracy").test_level) == {0.0, 0.3}
