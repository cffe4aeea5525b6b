"""Sampling, the rollouts it gives, their table on disk, and that packing them differently changes no gradient."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GenerationConfig

from scope_lab import policy_loss
from scope_lab.engines.transformers import sample
from scope_lab.logprobs import response_logprobs
from scope_lab.objective import rollout_coefficients, token_advantages
from scope_lab.rollouts import Rollouts, Sampling, check_context, encode_prompts
from scope_lab.tasks import Problem, Verdict, load_task
from scope_lab.teachers.local import LocalTeacher, score

DESIGN_COLUMNS = [
    *("task", "prompt_id", "rollout_id", "prompt", "reference", "response", "verdict", "finish_reason"),
    *("token_ids", "tokens", "student_logp", "teacher_logp", "student", "teacher"),
    *("sampling_temperature", "logprob_temperature", "seed", "step"),
]
PROBLEMS = [
    Problem("a", "8,3,5,2=21:", "21"),
    Problem("b", "12,10,11,12=9:", "9"),
    Problem("c", "1,1,2=4:", "4"),
]


def draw(student, tokenizer, n=4, batch_size=256, problems=PROBLEMS, **sampling) -> Rollouts:
    settings = Sampling(**{"max_new_tokens": 27, "seed": 1, **sampling})
    return sample(student, tokenizer, problems, n, settings, batch_size=batch_size)


def same_tokens(a: Rollouts, b: Rollouts) -> bool:
    return torch.equal(a.tokens_BT, b.tokens_BT) and torch.equal(a.mask_BT, b.mask_BT)


# Sampling


@pytest.mark.parametrize("temperature, logprob_temperature", [(0.6, None), (1.0, None), (1.7, None), (0.8, 1.3)])
def test_recorded_logprobs_are_those_of_scoring_again(student, tokenizer, temperature, logprob_temperature):
    drawn = draw(student, tokenizer, temperature=temperature, logprob_temperature=logprob_temperature)
    scored_at = logprob_temperature or temperature
    again_BT = score(student, drawn, range(len(drawn)), scored_at)
    assert (drawn.student_logp_BT[drawn.mask_BT] <= 0).all()
    assert (drawn.student_logp_BT - again_BT)[drawn.mask_BT].abs().max() < 1e-4
    assert drawn.student_logp_BT[~drawn.mask_BT].isnan().all() and again_BT[~drawn.mask_BT].isnan().all()


def test_recorded_logprobs_are_those_of_one_prompt_read_alone(student, tokenizer):
    """No padding and no package code between the model and the expected numbers."""
    drawn = draw(student, tokenizer, temperature=0.9)
    for i in (0, 5, 11):
        n = int(drawn.length_B[i])
        prompt, response = drawn.prompt_tokens[int(drawn.group_B[i])], drawn.tokens_BT[i, :n]
        with torch.no_grad():
            logits = student(torch.tensor([prompt + response.tolist()])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits / 0.9, -1)[torch.arange(n), response]
        torch.testing.assert_close(drawn.student_logp_BT[i, :n], expected, atol=1e-4, rtol=0)


def test_seed_alone_decides(student, tokenizer):
    torch.manual_seed(5)
    first = draw(student, tokenizer, seed=3)
    torch.manual_seed(6)
    again, other = draw(student, tokenizer, seed=3), draw(student, tokenizer, seed=4)
    assert same_tokens(first, again)
    torch.testing.assert_close(first.student_logp_BT, again.student_logp_BT, equal_nan=True, rtol=0, atol=0)
    assert first.responses != other.responses


def test_sampling_leaves_global_random_state_and_model_as_they_were(student, tokenizer):
    model = copy.deepcopy(student).train()
    config, before = model.generation_config, torch.random.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw(model, tokenizer)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    assert model.generation_config is config and model.training


def test_a_failed_sampling_also_leaves_the_model_as_it_was(student, tokenizer, monkeypatch):
    model = copy.deepcopy(student).train()
    config, before = model.generation_config, torch.random.get_rng_state()

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        draw(model, tokenizer)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.generation_config is config and model.training


def test_generation_settings_stored_with_the_model_do_not_leak(student, tokenizer):
    model = copy.deepcopy(student)
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=1, top_p=0.1, repetition_penalty=5.0, temperature=0.01, max_length=15, min_new_tokens=25
    )
    assert same_tokens(draw(model, tokenizer), draw(student, tokenizer))


def test_top_k_of_the_call_is_obeyed(student, tokenizer):
    greedy = draw(student, tokenizer, top_k=1)
    for group in range(len(PROBLEMS)):
        assert len({greedy.responses[i] for i in range(len(greedy)) if greedy.group_B[i] == group}) == 1


@pytest.mark.parametrize("temperature", [0.6, 1.7])
def test_first_tokens_follow_the_students_distribution(student, tokenizer, temperature):
    n = 3000
    drawn = draw(student, tokenizer, n, 1500, PROBLEMS[:1], temperature=temperature, max_new_tokens=1)
    with torch.no_grad():
        logits_V = student(torch.tensor(drawn.prompt_tokens)).logits[0, -1]
    expected_V = n * torch.softmax(logits_V.double() / temperature, -1)
    counts_V = torch.bincount(drawn.tokens_BT[:, 0], minlength=len(expected_V)).double()
    common_V = expected_V >= 5
    cells = [*zip(counts_V[common_V], expected_V[common_V], strict=True)]
    cells.append((counts_V[~common_V].sum(), expected_V[~common_V].sum()))
    chi_square = sum((count - mean) ** 2 / max(mean, 1.0) for count, mean in cells)
    degrees = len(cells) - 1
    assert degrees >= 2
    assert chi_square < degrees + 5 * math.sqrt(2 * degrees)


def test_responses_run_through_eos_or_are_marked_as_truncated(student, tokenizer):
    drawn = draw(student, tokenizer, 16, max_new_tokens=21)
    assert {*drawn.finish_reason} == {"stop", "length"}
    for i, reason in enumerate(drawn.finish_reason):
        tokens = drawn.tokens_BT[i][drawn.mask_BT[i]].tolist()
        assert tokens.count(tokenizer.eos_token_id) == (reason == "stop")
        assert (tokens[-1] == tokenizer.eos_token_id) == (reason == "stop")
        if reason == "length":
            assert len(tokens) == 21
        assert (drawn.tokens_BT[i][~drawn.mask_BT[i]] == tokenizer.pad_token_id).all()
        assert "<eos>" not in drawn.responses[i]
    assert drawn.truncated_B.tolist() == [reason == "length" for reason in drawn.finish_reason]
    assert drawn.mask_BT.any(0).all(), "no column is padding alone"


def test_every_stop_token_of_the_model_ends_a_response(student, tokenizer):
    comma = tokenizer.convert_tokens_to_ids(",")
    model = copy.deepcopy(student)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, comma]
    drawn = draw(model, tokenizer, 8)
    last = drawn.tokens_BT.gather(1, drawn.length_B[:, None] - 1)[:, 0]
    stopped = ~drawn.truncated_B
    assert (last[stopped] == comma).any()
    assert torch.isin(last[stopped], torch.tensor([comma, tokenizer.eos_token_id])).all()
    assert (((drawn.tokens_BT == comma) & drawn.mask_BT).sum(-1) <= 1).all()


def test_padding_that_is_eos_does_not_lengthen_or_shorten_responses(student, tokenizer):
    pad_is_eos = copy.deepcopy(tokenizer)
    pad_is_eos.pad_token = pad_is_eos.eos_token
    plain, other = draw(student, tokenizer), draw(student, pad_is_eos)
    assert plain.length_B.tolist() == other.length_B.tolist()
    assert plain.responses == other.responses and plain.finish_reason == other.finish_reason
    assert other.length_B.unique().numel() > 1


def test_prompt_and_response_that_exceed_the_context_are_refused(student, tokenizer):
    context = student.config.max_position_embeddings
    longest = max(len(p) for p in encode_prompts(tokenizer, PROBLEMS))
    with pytest.raises(ValueError, match=f"max_new_tokens: found {context - longest + 1} .*{context - longest}"):
        draw(student, tokenizer, 1, max_new_tokens=context - longest + 1)
    with pytest.raises(ValueError, match="task: found a prompt of 560 tokens, accepted less than the context, 96"):
        check_context(560, 1, 96, "the context")


def test_prompts_are_the_plain_text_with_its_bos_or_the_chat_template(tokenizer):
    (plain,) = encode_prompts(tokenizer, PROBLEMS[:1])
    assert plain[0] == tokenizer.bos_token_id
    assert tokenizer.decode(plain[1:]) == PROBLEMS[0].prompt
    chat = copy.deepcopy(tokenizer)
    chat.chat_template = (
        "{% for m in messages %}{{ m['content'] }}+{% endfor %}{% if add_generation_prompt %}={% endif %}"
    )
    (templated,) = encode_prompts(chat, PROBLEMS[:1])
    assert all(isinstance(token, int) for token in templated)
    assert chat.decode([t for t in templated if t != chat.bos_token_id]) == PROBLEMS[0].prompt + "+="


# Verdicts


@pytest.mark.parametrize("policy", ["incorrect", "unknown"])
def test_truncated_rollouts_get_the_named_verdict_and_others_the_verifiers(rollouts, policy):
    other = replace(rollouts, finish_reason=["length", *rollouts.finish_reason[1:]])
    task = load_task("countdown")
    other.verify(task, truncated=policy)
    assert other.verifications[0].verdict == policy and other.verifications[0].reason == "truncated"
    assert bool(other.known_B[0]) == (policy == "incorrect") and not other.correct_B[0]
    for i in range(1, len(other)):
        if other.finish_reason[i] == "stop":
            problem = other.problems[int(other.group_B[i])]
            assert other.verifications[i] == task.verify(problem, other.responses[i])


# A teacher that is the student


@pytest.mark.parametrize("temperature", [0.3, 0.6, 1.0, 1.7])
def test_teacher_equal_to_student_gives_no_signal_at_any_temperature(student, tokenizer, temperature):
    drawn = draw(student, tokenizer, temperature=temperature)
    rows = torch.arange(len(drawn))
    teacher = LocalTeacher(copy.deepcopy(student), name="same")
    student_BT, teacher_BT = score(student, drawn, rows, temperature), teacher.score(drawn, rows, temperature)
    advantages_BT = token_advantages(
        torch.zeros(len(rows)), torch.ones(len(rows)), student_BT, teacher_BT, drawn.mask_BT
    )
    assert (advantages_BT == 0).all()
    other_BT = teacher.score(drawn, rows, 2 * temperature)
    assert (student_BT - other_BT)[drawn.mask_BT].abs().max() > 0.01


def test_scoring_some_rows_gives_those_rows_in_the_order_asked(student, rollouts):
    rows = torch.tensor([17, 3, 40, 4])
    whole_BT = score(student, rollouts, torch.arange(len(rollouts)), 1.0)
    part_BT = score(student, rollouts, rows, 1.0, tokens_per_batch=60)
    assert part_BT.shape == (4, rollouts.mask_BT.shape[1])
    torch.testing.assert_close(part_BT, whole_BT[rows], equal_nan=True, atol=2e-5, rtol=0)
    assert score(student, rollouts, rows[:0], 1.0).shape == (0, rollouts.mask_BT.shape[1])


# Packing


def batches_gradient(model, rollouts, coefficients, batches, extra_left=0, extra_right=0):
    """Gradient of the step's loss, accumulated over micro-batches."""
    model.zero_grad()
    for rows in batches:
        inputs = rollouts.model_input(rows)
        left = torch.full((len(rows), extra_left), 5)
        right = torch.full((len(rows), extra_right), 6)
        no_left, no_right = torch.zeros_like(left, dtype=bool), torch.zeros_like(right, dtype=bool)
        mask_BT = torch.cat([inputs.mask_BT, no_right], 1)
        logp_BT = response_logprobs(
            model,
            torch.cat([left, inputs.tokens_BL, right], 1),
            torch.cat([no_left, inputs.attention_BL, no_right], 1),
            inputs.n_response + extra_right,
        )
        garbage = torch.full(right.shape, torch.nan)
        teacher_BT = torch.cat([rollouts.teacher_logp_BT[rows, : inputs.n_response], garbage], 1)
        advantages_BT = token_advantages(
            coefficients.reward_B[rows], coefficients.distill_B[rows], logp_BT, teacher_BT, mask_BT
        )
        policy_loss(logp_BT, None, advantages_BT, mask_BT).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("method", ["scope", "reference", "grpo"])
