"""Error recovery: can the teacher still reach the answer after a wrong rollout's first words? (Table 7, Figure 1b)

Wrong rollouts are sorted into quartiles by the teacher's perplexity. Each is cut after 20, 40, 60 and 80 % of its
tokens, at the nearest step or line, and the teacher completes every prefix a few times. The paper's claim: where the
teacher's perplexity is low it recovers, where it is high its advice is noise. An empty prefix, 0 %, shows how hard the
problems are. What is made of the counts: recovery_table.py.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
import pandas as pd
import torch

from .engines.finished import FinishedBatches
from .engines.transformers import continue_tokens
from .errors import InputError
from .recovery_table import quartiles
from .rollouts import Rollouts
from .tasks import Task, Verdict
from .tasks.verification import Verifier
from .teachers import Teacher

FRACTIONS = (0.0, 0.2, 0.4, 0.6, 0.8)
CUTS = ("step", "token")
WANTED = 400  # wrong rollouts below which quartiles say little
COMMA = re.compile(",")
LINE_OR_SENTENCE = re.compile(r"\n(?!\n)|[.!?][\"')\]*]*(?=\s)")


def step_ends(texts: Sequence[str], task: str) -> list[int]:
    """After how many tokens a step of a response ends: at a comma in countdown, else at the end of a line or sentence.

    texts  each token's text. The end of the response itself is none of them.
    """
    pattern = COMMA if task.startswith("countdown") else LINE_OR_SENTENCE
    ends = {found.end() for found in pattern.finditer("".join(texts))}
    return [n for n, place in enumerate(accumulate(map(len, texts[:-1])), 1) if place in ends]


def cut_positions(texts: Sequence[str], fractions: Sequence[float], task: str, cut: str = "step") -> list[int]:
    """How many tokens of a response to keep for each fraction: to the step's end nearest to it, else that very token.

    texts  each response token's text, without the final EOS, which a prefix therefore never holds

    Each is 0 for fraction 0, otherwise 1 to len(texts) - 1; of two ends as near, the earlier. Raises ValueError for a
    response of fewer than two tokens.
    """
    n = len(texts)
    if n < 2:
        raise ValueError(f"cut_positions: found a response of {n} tokens, accepted 2 or more")
    ends = step_ends(texts, task) if cut == "step" else []

    def keep(fraction: float) -> int:
        wanted = min(max(round(fraction * n), 1), n - 1)
        return min(ends, key=lambda end: abs(end - fraction * n), default=wanted) if fraction else 0

    return [keep(fraction) for fraction in fractions]


def choose_wrong(rollouts: Rollouts, n: int, seed: int = 0) -> Rollouts:
    """Up to n wrong rollouts of two tokens or more, drawn without replacement. InputError where there are few."""
    if not rollouts.verifications:
        raise ValueError("rollouts: found no verdicts, accepted verified rollouts")
    usable_B = rollouts.known_B & ~rollouts.correct_B & (content_lengths(rollouts) >= 2)
    rows = usable_B.nonzero().squeeze(1)
    if len(rows) < 8:
        raise InputError(f"recover: found {len(rows)} wrong rollouts of two tokens or more, accepted 8 at least")
    chosen = np.random.default_rng(seed).permutation(len(rows))[:n]
    return rollouts.select(rows[torch.from_numpy(np.sort(chosen))])


def content_lengths(rollouts: Rollouts) -> torch.Tensor:
    """Response tokens without the EOS, (B,)."""
    return rollouts.length_B - (~rollouts.truncated_B).long()


def score_missing(rollouts: Rollouts, teacher: Teacher) -> None:
    """Ask the teacher about rollouts that carry no log-probabilities of its own."""
    rows = rollouts.teacher_nll_B.isnan().nonzero().squeeze(1)
    if len(rows):
        rollouts.teacher_logp_BT[rows] = teacher.score(rollouts, rows, rollouts.sampling.scored_at)


def check_sampling(cut: str, completions: int, temperature: float) -> None:
    if cut not in CUTS:
        raise InputError(f"cut: found {cut!r}, accepted {', '.join(CUTS)}")
    if completions < 1 or not temperature > 0:
        raise InputError(f"completions, temperature: found {completions}, {temperature}, accepted 1 or more, above 0")


def recover(
    model,
    tokenizer,
    task: Task,
    wrong: Rollouts,
    *,
    completions: int = 4,
    temperature: float = 0.6,
    fractions: Sequence[float] = FRACTIONS,
    cut: str = "step",
    max_new_tokens: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[Iterable], Iterable] = lambda batches: batches,
    finished: FinishedBatches | None = None,
) -> pd.DataFrame:
    """Let a model (the teacher) complete prefixes of wrong rollouts, and count how often it still reaches the answer.

    wrong           wrong rollouts with prompt tokens and finite teacher log-probs (`choose_wrong`, `score_missing`)
    max_new_tokens  of each completion; default: that of the rollouts, whatever the prefix already used

    Returns a row a rollout and fraction: `prompt_id, row, quartile, teacher_ppl` (per token), `length` (tokens without
    EOS), `fraction, prefix_tokens, share` (of the length), `completions, recovered, unknown, truncated` (counts).
    """
    check_sampling(cut, completions, temperature)
    ppl = wrong.teacher_nll_B.exp().numpy()
    if not np.isfinite(ppl).all():
        raise InputError("recover: some rollouts carry no finite teacher log-probabilities")
    lengths, quartile = content_lengths(wrong).tolist(), quartiles(ppl)
    rows, starts, prefixes = [], [], []
    for i, (group, n) in enumerate(zip(wrong.group_B.tolist(), lengths, strict=True)):
        ids = wrong.tokens_BT[i, :n].tolist()
        texts = [tokenizer.decode([token]) for token in ids]
        for fraction, position in zip(fractions, cut_positions(texts, fractions, task.name, cut), strict=True):
            rows.append((wrong.problems[group].id, i, quartile[i], ppl[i], n, fraction, position, position / n))
            starts.append((wrong.prompt_tokens[group] + ids[:position], group))
            prefixes.append(ids[:position])
    names = ["prompt_id", "row", "quartile", "teacher_ppl", "length", "fraction", "prefix_tokens", "share"]
    frame = pd.DataFrame(rows, columns=names)
    limit = max_new_tokens or wrong.sampling.max_new_tokens
    sampling = replace(
        wrong.sampling, temperature=temperature, top_p=1.0, top_k=0, max_new_tokens=limit, seed=seed,
        logprob_temperature=None,
    )  # fmt: skip
    # Long prefixes end soon: batches of like ones waste the least.
    order = sorted(range(len(starts)), key=lambda j: (rows[j][5], len(starts[j][0])))
    jobs = [j for j in order for _ in range(completions)]
    written = continue_tokens(
        model,
        tokenizer,
        [starts[j][0] for j in jobs],
        sampling,
        batch_size=batch_size,
        progress=progress,
        finished=finished,
    )
    counts = np.zeros((len(starts), 3), dtype=int)
    ends = (written.mask_BT.sum(-1) - written.ended_B.long()).tolist()
    with Verifier(task) as verifier:
        judged = []
        for k, j in enumerate(jobs):
            if not written.ended_B[k]:
                counts[j, 2] += 1
                continue
            # Prefix and completion are decoded together: a word may have been cut in two.
            response = tokenizer.decode(prefixes[j] + written.tokens_BT[k, : ends[k]].tolist())
            judged.append((j, verifier.submit(wrong.problems[starts[j][1]], response)))
        for j, future in judged:
            verdict = future.result().verdict
            counts[j] += (verdict == Verdict.CORRECT, verdict == Verdict.UNKNOWN, False)
    frame["completions"] = completions
    frame[["recovered", "unknown", "truncated"]] = counts
    return frame
