"""Session of a job, from a hold on its folder to an exit status: what happens around the work of any job."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from flags.config import BadInput, Config
from flags.earlier import unrecorded
from runs import tracking
from runs.folder import FolderTaken, claim, is_finished
from runs.interrupt import Interrupted, StopFlag
from runs.lock import Lock, LostLock, StoppedWaiting, check_free, check_none_below
from runs.machine import environment, note_other_environment
from runs.terminal import say

if TYPE_CHECKING:
    import torch

    from runs.records import Recorder

DONE, FAILED, BAD_INPUT, HELD, REQUEUE = 0, 1, 2, 3, 75


def check_folder(config: Config) -> bool:
    """Return True if the job is finished.

    Raises BadInput for a folder, tracker or file that it cannot write to, Held for a folder that another job is writing to.
    """
    if config.log_with and not tracking.is_installed(config.log_with):
        raise BadInput("log_with", config.log_with, f"is not installed: pip install {config.log_with}")
    with bad_folder(config):
        finished = holds_finished(config, config.overwrite)
        if not finished and not config.dry_run:
            check_free(config.folder)
            if config.overwrite or not config.resume:
                check_none_below(config.folder)
    begins = config.overwrite or not config.resume or not config.folder.exists()
    for path in config.published_paths:
        try:
            exists = path.exists()
        except OSError as error:
            raise BadInput("model_path", path, f"cannot be written to ({error.strerror or error})") from None
        if exists and begins and not finished:
            raise BadInput("model_path", path, "exists already; name another path")
        if not os.access(path.parent, os.W_OK):
            raise BadInput("model_path", path, "its folder does not exist or may not be written to")
    return finished


def holds_finished(config: Config, overwrite: bool = False) -> bool:
    """Return True if this job is finished in its folder (see `runs.folder.is_finished`)."""
    return is_finished(config.folder, config.defining_values(), overwrite, unrecorded(config))


@contextlib.contextmanager
def bad_folder(config: Config) -> Iterator[None]:
    """Turn errors about the job's folder into BadInput."""
    try:
        yield
    except FolderTaken as error:
        raise BadInput("out_dir", config.out_dir, str(error)) from None
    except OSError as error:
        raise BadInput("out_dir", config.out_dir, f"cannot be written to ({error.strerror or error})") from None


def begin_folder(config: Config, prepare: Callable[[], None], stop: StopFlag) -> Lock | None:
    """Make and hold the job's folder, and `prepare`; if that is BadInput, everything is as it was.

    Returns the hold, or None if another process finished this job since the first look.
    """
    folder = config.folder
    with bad_folder(config):
        claimed = claim(folder, config.overwrite, config.resume, lambda: stop.signal is not None)
    try:
        with bad_folder(config):
            finished = holds_finished(config)
        prepare()
    except BaseException:
        claimed.undo(folder)
        raise
    if finished:
        claimed.lock.release()
    return None if finished else claimed.lock


def in_folder(
    config: Config,
    prepare: Callable[[], None],
    device: torch.device,
    stop: StopFlag,
    work: Callable[[Recorder], None],
    tables: Mapping[str, tuple[str, ...]],
) -> int:
    """Hold the job's folder, `prepare` what flags ask for beside it, and do the work; returns the exit status."""
    stop.listen()  # before anything that takes its time
    import torch

    from engine.ensemble import DivergedError
    from runs.checkpoint import Damaged
    from runs.records import Recorder

    folder = config.folder
    lock: Lock | None = None
    recorder: Recorder | None = None
    try:
        lock = begin_folder(config, prepare, stop)
        if lock is None:
            return DONE
        note_other_environment(folder, environment(device))
        flags = config.defining_values()
        execution, minutes = config.execution_values(), config.checkpoint_every
        recorder = Recorder(folder, flags, execution, environment(device), minutes, stop, lock, tables)
        recorder.tracker = tracking.Tracker(config.log_with, folder, flags) if config.log_with else None
        work(recorder)
    except StoppedWaiting:
        say(f"main.py: {stop.name}: stopped before {folder} was free; nothing was begun")
        return REQUEUE
    except Interrupted as signal:
        if recorder is not None:
            recorder.close()
        say(f"main.py: {signal}: saved in {folder}; the same command resumes it")
        return REQUEUE
    except (DivergedError, Damaged, LostLock, OSError, MemoryError, torch.OutOfMemoryError) as error:
        if recorder is not None:
            recorder.close(error)
        say(f"main.py: failed: {error or type(error).__name__}")
        return FAILED
    except BaseException as error:
        if recorder is not None:
            recorder.close(error)
        raise
    finally:
        if lock is not None:
            lock.release()
    return DONE
