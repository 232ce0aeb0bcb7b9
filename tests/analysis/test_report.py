"""The report on a synthetic sweep, and what people are told when it cannot be made."""

import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import ttest_ind

from analysis.jobs.load import load
from analysis.jobs.tables import COLUMNS
from analysis.measures import published, tradeoff
from analysis.report import claims
from analysis.report.__main__ import build, main, write
from analysis.report.contents import entries_of
from analysis.report.pool import Pool, pools_of
from benchmarks import synthetic
from flags.command_line import parse
from runs.session import check_folder
from tests.program import ROOT

LLM = "--preset paper --llama2_size 70b --cache_dir x --n_val 20 --real_words --generate_all"
SMALL = "--n_test 2 --n_steps_per_block 40 --finetune_test_every 20"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Jobs of every section of the report, at two sizes, in results/ of the folder returned."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for task in ("category", "grid"):
            for condition in ("--pt_cond blocked", "--pt_cond interleaved", "--pt_rot_cond rotated"):
                synthetic.write(f"--preset paper --task {task} --n_runs 5 {SMALL} {condition}".split())
            synthetic.write(f"--preset paper --task {task} --experiment iwl_only --n_runs 5 {SMALL}".split())
            for level in (0, 0.4, 0.8):
                synthetic.write(f"--preset paper --task {task} --experiment tradeoff_mask --ablation_level {level} {SMALL}".split())
        synthetic.write(LLM.split())
        synthetic.write(f"--preset demo {SMALL}".split())
    return folder


@pytest.fixture(scope="module")
def reported(sweep):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(sweep)
        found = build(load(Path("results")), Path("report"))
        page = write(found, Path("report"))
        return found, sweep / page


