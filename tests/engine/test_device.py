"""No tensor is left on the wrong device: the program's own code on tensors without data, for machines without a GPU.

`FakeTensorMode` runs every operation on shapes, types and devices alone, and raises where one mixes devices, as a GPU does.
The device is `meta`, as a torch without CUDA refuses to index tensors on "cuda".
"""

import importlib
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError
from torch.overrides import TorchFunctionMode

import models
from data import Encoder
from engine.ensemble import Ensemble
from finetune import Finetuning, finetune, plan
from flags.stages import stages_of
from llm.probe import _logits
from llm.prompt import Answer
from llm.scoring import Pace, score
from pretrain import Metalearning
from tasks import make_task
from tests import llm_models
from tests.conftest import TINY, built, configured

GPU, CPU = torch.device("meta"), torch.device("cpu")


class Numbers(TorchFunctionMode):
    """Zeros where the program asks for numbers, which the tensors do not have; and what a GPU refuses beyond mixed devices."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__bool__ and isinstance(args[0], FakeTensor):
            return False
        if func is torch.Tensor.numpy and isinstance(args[0], FakeTensor):
            assert args[0].device == CPU, "numpy takes no tensor of a GPU"
            return np.zeros(args[0].shape, dtype=str(args[0].dtype).removeprefix("torch."))
        if func is torch.nn.functional.embedding:  # which looks at the device of the weights alone when there are no data
            assert args[0].device == args[1].device, "token ids and embeddings are on different devices"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def gpu(monkeypatch):
    """Where the program can be run as on a GPU. Models are made before, on the CPU."""
    fused = importlib.import_module("torch.optim.optimizer")  # torch.optim does not show it
    supported = fused._get_fused_kernels_supported_devices()
    monkeypatch.setattr(fused, "_get_fused_kernels_supported_devices", lambda: [*supported, GPU.type])

    def swap(parameter, moved):  # what moves to where it is already; tensors without data cannot be swapped
        assert parameter.device == moved.device == GPU

    monkeypatch.setattr(torch.utils, "swap_tensors", swap)

    @contextmanager
    def mode():
        with FakeTensorMode(allow_non_fake_inputs=True), Numbers():
            yield

    return mode


class Memory:
    """A recorder that keeps what was saved last, as it comes back from a file: on the CPU."""

    def __init__(self):
        self.tables = set()

    def start(self, *_):
        pass

    def write(self, table, rows):
        list(rows)
        self.tables.add(table)

    def note(self, **_):
        pass

    def tick(self, *_):
        pass

    def save_due(self):
        return True

    def save(self, tensors, state):
        self.saved = {name: tensor.cpu() for name, tensor in tensors.items()}, state


def test_devices_are_told_apart(gpu):
    with gpu():
        here, there = torch.zeros(3), torch.zeros(3, device=GPU)
        with pytest.raises(FakeTensorDeviceMismatchError):
            here + there
        with pytest.raises(AssertionError, match="numpy takes no tensor of a GPU"):
            there.numpy()
        assert (here.to(GPU) + there).cpu().numpy().tolist() == [0, 0, 0]


def test_metalearning(gpu, monkeypatch):
    """Two seeds with attention dropout: updates, validations, a saved state and its resume, a restart, one seed alone."""
    config = configured(f"{TINY['category']} --n_train 2 --n_epochs 1 --restarts 1 --n_runs 2 --attention_dropout 0.3")
    encoder = Encoder(config, make_task(config))
    stage, recorder, llamas = stages_of(config)[0], Memory(), [built(config, encoder) for _ in range(3)]
    weights = dict.fromkeys(config.seeds, models.draw_weights(llamas[0], 0, 0.1))
    monkeypatch.setattr(models, "model_of", lambda *_: llamas.pop())
    with gpu():
        first, second = (Metalearning(stage, encoder, weights, list(config.seeds), GPU) for _ in range(2))
        first.run(recorder, recorder.save)
        assert recorder.tables == {"pretrain_loss", "pretrain_accuracy"}
        assert {tensor.device for kept in first.kept.values() for tensor in kept.values()} == {CPU}
        second.restore(*recorder.saved)
        assert second.behind() == [0, 1]
        second = Metalearning(stage, encoder, weights, [0, 1], GPU, 1, ({}, first.kept))
        second._update()
        second.ensemble.keep([0])
        assert {tensor.device for name, tensor in second.ensemble.state().items() if name != "step"} == {GPU}


@pytest.mark.parametrize(("kind", "n_members"), [("mask", 2), ("gaussian", 1), ("bernoulli", 1)])
def test_finetuning(gpu, kind, n_members):
    """An update, tests with and without ablation, a saved state and its resume."""
    more = "--test_ablation_level_num 1 --test_repeats 1 --n_blocks 1 --n_steps_per_block 1 --max_members 20"
    config = configured(f"{TINY['grid']} --ablation {kind} {more}")
    encoder = Encoder(config, make_task(config))
    members, llamas = plan(config)[0][:n_members], [built(config, encoder) for _ in range(2)]
    weights, recorder = [models.draw_weights(llamas[0], 0, 0.1)] * n_members, Memory()
    with gpu():
        first, second = (Finetuning(config, encoder, members, Ensemble(model, weights, 0.01, False, GPU), 0) for model in llamas)
        first.run(recorder)
        assert recorder.tables == {"finetune_loss", "finetune_accuracy"}
        second.restore(*recorder.saved)
        second.update(1, 0, "B")
        assert {tensor.device for name, tensor in second.ensemble.state().items() if name != "step"} == {GPU}


def test_finetuning_of_several_ensembles(gpu):
    """The first of them moves the model to the GPU; weights are drawn for the second one then, beside those of a file."""
    more = "--n_blocks 1 --n_steps_per_block 1 --test_one_rot_cond --congruent_only --with_iwl_only --max_members 20 --n_test 1"
    config = configured(f"{TINY['grid']} {more}")
    encoder = Encoder(config, make_task(config))
    model, recorder = built(config, encoder), Memory()
    recorder.state, of_file = {}, models.draw_weights(model, 1, 0.1)
    assert [{member.init for member in members} for members in plan(config)] == [{"metalearned", "random"}] * 2

    def weights_of(seed, init):
        return models.draw_weights(model, seed, 0.02) if init == "random" else of_file

    with gpu():
        finetune(config, encoder, model, weights_of, recorder, GPU)
        assert {parameter.device for parameter in model.parameters()} == {GPU}
        assert {tensor.device for tensor in models.draw_weights(model, 0, 0.02).values()} == {CPU}


@pytest.mark.parametrize("shared", [True, False])
def test_scores_of_a_language_model(gpu, shared):
    """Two episodes, whose shared prefixes have other lengths, and answers of one and two tokens."""
    model = llm_models.model(30).eval()
    sizes = [(n, a, b) for n in (9, 12) for a in (20, 21) for b in ((), (22,))]
    answers = [Answer((*range(n), a, *b), n, n, n + 1, n + len(b)) for n, a, b in sizes]
    with gpu():
        model.to(GPU)
        assert _logits(model, (1, 2, 3)).device == GPU
        found = score(model, [answers[:4], answers[4:]], Pace(rows_at_once=3, shared=shared))
    assert [[len(one.log_p) for one in of_episode] for of_episode in found] == [[1, 2, 1, 2]] * 2