def test_micro_batches_and_padding_do_not_change_the_gradient(student, rollouts, method):
    model = copy.deepcopy(student)
    generator = torch.Generator().manual_seed(0)
    noise_BT = torch.randn(rollouts.mask_BT.shape, generator=generator)
    wrong_BT = (~rollouts.correct_B)[:, None] & rollouts.mask_BT
    taught = replace(rollouts, teacher_logp_BT=(rollouts.student_logp_BT - noise_BT.abs()).where(wrong_BT, torch.nan))
    coefficients = rollout_coefficients(
        method,
        taught.student_nll_B,
        taught.teacher_nll_B,
        taught.correct_B,
        taught.group_B,
        taught.length_B,
        taught.known_B,
    )
    everything = torch.arange(len(taught))
    whole = batches_gradient(model, taught, coefficients, [everything])
    assert whole.norm() > 1e-3

    def distance(*args):
        return (batches_gradient(model, taught, coefficients, *args) - whole).norm() / whole.norm()

    for token_budget in (50, 333, 1000):
        batches = taught.batches(everything, token_budget)
        assert len(batches) > 1
        assert distance(batches) < 1e-5
    assert distance([everything], 11, 0) < 1e-5
    assert distance([everything], 0, 13) < 1e-5
    assert distance(taught.batches(everything, 333), 3, 4) < 1e-5


