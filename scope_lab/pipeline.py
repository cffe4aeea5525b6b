"""From the engine to the update: every rollout is verified, routed and, if need be, scored as soon as it is finished.

Streaming, verifiers and a thread that asks the teacher work while the engine still writes other rollouts, and while the
student already learns from those that need no teacher. Synchronous, each stage begins when the one before has ended.
Which rollouts go to the teacher together follows from the order in which they were finished and from their lengths,
never from the clock: an engine that finishes them in the same order gets the same numbers, streaming or not, to the
last bit; any other order changes what a forward pass rounds.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from queue import SimpleQueue

import torch
from torch import Tensor

from .methods import Method
from .rollouts import Rollouts
from .tasks import Verdict, Verification
from .tasks.verification import Verifier
from .teachers import Teacher


def asks_teacher(method: Method, verdict: Verdict) -> bool:
    """Routing: whether a rollout goes to the teacher. SCOPE's wrong ones; all, with on-policy distillation."""
    return method.reads_teacher and (method.baseline == "opd" or verdict == Verdict.INCORRECT)


def asked_of_teacher(method: Method, rollouts: Rollouts) -> Tensor:
    """`asks_teacher` of every rollout, (B,) bool."""
    return torch.tensor([asks_teacher(method, v.verdict) for v in rollouts.verifications], dtype=torch.bool)


def usable_rollouts(method: Method, rollouts: Rollouts) -> Tensor:
    """Which rollouts may be used at all, (B,) bool.

    Not those without a verdict, where the method reads verdicts; nor those that the teacher was asked about and gave a
    number that is not finite: they are dropped, never replaced.
    """
    failed_B = asked_of_teacher(method, rollouts) & (rollouts.mask_BT & ~rollouts.teacher_logp_BT.isfinite()).any(-1)
    return (rollouts.known_B | (not method.reads_verdicts)) & ~failed_B


class Pipeline:
    """The verifier and the teacher of a run; `step` opens the way of one step's rollouts.

    truncated  verdict of a response without EOS: "incorrect" or "unknown"
    streaming  False: each stage begins when the one before has ended
    student    the model that trains. A teacher that computes with any of its weights, or that says of itself
               `concurrent = False`, cannot be asked while the student works: it is asked when all is written
    autocast   makes the context in which the teacher computes; entered in the thread that does

    The teacher is asked by one thread, one batch at a time: of its `tokens_per_question`, or, where it has none (a
    server), of whatever has come since its last answer.
    """

    def __init__(
        self,
        verifier: Verifier,
        teacher: Teacher | None,
        method: Method,
        *,
        truncated: str = "incorrect",
        streaming: bool = True,
        student: torch.nn.Module | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ):
        self.verifier, self.teacher, self.method = verifier, teacher, method
        self.truncated, self.streaming, self.autocast = truncated, streaming, autocast
        alone = getattr(teacher, "concurrent", True) and not _share_weights(student, getattr(teacher, "model", None))
        self.in_background = streaming and method.reads_teacher and teacher is not None and alone
        on_gpu = self.in_background and torch.cuda.is_available()
        self.cuda_stream = torch.cuda.Stream() if on_gpu else None  # one a run: each keeps memory of its own

    def step(self) -> "Step":
        return Step(self)


