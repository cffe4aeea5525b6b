"""reasoning-gym's tasks by name: each of the named ones generates, prompts and verifies; hostile answers do nothing."""

import pickle
import sys
import time
from collections import deque

import pytest

from scope_lab import ScopeConfig
from scope_lab.problems import training_problems
from scope_lab.tasks import Problem, Verdict, load_task
from scope_lab.tasks.gym import ASK, EVALUATED, GENEROUS, PLANNING, Gym, final_answer
from scope_lab.tasks.verification import Verifier

pytest.importorskip("reasoning_gym", reason="the extra gym is not installed")

# Settings with which problems are made in milliseconds; the defaults of these tasks take up to seconds each.
QUICK = {
    "knight_swap": ":max_nodes=6,max_attempts=2000",
    "sokoban": ":max_w=7,max_h=7,max_boxes=5",
    "countdown": ":max_numbers=4",
}


def rush_hour_solution(board_config: str) -> str:
    """A shortest solution by breadth-first search: reasoning-gym's problems come without one."""
    from reasoning_gym.games.rush_hour import Board

    def after(moves: list[str]) -> Board:
        board = Board(board_config)
        board.perform_moves(" ".join(moves))
        return board

    queue, seen = deque([([], after([]))]), set()
    pieces = sorted(set(after([]).board_str()) - set("x.\n"))
    while queue:
        moves, board = queue.popleft()
        if board.solved:
            return " ".join(moves)
        for move in (piece + step for piece in pieces for step in ("+1", "-1")):
            near = after([*moves, move])
            state = str(near)
            if state not in seen:
                seen.add(state)
                queue.append(([*moves, move], near))
    raise AssertionError("no solution")


def own_answer(problem) -> str:
    return problem.reference or rush_hour_solution(problem.entry["metadata"]["board_config"])


def made(name: str, n: int):
    task = Gym(name + QUICK.get(name, ""))
    return task, task.problems("train", n)


