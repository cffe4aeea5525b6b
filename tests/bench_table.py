"""README's short table of what was measured, from the JSON that the benches in tests/bench write."""

import json
from collections.abc import Callable
from pathlib import Path

from scope_lab.markdown import table


def bench_text(folder: str | Path) -> str:
    """The table in Markdown, a row a bench whose file is there: what, measured, wanted, by which command.

    folder  data/bench: NAME.json of tests/bench/NAME.py; a file that is absent has no row
    """
    folder, rows = Path(folder), []
    for name, read in READERS.items():
        if (folder / f"{name}.json").is_file():
            found = read(json.loads((folder / f"{name}.json").read_text()))
            rows += [[what, measured, wanted, f"`python tests/bench/{name}.py`"] for what, measured, wanted in found]
    return "\n".join(table(["what", "measured", "wanted", "by"], rows)).rstrip()


Rows = list[tuple[str, str, str]]


def _weights(found: dict) -> Rows:
    what = f"weights of {found['rollouts']:,} rollouts, one thread"
    return [(what, f"{found['median_ms']:.1f} ms", f"≤ {found['target_ms']} ms")]


def _logprobs(found: dict) -> Rows:
    """The longest case of the largest vocabulary whose whole logits fitted."""
    case = max((c for c in found["cases"] if "whole" in c), key=lambda c: (c["vocabulary"], c["tokens"]))
    ours = case["chunked"]
    what = f"log-probs of {case['tokens']:,} tokens, {case['vocabulary']:,} entries, beside whole logits"
    measured = f"{ours['megabytes_ratio']:.0%} of the memory, {ours['seconds_ratio']:.2f} × the time"
    return [(what, measured, f"≤ {found['target_megabytes_ratio'][str(case['vocabulary'])]:.0%} of the memory")]


def _scaling(found: dict) -> Rows:
    sizes, fits = [case["rollouts"] for case in found["cases"]], found["exponents"]
    what = f"growth of seconds from {sizes[0]:,} to {sizes[-1]:,} rollouts: exponent"
    worst = max(fits, key=lambda stage: fits[stage]["large"])
    measured = ", ".join(f"{stage} {fit['all']:.2f}" for stage, fit in fits.items())
    measured += f"; from {found['fixed_below']:,} on at most {fits[worst]['large']:.2f} ({worst})"
    return [(what, measured, f"≤ {found['target_exponent']:g}")]


def _trl(found: dict) -> Rows:
    rows = []
    for result in found["results"]:
        best, usual = (result["scope_over"][name] for name in ("trl-grpo", "trl-grpo-defaults"))
        measured = f"{best['seconds_ratio']:.2f} × the time, {best['peak_ratio']:.2f} × the memory"
        measured += f"; with its default batching {usual['seconds_ratio']:.2f} × and {usual['peak_ratio']:.2f} ×"
        grpo, trl = (result["contenders"][name]["seconds_per_1000_tokens"] for name in ("grpo", "trl-grpo"))
        measured += f"; without a teacher, our GRPO's step: {grpo / trl:.2f} × the time"
        target = result["target_over_trl_grpo"]
        wanted = f"≤ {target['seconds_ratio']:g} × the time" + (
            f", ≤ {target['peak_ratio']:g} × the memory" if "peak_ratio" in target else ""
        )
        what = f"SCOPE step beside TRL's GRPO step, {result['pair']}, {result['precision']}, CPU"
        rows.append((what, measured, wanted))
    return rows


def _overhead(found: dict) -> Rows:
    target = found["target_over_grpo"]
    (row,) = (row for row in found["shares"] if row["wrong"] == target["wrong"])
    ratio = {(of["teacher"], of["pipeline"]): of["over_grpo"]["median"] for of in row["scope"]}
    places = {"here": "in the process", "elsewhere": "in another", "latency": "as slow as the paper's"}
    measured = "; ".join(f"{words} {ratio[place, 'streaming']:.3f} ×" for place, words in places.items())
    plain = max(ratio[place, "synchronous"] for place in places)
    what = f"SCOPE step over GRPO step, {row['wrong']:.0%} wrong, streaming; teacher"
    return [(what, f"{measured} (not streaming at most {plain:.2f} ×)", f"≤ {target['at_most']:g} ×")]


def _gpu(found: dict) -> Rows:
    parts, wanted = found["parts"], found["target_utilisation"]
    return [
        (
            f"{name} on {found['hardware']['device']}",
            f"{parts[name]['utilisation']:.0%} of its bfloat16 rate",
            f"≥ {wanted[name]:.0%}",
        )
        for name in wanted
        if "utilisation" in parts.get(name, {})
    ]


READERS: dict[str, Callable[[dict], Rows]] = {
    "weights": _weights,
    "logprobs": _logprobs,
    "scaling": _scaling,
    "overhead": _overhead,
    "trl": _trl,
    "gpu": _gpu,
}
