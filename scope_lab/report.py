"""What `scope-lab results` writes: everything in data/results/ that comes from a sweep's runs, made from their folders.

OUT/PLAN.parquet      a row a run, step and problem (results.tidy)
OUT/PLAN-claims.csv   a row a contrast, judged (verdicts.COLUMNS)
OUT/CLAIMS.md         the same as a page, beside the paper's numbers; OUT/PLAN-*.png: its figures
OUT/pass_at_k.png     README's figure: Pass@k of the headline's runs

README's plan is `countdown`; the page and the figure of another are OUT/PLAN-CLAIMS.md and OUT/PLAN-pass_at_k.png.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .ablations import FinishedRun
from .claims import ABLATIONS, lines_about, within
from .claims_page import Findings, page
from .config import ScopeConfig
from .errors import InputError
from .evaluation import Evaluation
from .exploratory import by_difficulty, path_gradients, signals
from .explore import smaller_groups
from .headline import headline_runs
from .models import BUNDLED, DATA, PAIRS, load_model, load_tokenizer
from .plan import read_plan
from .results import chosen_rates, equal_seconds, read_recorded, tidy, validation_scores
from .rollouts import Rollouts
from .verdicts import COLUMNS, at_equal_seconds, primary, secondary

README_PLAN = "countdown"
STEPS = DATA / "bench" / "overhead.json"


def make_results(name: str, runs: str | None = None, out: str | Path = DATA / "results") -> tuple[Findings, list[Path]]:
    """Read a plan's runs, judge every claim, and write all files; what was found, and the files.

    Whatever is not recorded yet is left open. Raises InputError for an unknown plan, or a run that is not the plan's.
    """
    plan, out = read_plan(name, runs), Path(out)
    folder, name = plan[0].folder.parent, Path(name).stem
    recorded = read_recorded(plan)
    seconds = equal_seconds(recorded.runs, seconds_a_step() if name == README_PLAN else {})
    summary, frame = _recovery(name)
    variants = {run.variant for run in plan}
    judged = primary(recorded.runs, summary, frame, lines_about(variants))
    ablations = secondary(recorded.runs, within(variants, ABLATIONS))
    out.mkdir(parents=True, exist_ok=True)
    figures = _figures(judged, ablations, recorded.runs, headline_runs(folder.parent, name), summary, name, out)
    found = Findings(
        plan=name,
        recorded=recorded,
        recovery=summary,
        primary=judged,
        equal=at_equal_seconds(seconds),
        secondary=ablations,
        seconds=seconds,
        teacher=_teacher(plan[0].config, recorded.ends),
        rates=_rates(folder.parent / f"{name}-rates"),
        signals=signals(recorded.runs),
        bands=by_difficulty(recorded.ends),
        gradients=_gradients(plan[0].config, name) if recorded.runs else None,
        figures=figures,
    )
    tables = [out / f"{name}.parquet", out / f"{name}-claims.csv", out / _shared(name, "CLAIMS.md")]
    tidy(recorded.runs).to_parquet(tables[0], index=False, compression="zstd")
    contrasts = pd.concat([found.primary, *(part for part in (found.equal, found.secondary) if len(part))])
    contrasts[COLUMNS].to_csv(tables[1], index=False, float_format="%.5g", lineterminator="\n")
    tables[2].write_text(page(found))
    return found, [*tables, *(out / file for claim, (file, _) in figures.items() if claim != "C5")]


def seconds_a_step(file: Path = STEPS) -> dict[str, float]:
    """Median seconds a step of each method, as the bench measured them; none where it has not been run."""
    return json.loads(file.read_text())["steps"] if file.is_file() else {}


def _shared(name: str, file: str) -> str:
    """A file's name: README's plan has it without its own."""
    return file if name == README_PLAN else f"{name}-{file}"


def _figures(judged, ablations, runs, headline, summary, name: str, out: Path) -> dict[str, tuple[str, str]]:
    """Draw every figure: claim (or "headline") -> its file's name and what it shows; nothing without matplotlib.

    C5's is the recovery experiment's own.
    """
    try:
        from .plots import alt_methods, alt_recovery, claim_figures, plot_methods
        from .style import png
    except ImportError:
        print("no figures: matplotlib is not installed (pip install 'scope-lab[lab]')")
        return {}
    drawn = {f"{name}-{claim}.png": (claim, *pair) for claim, pair in claim_figures(judged, ablations, runs).items()}
    if headline:
        drawn[_shared(name, "pass_at_k.png")] = "headline", plot_methods(headline), alt_methods(headline)
    for file, (_, figure, _) in drawn.items():
        (out / file).write_bytes(png(figure))
    files = {claim: (file, alt) for file, (claim, _, alt) in drawn.items()}
    if summary and (out / f"recovery-{name}.png").is_file():
        files["C5"] = f"recovery-{name}.png", alt_recovery(summary)
    return files


def _recovery(name: str) -> tuple[dict | None, pd.DataFrame | None]:
    """The recorded recovery experiment of the plan's pair, where there is one."""
    file = DATA / "results" / f"recovery-{name}.json"
    if not file.is_file():
        return None, None
    return json.loads(file.read_text()), pd.read_parquet(file.with_suffix(".parquet"))


def _teacher(config: ScopeConfig, runs: Sequence[FinishedRun]) -> Evaluation | None:
    """The recorded evaluation of the pair's teacher, if it is of the runs' problems, samples and settings."""
    name = config.teacher or (PAIRS[config.pair][1] if config.pair else "")
    file = DATA / "results" / f"{name}.json"
    if not runs or not file.is_file():
        return None
    teacher, before = Evaluation.load(file), runs[0].before
    alike = ("task", "split", "n_samples", "problem_ids", "settings")
    return teacher if all(getattr(teacher, name) == getattr(before, name) for name in alike) else None


def _rates(folder: Path) -> tuple[pd.DataFrame, dict[str, float]] | None:
    """Scores of the sweep over learning rates, and the choice of each family that has them all."""
    try:
        scores = validation_scores(folder)
    except InputError:
        return None
    complete = scores.dropna().index
    return scores, {family: rate for family, rate in chosen_rates(folder).items() if family in complete}


def _gradients(config: ScopeConfig, name: str) -> dict[str, float] | None:
    """exploratory.path_gradients of one step's worth of recorded rollouts, where a bundled student has such."""
    file = DATA / "rollouts" / f"{name}.parquet"
    student = PAIRS[config.pair][0] if config.pair else None
    if student not in BUNDLED or not file.is_file():
        return None
    rollouts = smaller_groups(Rollouts.load(file, load_tokenizer(student)), config.rollouts_per_prompt)
    rows = range(min(config.prompts_per_step * config.rollouts_per_prompt, len(rollouts)))
    return path_gradients(load_model(student, device="cpu"), rollouts.select(rows))
