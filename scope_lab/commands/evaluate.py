"""`scope-lab evaluate` and `scope-lab rollout`: responses of a model to a task's problems."""

import time

from ..durable import check_writable
from ..errors import InputError, counted
from .flags import (
    add_chat_template,
    add_command,
    add_device,
    add_unsafe,
    batch_bar,
    check_sampling_flags,
    prompting_tokenizer,
    recipe_of_pair,
)
from .suite import add_suite, run_suite


def add_evaluate(commands) -> None:
    evaluate = add_command(commands, "evaluate", "Avg@k and Pass@k of a model, with 95 % intervals", run_evaluate)
    _add_model_and_sampling(evaluate, samples=32, split="test", problems=300)
    evaluate.add_argument("--out", metavar="FILE.json", help="also write counts a problem, for `compare`")
    add_suite(evaluate)


def add_rollout(commands) -> None:
    rollout = add_command(commands, "rollout", "record rollouts with both models' log-probs as parquet", run_rollout)
    _add_model_and_sampling(rollout, samples=32, split="train", problems=300)
    rollout.add_argument("--teacher", help="score every rollout with this model too; default: the pair's teacher")
    rollout.add_argument("--out", metavar="FILE.parquet", required=True)


def _add_model_and_sampling(parser, samples: int, split: str, problems: int) -> None:
    parser.add_argument("--pair", help="a named pair: its student and its task")
    parser.add_argument(
        "--model", help="bundled name, folder (a run's model/ too) or hub id; default: the pair's student"
    )
    parser.add_argument("--task", help="default: the pair's")
    parser.add_argument("--verifier", metavar="MODULE:FUNCTION", help="judges instead of the task (tasks/own.py)")
    parser.add_argument("--verifier-threshold", type=float, help="correct from here on, where it returns a number")
    parser.add_argument("--split", default=split, help=f"train, validation, test; all of a file [{split}]")
    parser.add_argument("--problems", type=int, metavar="N", help=f"[{problems}, or the whole of split all]")
    parser.add_argument("--samples", type=int, metavar="N", help=f"responses a problem [{samples}]")
    parser.add_argument("--temperature", type=float, help="[what the pair's recipe says, else the paper's 0.6]")
    parser.add_argument("--top-p", type=float, help="[1.0]")
    parser.add_argument("--top-k", type=int, help="0: off [0]")
    parser.add_argument("--max-new-tokens", type=int, help="default: the pair's, else what the task needs")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    parser.add_argument("--problem-seed", type=int, default=0, help="which problems of the split [0]")
    add_chat_template(parser)
    add_device(parser)
    add_unsafe(parser)
    parser.add_argument("--batch-size", type=int, help="sequences generated at a time [the pair's, else 256]")
    parser.set_defaults(unset={"problems": problems, "samples": samples, "top_p": 1.0, "top_k": 0})


def _model_and_task(parsed):
    """What evaluate and rollout share: model, tokenizer, task, problems and sampling from the command line."""
    from ..models import PAIRS, load_model
    from ..rollouts import Sampling
    from ..tasks import load_task
    from ..tasks.base import ALL
    from ..tasks.own import with_verifier

    recipe = recipe_of_pair(parsed.pair)
    for flag, default in parsed.unset.items():
        if getattr(parsed, flag) is None and (flag, parsed.split) != ("problems", ALL):
            setattr(parsed, flag, default)
    if parsed.batch_size is None:
        parsed.batch_size = recipe.get("sequences_per_batch", 256)
    check_sampling_flags(parsed)
    if parsed.out:
        check_writable(parsed.out, "out")
    name = parsed.model or (PAIRS[parsed.pair][0] if parsed.pair else None)
    task_name = parsed.task or (PAIRS[parsed.pair][2] if parsed.pair else None)
    if name is None or task_name is None:
        raise InputError("model: set --pair, or both --model and --task")
    task = with_verifier(load_task(task_name), parsed.verifier, parsed.verifier_threshold)
    problems = task.problems(parsed.split, parsed.problems, seed=parsed.problem_seed)
    temperature = parsed.temperature or recipe.get("temperature", 0.6)
    limit = parsed.max_new_tokens or recipe.get("max_new_tokens") or task.max_new_tokens
    sampling = Sampling(temperature, parsed.top_p, parsed.top_k, limit, parsed.seed)
    return (
        load_model(name, device=parsed.device, dtype=parsed.dtype),
        prompting_tokenizer(name, parsed),
        name,
        task,
        problems,
        sampling,
    )


def run_evaluate(parsed) -> None:
    from ..engines.finished import FinishedBatches
    from ..evaluation import evaluate

    if parsed.suite or parsed.suite_folder:
        run_suite(parsed)
        return
    model, tokenizer, name, task, problems, sampling = _model_and_task(parsed)
    finished = FinishedBatches(parsed.out) if parsed.out else None
    evaluation, rollouts = evaluate(
        model,
        tokenizer,
        task,
        problems,
        sampling,
        parsed.samples,
        label=name,
        split=parsed.split,
        batch_size=parsed.batch_size,
        progress=batch_bar("evaluate"),
        finished=finished,
    )
    print(
        f"{name}: {len(problems)} problems of {task.name} ({parsed.split}) × {parsed.samples} samples, 95 % intervals"
    )
    for metric, row in evaluation.summary().iterrows():
        scale, unit = (100, " %") if "@" in str(metric) else (1, "")
        print(f"{metric:10}{row['mean'] * scale:8.2f}{unit}   [{row.low * scale:.2f}, {row.high * scale:.2f}]")
    if reasons := rollouts.unknown_reasons:
        print(f"without a verdict: {counted(reasons)}")
    if finished:
        evaluation.save(parsed.out)
        finished.remove()
        print(f"counts: {parsed.out}")


def run_rollout(parsed) -> None:
    import torch

    from ..engines.finished import FinishedBatches
    from ..engines.transformers import sample
    from ..models import PAIRS, check_compatible, load_model, load_tokenizer
    from ..teachers import LocalTeacher

    if not parsed.out.endswith(".parquet"):
        raise InputError(f"out: found {parsed.out}, accepted a name that ends in .parquet, the format of rollouts")
    model, tokenizer, name, task, problems, sampling = _model_and_task(parsed)
    teacher_name: str | None = parsed.teacher or (PAIRS[parsed.pair][1] if parsed.pair else None)
    teacher = load_model(teacher_name, device=parsed.device, dtype=parsed.dtype) if teacher_name else None
    if teacher is not None and teacher_name:
        check_compatible(load_tokenizer(name), load_tokenizer(teacher_name), model, teacher)
    started, finished = time.time(), FinishedBatches(parsed.out)
    rollouts = sample(
        model,
        tokenizer,
        problems,
        parsed.samples,
        sampling,
        task=task.name,
        batch_size=parsed.batch_size,
        progress=batch_bar("sample"),
        finished=finished,
    )
    rollouts.verify(task)
    rollouts.student = name
    if teacher is not None and teacher_name:
        rollouts.teacher = teacher_name
        scorer = LocalTeacher(teacher, teacher_name, progress=batch_bar("score"))
        rollouts.teacher_logp_BT = scorer.score(rollouts, torch.arange(len(rollouts)), sampling.scored_at)
    rollouts.save(parsed.out, tokenizer)
    finished.remove()
    right = int(rollouts.correct_B.sum())
    print(f"{len(rollouts)} rollouts, {right} correct, in {time.time() - started:.0f} s: {parsed.out}")
