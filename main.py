"""In-context and in-weight learning in one transformer: from flags to results.

python main.py                                  the demo: a few minutes on two cores
python main.py --preset paper --task category   the published experiment
python main.py --help                           every flag
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from config import BadInput, Config, level_folder, parse
from inherit import NoBase, find_base
from presets import training_levels
from runs import tracking
from runs.folder import FolderTaken, claim, is_finished, recorded_config

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    import models
    from data import Encoder

DONE, FAILED, BAD_INPUT, REQUEUE, STOPPED = 0, 1, 2, 75, 130


def main(argv: list[str]) -> int:
    """Run the job that the command line describes; returns the exit status."""
    try:
        config = parse(argv)
        return run(config)
    except BadInput as error:
        print(f"main.py: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("main.py: stopped by Ctrl-C", file=sys.stderr)
        return STOPPED


def run(config: Config) -> int:
    """Check, then do what was asked for."""
    from checks import check, check_episodes

    check(config)
    if config.is_sweep and not config.show:
        return sweep(config)
    encoder = episodes_of(config)
    check_episodes(config, encoder)
    if config.show:
        from analysis.show import show_episodes

        print(show_episodes(config, encoder))
        return DONE
    if config.dry_run:
        from estimate import estimate

        print(estimate(config, encoder, *model_and_device(config, encoder)))
        return DONE
    folder = Path(config.out_dir)
    if config.log_with and not tracking.is_installed(config.log_with):
        raise BadInput("log_with", config.log_with, f"is not installed here: pip install {config.log_with}")
    with bad_folder(config):
        finished = is_finished(folder, config.defining_values(), config.overwrite)
    if finished:
        save_files(config, encoder)
    else:
        status = perform(config, encoder, folder)
        if status != DONE:
            return status
    from analysis import summary

    print(summary.table(summary.read(folder)))
    print(f"\nThe picture: {folder / 'summary.png'}")
    return DONE


def sweep(config: Config) -> int:
    """A trade-off experiment: a job at each of its levels, one after the other, then the picture of all of them."""
    levels = training_levels(config.preset, config.task, config.experiment)
    jobs = [dataclasses.replace(config, ablation_level=level) for level in levels]
    jobs = [dataclasses.replace(job, out_dir=str(Path(config.out_dir) / level_folder(job))) for job in jobs]
    for job in jobs:
        status = run(job)
        if status != DONE or config.dry_run:
            return status
        print()
    from analysis import tradeoff
    from analysis.plots.tradeoff import draw

    found = tradeoff.read([Path(job.out_dir) for job in jobs])
    print(tradeoff.table(found))
    picture = Path(config.out_dir) / "tradeoff.png"
    draw(found, picture)
    print(f"\nThe picture: {picture}")
    return DONE


def episodes_of(config: Config) -> Encoder:
    """Where episodes come from: made from the flags, or read from files."""
    from data import Encoder
    from episode_files import BadFile, LoadedEpisodes, read_vocabulary
    from tasks import make_task

    try:
        vocabulary = read_vocabulary(Path(config.load_vocab)) if config.load_vocab else None
        encoder = Encoder(config, make_task(config), vocabulary)
    except BadFile as error:
        raise BadInput("load_vocab", config.load_vocab, str(error)) from None
    except KeyError as error:
        raise BadInput("load_vocab", config.load_vocab, f"lacks the token {error}, which the flags' episodes have") from None
    if not config.load_data_from:
        return encoder
    try:
        return LoadedEpisodes(Path(config.load_data_from), config, encoder)
    except BadFile as error:
        raise BadInput("load_data_from", config.load_data_from, str(error)) from None


def save_files(config: Config, encoder: Encoder) -> None:
    """Write the vocabulary and the episodes, where flags say so."""
    from episode_files import BadFile, write, write_vocabulary

    for flag, path, save in (
        ("save_vocab", config.save_vocab, lambda path: write_vocabulary(path, encoder.vocabulary)),
        ("save_data_to", config.save_data_to, lambda path: write(path, config, encoder)),
    ):
        try:
            if path:
                save(Path(path))
        except BadFile as error:
            raise BadInput(flag, path, str(error)) from None
        except OSError as error:
            raise BadInput(flag, path, f"cannot be written to ({error.strerror or error})") from None


@contextlib.contextmanager
def bad_folder(config: Config):
    """What is wrong with the job's folder is bad input."""
    try:
        yield
    except FolderTaken as error:
        raise BadInput("out_dir", config.out_dir, str(error)) from None
    except OSError as error:
        raise BadInput("out_dir", config.out_dir, f"cannot be written to ({error.strerror or error})") from None