@pytest.mark.parametrize("token_budget", [1, 40, 100, 400, 10**6])
def test_batches_cover_each_row_once_within_the_budget(rollouts, token_budget):
    rows = torch.arange(len(rollouts))[torch.randperm(len(rollouts), generator=torch.Generator().manual_seed(2))][:31]
    batches = rollouts.batches(rows, token_budget)
    assert sorted(i for batch in batches for i in batch.tolist()) == sorted(rows.tolist())
    for batch in batches:
        assert len(batch) == 1 or rollouts.model_input(batch).tokens_BL.numel() <= token_budget
    if token_budget == 1:
        assert len(batches) == 31
    if token_budget == 10**6:
        assert len(batches) == 1
    assert rollouts.batches(rows[:0], token_budget) == []


def test_model_input_is_left_padded_prompts_then_right_padded_responses(rollouts, tokenizer):
    rows = [0, 9, 30, 47]
    inputs = rollouts.model_input(rows)
    for k, i in enumerate(rows):
        real = inputs.tokens_BL[k][inputs.attention_BL[k]].tolist()
        prompt = rollouts.prompt_tokens[int(rollouts.group_B[i])]
        assert real == prompt + rollouts.tokens_BT[i][rollouts.mask_BT[i]].tolist()
        start = inputs.tokens_BL.shape[1] - inputs.n_response
        assert inputs.attention_BL[k, start - len(prompt) : start].all()
        assert not inputs.attention_BL[k, : start - len(prompt)].any()
    assert inputs.mask_BT.any(0).all() and inputs.attention_BL.any(0).all()