def test_every_section_that_has_jobs_is_drawn_and_the_rest_is_missing_with_its_maker(sweep, reported):
    found, page = reported
    names = [section.picture.name for section in found.sections]
    for task in ("category", "grid"):
        for name in ("main_icl_iwl_unrotated_blocked", "main_icl_iwl_unrotated_interleaved", "main_icl_iwl_rotated_blocked",
                     "main_iwl_only", "tradeoff_mask", "context_step", "emergence"):  # fmt: skip
            assert f"paper_{task}_{name}" in names
    assert "paper_grid_few_shot_contexts" in names
    assert "paper_grid_language_models" in names
    assert "demo_category_main_iwl_only" in names
    for name in names:
        assert (page.parent / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (page.parent / "figures" / f"{name}.png").stat().st_size > 10_000
    n_entries = sum(len(entries_of(task)) for task in ("category", "grid", "category"))
    assert len(names) + sum(map(len, found.missing.values())) == n_entries
    missing = dict(found.missing["category task (demo)"])
    assert missing["trade-off, mask"].startswith("PRESET=demo scripts/submit.sh cat_tradeoff_mask, or python main.py --preset demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(sweep)
        for how in (how for lines in found.missing.values() for _, how in lines):
            script, _, command = how.rpartition(", or ")
            if script:
                name = re.search(r"scripts/submit.sh (\w+)", script)[1]
                assert (ROOT / f"scripts/{name}.sh").exists()
            if "tradeoff" not in command:  # which is refused where its base is missing
                assert not check_folder(parse(shlex.split(command)[2:])), command
    crossed = missing["context against step curriculum"]
    assert crossed == "python main.py --preset demo --task category --no_congruent_only --seed 1"  # there is a demo of seed 0


def test_the_page_stands_alone(reported):
    found, page = reported
    text = re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)
    assert text.count('src="data:image/svg+xml;base64,') == text.count("<img") == len(found.sections)
    links = re.findall(r'(?:src|href)="(?!data:)([^"]*)"', text)
    anchors = {link.removeprefix("#") for link in links if link.startswith("#")}
    assert anchors == set(re.findall(r'<h2 id="([^"]*)"', text)) - {"contents"}
    assert all((page.parent / link).is_file() for link in links if not link.startswith("#"))
    for claim in published.CLAIMS.values():
        assert claim in text


def test_tables_hold_what_the_csv_hold(reported):
    """A mean of the claims' table and of a section's, counted again."""
    found, page = reported
    folder = page.parent.parent / "results/paper_grid_iwl_only".replace("paper_", "")
    rows = pd.read_csv(next(folder.glob("*/*/finetune_accuracy.csv")))
    last = rows[(rows.step == 160) & (rows.subset != "novel") & (rows.rotation == "rotated")]
    last = last[(last.context_curriculum == "blocked") & (last.step_curriculum == "blocked")]
    expected = (last.n_correct / last.n_queries).mean()
    line = found.claims[found.claims.what == "IWL only, after training, rotated, blocked"].set_index("task").loc["grid"]
    assert line.ours == pytest.approx(expected)
    assert (line.published, line.n, line.over) == ("0.542", 5, "seeds")
    table = pd.read_csv(page.parent / "tables/paper_grid_main_iwl_only_accuracy_on_study_items_after_training.csv")
    assert found.claims.agrees.eq("").all()  # two test episodes, and blocks of 40 updates: not the published size
    mean = table[(table.rotation == "rotated") & (table.curriculum == "blocked")]["mean"].item()
    assert mean == pytest.approx(expected, abs=1e-5)
    markdown = (page.parent / "tables/claims.md").read_text().splitlines()
    assert len(markdown) == len(found.claims) + 2


def test_means_are_compared_with_the_published_ones_at_the_published_size(tmp_path, monkeypatch):
    """Welch's interval of ours − published over seeds; of the grid after training with items alike, as published."""
    monkeypatch.chdir(tmp_path)
    for task in ("category", "grid"):
        synthetic.write(f"--preset paper --task {task} --n_runs 4 --with_iwl_only --finetune_test_every 1000".split())
    found = claims.table(pools_of(load(Path("results")), tmp_path))
    means = found[(found.kind == "mean") & found.published.ne("")].set_index(["task", "what"])
    rows = pd.read_csv(next(Path("results").glob("*grid*/**/finetune_accuracy.csv")))
    last = rows[(rows.step == 4000) & (rows.subset != "novel") & (rows.init == "random") & (rows.rotation == "rotated")]
    last = last[(last.context_curriculum == "blocked") & (last.step_curriculum == "blocked")]
    sums = last.groupby(["seed", "episode"])[["n_correct", "n_queries"]].sum()
    ours = (sums.n_correct / sums.n_queries).groupby("seed").mean()
    theirs = published.by_seed("grid", "iwl", "after", "rotated", "blocked")
    line = means.loc["grid", "IWL only, after training, rotated, blocked"]
    assert line.difference == pytest.approx(ours.mean() - theirs.mean())
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    assert [line.difference_low, line.difference_high] == pytest.approx(list(interval))
    assert line.published_sd == pytest.approx(theirs.std(ddof=1))
    assert set(means.agrees) <= {"agrees", "differs", "not settled", ""}
    # rule-like after training has no published seeds, bounds and what was not published neither
    without = means.loc["category", "ICL + IWL, after training, rule-like, blocked"]
    assert (without.agrees, without.difference) == ("", pytest.approx(without.ours - 0.999))


def test_a_difference_is_that_of_the_two_means_it_names(reported):
    """Every "one − other" of the claims, of ours and of the published ones, is the first mean less the second."""
    found = reported[0].claims
    means = {(row["size"], row["task"], row["what"]): row for _, row in found[found.kind == "mean"].iterrows()}
    checked = []
    for _, row in found[found.what.str.contains(" − ")].iterrows():
        of, names = row.what.rsplit(": ", 1)
        one, other = (means[row["size"], row["task"], f"{of}, {name}"] for name in names.split(" − "))
        assert row.ours == pytest.approx(one.ours - other.ours), row.what
        assert math.isnan(row.low) == row.alike
        assert row.alike or row.low <= row.ours <= row.high
        checked.append((row.claim, names, row.ours > 0))
    # synthetic jobs are made so: blocked is better in context, interleaved in weights
    better = {(1, "interleaved − blocked", True), (2, "blocked − interleaved", True), (5, "blocked − interleaved", True)}
    assert better <= set(checked)
    assert {(claim, words) for claim, words, _ in checked} == {
        (1, "interleaved − blocked"), (2, "blocked − interleaved"), (3, "interleaved − blocked"),
        (5, "blocked − interleaved"), (5, "aligned − misaligned"),
    }  # fmt: skip


def test_every_published_mean_of_what_is_there_has_its_line(reported):
    found, _ = reported
    paper = found.claims[(found.claims["size"] == "paper") & (found.claims.kind == "mean")]
    shown = paper[paper.published != ""]
    llama = [v for v in published.VALUES if v.model != "GPT-3.5"]
    trade_off = sum(len(published.levels(published.GENERALISATION[t, "mask"], "mask")) for t in ("category", "grid"))
    of_retention = 3  # the grid's, tested at .8 as published; the category task's is published at 1
    assert len(shown) == len(llama) + trade_off + of_retention


def test_seeds_that_miss_the_criterion_are_named(sweep, monkeypatch, tmp_path):
    """Metalearned on rotated episodes, no synthetic seed answers them."""
    monkeypatch.chdir(sweep)
    pool = Pool(load(Path("results")), "paper", "grid", tmp_path)
    section = next(e for e in entries_of("grid") if e.what == "main figure, metalearned on rotated, blocked").build(pool)
    assert section.notes == [
        "No seed meets the criterion (few-shot above 0.9 on rotated, blocked contexts); shown all the same: seeds 1, 2, 3, 4, 5."
    ]


def built(flags_of_jobs, tmp_path, monkeypatch):
    """A report on synthetic jobs, as sections by name, and the claims."""
    monkeypatch.chdir(tmp_path)
    for flags in flags_of_jobs:
        synthetic.write(f"--preset demo --n_test 2 --n_steps_per_block 40 --finetune_test_every 20 {flags}".split())
    found = build(load(Path("results")), Path("report"))
    write(found, Path("report"))
    return {section.name: section for section in found.sections}, found.claims


def test_models_without_metalearning_are_found_whatever_their_job_was_metalearned_on(tmp_path, monkeypatch):
    """Each of these jobs finetunes random models on its own rotation alone; the third finetunes none."""
    jobs = ("--test_one_rot_cond", "--test_one_rot_cond --pt_rot_cond rotated", "--pt_cond interleaved --n_blocks 0")
    _, found = built(jobs, tmp_path, monkeypatch)
    means = found[(found.claim == 1) & (found.kind == "mean")]
    assert len(means) == 4
    assert set(zip(means.over, means.n, strict=True)) == {("episodes", 2)}


def test_few_shot_alone_is_shown_where_nothing_was_finetuned(tmp_path, monkeypatch):
    sections, found = built(["--n_blocks 0"], tmp_path, monkeypatch)
    assert set(sections) == {"main_icl_iwl_unrotated_blocked", "emergence"}
    assert set(found.claim) == {2}


def test_a_language_model_alone(tmp_path, monkeypatch):
    sections, found = built(["--task grid --llm some/model --n_val 3"], tmp_path, monkeypatch)
    assert set(sections) == {"language_models"}
    assert found[found.kind == "effect"].what.iloc[0] == "model, argmax, rule-like: blocked − interleaved"


def test_four_groups(tmp_path, monkeypatch):
    """Another task than the published one: no published number stands beside it."""
    sections, found = built(["--n_labels 4 --n_labels_per_task 4 --n_rel_dims 2"], tmp_path, monkeypatch)
    assert set(sections["main_iwl_only"].tables["The same, of each group"].subset) == {f"study_{group}" for group in "ABCD"}
    assert set(found["size"]) == {"demo, changed"}
    assert set(found.published) == {""}


def test_retention_is_tested_at_a_level_that_every_job_tests(tmp_path, monkeypatch):
    """Tested are 0, .25, .5, .75, 1 and what is trained at: of .4 and .8 the other job knows nothing."""
    trained = [f"--experiment tradeoff_mask --load_model_from {{0}} --ablation_level {level}" for level in (0, 0.4, 0.5, 0.8)]
    monkeypatch.chdir(tmp_path)
    base = synthetic.write(["--preset", "demo", "--n_test", "2", "--pt_cond", "interleaved", "--n_runs", "2"])
    sections, found = built([flags.format(base) for flags in trained], tmp_path, monkeypatch)
    sweep = load(Path("results"))
    rows = [sweep.table(name, sweep.select("demo", "category", "tradeoff_mask")) for name in ("finetune_accuracy", "finetune_loss")]
    assert tradeoff.measure(*rows, "category", "mask", 0.5).retention_level == 0.5
    retention = next(table for title, table in sections["tradeoff_mask"].tables.items() if title.startswith("Retention"))
    assert list(retention.training_level) == [0, 0.4, 0.5, 0.8]
    assert "tested at another level (1)" in sections["tradeoff_mask"].caption
    assert list(found[found.what.str.contains("retention, level")].published) == [""] * 4


def test_a_seed_that_lacks_a_level_is_named(tmp_path, monkeypatch):
    """Two base models; only that of seed 0 was trained at .5 as well."""
    monkeypatch.chdir(tmp_path)
    jobs = []
    for seed, levels in {0: (0, 0.5, 1), 1: (0, 1)}.items():
        base = synthetic.write(["--preset", "demo", "--n_test", "2", "--pt_cond", "interleaved", "--seed", str(seed)])
        flags = f"--experiment tradeoff_mask --load_model_from {base} --seed {seed}"
        jobs += [f"{flags} --ablation_level {level} --out_dir results/of_{seed}_{level}" for level in levels]
    sections, _ = built(jobs, tmp_path, monkeypatch)
    section = sections["tradeoff_mask"]
    assert section.notes[1:] == ["No job of seed 1 trained at level 0.5: means there are of fewer seeds."]
    told = [sentence.split(":")[0] for sentence in section.findings if "that is of one base model" in sentence]
    assert told == ["Errors (mean training loss) and the level while training", "Retention and the level while training"]
    for base in (0, 1):
        assert f"seeds_0{base}" in section.caption


def test_two_levels_have_no_rank_correlation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = synthetic.write(["--preset", "demo", "--n_test", "2", "--pt_cond", "interleaved"])
    sections, found = built(
        [f"--experiment tradeoff_mask --load_model_from {base} --ablation_level {n}" for n in (0, 1)], tmp_path, monkeypatch
    )
    told = [sentence.split(":")[0] for sentence in sections["tradeoff_mask"].findings if "no rank correlation" in sentence]
    assert told == ["Errors (mean training loss) and the level while training", "Retention and the level while training"]
    assert list(found[found.what.str.contains("rank")].what) == ["trade-off, mask, generalisation: rank correlation with the level"]


def report(*arguments, cwd):
    command = [sys.executable, "-m", "analysis.report", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})


