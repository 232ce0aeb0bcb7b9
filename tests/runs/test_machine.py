import os

import pytest

from runs.machine import usual_threads

CORES = len(os.sched_getaffinity(0))
BATCH = "0::/slurm/job_7/step_0\n"
HYBRID = "4:memory:/a\n3:cpuset:/b\n1:cpu,cpuacct:/docker/f00\n0::/docker/f00\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "threads"),
    [
        (BATCH, {"slurm/job_7/step_0/cpu.max": "max 100000"}, CORES),
        (BATCH, {"slurm/job_7/step_0/cpu.max": "100000 100000"}, 1),
        (BATCH, {"slurm/job_7/cpu.max": "50000 100000", "slurm/job_7/step_0/cpu.max": "max 100000"}, 1),  # of one above
        (BATCH, {"cpu.max": "20000 100000"}, 1),  # within a container
        (BATCH, {"slurm/job_7/step_0/cpu.max": "150000 100000"}, min(CORES, 2)),
        (BATCH, {"slurm/job_7/step_0/cpu.max": "9900000 100000"}, CORES),
        (BATCH, {"slurm/job_7/step_0/cpu.max": "nonsense"}, CORES),
        (BATCH, {"slurm/job_8/cpu.max": "100000 100000"}, CORES),  # another job's
        (HYBRID, {"cpu,cpuacct/docker/f00/cpu.cfs_quota_us": "100000", "cpu,cpuacct/docker/f00/cpu.cfs_period_us": "100000"}, 1),
        (HYBRID, {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 1),
        (HYBRID, {"cpu/docker/f00/cpu.cfs_quota_us": "100000", "cpu/docker/f00/cpu.cfs_period_us": "100000"}, 1),
        (HYBRID, {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, CORES),
        (HYBRID, {"unified/docker/f00/cpu.max": "100000 100000"}, 1),
        ("nonsense\n", {}, CORES),
        ("", {}, CORES),
        (None, {}, CORES),
    ],
)
def test_threads_are_no_more_than_the_quota_pays_for(tmp_path, monkeypatch, cgroup, files, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if cgroup is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(cgroup, encoding="utf-8")
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n", encoding="utf-8")
    assert usual_threads(tmp_path) == threads


@pytest.mark.parametrize(("value", "threads"), [("1", 1), (" 3 ", 3), ("5,2", 5), ("", CORES), ("0", CORES), ("many", CORES)])
def test_omp_num_threads_counts(tmp_path, monkeypatch, value, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert usual_threads(tmp_path) == threads
