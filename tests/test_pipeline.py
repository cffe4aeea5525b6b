"""Streaming: the numbers of the plain loop, the teacher asked about no other rollouts, and nothing left behind."""

import copy
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
import torch

from scope_lab import ScopeTrainer, load_task
from scope_lab.engines.transformers import sample
from scope_lab.errors import RunStopped
from scope_lab.limits import VerdictLimit, verdicts_given
from scope_lab.loop import Stopwatch
from scope_lab.methods import METHODS
from scope_lab.models import Pair, load_pair
from scope_lab.pipeline import Pipeline, asked_of_teacher
from scope_lab.rollouts import Sampling
from scope_lab.settings import build_config
from scope_lab.tasks import Verdict, Verification
from scope_lab.tasks.verification import Verifier
from scope_lab.teachers import LocalTeacher

TASK = load_task("countdown")


@pytest.fixture(scope="module")
def pair():
    return load_pair("countdown")


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = set(threading.enumerate())
    yield
    left = {thread for thread in set(threading.enumerate()) - before if thread.name != "tqdm_monitor"}
    for thread in left:
        thread.join(timeout=5)  # a verifier that was closed ends its threads in their own time
    assert not any(thread.is_alive() for thread in left)


class Background(LocalTeacher):
    """A teacher in this process that may be asked from a thread however many cores there are."""

    concurrent, tokens_per_question = True, None  # type: ignore[assignment]

    def __init__(self, model, tokens_per_question: int | None = 300, seconds: float = 0.0):
        super().__init__(model, "background")
        self.seconds, self.threads, self.calls = seconds, set(), []
        self.tokens_per_question = tokens_per_question  # None: as a server, of whatever has come

    def score(self, rollouts, rows, temperature):
        assert not torch.is_grad_enabled()
        self.threads.add(threading.current_thread().name)
        self.calls.append(rows.tolist())
        time.sleep(self.seconds)
        return super().score(rollouts, rows, temperature)


def test_a_verifier_may_be_silent_now_and_then_but_not_throughout():
    limit = VerdictLimit("a task")
    for given in ({"timed out": 29}, {"timed out": 100, "": 1}, {}, {"timed out": 20}, {"crashed": 9}):
        limit.count(Counter(given))
    with pytest.raises(RunStopped, match=r"^verifier: a task .* none of 30 rollouts \(timed out 21, crashed 9\)"):
        limit.count(Counter({"timed out": 1}))


def test_truncated_rollouts_are_not_the_verifiers(rollouts):
    n, cut = len(rollouts), int(rollouts.truncated_B.sum())
    assert verdicts_given(rollouts) == Counter({"": n - cut})
    silent = [Verification(Verdict.UNKNOWN, "no opinion")] * n
    assert verdicts_given(replace(rollouts, verifications=silent)) == Counter({"no opinion": n - cut})


class Broken(Background):
    """Gives no number for every third rollout, whoever stands beside it."""

    def score(self, rollouts, rows, temperature):
        return super().score(rollouts, rows, temperature).where(rows[:, None] % 3 > 0, torch.nan)


class Undecided:
    """Countdown whose verifier works in threads and has no verdict on some responses."""

    name, max_new_tokens, runs, workers = "countdown", TASK.max_new_tokens, "threads", 2
    problems = staticmethod(TASK.problems)

    def verify(self, problem, response):
        time.sleep(0.001 * (len(response) % 3))
        undecided = response.count("1") % 4 == 3
        return Verification(Verdict.UNKNOWN, "undecided") if undecided else TASK.verify(problem, response)


def trained(pair, way: str, teacher=None, task=None, steps=2, **settings):
    """A trainer after some steps, with every gradient that its updates clipped."""
    small = {"pair": "countdown", "prompts_per_step": 6, "rollouts_per_prompt": 4, "eval_problems": 0, "steps": steps}
    if METHODS[settings.get("method", "scope")].reads_teacher:
        small["teacher_failure_limit"] = 1.0
    config = build_config(None, {**small, "pipeline": way, **settings})
    own = Pair(copy.deepcopy(pair.student), pair.teacher, pair.tokenizer, "student", "teacher", "countdown")
    trainer = ScopeTrainer(config, own, task=task, teacher=teacher, progress=False)
    clip, gradients = trainer.accelerator.clip_grad_norm_, []

    def keep(parameters, norm):
        parameters = list(parameters)
        gradients.append([p.grad.clone() for p in parameters if p.grad is not None])
        return clip(parameters, norm)

    trainer.accelerator.clip_grad_norm_ = keep
    trainer.train()
    trainer.accelerator.clip_grad_norm_ = clip
    return trainer, gradients


