"""One frozen `Config` that says everything about a job. Imports nothing of torch.

A field is a flag: its name, type, published default, bounds and help stand here and nowhere else. presets.py and the tasks'
entries have other defaults, resolve.py joins them into one configuration, and checks.py has rules that join several flags.
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tasks
from flags import presets
from flags.ablations import ABLATIONS
from flags.bounds import fault, of_kind
from flags.decoders import DECODERS


class BadInput(Exception):
    """A wrong flag, value or file: reported as one line on stderr, exit status 2."""

    def __init__(self, flag: str, value: object, right: str):
        self.flag = flag
        name = flag if flag.startswith("-") else f"--{flag}"
        shown = "" if value is True else value  # a switch is passed without a value
        super().__init__(f"{f'{name} {shown}'.rstrip()}: {right}")


def flag(
    heading: str,
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str | int, ...] = (),
    beyond: Callable[[str], str | None] | None = None,
    aliases: tuple[str, ...] = (),
    path: bool = False,
) -> Any:
    """Return a field of `Config`. Bounds: low ≤ value ≤ high, above < value; a path may not be empty.

    `beyond` judges a value that is none of the choices: it returns None if the value is right, else the reason, or an empty text.
    Flags under the heading `EXECUTION` say how a job is run, not what it computes. They may differ when a job is resumed.
    """
    metadata = {
        "heading": heading, "help": help, "low": low, "high": high, "above": above, "choices": choices, "beyond": beyond,
        "aliases": aliases, "path": path,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


DERIVED = "derived"  # no flags: what others resolve to
EXECUTION, SETUP, DATA, GRID, CATEGORY = "execution", "set-up", "data", "grid task", "category task"
PROMPT, METALEARNING, FINETUNING, ABLATION = "prompt", "metalearning", "finetuning", "ablation"
LLM = "pretrained language model"
MODEL, TRAINING = "model", "training"  # what decides the weights' shapes and the function they make; what does not
TASK_AND_MODEL = (DATA, GRID, CATEGORY, PROMPT, MODEL)  # flags of these make the episodes, and the function of the weights


@dataclass(frozen=True)
class Config:
    """Every flag as resolved. Defaults are those of the published grid scripts, switches off."""

    # fmt: off
    preset: str | None = flag(EXECUTION, None, "sizes and settings that go together; unset: the paper's values, switches off", choices=presets.PRESETS)
    recipe: str | None = flag(EXECUTION, None, "settings of metalearning: batches, schedule, initial weights; unset: the preset's", choices=tuple(presets.RECIPES))
    out_dir: str | None = flag(EXECUTION, None, "the job's folder; unset: results/EXPERIMENT/CONDITION/SEEDS", aliases=("out_file",), path=True)
    overwrite: bool = flag(EXECUTION, False, "move the job's existing folder aside and start anew")
    resume: bool = flag(EXECUTION, True, "resume an unfinished job; --no_resume moves its folder aside and starts anew")
    dry_run: bool = flag(EXECUTION, False, "check all flags, print the plan and its cost, and stop")
    show: int = flag(EXECUTION, 0, "print this many metalearning episodes for people to read, and stop", low=0, high=1000000)
    use_cuda: bool = flag(EXECUTION, False, "use a GPU; without one, say so and use the CPU")
    threads: int | None = flag(EXECUTION, None, "CPU threads; unset: OMP_NUM_THREADS, else the cores that this process and its cgroup may use", low=1, high=1024)
    save_data_to: str | None = flag(EXECUTION, None, "write the episodes into this folder, one JSON line each", path=True)
    save_vocab: str | None = flag(EXECUTION, None, "write the vocabulary (JSON, token → id)", path=True)
    log_with: str | None = flag(EXECUTION, None, "also send losses and accuracies to a tracker, which must be installed", choices=("tensorboard", "wandb"))
    model_path: str | None = flag(EXECUTION, None, "write the best weights also to MODEL_PATH_run{i}.pt, for the published code", path=True)
    llm_concurrency: int = flag(EXECUTION, 4, "questions that a server is asked at once", low=1, high=1000)
    checkpoint_every: float = flag(EXECUTION, 10.0, "minutes between two saved states; a killed job loses at most that much work", low=0)

    experiment: str = flag(SETUP, "icl_iwl", "metalearning and finetuning, or finetuning from random weights", choices=presets.EXPERIMENTS)
    seed: int = flag(SETUP, 0, "base of every random draw", low=0)
    n_runs: int = flag(SETUP, 1, "seeds SEED … SEED + N_RUNS - 1, trained as one ensemble", low=1, high=1000)
    max_members: int = flag(SETUP, 40, "models trained at once, at most", low=1, high=100000)

    task: str = flag(DATA, tasks.DEFAULT, "the task, or the module of an outside one: PACKAGE.MODULE", choices=tuple(tasks.TASKS), beyond=tasks.fault_of_task)
    load_data_from: str | None = flag(DATA, None, "read the episodes from this folder: ours, or one of the published code", path=True)
    load_vocab: str | None = flag(DATA, None, "read the vocabulary (JSON, token → id), which sets ids and the model's size", path=True)
    n_train: int = flag(DATA, 12000, "metalearning episodes", low=1, high=10000000)
    n_val: int = flag(DATA, 100, "validation episodes", low=1, high=1000000)
    n_test: int = flag(DATA, 10, "test episodes of each condition", low=1, high=100000)
    n_symbols: int = flag(DATA, 5, "grid: words to draw colours and animals from; category: values of a dimension", low=2, high=10000)
    max_len: int = flag(DATA, 200, "positions of the model; a longer sequence is an error", low=1, high=1000000)
    lm_task: str = flag(DATA, "masked", "where the answer is predicted: at a mask, or one position earlier", choices=("masked", "causal"))

    real_words: bool = flag(GRID, False, "red, dog, … instead of color_0, animal_0, …")
    n_positions: int = flag(GRID, 1, "symbols in the name of a colour or an animal", low=1, high=10000)
    p_flip_xy: float = flag(GRID, 0.5, "probability, per episode, that answers are (y, x)", low=0, high=1)
    strict_train: bool = flag(GRID, False, "draw no metalearning episode twice")
    strict_test: bool = flag(GRID, False, "draw validation and test episodes that all differ from each other and from metalearning's")
    generate_all: bool = flag(GRID, False, "draw all episodes without replacement")

    n_task_dims: int = flag(CATEGORY, 200, "dimensions; if they make fewer pairs than episodes, pairs are reused with labels drawn anew", low=2, high=100000)
    n_rel_dims: int = flag(CATEGORY, 1, "dimensions that the label depends on", choices=(1, 2))
    n_labels: int = flag(CATEGORY, 2, "labels in all", low=2, high=10000)
    n_labels_per_task: int = flag(CATEGORY, 2, "labels of an episode", choices=(2, 4))
    n_distractors: int = flag(CATEGORY, 0, "irrelevant dimensions shown with each item", low=0)
    n_in_context: int = flag(CATEGORY, 32, "study items of an episode", low=4, high=100000000)
    format: str = flag(CATEGORY, "space", "format of an item", choices=("space", "comma", "paren", "paren_comma"))

    preface_id: int = flag(PROMPT, 0, "preface: the text before the items", low=0, high=8)
    template_id: int = flag(PROMPT, 0, "template of an item of the grid task", low=0, high=3)
    sep_id: int = flag(PROMPT, 0, "separator after each study item", low=0, high=3)
    test_preface_id: int = flag(PROMPT, 0, "test preface: the text before a query", low=0, high=4)

    pt_rot_cond: str | None = flag(METALEARNING, "unrotated", "rotation of the metalearning episodes; for a language model, unset: both", choices=("unrotated", "rotated"))
    pt_cond: str | None = flag(METALEARNING, "blocked", "context curriculum of the metalearning episodes; for a language model, unset: all", choices=tasks.curricula(), beyond=tasks.fault_of_curriculum)
    n_epochs: int = flag(METALEARNING, 500, "passes over the metalearning episodes; 0 = no metalearning", low=0, high=1000000)
    pretrain_bs: int = flag(METALEARNING, 256, "queries per update", low=1, high=10000000)
    queries_per_episode: int = flag(METALEARNING, 1, "queries that share a context in an update", low=1)
    pretrain_lr: float = flag(METALEARNING, 1e-3, "Adam's learning rate", above=0)
    warmup_steps: int = flag(METALEARNING, 0, "updates over which the learning rate rises to --pretrain_lr", low=0, high=1000000000)
    weight_decay: float = flag(METALEARNING, 0.0, "decoupled weight decay (AdamW): each update shrinks the weights by a factor 1 - learning rate * weight decay", low=0, high=100)
    lr_schedule: str = flag(METALEARNING, "constant", "learning rate after the warm-up: constant, or falling in a straight line to 0 at the last update", choices=("constant", "linear"))
    print_every: int = flag(METALEARNING, 500, "updates between two rows of the loss", low=1)
    test_every: int = flag(METALEARNING, 1000, "updates between two validations", low=1)
    pretrain_steps: int | None = flag(METALEARNING, None, "updates of a start; unset: those of --n_epochs", low=1, high=1000000000)
    keep_by: str = flag(METALEARNING, "accuracy", "measure that chooses the model a seed keeps: most right answers to novel validation queries, or lowest loss on them", choices=("accuracy", "loss"))
    stop_early: bool = flag(METALEARNING, False, "stop a seed after --patience validations without a new best. Unless --keep_by loss, also stop it once all novel validation queries are answered rightly")
    patience: int = flag(METALEARNING, 200, "validations in a row that bring no new best", low=1)
    restarts: int = flag(METALEARNING, 0, "restarts of a seed, at most, from new initial weights and the first stage. A seed restarts if it misses a stage's bar, or if its kept model answers at most .9 of the novel validation queries", low=0, high=1000)
    stage_steps: int | None = flag(METALEARNING, None, "updates of each stage before the last, at most; 0: only the last stage; unset: the recipe's", low=0, high=1000000000)
    init_scale: float = flag(METALEARNING, 0.02, "standard deviation of the initial weights", above=0, high=100)
    weight_init: str = flag(METALEARNING, "normal", "normal: independent Gaussians. matching: K = Q, O = V transposed, unembedding = embedding. looking_back: first-layer heads look back within an item; above them K = Q, O = V transposed", choices=("normal", "matching", "looking_back"))
    readout_steps: int = flag(METALEARNING, 0, "first updates of a start from random weights, which train the readout alone", low=0, high=1000000000)
    readout_lr: float = flag(METALEARNING, 1e-2, "Adam's learning rate during --readout_steps", above=0)
    adam_beta2: float = flag(METALEARNING, 0.999, "Adam's second decay rate", low=0, high=0.999999)

    n_blocks: int = flag(FINETUNING, 4, "blocks; 0 = no finetuning", low=0, high=1000000)
    n_steps_per_block: int = flag(FINETUNING, 1000, "updates in a block; 0 = no finetuning", low=0, high=1000000000)
    finetune_bs: int = flag(FINETUNING, 5, "items per update", low=1, high=1000000)
    finetune_lr: float = flag(FINETUNING, 1e-4, "Adam's learning rate", above=0)
    finetune_beta2: float = flag(FINETUNING, 0.999, "Adam's second decay rate", low=0, high=0.999999)
    iwl_init_scale: float = flag(FINETUNING, 0.02, "standard deviation of random weights that finetuning starts from", above=0, high=100)
    finetune_test_every: int = flag(FINETUNING, 20, "updates between two tests", low=1)
    test_one_rot_cond: bool = flag(FINETUNING, False, "finetune on the rotation of metalearning only")
    congruent_only: bool = flag(FINETUNING, False, "only blocked/blocked and interleaved/interleaved curricula")
    step_cond: str = flag(FINETUNING, "both", "step curriculum of finetuning; a trade-off measures interleaved alone", choices=("both", "blocked", "interleaved"))
    with_iwl_only: bool = flag(FINETUNING, False, "finetune randomly initialised models beside the metalearned ones")

    ablation: str | None = flag(ABLATION, None, "ablation of the context in finetuning and its tests: hide examples, zero attention values, or add noise to them", choices=tuple(ABLATIONS))
    ablation_level: float | None = flag(ABLATION, 0.1, "level while training: a probability, or the standard deviation of gaussian; unset in a trade-off experiment: all its levels, a job each", low=0, high=1000000)
    test_ablation_level_min: float = flag(ABLATION, 0.0, "lowest level tested", low=0)
    test_ablation_level_max: float = flag(ABLATION, 1.0, "highest level tested", low=0, high=1000000)
    test_ablation_level_num: int = flag(ABLATION, 11, "levels tested, evenly spaced; 0 and the training level are always among them", low=1, high=1000)
    test_repeats: int = flag(ABLATION, 4, "draws that each test above level 0 pools", low=1, high=1000)

    model_name: str = flag(MODEL, "llama2", "the architecture (see docs/extend.md)", choices=tuple(DECODERS))
    load_model_from: str | None = flag(MODEL, None, "start from the weights of a job's folder, whose data and model flags are inherited, or of a .safetensors or .pt file", path=True)
    base_seed: int | None = flag(MODEL, None, "seed to take from the job of --load_model_from; unset: the best validated", low=0)
    n_layers: int = flag(MODEL, 12, "layers", low=1, high=1000)
    n_heads: int = flag(MODEL, 8, "attention heads", low=1, high=10000)
    d_model: int = flag(MODEL, 64, "width of the residual stream", low=1, high=100000)
    d_ff: int = flag(MODEL, 128, "width of the feed-forward layers", low=1, high=1000000)
    dropout_p: float = flag(TRAINING, 0.1, "accepted and inert, as in the published runs", low=0, high=1)
    attention_dropout: float = flag(TRAINING, 0.0, "probability that an attention weight is dropped while training", low=0, high=0.999)
    model_dtype: str = flag(TRAINING, "fp32", "number format of pretrained language models", choices=("fp32", "fp16", "bf16"))
    rope_theta: float = flag(MODEL, 1e4, "base of the rotary position embedding", low=1, high=1e9)

    llm: str | None = flag(LLM, None, "ask this causal language model in context: a folder, a GGUF file, or a name on the hub; with --llm_api, its name on the server", path=True)
    llm_api: str | None = flag(LLM, None, "OpenAI-compatible server that runs the model of --llm, such as http://localhost:8080/v1; its key is OPENAI_API_KEY of the environment")
    llama2_size: str | None = flag(LLM, None, "ask Llama 2 of this size, from CACHE_DIR/Llama-2-SIZE-hf", choices=("7b", "7b-chat", "13b", "13b-chat", "70b", "70b-chat"))
    cache_dir: str | None = flag(LLM, None, "folder of pretrained weights", path=True)
    use_quant: bool = flag(LLM, False, "load in 4 bits (nf4, double quantisation; takes a GPU and bitsandbytes)")
    chat_template: bool = flag(LLM, False, "write the prompt with the tokenizer's own chat template instead of the literal prefaces")
    llm_study: bool = flag(LLM, False, "ask for the study items as well")
    scoring: str = flag(LLM, "argmax", "how answers are scored, one or more of argmax, candidates, generate, with commas between")
    test_gen: bool = flag(LLM, False, "score the generated text as well")
    num_beams: int = flag(LLM, 5, "beams of the generation", low=1, high=1000)
    base_seeds: tuple[int, ...] = flag(DERIVED, (), "the seeds of the job that --load_model_from names")
    stages: tuple[dict[str, Any], ...] = flag(DERIVED, (), "the stages of metalearning before the last (see flags/stages.py)")
    # fmt: on

    @property
    def folder(self) -> Path:
        """The job's folder. Raises ValueError for a configuration that `resolve` has not made."""
        if self.out_dir is None:
            raise ValueError("the job has no folder")
        return Path(self.out_dir)

    @property
    def condition(self) -> tuple[str, str]:
        """Rotation and context curriculum of the metalearning episodes. Raises ValueError where either is unset."""
        if self.pt_rot_cond is None or self.pt_cond is None:
            raise ValueError("the job has no single condition")
        return self.pt_rot_cond, self.pt_cond

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds: those of the base if one is named, else --n_runs from --seed on."""
        return self.base_seeds or tuple(range(self.seed, self.seed + self.n_runs))

    @property
    def step_curricula(self) -> tuple[str, ...]:
        """Return the step curricula that finetuning goes through."""
        return ("blocked", "interleaved") if self.step_cond == "both" else (self.step_cond,)

    @property
    def test_levels(self) -> tuple[float, ...]:
        """The levels of ablation that finetuning tests at, rounded to 6 decimals, the lowest first; 0.0 without one."""
        if self.ablation is None:
            return (0.0,)
        low, high, n = self.test_ablation_level_min, self.test_ablation_level_max, self.test_ablation_level_num
        levels = [0.0, self.ablation_level or 0.0, *(low + (high - low) * i / max(1, n - 1) for i in range(n))]
        if self.experiment in presets.TRADE_OFFS:  # retention needs the highest
            levels += presets.training_levels(self.preset, self.task, self.experiment)
        return tuple(sorted({round(level, 6) for level in levels}))

    @property
    def trains_on_own_contexts(self) -> bool:
        """Return True if an ablation gives each item of an update a context of its own."""
        own_contexts = bool(self.ablation and self.ablation_level and ABLATIONS[self.ablation].own_contexts)
        return own_contexts and not self.ablates_items_alike

    @property
    def ablates_items_alike(self) -> bool:
        """Return True if all items of an update meet the same ablated context, as nothing of it is left."""
        return bool(self.ablation and ABLATIONS[self.ablation].leaves_nothing and self.ablation_level == 1)

    @property
    def is_sweep(self) -> bool:
        """Return True if these flags stand for a job at each level of a trade-off experiment."""
        return self.ablation is not None and self.ablation_level is None

    @property
    def scorings(self) -> tuple[str, ...]:
        """Return the ways to score a language model's answers, each once."""
        words = [*self.scoring.split(","), *(["generate"] if self.test_gen else [])]
        return tuple(dict.fromkeys(words))

    @property
    def model_label(self) -> str:
        """Return a language model's name in tables and folders: that of its folder or file, also where the flag is . or ..

        A model that a server runs has a name of its own, which ends in `_api`.
        """
        if not self.llm:
            return f"Llama-2-{self.llama2_size}-hf"
        name = Path(self.llm).name
        if self.llm_api:
            return f"{name}_api"
        return name if name not in ("", "..") else os.path.basename(os.path.abspath(self.llm)).encode(errors="replace").decode()

    @property
    def published_paths(self) -> list[Path]:
        """The files that --model_path asks for, one a seed."""
        return [Path(f"{self.model_path}_run{i}.pt") for i in range(self.n_runs)] if self.model_path else []

    @property
    def n_finetuning_steps(self) -> int:
        """Return the updates of one finetuned model: blocks × updates of a block."""
        return self.n_blocks * self.n_steps_per_block

    @property
    def init(self) -> str:
        """Return the weights that finetuning starts from, as the `init` column names them."""
        if self.n_epochs:
            return "metalearned"
        return "loaded" if self.load_model_from else "random"

    def defining_values(self) -> dict[str, Any]:
        """Return the flags that decide what the job computes, by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["heading"] != EXECUTION}

    def execution_values(self) -> dict[str, Any]:
        """Return the flags that say how the job is run, by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["heading"] == EXECUTION}


def fields(*headings: str) -> list[dataclasses.Field]:
    """Return the fields of `Config` under these headings."""
    return [f for f in dataclasses.fields(Config) if f.metadata["heading"] in headings]


_KINDS = typing.get_type_hints(Config)


def is_sound(field: dataclasses.Field, value: Any) -> bool:
    """Return True if a job can have recorded this value of a flag."""
    return of_kind(value, _KINDS[field.name]) and fault(field, value) is None
