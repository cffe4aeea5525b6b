"""What an engine owes to those who watch: every rollout once, when it is finished and not before."""

import pytest
import torch

from scope_lab.engines.filling import Filling
from scope_lab.engines.finished import FinishedBatches
from scope_lab.engines.transformers import TransformersEngine, sample
from scope_lab.rollouts import Sampling
from scope_lab.tasks import load_task

SAMPLING = Sampling(max_new_tokens=21, seed=3)  # short, so that some are truncated
PROBLEMS = load_task("countdown").problems("test", 6, seed=1)


class Watch:
    """Copies of every row as it was when it was called finished."""

    def __init__(self):
        self.seen: dict[int, tuple] = {}
        self.calls = 0

    def __call__(self, rollouts, rows):
        self.calls += 1
        for row in rows.tolist():
            assert row not in self.seen
            self.seen[row] = of(rollouts, row)


def of(rollouts, row: int) -> tuple:
    mask_T = rollouts.mask_BT[row]
    tokens, logp = rollouts.tokens_BT[row, mask_T].tolist(), rollouts.student_logp_BT[row, mask_T].tolist()
    return tokens, logp, rollouts.responses[row], rollouts.finish_reason[row]


@pytest.mark.parametrize("batch_size", [7, 256])
def test_each_rollout_is_called_finished_once_and_does_not_change_afterwards(student, tokenizer, batch_size):
    watch = Watch()
    rollouts = TransformersEngine(student, tokenizer, batch_size).sample(PROBLEMS, 4, SAMPLING, watch)
    assert set(rollouts.finish_reason) == {"stop", "length"}
    assert watch.seen == {row: of(rollouts, row) for row in range(len(rollouts))}
    assert 1 < watch.calls < len(rollouts), "rollouts that end together come together"
    lengths = [len(tokens) for tokens, *_ in watch.seen.values()]
    assert batch_size < 24 or lengths == sorted(lengths)


def test_watching_changes_nothing(student, tokenizer):
    alone, watched = (sample(student, tokenizer, PROBLEMS, 4, SAMPLING, on_finished=w) for w in (None, Watch()))
    assert [of(alone, i) for i in range(24)] == [of(watched, i) for i in range(24)]


def test_batches_of_an_earlier_sampling_are_called_finished_too(student, tokenizer, tmp_path):
    first, again = Watch(), Watch()
    for watch in (first, again):
        kept = FinishedBatches(tmp_path / "out")
        sample(student, tokenizer, PROBLEMS, 4, SAMPLING, batch_size=10, on_finished=watch, finished=kept)
    assert first.seen == again.seen and list(first.seen) == list(again.seen)


def test_what_a_watcher_raises_ends_the_sampling(student, tokenizer):
    def refuse(rollouts, rows):
        raise KeyError(len(rows))

    with pytest.raises(KeyError):
        sample(student, tokenizer, PROBLEMS, 4, SAMPLING, on_finished=refuse)


def test_rows_may_come_in_any_order_but_must_all_come(student, tokenizer, rollouts):
    def filled(rows) -> Filling:
        filling = Filling(tokenizer, rollouts.problems, rollouts.prompt_tokens, 8, rollouts.sampling, rollouts.pad_id)
        for row in rows:
            mask_T, ended = rollouts.mask_BT[row], rollouts.finish_reason[row] == "stop"
            tokens, logp = (x[row, mask_T][None] for x in (rollouts.tokens_BT, rollouts.student_logp_BT))
            filling.add(torch.tensor([row]), tokens, logp, ended)
        return filling

    backwards = filled(reversed(range(len(rollouts)))).result()
    assert torch.equal(backwards.tokens_BT, rollouts.tokens_BT) and backwards.responses == rollouts.responses
    assert torch.equal(backwards.student_logp_BT.nan_to_num(), rollouts.student_logp_BT.nan_to_num())
    with pytest.raises(RuntimeError, match="1 of 48 rollouts never finished"):
        filled(range(47)).result()