@pytest.mark.parametrize("name", PLANNING)
def test_the_planning_tasks_generate_prompt_and_verify_their_own_reference(name):
    n = 2 if name == "knight_swap" else 4
    task, problems = made(name, n)
    assert len({problem.prompt for problem in problems}) == n and all(p.prompt.endswith(ASK) for p in problems)
    for problem, other in zip(problems, problems[1:] + problems[:1], strict=True):
        answer = own_answer(problem)
        assert task.verify(problem, f"<think>hm</think>So:\n<answer>\n{answer}\n</answer>").verdict == Verdict.CORRECT
        assert task.verify(problem, answer).verdict == Verdict.CORRECT
        from_a_table = Problem(problem.id, problem.prompt, problem.reference)
        assert task.verify(from_a_table, answer).verdict == Verdict.CORRECT
        for wrong in ("", "no idea", answer[: len(answer) // 2 - 1] + "?", f"{answer[::-1]} 7"):
            assert task.verify(problem, wrong).verdict == Verdict.INCORRECT, wrong
        assert task.verify(Problem(problem.id, other.prompt, ""), answer).verdict == Verdict.UNKNOWN


@pytest.mark.parametrize("name", GENEROUS)
def test_a_scorer_that_accepts_other_problems_answers_is_announced(name):
    with pytest.warns(UserWarning, match=f"gym:{name}: .*accepts"):
        task = Gym(name)
    first, second = task.problems("train", 2)
    assert task.verify(first, second.reference).verdict == Verdict.CORRECT  # when this fails, the warning may go


def test_splits_share_no_question_and_a_seed_gives_its_own_order():
    task = load_task("gym:shortest_path")
    by_split = [{p.prompt for p in task.problems(split, 60)} for split in ("train", "validation", "test")]
    assert not by_split[0] & by_split[1] and not by_split[0] & by_split[2] and not by_split[1] & by_split[2]
    assert task.problems("test", 5) == task.problems("test", 5) != task.problems("test", 5, seed=1)
    assert [p.id for p in task.problems("test", 5)] == [p.id for p in task.problems("test", 60)[:5]]


def test_a_generator_that_has_no_more_problems_says_so():
    task = load_task("gym:tower_of_hanoi:max_disks=4,max_pegs=3")
    assert 0 < len(task.problems("train")) < 20
    with pytest.raises(ValueError, match=r"only .* different problems found in split 'train', 50 asked for"):
        task.problems("train", 50)


def test_a_run_trains_on_the_problems_that_there_are():
    assert 20 < len(training_problems(ScopeConfig(), load_task("gym:tower_of_hanoi:max_disks=4"))) < 100


def test_settings_are_the_tasks_own_and_checked():
    task = load_task("gym:jugs:difficulty=4,threshold=0.01")
    (problem,) = task.problems("train", 1)
    assert task.verify(problem, "[]").verdict == Verdict.CORRECT  # which the scorer gives 0.01
    assert Gym("jugs:difficulty=4").verify(problem, "[]").verdict == Verdict.INCORRECT
    assert Gym("countdown:operators=[+, -],max_numbers=4").settings[1] == ("operators", ("+", "-"))
    for name, message in {
        "jug": r"gym:jug'.*like jugs",
        "jugs:dificulty=4": "did you mean difficulty",
        "jugs:seed=3": "found 'seed=3', accepted KEY=VALUE",
        "jugs:difficulty": "found 'difficulty', accepted KEY=VALUE",
        "jugs:difficulty=many": "difficulty: found 'many', accepted a value like 10",
        "jugs:difficulty=0": "difficulty must be gt 0",
        "jugs:threshold=2": "threshold: found 2.0, accepted above 0 to 1",
        "composite": "at least one dataset",
    }.items():
        with pytest.raises(ValueError, match=message):
            load_task(f"gym:{name}")


@pytest.mark.parametrize(
    ("response", "answer"),
    {
        "plain": "plain",
        "a <answer>1</answer> b <ANSWER> 2 </ANSWER> c": "2",
        "<answer>cut off": "cut off",
        "<think>3</think> 4": "4",
        "<answer>\n```json\n[1]\n```\n</answer>": "[1]",
        "": "",
    }.items(),
)
def test_what_of_a_response_the_scorer_sees(response, answer):
    assert final_answer(response) == answer


SPY = "__import__('pathlib').Path({path!r}).touch()"
HOSTILE = [
    SPY,
    "[" + SPY + "]",
    "print(" + SPY + ")",
    "(lambda: " + SPY + ")()",
    "[c for c in ().__class__.__base__.__subclasses__()]",
    "x.__class__",
    "eval('1')",
    "exec(chr(49))",
    "f'{" + SPY + "}'",
]


@pytest.mark.parametrize("name", EVALUATED)
def test_a_hostile_answer_never_reaches_eval(name, tmp_path, monkeypatch):
    import builtins

    task, (problem,) = made(name, 1)
    evaluated = []
    real = builtins.eval
    monkeypatch.setattr(builtins, "eval", lambda text, *rest: evaluated.append(text) or real(text, *rest))
    for attack in HOSTILE:
        path = tmp_path / "touched"
        text = attack.replace("{path!r}", repr(str(path)))
        assert task.verify(problem, f"<answer>{text}</answer>").verdict == Verdict.INCORRECT
        assert not path.exists() and not any("__" in str(code) or "chr" in str(code) for code in evaluated)
    assert task.verify(problem, problem.reference).verdict == Verdict.CORRECT


def test_an_answer_that_never_ends_is_stopped_by_the_clock():
    task, (problem,) = made("rush_hour", 1)
    started = time.monotonic()
    with Verifier(task, workers=1, timeout=0.5) as verifier:
        long = verifier.submit(problem, "A+9999999999").result()
        good = verifier.submit(problem, own_answer(problem)).result()
    assert (long.verdict, long.reason) == (Verdict.UNKNOWN, "timed out") and good.verdict == Verdict.CORRECT
    assert time.monotonic() - started < 30


def test_a_task_travels_to_another_process_as_its_name(monkeypatch):
    task = load_task("gym:jugs:difficulty=4")
    assert len(pickle.dumps(task)) < 300
    assert task.max_new_tokens > 512


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ValueError, match=r"gym:jugs needs the package reasoning-gym.*scope-lab\[gym\]"):
        load_task("gym:jugs")


# The same shortest paths in the form that the bundled grid pair reads.


def test_grid_paths_are_judged_as_reasoning_gym_does():
    task = load_task("grid_path")
    pairs = [pair for pair, _ in zip(task.derivations("train", 3), range(200), strict=False)]
    assert all(task.verify(problem, path).verdict == Verdict.CORRECT for problem, path in pairs)
    assert all(task.verify(problem, problem.reference).verdict == Verdict.CORRECT for problem, _ in pairs)
    problem = Problem("1", "*OOO/OXXO/OO#O/OOOX:", "ddrr")
    wanted = {
        "ddrr": "shortest path",
        "rrrddl": "longer than needed",
        "dd": "does not lead to the goal",
        "rd": "does not lead to the goal",
        "ddrrx": "not a path",
        "": "empty response",
        " ddrr ": "shortest path",
    }
    assert {text: task.verify(problem, text).reason for text in wanted} == wanted
    assert task.verify(Problem("1", "**OO:", "d"), "d").verdict == Verdict.UNKNOWN


def test_a_fork_of_shortest_paths_is_taken_at_random():
    import random

    from scope_lab.tasks.grid_path import random_shortest_path

    rng = random.Random(0)
    assert {random_shortest_path(rng, ["*O", "O#"]) for _ in range(30)} == {"rd", "dr"}


def test_grid_splits_are_disjoint():
    task = load_task("grid_path")
    train, test = ({p.id for p in task.problems(split, 80)} for split in ("train", "test"))
    assert not train & test
