"""Starts of metalearning: which seeds are in which stage, which wait for the next start, and what each has kept."""

from __future__ import annotations

from dataclasses import asdict

from engine.attention import Weights
from engine.seeds import SeedProgress, flat, nested


class OldState(OSError):
    """A saved state that an earlier program left, and that no job can be resumed from."""


class Rounds:
    """All starts of a chunk of seeds. Each start goes through all stages; a seed that falls behind in one waits for the next.

    It then has other initial weights and other batches. In the last start no seed waits: one that missed a bar continues.

    going: the seeds that are in this stage of this start; none when metalearning is over.
    entered: the weights by seed that they come with; `loaded` in the first stage, none if they are to be drawn.
    progress, kept: of each seed that has been in the last stage before, how it came on there, and its weights.
    """

    def __init__(self, n_stages: int, restarts: int, loaded: dict[int, Weights], seeds: list[int]):
        self._n_stages, self._restarts, self._loaded = n_stages, restarts, loaded
        self.start, self.stage = 0, 1
        self.going = seeds
        self._waiting: list[int] = []
        self.entered = loaded
        self.progress: dict[int, SeedProgress] = {}
        self.kept: dict[int, Weights] = {}

    @property
    def _is_final(self) -> bool:
        """Return True in the last start."""
        return self.start == self._restarts

    def what_follows(self) -> str:
        """Return what becomes of a seed that falls behind here; nothing if that is all."""
        if self._is_final and self.stage == self._n_stages:
            return ""
        what = "it enters the next stage" if self._is_final else "it restarts"
        return f"{what} (restart {self.start + (not self._is_final)} of at most {self._restarts})"

    def advance(self, progress: list[SeedProgress], kept: dict[int, Weights], behind: list[int]) -> None:
        """Go on to the next stage, or to the next start, or to the end, with what a stage made of its seeds."""
        waiting = [] if self._is_final else behind
        self._waiting += waiting
        if self.stage == self._n_stages:
            self.kept |= kept
            self.progress |= {s.seed: s for s in progress}
            self.going = []
        self.going = [seed for seed in self.going if seed not in waiting]
        self.stage, self.entered = self.stage + 1, {seed: kept[seed] for seed in self.going}
        if not self.going and self._waiting:
            self.start, self.stage = self.start + 1, 1
            self.going, self._waiting, self.entered = sorted(self._waiting), [], self._loaded

    def state(self) -> dict:
        """Return what `restore` needs beside `tensors`."""
        progress = [asdict(s) for s in self.progress.values()]
        where = {"stage": self.stage, "start": self.start, "going": self.going, "waiting": self._waiting}
        return {**where, "progress": progress}

    def tensors(self, within_last: bool) -> Weights:
        """Return the weights that `restore` needs; within the last stage, beside those that it keeps of the seeds in it."""
        before = {seed: weights for seed, weights in self.kept.items() if not (within_last and seed in self.going)}
        return (flat("entered", self.entered) if self.stage > 1 else {}) | flat("before", before)

    def restore(self, tensors: Weights, state: dict) -> None:
        """Resume where `state` was taken; with an empty one, from the beginning."""
        self.stage, self.start = state.get("stage", 1), state.get("start", 0)
        self.entered = nested("entered", tensors) or self._loaded
        if "going" in state:
            self.going, self._waiting = state["going"], state["waiting"]
            self.progress = {s["seed"]: SeedProgress(**s) for s in state["progress"]}
            self.kept = nested("before", tensors)
        elif self.start and self._n_stages > 1:
            raise OldState("its saved state is of a program that restarted single stages; pass --no_resume to start anew")
        elif self.start:  # saved by a program that kept another account of a single stage's starts
            self.going = sorted(s["seed"] for s in [*state["active"], *state["stopped"]])
            self.kept = nested("kept", tensors)