class Step:
    """One step's rollouts on their way. Leaving it, by whatever exception, ends its thread after the batch it is at.

    with pipeline.step() as step:
        rollouts = engine.sample(..., on_finished=step.on_finished)
        step.verify(rollouts)
        step.score(rollouts)

    What verifier or teacher raise comes out of whichever of the three is called next.
    seconds_verifying  spent on verdicts while the engine waited
    seconds_scoring    that the teacher was at work
    """

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        self.seconds_verifying = self.seconds_scoring = 0.0
        self._verdicts: dict[int, Future[Verification]] = {}
        self._seen: set[int] = set()
        self._finished: SimpleQueue[tuple[Rollouts, list[int]] | None] = SimpleQueue()  # None: no more will come
        self._scored: list[tuple[Tensor, Tensor]] = []
        self._error: BaseException | None = None
        self._left = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Step":
        if self.pipeline.in_background:
            self._thread = threading.Thread(target=self._score_in_background, name="teacher", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._left = True
        for verdict in self._verdicts.values():
            verdict.cancel()
        self._finished.put(None)
        if self._thread:
            self._thread.join()

    def on_finished(self, rollouts: Rollouts, rows: Tensor) -> None:
        """Take over rows that an engine has finished (scope_lab.engines.OnFinished)."""
        if self._error:
            raise self._error
        if self.pipeline.streaming:
            started = time.perf_counter()
            self._submit(rollouts, rows.tolist())
            self.seconds_verifying += time.perf_counter() - started
        self._pass_on(rollouts, rows.tolist())

    def verify(self, rollouts: Rollouts) -> None:
        """Give every rollout its verdict: wait for those under way, begin those that are not."""
        everyone = range(len(rollouts))
        self._submit(rollouts, [row for row in everyone if row not in self._verdicts])
        self._pass_on(rollouts, [row for row in everyone if row not in self._seen])  # of an engine that never calls
        rollouts.verifications = [self._verdicts[row].result() for row in everyone]
        self._finished.put(None)

    def score(self, rollouts: Rollouts) -> None:
        """Fill in the teacher's log-probs of the rollouts that are routed to it: wait for it, or ask it now."""
        if self._thread:
            self._thread.join()
        elif self.pipeline.method.reads_teacher and self.pipeline.teacher:
            self._score_as_they_come()
        if self._error:
            raise self._error
        for rows, logp_nT in self._scored:
            rollouts.teacher_logp_BT[rows] = logp_nT[:, : rollouts.mask_BT.shape[1]]

    def _submit(self, rollouts: Rollouts, rows: list[int]) -> None:
        for row in rows:
            self._verdicts[row] = rollouts.submit(row, self.pipeline.verifier, self.pipeline.truncated)

    def _pass_on(self, rollouts: Rollouts, rows: list[int]) -> None:
        self._seen.update(rows)
        self._finished.put((rollouts, rows))

    def _score_in_background(self) -> None:
        try:
            with _on_stream(self.pipeline.cuda_stream):
                self._score_as_they_come()
        except BaseException as error:
            self._error = error

    def _score_as_they_come(self) -> None:
        method, teacher = self.pipeline.method, self.pipeline.teacher
        assert teacher is not None
        for rollouts, rows in self._batches(getattr(teacher, "tokens_per_question", None)):
            if self._left:
                return
            temperature = rollouts.sampling.scored_at if method.same_temperature else 1.0
            started = time.perf_counter()
            with torch.no_grad(), self.pipeline.autocast():  # both are a thread's own
                self._scored.append((rows, teacher.score(rollouts, rows, temperature)))
            self.seconds_scoring += time.perf_counter() - started

    def _batches(self, token_budget: int | None) -> Iterator[tuple[Rollouts, Tensor]]:
        """Rows for the teacher, at most `token_budget` padded tokens of them; without a budget as many as there are.

        Rows that end one after the other are of like length. A verdict that is late holds up those behind it, so that
        who is with whom does not depend on the clock.
        """
        held: list[int] = []
        prompt = response = 0
        while finished := self._finished.get():
            rollouts, rows = finished
            for row in rows:
                if not asks_teacher(self.pipeline.method, self._verdicts[row].result().verdict):
                    continue
                longer = max(prompt, rollouts.prompt_length(row)), max(response, int(rollouts.mask_BT[row].sum()))
                if token_budget and held and (len(held) + 1) * sum(longer) > token_budget:
                    yield rollouts, torch.tensor(sorted(held))
                    held, longer = [], (rollouts.prompt_length(row), int(rollouts.mask_BT[row].sum()))
                held.append(row)
                prompt, response = longer
            if held and not token_budget and self._finished.empty():
                yield rollouts, torch.tensor(sorted(held))
                held = []
        if held:
            yield rollouts, torch.tensor(sorted(held))


def _share_weights(student: torch.nn.Module | None, model) -> bool:
    if student is None or not isinstance(model, torch.nn.Module):
        return False
    places = [{x.data_ptr() for x in module.parameters() if x.numel()} for module in (student, model)]
    return not places[0].isdisjoint(places[1])


@contextmanager
def _on_stream(stream) -> Iterator[None]:
    """This thread's work goes on a CUDA stream of its own, beside the student's; without one nothing happens."""
    if stream is None:
        yield
        return
    with torch.cuda.device(stream.device), torch.cuda.stream(stream):
        yield
