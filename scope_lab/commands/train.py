"""`scope-lab train`: a run from a recipe and flags, and its first and last evaluation side by side."""

import shlex
from pathlib import Path

from ..errors import InputError
from .flags import add_command, add_settings, add_unsafe

EXAMPLE = """examples:
  scope-lab train --pair countdown --method scope --tau 1.0 --steps 100 --seed 0 --out runs/first
  scope-lab train --recipe demo --out runs/demo
  scope-lab train --student MODEL --teacher MODEL --task problems.jsonl --recipe my.yaml --out runs/mine
  scope-lab train --recipe demo --out runs/demo --resume
"""


def add_train(commands) -> None:
    train = add_command(commands, "train", "train a student by SCOPE or a baseline", run_train, epilog=EXAMPLE)
    train.usage = "scope-lab train [--pair NAME | --recipe NAME] [--SETTING VALUE ...] --out FOLDER [--resume]"
    train.add_argument("--recipe", metavar="NAME|FILE", help="settings from a recipe of the package or a YAML file")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out")
    add_unsafe(train)
    add_settings(train)


def run_train(parsed) -> None:
    from ..settings import build_config

    overrides = {name[4:]: value for name, value in vars(parsed).items() if name.startswith("set_")}
    config = build_config(parsed.recipe, overrides)
    if config.out is None:
        raise InputError("out: found nothing, accepted a folder for the run; add --out RUN")
    from ..health import symptoms
    from ..trainer import ScopeTrainer

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
    unknown, rollouts = (sum(metrics[name] for metrics in trainer.history) for name in ("unknown", "rollouts"))
    if unknown:
        print(f"without a verdict: {unknown:,} of the {rollouts:,} rollouts trained on")
    for symptom in symptoms(trainer.history):
        print(f"worth a look: {symptom}")


def report(run: Path) -> None:
    """Print a run's first and last evaluation side by side, and draw them where matplotlib is installed."""
    from ..checkpoint import evaluation_files

    found = list(evaluation_files(run).values())
    if len(found) < 2:
        return
    from ..evaluation import Evaluation, compare, comparison_text

    before, after = Evaluation.load(found[0]), Evaluation.load(found[-1])
    print(comparison_text(before, after, compare(before, after)))
    try:
        from ..plots import plot_pass_at_k
    except ImportError:
        print("no figure: matplotlib is not installed (pip install 'scope-lab[lab]')")
        return
    plot_pass_at_k([before, after]).savefig(run / "before_after.png", dpi=150)
    print(f"figure: {run / 'before_after.png'}")
