"""The command `scope-lab`, also `python -m scope_lab`.

Exit codes: 0 done, 2 bad usage or input (one line on stderr), 1 anything else (one line where a run had to stop).
"""

import argparse
import errno
import os
import re
import shlex
import sys
import time
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

from . import sandbox
from .commands import add_device, add_inspect, add_models, add_recover, add_results, add_sweep, add_unsafe
from .durable import check_writable
from .errors import InputError, RunStopped, did_you_mean, one_line
from .estimate import add_plan
from .suites import add_suite, check_sampling_flags, run_suite

TRAIN_EXAMPLE = """examples:
  scope-lab train --pair countdown --method scope --tau 1.0 --steps 100 --seed 0 --out runs/first
  scope-lab train --recipe demo --out runs/demo
  scope-lab train --student MODEL --teacher MODEL --task problems.jsonl --recipe my.yaml --out runs/mine
  scope-lab train --recipe demo --out runs/demo --resume
"""


class Parser(argparse.ArgumentParser):
    """argparse's, with mistakes as InputError and a suggestion; a flag is written out, never cut short."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, **settings)

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            flags = getattr(parsed, "flags", []) if name.startswith("-") else []
            self.error(f"unrecognized arguments: {' '.join(unknown)[:200]}{did_you_mean(name, flags)}")
        return parsed

    def error(self, message: str):
        if found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message += did_you_mean(found[1], re.findall(r"[^', ]+", found[2]))
        raise InputError(f"{message}; see `{self.prog} --help`")


def main(arguments: list[str] | None = None) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Idle threads of torch sleep instead of spinning: a busy machine then slows a small model by half, not tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parsed = build_parser().parse_args(arguments)
        parsed.arguments = arguments
        quiet_libraries()
        if getattr(parsed, "unsafe_no_sandbox", False):
            sandbox.do_without()
        return parsed.run(parsed) or 0
    except (InputError, RunStopped) as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes on a machine one says it
            print(f"scope-lab: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print("scope-lab: interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        if error.filename is None and not full:
            raise
        reason = os.strerror(error.errno) if error.errno else one_line(error)
        what = f"cannot be written ({reason})" if full else reason
        print(f"scope-lab: {error.filename or 'output'}: {what}", file=sys.stderr)
        return 1 if full else 2


def quiet_libraries() -> None:
    """Keep other libraries' bars and notices out of ours."""
    import logging

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    # peft still reads the old name of a property that transformers renamed
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)