# Selecting


def test_select_keeps_rows_with_all_that_belongs_to_them(rollouts):
    rows = [46, 2, 1, 47]
    chosen = rollouts.select(rows)
    assert len(chosen) == 4 and len(chosen.problems) == len(chosen.prompt_tokens) == 2
    for k, i in enumerate(rows):
        group, chosen_group = int(rollouts.group_B[i]), int(chosen.group_B[k])
        assert chosen.problems[chosen_group] == rollouts.problems[group]
        assert chosen.prompt_tokens[chosen_group] == rollouts.prompt_tokens[group]
        assert chosen.responses[k] == rollouts.responses[i]
        assert chosen.finish_reason[k] == rollouts.finish_reason[i]
        assert chosen.verifications[k] == rollouts.verifications[i]
        assert torch.equal(chosen.tokens_BT[k], rollouts.tokens_BT[i])
        assert torch.equal(chosen.mask_BT[k], rollouts.mask_BT[i])
        torch.testing.assert_close(
            chosen.student_logp_BT[k], rollouts.student_logp_BT[i], equal_nan=True, rtol=0, atol=0
        )


def test_select_by_a_boolean_mask_is_refused_or_right(rollouts):
    try:
        chosen = rollouts.select(rollouts.correct_B)
    except ValueError:
        return
    right = [i for i in range(len(rollouts)) if rollouts.correct_B[i]]
    assert chosen.responses == [rollouts.responses[i] for i in right]
    assert torch.equal(chosen.tokens_BT, rollouts.tokens_BT[right])