def perform(config: Config, encoder: Encoder, folder: Path) -> int:
    """The procedure of the paper: metalearning, then few-shot test and finetuning on fresh episodes, then a summary."""
    from runs.interrupt import Interrupted, StopFlag

    stop = StopFlag().listen()  # before anything that takes its time
    import torch

    import models
    from analysis.summary import conclude
    from finetune import finetune
    from pretrain import DivergedError, metalearn
    from runs.checkpoint import Damaged, write_atomically
    from runs.records import Job

    model, device = model_and_device(config, encoder)
    loaded = loaded_weights(config, model)

    def first_weights(seed: int) -> models.Weights:
        return loaded[seed] if loaded else models.draw_weights(model, seed, config.init_scale)

    def weights_of(seed: int, init: str) -> models.Weights:
        if init == "random":
            return models.draw_weights(model, seed, config.init_scale)
        path = job.checkpoints / f"best_seed{seed}.safetensors"
        try:
            return models.load_weights(path, model)
        except models.ForeignWeights as error:
            raise Damaged(f"{path} {error}; pass --no_resume to start anew") from None

    published = [Path(f"{config.model_path}_run{i}.pt") for i in range(config.n_runs)] if config.model_path else []
    if not folder.exists() or config.overwrite:
        check_free(published)
    save_files(config, encoder)
    job = None
    try:
        with bad_folder(config):
            claim(folder, config.overwrite, config.resume)
        note_other_environment(folder, environment(device))
        flags = config.defining_values()
        job = Job(folder, flags, config.execution_values(), environment(device), config.checkpoint_every, stop)
        job.tracker = tracking.Tracker(config.log_with, folder, flags) if config.log_with else None
        architecture = models.architecture(config, encoder.vocab_size)
        job.write_json("checkpoints/model.json", {"architecture": architecture, "vocabulary": encoder.vocabulary, "flags": flags})
        if job.state.get("phase") != "finetuning":
            metalearn(config, encoder, model, first_weights, job, device)
            for path, seed in zip(published, config.seeds, strict=False):
                write_atomically(path, models.published_bytes(weights_of(seed, config.init)))
        finetune(config, encoder, model, weights_of, job, device)
        conclude(job)
    except Interrupted as signal:
        job.close()
        print(f"main.py: {signal}: saved in {folder}; the same command goes on from there", file=sys.stderr)
        return REQUEUE
    except (DivergedError, Damaged, OSError, MemoryError, torch.OutOfMemoryError) as error:
        if job is not None:
            job.close(error)
        print(f"main.py: failed: {error or type(error).__name__}", file=sys.stderr)
        return FAILED
    except BaseException as error:
        if job is not None:
            job.close(error)
        raise
    return DONE


def check_free(paths: list[Path]) -> None:
    """Raise BadInput if --model_path would overwrite a file or cannot be written."""
    for path in paths:
        if path.exists():
            raise BadInput("model_path", path, "exists already; name another path")
        if not os.access(path.parent, os.W_OK):
            raise BadInput("model_path", path, "its folder does not exist or may not be written to")


def loaded_weights(config: Config, model: LlamaForCausalLM) -> dict[int, models.Weights]:
    """The weights of each seed that --load_model_from names; none if it is not passed."""
    import models

    if config.load_model_from is None:
        return {}
    try:
        files = find_base(Path(config.load_model_from), config.base_seed, config.n_runs).weights
        files = files * config.n_runs if len(files) == 1 else files  # a file without a job serves every seed
        return {seed: models.load_weights(file, model) for seed, file in zip(config.seeds, files, strict=True)}
    except (NoBase, models.ForeignWeights) as error:
        raise BadInput("load_model_from", config.load_model_from, str(error)) from None


def model_and_device(config: Config, encoder: Encoder) -> tuple[LlamaForCausalLM, torch.device]:
    """The model, whose weights are to be set, and the device to compute on: a GPU if one is asked for and there."""
    import torch

    import models

    if config.use_cuda and not torch.cuda.is_available():
        print("main.py: --use_cuda: there is no GPU here; going on with the CPU", file=sys.stderr)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(config.threads or cores)
    model = models.build(**models.architecture(config, encoder.vocab_size))
    return model, torch.device("cuda" if config.use_cuda and torch.cuda.is_available() else "cpu")


def environment(device: torch.device) -> dict:
    """What is recorded beside the flags."""
    import numpy
    import torch
    import transformers

    return {
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
    }


def commit() -> str | None:
    """The commit of the program, with -dirty if files were changed; None without git or outside a checkout of it."""
    here = Path(__file__).resolve().parent
    if not (here / ".git").exists():
        return None
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=here, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return git.stdout.strip() or None


def note_other_environment(folder: Path, here: dict) -> None:
    """Say so if an unfinished job goes on where the last bits of its numbers may come out otherwise."""
    there = recorded_config(folder).get("environment", here)
    other = [
        f"{key} {here[key]} instead of {there.get(key)}" for key in ("device", "threads", "torch") if here[key] != there.get(key)
    ]
    if other:
        print(f"main.py: going on with {', '.join(other)}: numbers may differ in their last digits", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