def build_parser() -> Parser:
    parser = Parser(prog="scope-lab", description="SCOPE: signal-calibrated on-policy distillation.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)

    train = _command(commands, "train", "train a student by SCOPE or a baseline", run_train, epilog=TRAIN_EXAMPLE)
    train.usage = "scope-lab train [--pair NAME | --recipe NAME] [--SETTING VALUE ...] --out FOLDER [--resume]"
    train.add_argument("--recipe", metavar="NAME|FILE", help="settings from a recipe of the package or a YAML file")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out")
    add_unsafe(train)
    _add_settings(train)

    evaluate = _command(commands, "evaluate", "Avg@k and Pass@k of a model, with 95 %% intervals", run_evaluate)
    _add_model_and_sampling(evaluate, samples=32, split="test", problems=300)
    evaluate.add_argument("--out", metavar="FILE.json", help="also write counts a problem, for `compare`")
    add_suite(evaluate)

    rollout = _command(commands, "rollout", "record rollouts with both models' log-probs as parquet", run_rollout)
    _add_model_and_sampling(rollout, samples=32, split="train", problems=300)
    rollout.add_argument("--teacher", help="score every rollout with this model too; default: the pair's teacher")
    rollout.add_argument("--out", metavar="FILE.parquet", required=True)

    compare = _command(commands, "compare", "evaluations on the same problems, with paired intervals", run_compare)
    compare.add_argument("before", help="a run folder (its last evaluation) or an evaluation file")
    compare.add_argument("after", nargs="*", help="likewise, one or more; none: the run's first against its last")
    compare.add_argument("--figure", metavar="FILE.png", help="also draw Pass@k of all")

    add_sweep(commands, _command)
    add_results(commands, _command)
    add_plan(commands, _command, _add_settings)
    add_inspect(commands, _command)
    add_recover(commands, _command)
    add_models(commands, _command)
    return parser


def _command(commands, name: str, summary: str, run, epilog: str | None = None) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, flags=parser._option_string_actions)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every field of ScopeConfig, in its sections; values are read by the config, not by argparse."""
    from .config import ScopeConfig

    groups: dict[str, Any] = {}
    for item in fields(ScopeConfig):
        section = item.metadata["section"]
        if section not in groups:
            groups[section] = parser.add_argument_group(section)
        choices = item.metadata["choices"]
        accepted = f": {', '.join(choices)}" if choices else ""
        default = "" if item.default is None or item.default == "" else f" [{item.default}]"
        groups[section].add_argument(
            "--" + item.name.replace("_", "-"),
            dest="set_" + item.name,
            metavar="VALUE",
            default=argparse.SUPPRESS,
            nargs="?" if isinstance(item.default, bool) else None,
            const="true" if isinstance(item.default, bool) else None,
            help=(item.metadata["help"] + accepted + default).replace("%", "%%"),
        )


def _add_model_and_sampling(parser: argparse.ArgumentParser, samples: int, split: str, problems: int) -> None:
    parser.add_argument("--pair", help="a named pair: its student and its task")
    parser.add_argument(
        "--model", help="bundled name, folder (a run's model/ too) or hub id; default: the pair's student"
    )
    parser.add_argument("--task", help="default: the pair's")
    parser.add_argument("--verifier", metavar="MODULE:FUNCTION", help="judges instead of the task (tasks/own.py)")
    parser.add_argument("--verifier-threshold", type=float, help="correct from here on, where it returns a number")
    parser.add_argument("--split", default=split, help=f"train, validation or test [{split}]")
    parser.add_argument("--problems", type=int, metavar="N", help=f"[{problems}]")
    parser.add_argument("--samples", type=int, metavar="N", help=f"responses a problem [{samples}]")
    parser.add_argument("--temperature", type=float, help="[what the pair's recipe says, else the paper's 0.6]")
    parser.add_argument("--top-p", type=float, help="[1.0]")
    parser.add_argument("--top-k", type=int, help="0: off [0]")
    parser.add_argument("--max-new-tokens", type=int, help="default: the pair's, else what the task needs")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    parser.add_argument("--problem-seed", type=int, default=0, help="which problems of the split [0]")
    add_device(parser)
    add_unsafe(parser)
    parser.add_argument("--batch-size", type=int, help="sequences generated at a time [the pair's, else 256]")
    parser.set_defaults(unset={"problems": problems, "samples": samples, "top_p": 1.0, "top_k": 0})


def run_train(parsed) -> None:
    from .config import build_config

    overrides = {name[4:]: value for name, value in vars(parsed).items() if name.startswith("set_")}
    config = build_config(parsed.recipe, overrides)
    if config.out is None:
        raise InputError("out: found nothing, accepted a folder for the run; add --out RUN")
    from .trainer import ScopeTrainer

    trainer = ScopeTrainer(config, resume=parsed.resume)
    trainer.train()
    trainer.ranks.close()
    if not trainer.ranks.is_main:
        return
    if trainer.step < config.steps:
        arguments = parsed.arguments if parsed.resume else [*parsed.arguments, "--resume"]
        alone = f"this goes on: scope-lab {shlex.join(arguments)}"
        how = alone if trainer.ranks.size == 1 else "the same command with --resume goes on"
        print(f"stopped at step {trainer.step} of {config.steps}; {how}")
        return
    print(f"trained {config.steps} steps of {config.method}: {config.out}/model")
    report(Path(config.out))


def report(run: Path) -> None:
    """Print a run's first and last evaluation side by side, and draw them where matplotlib is installed."""
    found = run_evaluations(run)
    if len(found) < 2:
        return
    from .evaluation import Evaluation, compare, comparison_text

    before, after = Evaluation.load(found[0]), Evaluation.load(found[-1])
    print(comparison_text(before, after, compare(before, after)))
    try:
        from .plots import plot_pass_at_k
    except ImportError:
        print("no figure: matplotlib is not installed (pip install 'scope-lab[lab]')")
        return
    plot_pass_at_k([before, after]).savefig(run / "before_after.png", dpi=150)
    print(f"figure: {run / 'before_after.png'}")


def run_evaluations(run: Path) -> list[Path]:
    return sorted((run / "evaluations").glob("step-*.json"))


