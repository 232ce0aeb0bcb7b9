"""In-context and in-weight learning in one transformer: from flags to results.

python main.py                                  the demo: a few minutes on two cores
python main.py --preset paper --task category   the published experiment
python main.py --help                           every flag
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flags.base import NoBase, find_base
from flags.command_line import parse
from flags.config import BadInput, Config
from flags.presets import training_levels
from flags.resolve import level_folder
from machine import architecture_of, device_of, environment, model_and_device, note_other_environment
from runs import tracking
from runs.folder import FolderTaken, claim, is_finished, recorded_config
from runs.interrupt import Interrupted, StopFlag
from runs.lock import Held, Lock, LostLock, check_free

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    from data import Encoder
    from engine.attention import Weights
    from runs.records import Job

DONE, FAILED, BAD_INPUT, HELD, REQUEUE, STOPPED = 0, 1, 2, 3, 75, 130


def main(argv: list[str]) -> int:
    """Run the job that the command line describes; returns the exit status."""
    try:
        config = parse(argv)
        return run(config)
    except BadInput as error:
        print(f"main.py: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except Held as error:
        print(f"main.py: error: {error}", file=sys.stderr)
        return HELD
    except KeyboardInterrupt:
        print("main.py: stopped by Ctrl-C", file=sys.stderr)
        return STOPPED


def run(config: Config, stop: StopFlag | None = None) -> int:
    """Check, then do what was asked for. `stop` is what signals set; without one the job listens itself."""
    from data import check_episodes
    from episodes.loaded import episodes_of
    from flags.checks import check
    from tasks import check_task

    check(config)
    check_task(config)
    if config.is_sweep and not config.show:
        return sweep(config)
    encoder = episodes_of(config)
    if config.experiment != "llm":  # whose tokens and positions are the model's own
        check_episodes(config, encoder)
    if config.show:
        from analysis.show import show_episodes

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
        print(show_episodes(config, encoder))
        return DONE
    if config.experiment == "llm":
        return run_llm(config, encoder, stop or StopFlag())
    finished = check_folder(config)
    if not finished or config.dry_run:
        model, device = model_and_device(config, encoder)
        loaded = loaded_weights(config, model)
    if config.dry_run:
        from estimate import estimate

        print(estimate(config, encoder, model, device))
        return DONE
    folder = Path(config.out_dir)
    if finished:
        from episodes.loaded import save_files

        save_files(config, encoder)
        write_published(config, folder)
    else:
        status = perform(config, encoder, model, device, loaded, stop or StopFlag())
        if status != DONE:
            return status
    print_summary(folder)
    return DONE


def run_llm(config: Config, encoder: Encoder, stop: StopFlag) -> int:
    """The same with a pretrained language model, which is only asked."""
    from llm import evaluate, loading
    from llm.prompt import Prompter
    from runs.records import LLM_TABLES

    loading.check_quantisation(config)
    finished = check_folder(config)
    folder = Path(config.out_dir)
    if not finished or config.dry_run:
        tokenizer = loading.load_tokenizer(config)
        prompter = Prompter(config, encoder, tokenizer)
        loading.check_length(config, evaluate.longest_sequence(config, encoder, prompter))
    if config.dry_run:
        print(evaluate.preview(config, encoder, prompter))
        return DONE
    if not finished:
        device = device_of(config)
        model = loading.load_model(config)

        def work(job: Job) -> None:
            from analysis.conclude import conclude_llm

            evaluate.evaluate(config, encoder, prompter, model, tokenizer, job)
            conclude_llm(job)

        status = in_folder(config, encoder, device, stop, work, LLM_TABLES)
        if status != DONE:
            return status
    print_summary(folder)
    return DONE


def print_summary(folder: Path) -> None:
    from analysis import summary

    print(summary.table(summary.read(folder)))
    print(f"\nThe picture: {folder / 'summary.png'}")


def check_folder(config: Config) -> bool:
    """Whether the job is finished. Raises BadInput for a folder, tracker or file that it cannot write to, Held for a
    folder that another job is writing to."""
    if config.log_with and not tracking.is_installed(config.log_with):
        raise BadInput("log_with", config.log_with, f"is not installed here: pip install {config.log_with}")
    with bad_folder(config):
        finished = holds_finished(config, config.overwrite)
        if not finished and not config.dry_run:
            check_free(Path(config.out_dir))
    begins = config.overwrite or not config.resume or not Path(config.out_dir).exists()
    for path in published_paths(config):
        if path.exists() and begins and not finished:
            raise BadInput("model_path", path, "exists already; name another path")
        if not os.access(path.parent, os.W_OK):
            raise BadInput("model_path", path, "its folder does not exist or may not be written to")
    return finished


def holds_finished(config: Config, overwrite: bool = False) -> bool:
    """Whether this job is finished in its folder (see `runs.folder.is_finished`)."""
    return is_finished(Path(config.out_dir), config.defining_values(), overwrite, Config().defining_values())


def sweep(config: Config) -> int:
    """A trade-off experiment: a job at each of its levels, one after the other, then the picture of all of them."""
    levels = training_levels(config.preset, config.task, config.experiment)
    jobs = [dataclasses.replace(config, ablation_level=level) for level in levels]
    jobs = [dataclasses.replace(job, out_dir=str(Path(config.out_dir) / level_folder(job))) for job in jobs]
    with bad_folder(config):
        if recorded_config(Path(config.out_dir)):
            raise FolderTaken("holds a job; name a folder for the jobs of all levels")
    for job in jobs:
        check_folder(job)
    if config.dry_run:
        print(f"{len(jobs)} jobs, at levels {', '.join(f'{level:g}' for level in levels)}. The last of them:\n")
        return run(jobs[-1])
    stop = StopFlag()
    for job in jobs:
        status = run(job, stop)
        if status != DONE:
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


@contextlib.contextmanager
def bad_folder(config: Config):
    """What is wrong with the job's folder is bad input."""
    try:
        yield
    except FolderTaken as error:
        raise BadInput("out_dir", config.out_dir, str(error)) from None
    except OSError as error:
        raise BadInput("out_dir", config.out_dir, f"cannot be written to ({error.strerror or error})") from None


