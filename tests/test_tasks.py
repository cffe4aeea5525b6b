"""Countdown's verifier against hand-made cases and an independent brute force; problem files; splits."""

import json
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_lab import load_task
from scope_lab.config import ScopeConfig
from scope_lab.errors import InputError
from scope_lab.tasks import DIFFICULTIES, SPLITS, Countdown, Problem, ProblemFile, Verdict
from scope_lab.tasks.answers import final_number
from scope_lab.tasks.countdown import Difficulty, parse_prompt, solutions

TASK = Countdown()
PROBLEM = Problem("p", "8,3,5,2=21:", "21")


def judge(response, prompt=PROBLEM.prompt):
    return TASK.verify(Problem("p", prompt, ""), response)


def trees(numbers, max_value=99):
    """All (value, tree) that use every number once, by splitting the numbers in two, which the package does not do.

    A tree is nested tuples, the sides of + and × sorted.
    """
    if len(numbers) == 1:
        return {(numbers[0], numbers[0])}
    found = set()
    for chosen in range(1, 2 ** len(numbers) - 1):
        left = [n for i, n in enumerate(numbers) if chosen >> i & 1]
        right = [n for i, n in enumerate(numbers) if not chosen >> i & 1]
        for a, tree_a in trees(left, max_value):
            for b, tree_b in trees(right, max_value):
                either = tuple(sorted((tree_a, tree_b), key=repr))
                found.add((a + b, ("+", *either)))
                found.add((a * b, ("*", *either)))
                if a >= b:
                    found.add((a - b, ("-", tree_a, tree_b)))
                if b and a % b == 0:
                    found.add((a // b, ("/", tree_a, tree_b)))
    return {(value, tree) for value, tree in found if value <= max_value}


def as_text(tree):
    """Fully bracketed, as the same tree could be written in either order."""
    if isinstance(tree, int):
        return {str(tree)}
    operation, left, right = tree
    texts = {f"({a}{operation}{b})" for a in as_text(left) for b in as_text(right)}
    if operation in "+*":
        texts |= {f"({b}{operation}{a})" for a in as_text(left) for b in as_text(right)}
    return texts


# Countdown's verifier


@pytest.mark.parametrize(
    "response",
    ["8*3=24,24-5=19,19+2=21", "3*8=24,24-5=19,2+19=21", "8*3=24,24+2=26,26-5=21", " 8*3=24,2+24=26,26-5=21\n"],
)
def test_every_right_way_to_the_target_is_correct(response):
    found = judge(response)
    assert (found.verdict, found.reason) == (Verdict.CORRECT, "target reached")


@pytest.mark.parametrize(
    "reason, response",
    [
        ("empty response", ""),
        ("empty response", " \n\t"),
        ("malformed step", "8*3=24,24-5=19,19+2=21,"),
        ("malformed step", "8*3=24;24-5=19;19+2=21"),
        ("malformed step", "8 * 3=24,24-5=19,19+2=21"),
        ("malformed step", "8*3=24,24-5=19,19+2=2١"),
        ("malformed step", "8*3=24,24-5=19,19+2=21 so the answer is 21"),
        ("malformed step", "8×3=24,24-5=19,19+2=21"),
        ("malformed step", "-8*3=24,24-5=19,19+2=21"),
        ("malformed step", "8*3=24,,24-5=19,19+2=21"),
        ("number not available", "8*8=64,64-5=59,59+2=61"),
        ("number not available", "8*4=32,32-5=27,27+2=29"),
        ("number not available", "8*3=24,8-5=3,3+2=5"),
        ("wrong arithmetic", "8*3=25,25-5=20,20+2=22"),
        ("wrong arithmetic", "8*3=24,24-5=19,19+2=22"),
        ("negative or fractional result", "3-8=5,5+5=10,10+2=12"),
        ("negative or fractional result", "8/3=2,5*2=10,10+2=12"),
        ("numbers left over", "8*3=24,24-5=19"),
        ("numbers left over", "8*3=24"),
        ("target missed", "8*3=24,24-5=19,19-2=17"),
    ],
)
def test_every_failure_has_its_reason(reason, response):
    found = judge(response)
    assert (found.verdict, found.reason) == (Verdict.INCORRECT, reason)
    assert found.answer == (response.strip() or None)


def test_results_above_the_limit_are_refused():
    assert judge("12*11=132,132-12=120,120/12=10", "12,11,12,12=10:").reason == "result too large"
    assert judge("9*11=99,99-12=87,87+1=88", "9,11,12,1=88:").verdict == Verdict.CORRECT


def test_division_by_zero_is_a_wrong_response():
    assert judge("5-5=0,8/0=0,3+0=3", "5,5,8,3=3:").reason == "negative or fractional result"


def test_a_number_given_twice_can_be_used_twice_and_no_more():
    assert judge("5-5=0,0*8=0,0+3=3", "5,8,5,3=3:").verdict == Verdict.CORRECT
    assert judge("5+5=10,10+5=15,15+3=18", "5,5,8,3=18:").reason == "number not available"


def test_a_finished_target_with_more_steps_is_wrong():
    assert judge("8*3=24,24-5=19,19+2=21,21+0=21").reason == "number not available"


def test_solutions_that_differ_in_the_order_of_a_sum_or_product_are_one():
    same = ["8*3=24,24-5=19,19+2=21", "3*8=24,24-5=19,19+2=21", "3*8=24,24-5=19,2+19=21"]
    assert len({judge(response).answer for response in same}) == 1
    other = judge("8*3=24,24+2=26,26-5=21")
    assert other.verdict == Verdict.CORRECT and other.answer != judge(same[0]).answer
    first = judge("8-2=6,5-3=2,6*2=12", "8,2,5,3=12:").answer
    assert first == judge("5-3=2,2*6=12", "6,5,3=12:").answer.replace("6", "(8-2)")
    assert judge("9/3=3,8-3=5", "9,3,8=5:").answer != judge("8-3=5", "8,3=5:").answer


@pytest.mark.parametrize("prompt", ["", "8,3,5,2=21", "8=8:", "8,3,=21:", "8;3=11:", "8,3=11:x", "٨,3=11:"])
def test_problem_that_cannot_be_read_is_unknown_not_wrong(prompt):
    assert judge("8+3=11", prompt).verdict == Verdict.UNKNOWN
    with pytest.raises(ValueError, match="countdown prompt"):
        parse_prompt(prompt)


near_misses = st.text("0123456789+-*/=,: ", max_size=60)


@settings(max_examples=300)
@given(prompt=st.one_of(st.just(PROBLEM.prompt), near_misses, st.text(max_size=20)), response=st.text() | near_misses)
def test_no_text_makes_the_verifier_raise(prompt, response):
    found = judge(response, prompt)
    assert found.verdict in set(Verdict) and found.reason
    numbers = judge("8*3=24,24-5=19,19+2=21" + response)
    assert numbers.verdict == Verdict.INCORRECT or not response.strip()


def test_twenty_thousand_generated_solutions_are_correct_and_canonical():
    for problem, response in islice(TASK.derivations("train", seed=1), 20_000):
        found = TASK.verify(problem, response)
        assert found.verdict == Verdict.CORRECT, (problem, response, found)


def test_answers_of_generated_solutions_are_among_all_solutions():
    for problem, response in islice(TASK.derivations("validation", seed=2), 40):
        numbers, target = parse_prompt(problem.prompt)
        assert TASK.verify(problem, response).answer in solutions(numbers, target)


def test_solutions_are_those_of_brute_force():
    for problem in TASK.problems("validation", 24, seed=8):
        numbers, target = parse_prompt(problem.prompt)
        expected = [tree for value, tree in trees(numbers) if value == target]
        found = solutions(numbers, target)
        assert len(found) == len(expected) > 0, problem
        for tree in expected:
            assert len(as_text(tree) & found) == 1, (problem, tree)


def test_solutions_by_hand():
    assert solutions([2, 3], 6) == {"(2*3)"}
    assert solutions([2, 2], 4) == {"(2+2)", "(2*2)"}
    assert solutions([3, 2], 1) == {"(3-2)"}
    assert solutions([2, 3], 7) == set()
    assert solutions([50, 2], 100) == set() and solutions([50, 2], 100, max_value=100) == {"(2*50)"}
    assert solutions([6, 2], 3, operations="+-*") == set()


# Countdown's problems


@pytest.mark.parametrize("split", SPLITS)
def test_problems_are_decided_by_split_and_seed(split):
    first = TASK.problems(split, 50, seed=4)
    assert first == Countdown().problems(split, 50, seed=4)
    assert first[:20] == TASK.problems(split, 20, seed=4)
    assert {p.id for p in first} != {p.id for p in TASK.problems(split, 50, seed=5)}
    assert len({p.id for p in first}) == 50


def test_splits_share_no_problem_whatever_seed_or_order_of_numbers():
    seen = {
        split: {
            (*sorted(parse_prompt(p.prompt)[0]), parse_prompt(p.prompt)[1])
            for seed in (0, 1, 2)
            for p in TASK.problems(split, 800, seed=seed)
        }
        for split in SPLITS
    }
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not seen[a] & seen[b]
    assert min(map(len, seen.values())) > 800, "different seeds give different problems"


def test_training_stream_stays_in_its_split():
    test = {p.id for p in TASK.problems("test", 500)}
    assert not test & {p.id for p, _ in islice(TASK.derivations("train", 0), 5000)}


def test_standard_problems_have_four_numbers_to_twelve_in_shuffled_order():
    problems = TASK.problems("test", 300)
    parsed = [parse_prompt(problem.prompt) for problem in problems]
    assert all(len(numbers) == 4 and min(numbers) >= 1 and max(numbers) <= 12 for numbers, _ in parsed)
    assert all(1 <= target <= 99 for _, target in parsed)
    assert any(numbers != sorted(numbers) for numbers, _ in parsed)
    assert all(problem.reference == str(target) for problem, (_, target) in zip(problems, parsed, strict=True))


@pytest.mark.parametrize("name, low, high", [("easy", 20, None), ("hard", 1, 8)])
def test_difficulty_bounds_the_number_of_solutions(name, low, high):
    for problem in load_task(f"countdown:{name}").problems("test", 15, seed=1):
        numbers, target = parse_prompt(problem.prompt)
        count = sum(value == target for value, _ in trees(numbers))
        assert low <= count and (high is None or count <= high), problem


def test_tiny_problems_have_three_small_numbers():
    parsed = [parse_prompt(p.prompt)[0] for p in load_task("countdown:tiny").problems("test", 50)]
    assert {len(numbers) for numbers in parsed} == {3} and max(map(max, parsed)) <= 9


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_responses_fit_in_the_tokens_of_the_task(difficulty):
    task = Countdown(difficulty)
    assert all(len(response) < task.max_new_tokens for _, response in islice(task.derivations("train", 0), 500))


def test_more_problems_than_there_are_is_refused(monkeypatch):
    monkeypatch.setitem(DIFFICULTIES, "two", Difficulty(n_numbers=2, max_number=4))
    with pytest.raises(ValueError, match=r"only \d+ different problems .*'train', 100 asked for"):
        Countdown("two").problems("train", 100)


def test_no_problems_when_none_are_asked_for():
    assert TASK.problems("test", 0) == []


@pytest.mark.parametrize("task", [TASK, "file"])
def test_unknown_split_is_refused(task, tmp_path):
    task = good_file(tmp_path) if task == "file" else task
    with pytest.raises(ValueError, match=r"split: found 'dev', accepted train, validation, test"):
        task.problems("dev", 1)


@pytest.mark.parametrize("name", ["chess", "countdown:huge", "", "countdown:easy:hard"])
def test_unknown_task_is_refused_with_the_choices(name):
    with pytest.raises(ValueError, match=r"accepted countdown, countdown:easy.*FILE\.jsonl"):
        load_task(name)


# Problem files


def write(path, *rows):
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def row(i, problem=None, answer="4"):
    return {"id": i, "problem": problem or f"What is 2 + {i}?", "answer": answer}


def good_file(tmp_path, n=200):
    return load_task(str(write(tmp_path / "good.jsonl", *(row(i, answer=str(2 + i)) for i in range(n)))))


def test_good_file_is_split_without_loss_or_overlap(tmp_path):
    task = good_file(tmp_path)
    parts = {split: task.problems(split) for split in SPLITS}
    ids = [problem.id for part in parts.values() for problem in part]
    assert sorted(ids, key=int) == [str(i) for i in range(200)]
    assert len(parts["train"]) > 120 and min(map(len, parts.values())) > 5
    assert parts["train"][0].reference == str(2 + int(parts["train"][0].id))
    assert [int(p.id) for p in parts["train"]] == sorted(int(p.id) for p in parts["train"])
    shuffled = task.problems("train", seed=3)
    assert shuffled != parts["train"] and set(shuffled) == set(parts["train"])
    assert shuffled == task.problems("train", seed=3) and shuffled[:5] == task.problems("train", 5, seed=3)


def test_splits_stay_when_the_file_grows(tmp_path):
    before = {p.id for p in good_file(tmp_path, 100).problems("test")}
    after = {p.id for p in good_file(tmp_path, 200).problems("test")}
    assert before <= after


@pytest.mark.parametrize("split, setting", [("train", "train_problems"), ("test", "eval_problems")])
def test_more_problems_than_the_file_has_is_refused_with_the_setting_and_the_cause(tmp_path, split, setting):
    with pytest.raises(InputError) as caught:
        good_file(tmp_path).problems(split, 500)
    message = str(caught.value)
    assert f"good.jsonl: split '{split}' has " in message and f"500 asked for; lower {setting} or --problems" in message
    assert "all 200 by --split all: a hash puts 80 % into train" in message
    with pytest.raises(InputError, match=r"'all' has 200 problems, 500 asked for; lower eval_problems or --problems$"):
        good_file(tmp_path).problems("all", 500)


def test_all_is_a_whole_file_and_no_split_of_what_is_generated(tmp_path):
    whole = good_file(tmp_path).problems("all")
    assert [problem.id for problem in whole] == [str(i) for i in range(200)]
    assert load_task(f"math:{tmp_path / 'good.jsonl'}").problems("all", 3)[2].id == "2"
    with pytest.raises(InputError, match=r"found 'all', accepted train, validation, test$"):
        TASK.problems("all", 1)
    with pytest.raises(InputError, match="eval_split: found all, which holds what is trained on"):
        ScopeConfig(pair="countdown", eval_split="all").validate()


@pytest.mark.parametrize(
    "bad, complaint",
    [
        (b"{not json", "not JSON"),
        (b"[", "not JSON in UTF-8 (Expecting value: line 1 column 2 (char 1)), accepted one JSON object a line"),
        (b'{"id": 1, "problem": "caf\xe9", "answer": "1"}', "UTF-8"),
        ({"id": 1, "problem": "1+1?"}, "missing answer"),
        ({"answer": "1"}, "missing id, problem"),
        ([row(1), row(2)], "accepted one JSON object a line"),
        (7, "found 7, accepted one JSON object a line"),
        (row(1, "   "), "empty"),
        (row(0, "Another text"), "id '0'"),
    ],
)
def test_bad_line_is_refused_by_file_and_number(tmp_path, bad, complaint):
    path = write(tmp_path / "bad.jsonl", row(0), row(5), bad, row(6))
    with pytest.raises(ValueError) as caught:
        ProblemFile(path)
    assert "bad.jsonl line 3" in str(caught.value) and complaint in str(caught.value)


def test_blank_lines_are_passed_over(tmp_path):
    task = ProblemFile(write(tmp_path / "blank.jsonl", b"", row(0), b" \t\r", row(5), b""))
    assert [problem.id for problem in task.problems("all")] == ["0", "5"]


@pytest.mark.parametrize("name", ["{}.csv", "{}.json", "math:{}.JSON", "countdown:{}.txt", "code:{}.jsonl.gz"])
def test_another_format_is_refused_with_those_that_are_accepted(name):
    with pytest.raises(InputError, match=r"accepted a file \.jsonl \(one JSON object a line\) or \.parquet$"):
        load_task(name.format("problems"))


def test_empty_and_missing_files_are_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.jsonl holds no problem"):
        load_task(str(tmp_path / "empty.jsonl"))
    with pytest.raises(ValueError, match=r"none\.jsonl is not a file"):
        load_task(str(tmp_path / "none.jsonl"))


def test_countdown_file_is_judged_by_the_countdown_verifier(tmp_path):
    path = write(tmp_path / "mine.jsonl", row(1, "8,3,5,2=21:", "21"))
    task = load_task(f"countdown:{path}")
    problem = next(p for split in SPLITS for p in task.problems(split))
    assert task.verify(problem, "8*3=24,24-5=19,19+2=21").verdict == Verdict.CORRECT
    assert task.verify(problem, "21").verdict == Verdict.INCORRECT
    assert task.max_new_tokens == TASK.max_new_tokens
    write(path, row(1, "8,3,5,2=21:", "21"), row(2, "eight and three", "11"))
    with pytest.raises(ValueError, match=r"mine\.jsonl line 2.*eight and three"):
        load_task(f"countdown:{path}")


@pytest.mark.parametrize(
    "reference, response, verdict",
    [
        ("5", "The answer is 5.", "correct"),
        ("5", "5 apples, then 6", "incorrect"),
        ("1250", "so $1,250.00", "correct"),
        ("3/4", "that is 0.75", "correct"),
        ("0.1", "1/10", "correct"),
        ("-3.5", "x = -3.5", "correct"),
        ("3.5", "x = -3.5", "incorrect"),
        ("5", "I do not know", "incorrect"),
        ("5", "", "incorrect"),
        ("5", "1/0", "incorrect"),
        ("5", "٥", "incorrect"),
        ("none", "5", "unknown"),
        ("", "", "unknown"),
        ("5", "9" * 5000, "incorrect"),
    ],
)
def test_last_number_decides(tmp_path, reference, response, verdict):
    task = ProblemFile(write(tmp_path / "one.jsonl", row(1)))
    found = task.verify(Problem("1", "?", reference), response)
    assert found.verdict == verdict


def test_equal_numbers_are_one_answer(tmp_path):
    task = ProblemFile(write(tmp_path / "one.jsonl", row(1)))
    answers = {task.verify(Problem("1", "?", "0.5"), text).answer for text in ("0.5", "1/2", ".. 0.50", "2/4")}
    assert len(answers) == 1


@pytest.mark.parametrize("text, value", [("it is .5", 0.5), ("x = −3", -3)])
def test_numbers_as_people_and_models_write_them(text, value):
    """A decimal without its zero; the minus sign of typeset mathematics."""
    assert final_number(text)[1].values[0] == value


@settings(max_examples=200)
@given(reference=st.text(), response=st.text() | st.text("0123456789,./-", max_size=40))
def test_no_text_makes_the_last_number_verifier_raise(reference, response):
    task = ProblemFile.__new__(ProblemFile)
    task.judge = None
    assert task.verify(Problem("1", "?", reference), response).verdict in set(Verdict)
