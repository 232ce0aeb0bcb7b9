"""State of each seed of an ensemble in metalearning: its progress, and the weights kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.attention import Weights


@dataclass
class SeedProgress:
    """Progress of a seed in a stage, beside its weights."""

    seed: int
    kept: int = -1  # novel validation queries answered rightly by the kept model
    kept_loss: float = float("inf")  # its mean loss on these
    best: int = -1  # the most right answers since the last start
    best_loss: float = float("inf")  # the lowest loss since then
    stale: int = 0  # validations in a row, since then, without a new best
    passed: bool = False  # the stage's bar, since then
    loss_sum: list[float] = field(default_factory=list)  # by subset, since the last row
    loss_count: list[int] = field(default_factory=list)

    def anew(self) -> SeedProgress:
        """Return the progress of this seed at a restart, with what it has kept."""
        return SeedProgress(self.seed, self.kept, self.kept_loss)

    def take(self, right: int, loss: float, by: str) -> bool:
        """Note a validation's result; returns True if the model is the best so far, of all starts of the stage."""
        is_best = loss < self.kept_loss if by == "loss" else right > self.kept
        is_new = loss < self.best_loss if by == "loss" else right > self.best
        self.stale = 0 if is_new else self.stale + 1
        self.best, self.best_loss = max(self.best, right), min(self.best_loss, loss)
        if is_best:
            self.kept, self.kept_loss = right, loss
        return is_best


def flat(what: str, weights: dict[int, Weights]) -> Weights:
    """Weights of several seeds under one name each."""
    return {f"{what}/{seed}/{name}": tensor for seed, of_seed in weights.items() for name, tensor in of_seed.items()}


def nested(what: str, tensors: Weights) -> dict[int, Weights]:
    """Return what `flat` was given; empty without such tensors."""
    found: dict[int, Weights] = {}
    for key, tensor in tensors.items():
        first, _, rest = key.partition("/")
        if first == what:
            seed, _, name = rest.partition("/")
            found.setdefault(int(seed), {})[name] = tensor
    return found