def test_one_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = synthetic.write(f"--preset demo {SMALL}".split())
    half = synthetic.write(f"--preset demo --seed 7 {SMALL}".split())
    (half / "summary.json").unlink()
    done = report("-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/index.html").exists()
    assert "1 finished jobs, 1 unfinished" in done.stdout
    assert f"unfinished: {half}" in done.stdout
    for mine in ("out/figures/.ipynb_checkpoints", "out/tables/deep"):
        (tmp_path / mine).mkdir()
        (tmp_path / mine / "emergence.png").write_text("mine", encoding="utf-8")
    again = report("-o", "out", cwd=tmp_path)  # over its own
    assert len([path for path in (tmp_path / "out").rglob("emergence.png") if path.read_text(encoding="utf-8") == "mine"]) == 2
    assert (again.returncode, again.stdout) == (0, done.stdout)
    path = folder / "finetune_accuracy.csv"
    path.write_text(path.read_text().replace("novel", "nouvelle", 1))
    broken = report("-o", "out", cwd=tmp_path)
    assert broken.returncode == 2
    assert broken.stderr.count("\n") == 1
    assert f"{path}, line " in broken.stderr
    assert "subset is 'nouvelle'" in broken.stderr


def test_bad_folders_are_named_and_the_others_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    synthetic.write(f"--preset demo {SMALL}".split())
    bad = synthetic.write(f"--preset demo --seed 7 {SMALL}".split())
    damaged = synthetic.write(f"--preset demo --seed 8 {SMALL}".split())
    (bad / "config.json").write_text("{", encoding="utf-8")
    path = damaged / "finetune_accuracy.csv"
    path.write_bytes(path.read_bytes()[:-9])
    Path("results/gone").symlink_to("nowhere")
    Path("results", os.fsdecode(b"caf\xe9")).symlink_to("nowhere")
    assert main([]) == 0
    printed = capsys.readouterr()
    assert "1 finished jobs, 0 unfinished" in printed.out
    lines = sorted(printed.err.splitlines())
    assert len(lines) == 4
    page = Path("report/index.html").read_text(encoding="utf-8")
    for line, where in zip(lines, ("results/caf", bad, damaged, "results/gone"), strict=True):
        assert line.startswith(f"analysis.report: left out: {where}")
    for line in lines[1:]:
        assert line.removeprefix("analysis.report: ") in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: does not exist"),
        (["empty"], "empty: holds no finished job; results/paper has some"),
        (["empty", "-o", "full"], "-o full: holds files and no report.json"),
        (["empty", "-o", "full/file"], "-o full/file: is a file"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/file").write_text("mine", encoding="utf-8")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert Path("full/file").read_text(encoding="utf-8") == "mine"


def test_the_samples_are_whole_and_small():
    root = ROOT / "results/sample"
    sweep = load(root)
    assert not sweep.unfinished
    assert {job.experiment for job in sweep.jobs} == {"icl_iwl", "tradeoff_mask", "tradeoff_noise", "llm"}
    assert {size for size, _ in sweep.pools()} == {"demo", "laptop"}  # of today's presets, without other flags
    for name in COLUMNS:
        assert len(sweep.table(name)) or name == "llm_generated"
    assert sum(path.stat().st_size for path in root.rglob("*")) < 5_000_000
    assert not [path for path in root.rglob("config.json") if "/tmp" in path.read_text() or "/home" in path.read_text()]


def test_settings_of_matplotlib_that_cannot_be_read_are_not_read(tmp_path):
    """In a process of its own, as they are read when matplotlib is imported."""
    styles = tmp_path / "settings/matplotlib/stylelib"
    styles.mkdir(parents=True)
    for path in (tmp_path / "matplotlibrc", styles.parent / "matplotlibrc", styles / "mine.mplstyle"):
        path.write_bytes(b"font.family: \xff")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MPL")}
    environment |= {"XDG_CONFIG_HOME": str(tmp_path / "settings"), "PYTHONPATH": str(ROOT)}
    code = "import os; from analysis.report.plots import parts; print(os.getcwd())"
    command = [sys.executable, "-c", code]
    for more in ({}, {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}):
        done = subprocess.run(command, cwd=tmp_path, env=environment | more, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}\n", "")
