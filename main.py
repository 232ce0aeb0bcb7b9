"""In-context and in-weight learning in one transformer: from flags to results.

python main.py                                  the demo: a few minutes on two cores
python main.py --preset paper --task category   the published experiment
python main.py --help                           every flag
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flags.command_line import parse
from flags.config import BadInput, Config
from flags.presets import training_levels
from flags.resolve import level_folder
from runs.folder import FolderTaken, recorded_config
from runs.interrupt import StopFlag
from runs.lock import Held
from runs.machine import device_of
from runs.session import BAD_INPUT, DONE, FAILED, HELD, bad_folder, check_folder, in_folder
from runs.terminal import STOPPED, command, say, tell

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from data import Encoder
    from engine.attention import Weights
    from runs.records import Recorder


def main(argv: list[str]) -> int:
    """Run the job that the command line describes; returns the exit status."""
    try:
        config = parse(argv)
        return run(config)
    except BadInput as error:
        say(f"main.py: error: {error}")
        return BAD_INPUT
    except Held as error:
        say(f"main.py: error: {error}")
        return HELD
    except KeyboardInterrupt:
        say("main.py: stopped by Ctrl-C")
        return STOPPED
    except (MemoryError, RuntimeError) as error:
        from engine.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        say(f"main.py: failed: out of memory ({' '.join(str(error).split())[:200] or type(error).__name__})")
        return FAILED


def run(config: Config, stop: StopFlag | None = None) -> int:
    """Check the flags, then do what they ask for. Signals set `stop`; without one the job listens itself."""
    from data import check_episodes
    from episodes.loaded import check_unchanged, episodes_of
    from flags.checks import check
    from flags.conditions import untested
    from tasks import check_task

    check(config)
    check_task(config)
    if config.is_sweep and not config.show:
        return sweep(config)
    encoder = episodes_of(config)
    if config.experiment != "llm":  # whose tokens and positions are the model's own
        check_episodes(config, encoder)
    if config.show:
        from preview.show import show_episodes

        return tell(show_episodes(config, encoder))
    if config.experiment == "llm":
        return run_llm(config, encoder, stop or StopFlag())
    finished = check_folder(config)
    check_unchanged(config, encoder)
    if not finished and (curriculum := untested(config)):
        say(
            f"main.py: --pt_cond {curriculum}: this job tests no {curriculum} contexts (--congruent_only); pass --no_congruent_only"
        )
    if not finished or config.dry_run:
        import models

        device = device_of(config)
        model = models.model_of(config, encoder)
        loaded = models.loaded_weights(config, model)
    if config.dry_run:
        from preview.estimate import estimate

        return tell(estimate(config, encoder, model, device))
    folder = config.folder
    if finished:
        from episodes.loaded import save_files

        save_files(config, encoder)
        if not all(path.exists() for path in config.published_paths):  # else no torch is needed
            from models import write_published
            from runs.checkpoint import Damaged

            try:
                write_published(config, folder)
            except (Damaged, OSError) as error:
                say(f"main.py: failed: {error}")
                return FAILED
    else:
        status = perform(config, encoder, model, device, loaded, stop or StopFlag())
        if status != DONE:
            return status
    return print_summary(folder, replot=finished)


def run_llm(config: Config, encoder: Encoder, stop: StopFlag) -> int:
    """Ask a pretrained language model, here or by a server; returns the exit status."""
    from episodes.loaded import save_files
    from llm import loading
    from runs.records import LLM_TABLES

    loading.check_quantisation(config)
    finished = check_folder(config)
    folder = config.folder
    if not finished or config.dry_run:
        from llm import askers, evaluate

        prompter, ready = askers.prepared(config, encoder)
    if config.dry_run:
        return tell(evaluate.preview(config, encoder, prompter))
    if not finished:
        device = device_of(config)
        asker = ready()

        def work(recorder: Recorder) -> None:
            from analysis.conclude import conclude_llm

            evaluate.evaluate(config, encoder, prompter, asker, recorder)
            conclude_llm(recorder)

        status = in_folder(config, lambda: save_files(config, encoder), device, stop, work, LLM_TABLES)
        if status != DONE:
            return status
    return print_summary(folder, replot=finished)


def print_summary(folder: Path, replot: bool) -> int:
    """Print the numbers of a finished job; returns the exit status. replot: plot its picture if it is missing."""
    from analysis.conclude import results
    from analysis.measures import summary

    try:
        found, picture = results(folder, replot)
    except (OSError, ValueError) as error:  # tables that are damaged as well
        say(f"main.py: failed: {error}")
        return FAILED
    tell(summary.table(found))
    if picture:
        tell(f"\nThe picture: {picture}")
    return DONE


def sweep(config: Config) -> int:
    """A trade-off experiment: a job at each of its levels, one after the other, then the picture of all of them."""
    levels = training_levels(config.preset, config.task, config.experiment)
    jobs = [dataclasses.replace(config, ablation_level=level) for level in levels]
    jobs = [dataclasses.replace(job, out_dir=str(config.folder / level_folder(job))) for job in jobs]
    with bad_folder(config):
        if recorded_config(config.folder):
            raise FolderTaken("holds a job; name a folder for the jobs of all levels")
    for job in jobs:
        check_folder(job)
    if config.dry_run:
        tell(f"{len(jobs)} jobs, at levels {', '.join(f'{level:g}' for level in levels)}. The last of them:\n")
        return run(jobs[-1])
    stop = StopFlag()
    for job in jobs:
        status = run(job, stop)
        if status != DONE:
            return status
        tell("")
    from analysis.conclude import attempt
    from analysis.measures import tradeoff

    try:
        found = tradeoff.read([job.folder for job in jobs])
    except (OSError, ValueError) as error:  # tables that are damaged
        say(f"main.py: failed: {error}")
        return FAILED
    tell(tradeoff.table(found))
    picture = config.folder / "tradeoff.png"

    def plot(path: Path) -> None:
        from analysis.report.plots.tradeoff import plot_trade_off

        plot_trade_off(found, path)

    if attempt(plot, picture):
        tell(f"\nThe picture: {picture}")
    return DONE


def perform(
    config: Config,
    encoder: Encoder,
    model: PreTrainedModel,
    device: torch.device,
    loaded: dict[int, Weights],
    stop: StopFlag,
) -> int:
    """The procedure of the paper: metalearning, then few-shot test and finetuning on fresh episodes, then a summary."""
    import models
    from analysis.conclude import conclude
    from episodes.loaded import save_files, to_record
    from finetune import finetune
    from pretrain import metalearn
    from runs.checkpoint import Damaged
    from runs.records import TABLES

    folder = config.folder

    def work(recorder: Recorder) -> None:
        def weights_of(seed: int, init: str) -> Weights:
            if init == "random":
                return models.draw_weights(model, seed, config.iwl_init_scale)
            path = recorder.checkpoints / f"best_seed{seed}.safetensors"
            try:
                return models.load_weights(path, model)
            except models.ForeignWeights as error:
                raise Damaged(f"{path} {error}; pass --no_resume to start anew") from None

        architecture, flags = models.architecture_of(config, encoder), config.defining_values()
        recorder.write_json("checkpoints/model.json", {"architecture": architecture, **to_record(encoder), "flags": flags})
        if recorder.state.get("phase") != "finetuning":
            metalearn(config, encoder, loaded, recorder, device)
        models.write_published(config, folder)
        finetune(config, encoder, model, weights_of, recorder, device)
        conclude(recorder)

    return in_folder(config, lambda: save_files(config, encoder), device, stop, work, TABLES)


if __name__ == "__main__":
    sys.exit(command(main, "main.py"))
