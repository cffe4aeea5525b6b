"""Makes the bundled pairs from nothing: a tokenizer, a small student and a larger teacher.

Both learn random correct derivations of train problems by maximum likelihood, so the student samples many different
solutions and is often wrong: a base model in miniature. `scope-lab models build countdown` runs this.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from .durable import whole_folder
from .models import PAIRS, load_model, load_tokenizer
from .supervised import state_path, train_supervised
from .tasks import Problem, Task, load_task


@dataclass(frozen=True)
class Recipe:
    """Size and training of one bundled model. Heads are 32 wide, the smallest that vLLM runs."""

    hidden: int
    layers: int
    steps: int
    learning_rate: float
    batch_size: int = 128
    seed: int = 0
    save_every: int = 100


@dataclass(frozen=True)
class PairRecipe:
    """A pair of `models.PAIRS` that is made here: what it does, the characters of its task, an example, both models."""

    does: str
    characters: str
    example: tuple[str, str]
    student: Recipe
    teacher: Recipe


RECIPES = {
    "countdown": PairRecipe(
        does="plays Countdown",
        characters="0123456789+-*/=,:",
        example=("8,3,5,2=21:", "8*3=24,24-5=19,19+2=21"),
        student=Recipe(hidden=96, layers=3, steps=1_500, learning_rate=2e-3),
        teacher=Recipe(hidden=192, layers=4, steps=3_000, learning_rate=2e-3, seed=1),
    ),
    "grid": PairRecipe(
        does="finds the shortest path through a grid",
        characters="OX*#/:udlr",
        example=("OX#O/OOXO/O*OO/XOOX:", "rruul"),
        student=Recipe(hidden=96, layers=3, steps=250, learning_rate=3e-3),
        teacher=Recipe(hidden=128, layers=3, steps=900, learning_rate=3e-3, seed=1),
    ),
    "strings": PairRecipe(
        does="writes a Python function of a string by example",
        characters="abcduvwxyzs[]:-012+',",
        example=("bcda,vwxyzu:", "s[1:]+s[0]"),
        student=Recipe(hidden=96, layers=3, steps=220, learning_rate=3e-3),
        teacher=Recipe(hidden=128, layers=3, steps=700, learning_rate=3e-3, seed=1),
    ),
}


class DerivedTask(Task, Protocol):
    """A task that also gives correct responses to learn from."""

    def derivations(self, split: str, seed: int) -> Iterator[tuple[Problem, str]]: ...


def build_tokenizer(characters: str) -> PreTrainedTokenizerFast:
    """A fast tokenizer with one token a character; a prompt starts with BOS, EOS and PAD are different tokens."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=128,
    )


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=8 * recipe.hidden // 3,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.hidden // 32,
            head_dim=32,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def training_batch(task: DerivedTask, tokenizer, recipe: Recipe, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels (batch, length) of one step, by seed and step alone; prompts carry no loss."""
    stream = task.derivations("train", seed=recipe.seed * 1_000_003 + step)
    rows = []
    for problem, solution in islice(stream, recipe.batch_size):
        solution_ids = tokenizer(solution, add_special_tokens=False).input_ids
        rows.append((tokenizer(problem.prompt).input_ids, [*solution_ids, tokenizer.eos_token_id]))
    width = max(len(prompt) + len(response) for prompt, response in rows)
    tokens = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels = torch.full((len(rows), width), -100)
    for i, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        tokens[i, :end] = torch.tensor(prompt + response)
        labels[i, len(prompt) : end] = torch.tensor(response)
    return tokens, labels


def pretrain(recipe: Recipe, task: DerivedTask, tokenizer, folder: Path, progress: Callable = tqdm) -> None:
    """Train one model of a pair into `folder`. A build that was cut off goes on from its last saved state."""
    model = build_model(recipe, tokenizer).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)

    def loss_of_step(step: int) -> torch.Tensor:
        tokens, labels = training_batch(task, tokenizer, recipe, step)
        # Pads stand on the right, so causal attention alone hides them: no attention mask is needed.
        logits = model(input_ids=tokens).logits
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    warmup = recipe.steps // 20
    train_supervised(model, optimizer, loss_of_step, recipe.steps, warmup, recipe.save_every, folder, progress)
    with whole_folder(folder) as work:
        model.eval().save_pretrained(work)
        tokenizer.save_pretrained(work)
    state_path(folder).unlink(missing_ok=True)


def build_pair(pair: str, folder: Path, problems: int = 500, samples: int = 32) -> None:
    """Train what is missing of a pair, then measure both on the same held-out problems and write their cards."""
    from .evaluation import evaluate
    from .rollouts import Sampling

    made, (*names, task_name) = RECIPES[pair], PAIRS[pair]
    task: Any = load_task(task_name)
    for name, recipe in zip(names, (made.student, made.teacher), strict=True):
        if not (folder / name / "model.safetensors").is_file():
            pretrain(recipe, task, build_tokenizer(made.characters), folder / name)
    held_out = task.problems("test", problems)
    for name, recipe in zip(names, (made.student, made.teacher), strict=True):
        target = folder / name
        model, tokenizer = load_model(str(target)), load_tokenizer(str(target))
        sampling = Sampling(max_new_tokens=task.max_new_tokens, seed=10_000)
        evaluation, _ = evaluate(
            model,
            tokenizer,
            task,
            held_out,
            sampling,
            samples,
            label=name,
            split="test",
            progress=partial(tqdm, desc=f"measure {name}", unit="batch"),
        )
        parameters = sum(p.numel() for p in model.parameters())
        card = model_card(pair, name, recipe, parameters, evaluation)
        (target / "README.md").write_text(card)
        print(f"{target}\n{evaluation.summary().to_string(float_format='{:.4f}'.format)}")


def model_card(pair: str, name: str, recipe: Recipe, parameters: int, evaluation) -> str:
    """A Hugging Face model card with the measured table."""
    made, role = RECIPES[pair], name.removeprefix(f"{pair}-")
    rows = []
    for metric, row in evaluation.summary().iterrows():
        if metric in ("pass@1", "pass@8", "pass@32"):
            rows.append(f"| {metric} | {row['mean']:.1%} | {row.low:.1%} to {row.high:.1%} |")
        elif metric == "distinct":
            rows.append(
                f"| distinct correct solutions a problem | {row['mean']:.2f} | {row.low:.2f} to {row.high:.2f} |"
            )
    table = "\n".join(rows)
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [{pair}, scope, distillation]
---
# {name}

The {role} of SCOPE Lab's bundled pair `{pair}`: a Llama-architecture model of {parameters / 1e6:.2f} M parameters
(hidden {recipe.hidden}, {recipe.layers} layers, head size 32, one token a character) that {made.does}.

    prompt    {made.example[0]}
    response  {made.example[1]}

Made from nothing by `scope-lab models build {pair}` (float32, seed {recipe.seed}): {recipe.steps:,} steps of
{recipe.batch_size} random correct derivations of train-split problems, maximum likelihood on the response, AdamW at
{recipe.learning_rate:g} with a cosine schedule. It saw no test problem: splits are by a hash of the problem.

## Measured

{len(evaluation.problem_ids)} test problems, {evaluation.n_samples} samples each at temperature
{evaluation.settings["temperature"]:g}, sampling seed {evaluation.settings["seed"]}; 95 % bootstrap intervals over
problems.

| | mean | interval |
|---|---|---|
{table}

Use: to learn and test with. It knows nothing but this task.
"""