def same(a, b, tolerance: float) -> None:
    (ours, our_gradients), (theirs, their_gradients) = a, b
    one, other = ours.last_batch, theirs.last_batch
    assert one.rollouts.responses == other.rollouts.responses
    assert one.rollouts.verifications == other.rollouts.verifications
    assert torch.equal(one.usable_B, other.usable_B)
    for x, y in zip(vars(one.coefficients).values(), vars(other.coefficients).values(), strict=True):
        assert torch.allclose(x, y, rtol=0, atol=tolerance, equal_nan=True)
    assert torch.allclose(
        one.rollouts.teacher_logp_BT, other.rollouts.teacher_logp_BT, rtol=0, atol=10 * tolerance, equal_nan=True
    )
    for x, y in zip(our_gradients, their_gradients, strict=True):
        assert all((p - q).abs().max() <= tolerance for p, q in zip(x, y, strict=True))
    assert all(abs(m["loss"] - n["loss"]) <= 10 * tolerance for m, n in zip(ours.history, theirs.history, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_streaming_gives_the_numbers_of_the_plain_loop_to_the_last_bit(method, pair):
    """Which rollouts stand in a batch follows from their lengths and their order alone."""
    runs = [trained(pair, way, Background(pair.teacher), method=method) for way in ("streaming", "synchronous")]
    same(*runs, tolerance=0.0)
    names = runs[0][0].teacher.threads
    assert names == ({"teacher"} if METHODS[method].reads_teacher else set())


@pytest.mark.parametrize("truncated", ["incorrect", "unknown"])
@pytest.mark.parametrize("make", [Background, Broken])
def test_without_verdict_truncated_or_failed_it_is_the_same_too(make, truncated, pair):
    settings = {"truncated": truncated, "max_new_tokens": 21}
    runs = [trained(pair, way, make(pair.teacher), Undecided(), **settings) for way in ("streaming", "synchronous")]
    same(*runs, tolerance=0.0)
    history = runs[0][0].history
    assert sum(m["unknown"] for m in history) > 0 and sum(m["truncated"] for m in history) > 0
    assert (sum(m["teacher_failed"] for m in history) > 0) == (make is Broken)


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.reads_teacher])
def test_what_is_learnt_before_the_teacher_answers_is_worth_the_same_after(method, pair):
    """Denominators and weights of the first part are those of the whole batch, whatever the teacher fails on."""
    settings = {"method": method, "prompts_per_step": 24, "max_new_tokens": 25, "truncated": "unknown"}
    run, _ = trained(pair, "synchronous", Broken(pair.teacher), Undecided(), steps=1, **settings)
    with run.pipeline.step() as way:
        clock = Stopwatch()
        rollouts, reference = run.fresh_rollouts(way, clock)
        first, rest = run.weighted(rollouts, reference, way, clock)
    run.pipeline.verifier.close()
    early_B = first.usable_B
    assert torch.equal(rest.part_B, ~early_B) and bool(early_B.any()) == (METHODS[method].baseline != "opd")
    for name in ("reward_B", "distill_B"):
        assert torch.equal(getattr(first.coefficients, name)[early_B], getattr(rest.coefficients, name)[early_B])


def test_a_slow_server_changes_no_number_beyond_rounding(pair):
    """It is asked about whatever has come, so its batches follow the clock."""
    slow = trained(pair, "streaming", Background(pair.teacher, None, seconds=0.05), steps=1)
    plain = trained(pair, "synchronous", LocalTeacher(pair.teacher), steps=1)
    same(slow, plain, tolerance=1e-6)
    assert len(slow[0].teacher.calls) > 1
    assert slow[0].history[0]["seconds_teacher_hidden"] > 0 and plain[0].history[0]["seconds_teacher_hidden"] == 0


def test_the_order_of_arrival_changes_nothing_beyond_rounding(pair, rollouts):
    found = []
    for order in (range(len(rollouts)), reversed(range(len(rollouts))), torch.randperm(len(rollouts)).tolist()):
        own, teacher = copy.copy(rollouts), Background(pair.teacher, 500)
        own.teacher_logp_BT = torch.full_like(rollouts.teacher_logp_BT, torch.nan)
        with Pipeline(Verifier(TASK), teacher, METHODS["scope"]).step() as way:
            for row in order:
                way.on_finished(own, torch.tensor([row]))
            way.verify(own)
            way.score(own)
        asked_B = asked_of_teacher(METHODS["scope"], own)
        assert sorted(row for call in teacher.calls for row in call) == asked_B.nonzero().squeeze(1).tolist()
        assert own.teacher_logp_BT[~asked_B].isnan().all() and len(teacher.calls) > 2
        found.append(own.teacher_logp_BT)
    assert all(torch.allclose(x, found[0], rtol=0, atol=1e-5, equal_nan=True) for x in found)


def test_an_engine_that_never_says_what_is_finished_will_do(pair, rollouts):
    own = copy.copy(rollouts)
    with Pipeline(Verifier(TASK), Background(pair.teacher), METHODS["opd"]).step() as way:
        way.verify(own)
        way.score(own)
    assert own.teacher_logp_BT[own.mask_BT].isfinite().all() and own.verifications == rollouts.verifications


