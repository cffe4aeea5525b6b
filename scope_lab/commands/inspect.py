"""`scope-lab inspect`: a rollouts file checked, and its data card; or a run, and what its metrics say."""

from pathlib import Path

from ..durable import check_writable
from ..errors import InputError
from .flags import add_command

# Of a run's metrics, those to read first: what is learned, from which rollouts, how fast.
MAIN = (
    "reward", "entropy", "mean_length", "truncated", "unknown", "groups_mixed", "student_ess_fraction",
    "teacher_ess_fraction", "reverse_kl", "grad_norm", "skipped_updates", "seconds",
)  # fmt: skip


def add_inspect(commands) -> None:
    summary = "check a rollouts file, and say what is in it: its data card; or what a run's metrics say of its health"
    parser = add_command(commands, "inspect", summary, run_inspect)
    parser.add_argument("path", metavar="FILE.parquet|RUN")
    parser.add_argument("--figure", metavar="FILE.png", help="also draw the file's card, or the run's metrics")


def run_inspect(parsed) -> None:
    if parsed.figure:
        check_writable(parsed.figure, "figure")
    path = Path(parsed.path)
    figure = _inspect_run(path) if path.is_dir() else _inspect_rollouts(path)
    if parsed.figure:
        from ..style import write_png

        write_png(figure(), parsed.figure)
        print(f"figure: {parsed.figure}")


def _inspect_rollouts(path: Path):
    """Print the card, and what is wrong with its numbers. Returns what draws it."""
    from ..data_card import card_text
    from ..diagnosis import findings
    from ..rollouts import Rollouts

    rollouts = Rollouts.load(path)
    print(card_text(rollouts))
    for line in findings(path):
        print(f"look: {line}")

    def draw():
        from ..plots import plot_data_card

        return plot_data_card(rollouts)

    return draw


def _inspect_run(run: Path):
    """Print how far it came, its metrics, its evaluations and what is worth a look. Returns what draws the metrics."""
    from ..checkpoint import evaluation_files, read_metrics
    from ..evaluation import Evaluation, compare, comparison_text
    from ..health import symptoms
    from ..settings import read_run

    if not (run / "config.yaml").is_file():
        raise InputError(f"inspect: {run} is not a file of rollouts, and as a folder no run: it has no config.yaml")
    settings, metrics = read_run(run), read_metrics(run)
    first, last = metrics.iloc[0], metrics.iloc[-1]
    print(f"{run}: {settings['method']} on {settings['task']}, step {last.step:g} of {settings['steps']}\n")
    print(f"{'':22}{f'step {first.step:g}':>12}{f'step {last.step:g}':>12}")
    for name in (name for name in MAIN if name in metrics and metrics[name].notna().any()):
        print(f"{name:22}{first[name]:12.4g}{last[name]:12.4g}")
    files = list(evaluation_files(run).values())
    if len(files) > 1:
        before, after = Evaluation.load(files[0]), Evaluation.load(files[-1])
        print(f"\nbefore: {before.label}; after: {after.label}")
        print(comparison_text(before, after, compare(before, after)))
    print()
    for batch in sorted(run.glob("skipped/*.parquet")):
        print(f"an update was left out; its batch: scope-lab inspect {batch}")
    found = symptoms(metrics)
    for symptom in found:
        print(f"worth a look: {symptom}")
    if not found:
        print("every metric that scope_lab.health watches is in its healthy range")

    def draw():
        from ..plots.training import plot_history

        return plot_history(metrics.to_dict("records"))

    return draw