def test_select_of_nothing_is_empty(rollouts):
    assert len(rollouts.select([])) == 0


# On disk


@pytest.fixture
def taught(rollouts):
    """The shared rollouts with a teacher that was asked about the wrong ones, and one unknown verdict."""
    teacher_BT = (rollouts.student_logp_BT * 1.5).clone()
    teacher_BT[rollouts.correct_B] = torch.nan
    verifications = list(rollouts.verifications)
    verifications[5] = replace(verifications[5], verdict=Verdict.UNKNOWN)
    sampling = replace(rollouts.sampling, top_p=0.9, top_k=4, logprob_temperature=0.7)
    return replace(
        rollouts,
        teacher_logp_BT=teacher_BT,
        verifications=verifications,
        sampling=sampling,
        student="a student",
        teacher="a teacher",
        step=12,
    )


@pytest.fixture
def file(taught, tokenizer, tmp_path):
    path = tmp_path / "new" / "rollouts.parquet"
    taught.save(path, tokenizer)
    return path


def assert_equal_rollouts(a: Rollouts, b: Rollouts):
    for name in ("group_B", "tokens_BT", "mask_BT"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    for name in ("student_logp_BT", "teacher_logp_BT"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0, equal_nan=True)
    for name in ("task", "problems", "responses", "finish_reason", "sampling", "student", "teacher", "step"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.verdicts.tolist() == b.verdicts.tolist()


def test_saved_rollouts_load_equal(taught, file, tokenizer):
    loaded = Rollouts.load(file, tokenizer)
    assert_equal_rollouts(loaded, taught)
    assert loaded.prompt_tokens == taught.prompt_tokens
    assert {"correct", "incorrect", "unknown"} == {*loaded.verdicts}
    assert Rollouts.load(file).prompt_tokens == []
    assert [path.name for path in file.parent.iterdir()] == ["rollouts.parquet"]


def test_table_has_the_designed_columns_and_a_row_a_rollout(taught, file, tokenizer):
    frame = pd.read_parquet(file)
    assert frame.columns.tolist() == DESIGN_COLUMNS
    assert len(frame) == len(taught)
    assert not frame.duplicated(["prompt_id", "rollout_id"]).any()
    for i in (0, 5, 20, 47):
        row, problem = frame.iloc[i], taught.problems[int(taught.group_B[i])]
        n = int(taught.length_B[i])
        assert (row.task, row.prompt_id, row.prompt, row.reference) == (
            *("countdown", problem.id, problem.prompt, problem.reference),
        )
        assert row.rollout_id == i % 8
        assert row.response == taught.responses[i]
        assert (row.verdict, row.finish_reason) == (taught.verdicts[i], taught.finish_reason[i])
        assert row.token_ids.tolist() == taught.tokens_BT[i, :n].tolist()
        assert "".join(row.tokens).replace("<eos>", "") == row.response and len(row.tokens) == n
        assert row.student_logp.dtype == np.float32
        assert row.student_logp.tolist() == taught.student_logp_BT[i, :n].tolist()
        if taught.correct_B[i]:
            assert row.teacher_logp is None
        else:
            assert row.teacher_logp.tolist() == taught.teacher_logp_BT[i, :n].tolist()
        assert (row.student, row.teacher, row.seed, row.step) == ("a student", "a teacher", 11, 12)
        assert (row.sampling_temperature, row.logprob_temperature) == (1.0, 0.7)


def test_partial_credit_is_kept_where_there_is_some(taught, tokenizer, tmp_path):
    path = tmp_path / "code.parquet"
    shares = [None if v.verdict == Verdict.UNKNOWN else i / 47 for i, v in enumerate(taught.verifications)]
    scored = [replace(v, score=share) for v, share in zip(taught.verifications, shares, strict=True)]
    replace(taught, verifications=scored).save(path, tokenizer)
    assert pd.read_parquet(path).columns.tolist() == [*DESIGN_COLUMNS, "score"]
    assert [v.score for v in Rollouts.load(path).verifications] == shares
    refused(rewritten(path, score=lambda frame: [1.5, *frame.score[1:]]), "score", "1.5", "from 0 to 1")
    refused(rewritten(path, score=lambda frame: ["all"] * len(frame)), "score", "all", "numbers")


def test_rows_of_a_prompt_may_stand_anywhere(taught, file, tokenizer):
    frame = pd.read_parquet(file).sample(frac=1, random_state=4)
    frame.to_parquet(file)
    loaded = Rollouts.load(file, tokenizer)
    assert (loaded.group_B.diff() >= 0).all() and len(loaded.problems) == 6
    original = {(p, r): i for i, (p, r) in enumerate(zip(frame.prompt_id, frame.response, strict=True))}
    assert len(loaded) == len(frame)
    for k, response in enumerate(loaded.responses):
        problem = loaded.problems[int(loaded.group_B[k])]
        row = frame.iloc[original[problem.id, response]]
        n = int(loaded.length_B[k])
        assert row.prompt == problem.prompt
        assert loaded.tokens_BT[k, :n].tolist() == row.token_ids.tolist()
        assert loaded.student_logp_BT[k, :n].tolist() == pytest.approx(row.student_logp.tolist(), abs=1e-3)
    torch.testing.assert_close(score_sum(loaded), score_sum(taught))


def score_sum(rollouts):
    return rollouts.student_logp_BT.nansum()


def test_table_of_another_program_loads_without_our_metadata(file):
    frame = pd.read_parquet(file)
    frame.attrs = {}
    loaded = Rollouts.from_frame(frame)
    assert (loaded.sampling.temperature, loaded.sampling.scored_at, loaded.sampling.seed) == (1.0, 0.7, 11)


def refused(path, *words):
    with pytest.raises(ValueError) as caught:
        Rollouts.load(path)
    for word in (path.name, *words):
        assert word in str(caught.value)


def rewritten(path, **columns):
    frame = pd.read_parquet(path)
    for name, values in columns.items():
        frame[name] = values(frame) if callable(values) else values
    frame.to_parquet(path)
    return path


def test_missing_file_is_refused_by_name(tmp_path):
    refused(tmp_path / "none.parquet")


@pytest.mark.parametrize("keep", [0, 3, 500, -100])
def test_truncated_file_is_refused_by_name(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    refused(file, "parquet")


@pytest.mark.parametrize("column", DESIGN_COLUMNS)
def test_missing_column_is_refused_by_name(file, column):
    pd.read_parquet(file).drop(columns=column).to_parquet(file)
    refused(file, column)


@pytest.mark.parametrize("column", ["token_ids", "student_logp", "verdict", "prompt"])
def test_empty_cell_is_refused_by_name(file, column):
    refused(rewritten(file, **{column: lambda frame: [None, *frame[column][1:]]}), column)


def test_wrong_verdict_is_refused(file):
    refused(rewritten(file, verdict=lambda frame: ["maybe", *frame.verdict[1:]]), "verdict", "maybe", "unknown")


@pytest.mark.parametrize("column", ["student_logp", "teacher_logp"])
def test_lengths_that_differ_are_refused(file, taught, column):
    i = int(torch.nonzero(~taught.correct_B)[0])
    cut = lambda frame: [v[:-1] if k == i else v for k, v in enumerate(frame[column])]  # noqa: E731
    refused(rewritten(file, **{column: cut}), column)


def test_table_without_rows_is_refused(file):
    pd.read_parquet(file)[:0].to_parquet(file)
    refused(file, "no rows")


def test_metadata_of_the_file_is_readable_by_others(file):
    import pyarrow.parquet as pq

    metadata = json.loads(pq.read_metadata(file).metadata[b"PANDAS_ATTRS"])
    assert metadata["sampling"]["top_k"] == 4