def begin_folder(config: Config, encoder: Encoder) -> Lock:
    """Make and hold the job's folder, and write the files that flags ask for; if those cannot be, no folder is left."""
    with bad_folder(config):
        made = claim(Path(config.out_dir), config.overwrite, config.resume)
        lock = Lock(Path(config.out_dir))
    try:
        from episodes.loaded import save_files

        save_files(config, encoder)
    except BadInput:
        lock.release()
        for path in made:  # they are empty
            path.rmdir()
        raise
    return lock


def perform(
    config: Config,
    encoder: Encoder,
    model: LlamaForCausalLM,
    device: torch.device,
    loaded: dict[int, Weights],
    stop: StopFlag,
) -> int:
    """The procedure of the paper: metalearning, then few-shot test and finetuning on fresh episodes, then a summary."""
    import models
    from analysis.conclude import conclude
    from finetune import finetune
    from pretrain import metalearn
    from runs.checkpoint import Damaged
    from runs.records import TABLES

    folder = Path(config.out_dir)

    def first_weights(seed: int, start: int) -> Weights:
        return loaded[seed] if loaded else models.draw_weights(model, seed, config.init_scale, config.weight_init, start)

    def work(job: Job) -> None:
        def weights_of(seed: int, init: str) -> Weights:
            if init == "random":
                return models.draw_weights(model, seed, config.init_scale, config.weight_init)
            path = job.checkpoints / f"best_seed{seed}.safetensors"
            try:
                return models.load_weights(path, model)
            except models.ForeignWeights as error:
                raise Damaged(f"{path} {error}; pass --no_resume to start anew") from None

        architecture, flags = architecture_of(config, encoder), config.defining_values()
        job.write_json("checkpoints/model.json", {"architecture": architecture, "vocabulary": encoder.vocabulary, "flags": flags})
        if job.state.get("phase") != "finetuning":
            metalearn(config, encoder, model, first_weights, job, device)
        write_published(config, folder)
        finetune(config, encoder, model, weights_of, job, device)
        conclude(job)

    return in_folder(config, encoder, device, stop, work, TABLES)


def in_folder(
    config: Config,
    encoder: Encoder,
    device: torch.device,
    stop: StopFlag,
    work: Callable[[Job], None],
    tables: Mapping[str, tuple[str, ...]],
) -> int:
    """Hold the job's folder while the work is done; returns the exit status."""
    stop.listen()  # before anything that takes its time
    import torch

    from engine.ensemble import DivergedError
    from runs.checkpoint import Damaged
    from runs.records import Job

    folder, lock, job = Path(config.out_dir), None, None
    try:
        lock = begin_folder(config, encoder)
        if holds_finished(config):  # by a job that held the folder until now
            return DONE
        note_other_environment(folder, environment(device))
        flags = config.defining_values()
        job = Job(folder, flags, config.execution_values(), environment(device), config.checkpoint_every, stop, lock, tables)
        job.tracker = tracking.Tracker(config.log_with, folder, flags) if config.log_with else None
        work(job)
    except Interrupted as signal:
        job.close()
        print(f"main.py: {signal}: saved in {folder}; the same command goes on from there", file=sys.stderr)
        return REQUEUE
    except (DivergedError, Damaged, LostLock, OSError, MemoryError, torch.OutOfMemoryError) as error:
        if job is not None:
            job.close(error)
        print(f"main.py: failed: {error or type(error).__name__}", file=sys.stderr)
        return FAILED
    except BaseException as error:
        if job is not None:
            job.close(error)
        raise
    finally:
        if lock is not None:
            lock.release()
    return DONE


def published_paths(config: Config) -> list[Path]:
    """The files that --model_path asks for, one a seed."""
    return [Path(f"{config.model_path}_run{i}.pt") for i in range(config.n_runs)] if config.model_path else []


def write_published(config: Config, folder: Path) -> None:
    """Write the kept weights where --model_path says so and they are not yet."""
    missing = [(path, seed) for path, seed in zip(published_paths(config), config.seeds, strict=False) if not path.exists()]
    if not missing:
        return
    import safetensors.torch

    import models
    from runs.checkpoint import write_atomically

    for path, seed in missing:
        weights = safetensors.torch.load_file(folder / "checkpoints" / f"best_seed{seed}.safetensors")
        write_atomically(path, models.published_bytes(weights))


def loaded_weights(config: Config, model: LlamaForCausalLM) -> dict[int, Weights]:
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