class Fault(Exception):
    """What a teacher or a verifier raises here."""


class Failing(Background):
    def score(self, rollouts, rows, temperature):
        raise Fault("teacher")


class Unverifiable(Undecided):
    runs = "inline"

    def verify(self, problem, response):
        raise Fault("verifier")


@pytest.mark.parametrize("way", ["streaming", "synchronous"])
@pytest.mark.parametrize("who", ["teacher", "verifier"])
def test_what_teacher_or_verifier_raise_comes_out(who, way, pair):
    teacher, task = (Failing(pair.teacher), None) if who == "teacher" else (Background(pair.teacher), Unverifiable())
    with pytest.raises(Fault, match=who):
        trained(pair, way, teacher, task)


def test_a_teacher_that_raises_ends_the_sampling_early(pair):
    """The engine hears of it at the next rollout that it finishes."""
    seen: list[int] = []
    problems, sampling = TASK.problems("test", 8, seed=2), Sampling(max_new_tokens=TASK.max_new_tokens, seed=3)
    with (
        pytest.raises(Fault),
        Pipeline(Verifier(TASK), Failing(pair.teacher, None), METHODS["opd"]).step() as way,
    ):

        def slowly(rollouts, rows):
            seen.extend(rows.tolist())
            way.on_finished(rollouts, rows)
            time.sleep(0.05)

        sample(pair.student, pair.tokenizer, problems, 4, sampling, on_finished=slowly)
    assert len(seen) < 32


def test_an_interrupt_leaves_no_thread_and_no_more_questions(pair, rollouts):
    teacher = Background(pair.teacher, 200, seconds=0.1)
    with pytest.raises(KeyboardInterrupt), Pipeline(Verifier(TASK), teacher, METHODS["opd"]).step() as way:
        way.on_finished(copy.copy(rollouts), torch.arange(len(rollouts)))
        raise KeyboardInterrupt
    assert len(teacher.calls) <= 1


def test_a_verdict_that_never_comes_does_not_hold_up_an_interrupt(pair, rollouts):
    class Stuck(Undecided):
        workers = 1

        def verify(self, problem, response):
            time.sleep(0.5)
            return TASK.verify(problem, response)

    started = time.perf_counter()
    with (
        Verifier(Stuck()) as verifier,
        pytest.raises(KeyboardInterrupt),
        Pipeline(verifier, Background(pair.teacher), METHODS["scope"]).step() as way,
    ):
        way.on_finished(copy.copy(rollouts), torch.arange(len(rollouts)))
        raise KeyboardInterrupt
    assert time.perf_counter() - started < 3, "48 verdicts of half a second each were not waited for"
    time.sleep(0.6)  # the worker's thread ends with the verdict that it is at


@pytest.mark.parametrize("own", ["weights", "word"])
def test_a_teacher_that_takes_turns_with_the_student_is_asked_by_the_main_thread(own, pair):
    class Turns(Background):
        concurrent = own == "weights"

    student = copy.deepcopy(pair.student)
    teacher = Turns(student if own == "weights" else pair.teacher)
    pipeline = Pipeline(Verifier(TASK), teacher, METHODS["scope"], student=student)
    assert not pipeline.in_background
    assert Pipeline(Verifier(TASK), Background(pair.teacher), METHODS["scope"], student=student).in_background


def test_a_teacher_in_this_process_stays_off_a_cpu_that_torch_fills(pair, monkeypatch):
    teacher = LocalTeacher(pair.teacher)
    for cores, threads, free in ((2, 1, True), (2, 2, False), (8, 4, True)):
        monkeypatch.setattr("scope_lab.teachers.local.free_cores", lambda cores=cores: cores)
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert teacher.concurrent is free


def test_going_on_with_the_other_pipeline_is_going_on(pair, tmp_path):
    """It changes no number, so a run may be resumed with either."""
    settings = {"teacher": Background(pair.teacher), "steps": 2, "checkpoint_every": 1}
    whole, _ = trained(pair, "streaming", **settings, out=str(tmp_path / "whole"))
    trained(pair, "streaming", **{**settings, "steps": 1}, out=str(tmp_path / "cut"))
    config = build_config(None, {**vars(whole.config), "out": str(tmp_path / "cut"), "pipeline": "synchronous"})
    own = Pair(copy.deepcopy(pair.student), pair.teacher, pair.tokenizer, "student", "teacher", "countdown")
    resumed = ScopeTrainer(config, own, teacher=Background(pair.teacher), resume=True, progress=False)
    resumed.train()
    ours, theirs = (dict(t.unwrapped.named_parameters()) for t in (resumed, whole))
    assert all(torch.equal(p, theirs[name]) for name, p in ours.items())