def _model_and_task(parsed):
    """What evaluate and rollout share: model, tokenizer, task, problems and sampling from the command line."""
    from .config import read_recipe
    from .models import PAIRS, load_model, load_tokenizer
    from .rollouts import Sampling
    from .tasks import load_task
    from .tasks.own import with_verifier

    if parsed.pair is not None and parsed.pair not in PAIRS:
        raise InputError(f"pair: found {parsed.pair!r}, accepted {', '.join(PAIRS)}")
    recipe = read_recipe(parsed.pair) if parsed.pair else {}
    for flag, default in parsed.unset.items():
        if getattr(parsed, flag) is None:
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
        load_tokenizer(name),
        name,
        task,
        problems,
        sampling,
    )


def _bar(description: str):
    from tqdm import tqdm

    return lambda batches: tqdm(batches, desc=description, unit="batch")


def run_evaluate(parsed) -> None:
    from .engines.finished import FinishedBatches
    from .evaluation import evaluate

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
        progress=_bar("evaluate"),
        finished=finished,
    )
    print(
        f"{name}: {len(problems)} problems of {task.name} ({parsed.split}) × {parsed.samples} samples, 95 % intervals"
    )
    for metric, row in evaluation.summary().iterrows():
        scale, unit = (100, " %") if "@" in str(metric) else (1, "")
        print(f"{metric:10}{row['mean'] * scale:8.2f}{unit}   [{row.low * scale:.2f}, {row.high * scale:.2f}]")
    if reasons := rollouts.unknown_reasons:
        print("without a verdict: " + ", ".join(f"{reason} {n}" for reason, n in reasons.most_common()))
    if finished:
        evaluation.save(parsed.out)
        finished.remove()
        print(f"counts: {parsed.out}")


def run_rollout(parsed) -> None:
    import torch

    from .engines.finished import FinishedBatches
    from .engines.transformers import sample
    from .models import PAIRS, check_compatible, load_model, load_tokenizer
    from .teachers import LocalTeacher

    model, tokenizer, name, task, problems, sampling = _model_and_task(parsed)
    teacher_name: str | None = parsed.teacher or (PAIRS[parsed.pair][1] if parsed.pair else None)
    teacher = load_model(teacher_name, device=parsed.device, dtype=parsed.dtype) if teacher_name else None
    if teacher is not None and teacher_name:
        check_compatible(tokenizer, load_tokenizer(teacher_name), model, teacher)
    started, finished = time.time(), FinishedBatches(parsed.out)
    rollouts = sample(
        model,
        tokenizer,
        problems,
        parsed.samples,
        sampling,
        task=task.name,
        batch_size=parsed.batch_size,
        progress=_bar("sample"),
        finished=finished,
    )
    rollouts.verify(task)
    rollouts.student = name
    if teacher is not None and teacher_name:
        rollouts.teacher = teacher_name
        scorer = LocalTeacher(teacher, teacher_name, progress=_bar("score"))
        rollouts.teacher_logp_BT = scorer.score(rollouts, torch.arange(len(rollouts)), sampling.scored_at)
    rollouts.save(parsed.out, tokenizer)
    finished.remove()
    right = int(rollouts.correct_B.sum())
    print(f"{len(rollouts)} rollouts, {right} correct, in {time.time() - started:.0f} s: {parsed.out}")


def run_compare(parsed) -> None:
    from .evaluation import Evaluation, compare, comparison_text

    def find(name: str, place: int = -1) -> Path:
        path = Path(name)
        if path.is_file():
            return path
        found = run_evaluations(path)
        if not found:
            raise InputError(f"compare: {name} is neither an evaluation file nor a run folder with evaluations")
        return found[place]

    if parsed.figure:
        check_writable(parsed.figure, "figure")
    before = Evaluation.load(find(parsed.before, -1 if parsed.after else 0))
    afters = [Evaluation.load(find(name)) for name in parsed.after or [parsed.before]]
    print(f"before: {before.label}")
    for after in afters:
        print(f"\nafter:  {after.label}")
        print(comparison_text(before, after, compare(before, after)))
    if parsed.figure:
        from .plots import plot_pass_at_k
        from .style import write_png

        write_png(plot_pass_at_k([before, *afters]), parsed.figure)
        print(f"figure: {parsed.figure}")


if __name__ == "__main__":
    sys.exit(main())
