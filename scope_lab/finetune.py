"""Makes the bundled LoRA teacher: an adapter on the student's own base, trained on verified solutions.

Most of them are written by the task's generator, the others are the student's own correct responses (rejection
sampling): the former teach to solve, the latter keep the teacher at home in the student's words. A teacher of the
generator's words alone finds responses of the student strange, right or wrong, and its perplexity says little more.
The verifier checks each, and only response tokens carry loss. `scope-lab models build smollm2-teacher` runs this.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from tqdm import tqdm

from .durable import whole_folder
from .errors import InputError
from .logprobs import masked_mean, response_logprobs
from .rollouts import Rollouts, encode_prompts
from .supervised import state_path, train_supervised
from .tasks import Problem, Task, Verdict

OwnResponses = Sequence[tuple[Problem, list[str]]]  # problems, each with correct responses of the base


class SolvedTask(Task, Protocol):
    """A task that can write solutions."""

    def solutions(self, split: str, seed: int) -> Iterator[tuple[Problem, str]]:
        """An endless stream of problems of a split, each with a correct response."""
        ...


@dataclass(frozen=True)
class AdapterRecipe:
    """Base, task and training of one bundled adapter. `dtype` is the frozen base's; the adapter trains in float32.

    own  how many of a batch are the base's own correct responses, from `own_problems` train problems × `own_samples`
    """

    base: str
    task: str
    steps: int
    rank: int = 8
    alpha: int = 16
    learning_rate: float = 5e-4
    warmup_steps: int = 10
    batch_size: int = 8
    own: int = 0
    own_problems: int = 208
    own_samples: int = 16
    dtype: str = "bfloat16"
    seed: int = 0
    save_every: int = 25


RECIPES = {"smollm2-teacher": AdapterRecipe(base="smollm2-135m", task="word_problems", steps=300, own=2)}
HELD_OUT, SAMPLES, TEMPERATURE = 100, 8, 0.6  # of the measuring step


def verified(task: SolvedTask, seed: int) -> Iterator[tuple[Problem, str]]:
    """The train split's solutions that the verifier calls correct. InputError where a hundred in a row are not."""
    refused = 0
    for problem, solution in task.solutions("train", seed):
        if task.verify(problem, solution).verdict == Verdict.CORRECT:
            refused = 0
            yield problem, solution
        elif (refused := refused + 1) == 100:
            raise InputError(f"{task.name}: the verifier refuses its own generator's solutions, like {solution!r}")


def own_correct(rollouts: Rollouts) -> OwnResponses:
    """Each problem with its different correct responses that ended, in the order of the rollouts; the rest left out."""
    found: dict[int, dict[str, None]] = {}
    for row in (rollouts.correct_B & ~rollouts.truncated_B).nonzero().squeeze(1).tolist():
        found.setdefault(int(rollouts.group_B[row]), {})[rollouts.responses[row]] = None
    return [(rollouts.problems[group], list(responses)) for group, responses in found.items()]


def training_batch(task: SolvedTask, tokenizer, recipe: AdapterRecipe, step: int, own: OwnResponses = ()):
    """One step's tokens (B, L), attention (B, L) bool and response mask (B, T) bool, by seed and step alone.

    Laid out as rollouts are: prompts padded on the left, responses with their EOS on the right.
    """
    seed = recipe.seed * 1_000_003 + step
    stream, rng = verified(task, seed), random.Random(seed)
    pairs = [next(stream) for _ in range(recipe.batch_size - recipe.own)]
    for _ in range(recipe.own):
        problem, texts = rng.choice(own)  # problems count alike, however many of their responses are correct
        pairs.append((problem, rng.choice(texts)))
    prompts = encode_prompts(tokenizer, [problem for problem, _ in pairs])
    encoded = [tokenizer(text, add_special_tokens=False).input_ids for _, text in pairs]
    responses = [[*ids, tokenizer.eos_token_id] for ids in encoded]
    widest, T = max(map(len, prompts)), max(map(len, responses))
    tokens_BL = torch.full((len(pairs), widest + T), tokenizer.pad_token_id)
    attention_BL = torch.zeros_like(tokens_BL, dtype=torch.bool)
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        row = slice(widest - len(prompt), widest + len(response))
        tokens_BL[i, row] = torch.tensor([*prompt, *response])
        attention_BL[i, row] = True
    return tokens_BL, attention_BL, attention_BL[:, widest:]


def finetune(
    recipe: AdapterRecipe,
    task: SolvedTask,
    model,
    tokenizer,
    folder: Path,
    progress: Callable = tqdm,
    own: OwnResponses = (),
) -> list[float]:
    """Train an adapter on `model` (the base, on any device) into `folder`; a build that was cut off goes on.

    Returns the losses of this call's steps, nats a response token. The adapter names its base as `recipe.base`.
    """
    from .models import with_adapter

    torch.manual_seed(recipe.seed)
    model.name_or_path = recipe.base
    model = with_adapter(model, recipe.rank, recipe.alpha).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.01)

    def loss_of_step(step: int) -> torch.Tensor:
        batch = training_batch(task, tokenizer, recipe, step, own)
        tokens_BL, attention_BL, mask_BT = (x.to(model.device) for x in batch)
        logp_BT = response_logprobs(model, tokens_BL, attention_BL, mask_BT.shape[1])
        return -masked_mean(logp_BT, mask_BT, mask_BT.sum())

    losses = train_supervised(
        model, optimizer, loss_of_step, recipe.steps, recipe.warmup_steps, recipe.save_every, folder, progress
    )
    save_adapter(model, recipe, folder)
    state_path(folder).unlink(missing_ok=True)
    return losses


def save_adapter(model, recipe: AdapterRecipe, folder: Path) -> None:
    """The adapter alone, bf16 safetensors, whole or not at all; its base by name and no folder of this machine."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
    with whole_folder(folder) as work:
        model.save_pretrained(work, save_embedding_layers=False)
        (work / "README.md").unlink(missing_ok=True)  # peft's empty card; ours follows the measuring
        settings = json.loads((work / "adapter_config.json").read_text())
        settings["base_model_name_or_path"] = recipe.base
        (work / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def sample_own(recipe: AdapterRecipe, task: Task, tokenizer, folder: Path) -> Rollouts:
    """The base's responses to train problems, as `scope-lab rollout` samples them; goes on where it was cut off."""
    from .engines.finished import FinishedBatches
    from .engines.transformers import sample
    from .models import load_model
    from .rollouts import Sampling

    finished = FinishedBatches(folder)
    rollouts = sample(
        load_model(recipe.base, dtype=recipe.dtype),
        tokenizer,
        task.problems("train", recipe.own_problems, seed=recipe.seed),
        recipe.own_samples,
        Sampling(TEMPERATURE, max_new_tokens=task.max_new_tokens, seed=recipe.seed),
        task=task.name,
        batch_size=128,
        progress=partial(tqdm, desc=f"sample {recipe.base}", unit="batch"),
        finished=finished,
    )
    rollouts.verify(task)
    return rollouts


def build_adapter(
    name: str,
    folder: Path,
    task: SolvedTask | None = None,
    problems: int = HELD_OUT,
    rollouts: Rollouts | None = None,
) -> None:
    """Train the adapter where it is missing, then measure student and teacher on the same held-out problems.

    folder    where the adapter's own folder `name` goes
    problems  held-out problems of the measuring; 0 leaves it out, and the card says so
    rollouts  the base's verified responses to train problems, sampled anew where None
    """
    from .engines.finished import FinishedBatches
    from .evaluation import compare, evaluate
    from .models import load_model, load_tokenizer
    from .rollouts import Sampling
    from .tasks import load_task

    recipe, target = RECIPES[name], folder / name
    solved: SolvedTask = task or load_task(recipe.task)  # type: ignore[assignment]
    if not hasattr(solved, "solutions"):
        raise InputError(f"{solved.name}: writes no solutions, so no teacher can be trained on it")
    tokenizer = load_tokenizer(recipe.base)
    if not (target / "adapter_model.safetensors").is_file():
        own: OwnResponses = ()
        if recipe.own:
            own = own_correct(rollouts or sample_own(recipe, solved, tokenizer, target))
            if not own:
                raise InputError(f"rollouts: found no correct response of {recipe.base}, accepted some")
            print(f"{sum(len(texts) for _, texts in own)} correct responses of {recipe.base} to {len(own)} problems")
        finetune(recipe, solved, load_model(recipe.base, dtype=recipe.dtype), tokenizer, target, own=own)
        FinishedBatches(target).remove()
    table = None
    if problems:
        sampling = Sampling(TEMPERATURE, max_new_tokens=solved.max_new_tokens, seed=10_000)
        held_out = solved.problems("test", problems)
        student, teacher = (
            evaluate(
                load_model(model),
                tokenizer,
                solved,
                held_out,
                sampling,
                SAMPLES,
                label=label,
                split="test",
                batch_size=64,
                progress=partial(tqdm, desc=f"measure {label}", unit="batch"),
            )[0]
            for model, label in ((recipe.base, recipe.base), (str(target), name))
        )
        table = compare(student, teacher)
        print(table.to_string(float_format="{:.4f}".format))
    (target / "README.md").write_text(model_card(name, recipe, solved, target, table, problems))
    print(target)


def model_card(name: str, recipe: AdapterRecipe, task: SolvedTask, folder: Path, table, problems: int) -> str:
    """A Hugging Face model card; `table` is evaluation.compare(student, teacher), None where nothing was measured."""
    measured = f"Not measured; `scope-lab models build {name}` does it."
    if table is not None:
        rows = [
            f"| {metric} | {row.before:.1%} | {row.after:.1%} | {row.difference:+.1%} | "
            f"{row.low:+.1%} to {row.high:+.1%} |"
            for metric, row in table.iterrows()
            if "@" in metric
        ]
        measured = "\n".join(
            [
                f"{problems} problems of the test split, {SAMPLES} samples each at temperature {TEMPERATURE:g},",
                f"at most {task.max_new_tokens} tokens, sampling seed 10000; 95 % paired bootstrap intervals over",
                "problems.",
                "",
                "| | base | with the adapter | difference | interval |",
                "|---|---|---|---|---|",
                *rows,
            ]
        )
    sources = "written by the task's generator"
    if recipe.own:
        sources = f"{recipe.batch_size - recipe.own} {sources}, {recipe.own} the base's own (rejection sampling)"
    size = (folder / "adapter_model.safetensors").stat().st_size / 1e6
    return f"""---
license: apache-2.0
library_name: peft
base_model: {recipe.base}
tags: [lora, scope, distillation]
---
# {name}

The teacher of SCOPE Lab's `smollm2` pair: a LoRA adapter (rank {recipe.rank}, all linear layers, {size:.1f} MB) on
`{recipe.base}`, which `scope-lab models fetch {recipe.base}` brings.

Made by `scope-lab models build {name}` (seed {recipe.seed}): {recipe.steps:,} steps of {recipe.batch_size} solutions of
train-split problems of `{recipe.task}`, {sources}, all checked by the task's verifier; maximum likelihood
on the response, AdamW at {recipe.learning_rate:g} with a cosine schedule, base in {recipe.dtype}.

## Measured

{measured}

Use: to learn and test with, on this task.
"""
