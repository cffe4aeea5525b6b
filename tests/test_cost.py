"""Seconds of a step: by hand on a device of round numbers, and in the direction that each setting says."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scope_lab.architectures import Architecture, architecture
from scope_lab.cost import (
    UTILISATION,
    Setup,
    Work,
    compared,
    forward_flops,
    generation_seconds,
    hidden_seconds,
    passes_seconds,
    reading_flops,
    scoring_seconds,
    step_seconds,
)
from scope_lab.devices import DEVICES, GIB, Device
from scope_lab.errors import InputError
from scope_lab.logprobs import response_logprobs
from scope_lab.models import load_model

# 2 layers of 10 parameters, 5 in the output layer's two tokens: every number can be followed.
MODEL = Architecture(
    name="tiny",
    layers=2,
    hidden=1,
    heads=1,
    vocabulary=5,
    attention_width=1,
    kv_width=1,
    mlp_width=2,
    parameters=30,
    active=20,
    linear_width=40,
    normed_heads=False,
    context=None,
)
DEVICE = Device("round", 1000.0, 1e9, 8 * GIB, 0.5, "cpu")
SETUP = Setup(MODEL, replace(MODEL, active=200), DEVICE, mixed=False, sequences_per_batch=4)
WORK = Work(
    prompts=2, rollouts_per_prompt=4, prompt_tokens=3, response_tokens=2, longest=4, wrong=0.25, verify_seconds=0.1
)
LARGE = Setup(architecture("qwen3-1.7b"), architecture("qwen3-8b"), DEVICES["h100"])


def test_teacher_seconds_by_hand():
    # A row: 5 tokens × 2 × 200, (1 + … + 5) pairs × 4 × 2 layers × 1, 2 scored × 2 × 5. A quarter of 8 rows is scored.
    flops = 2 * (2000 + 120 + 20)
    assert step_seconds(SETUP, WORK)["teacher"] == pytest.approx(flops / (UTILISATION["scoring"] * 1000) + 1 * 2 * 0.5)


def test_update_seconds_by_hand():
    # Six rows that need no teacher read each of two prompts once: 3 tokens and 6 pairs, then 2 tokens and 4 + 5 pairs.
    # Of two rows that wait for it none shares a prompt: 5 tokens and 15 pairs each.
    flops = 2 * (3 * 40 + 6 * 8) + 6 * (2 * 40 + 9 * 8 + 20) + 2 * (200 + 120 + 20)
    optimizer = 28 * 30 / (UTILISATION["decode"] * 1e9)
    expected = 3 * flops / (UTILISATION["update"] * 1000) + optimizer + 2 * 3 * 1 * 2 * 0.5
    assert step_seconds(SETUP, WORK)["update"] == pytest.approx(expected)


def test_flop_with_shared_prompts_are_those_that_pytorch_counts():
    P, G, width, T = 4, 8, 13, 20
    work = Work(prompts=P, rollouts_per_prompt=G, prompt_tokens=width, response_tokens=T, longest=T)
    model, rows = load_model("countdown-student", device="cpu"), torch.arange(P * G)
    tokens_BL = torch.cat([torch.eye(P, width).long().repeat_interleave(G, 0), torch.ones((P * G, T)).long()], 1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        response_logprobs(model, tokens_BL, torch.ones_like(tokens_BL, dtype=torch.bool), T)
    sizes = architecture("countdown-student")
    # The masked half of attention is computed too.
    assert counter.get_total_flops() == pytest.approx(reading_flops(sizes, work, len(rows), 1), rel=0.06)
    assert forward_flops(sizes, work, len(rows)) > 1.3 * reading_flops(sizes, work, len(rows), 1)


def test_prompts_are_shared_less_in_smaller_batches_and_not_where_they_are_short_beside_responses():
    work = Work(prompts=32, rollouts_per_prompt=8, prompt_tokens=100, response_tokens=50, longest=50)
    flops = [reading_flops(LARGE.student, work, 256, batches) for batches in (1, 4, 256)]
    assert flops[0] < flops[1] < flops[2] == forward_flops(LARGE.student, work, 256)
    long = replace(work, response_tokens=1000, longest=1000)
    assert reading_flops(LARGE.student, long, 256, 1) == forward_flops(LARGE.student, long, 256)
    assert reading_flops(LARGE.student, work, 20, 1) == forward_flops(LARGE.student, work, 20)  # of 20 prompts


def test_a_streaming_teacher_elsewhere_costs_what_outlasts_the_student():
    synchronous = replace(LARGE, teacher_at="elsewhere")
    streaming = replace(synchronous, streaming=True)
    plain, hidden = (step_seconds(setup, Work()) for setup in (synchronous, streaming))
    assert hidden["teacher"] == 0 and hidden["total"] == pytest.approx(plain["total"] - plain["teacher"])
    slow = replace(streaming, teacher=replace(LARGE.student, active=10**12))
    # Eight batches, and a response takes 4,000 of the longest one's 12,288 tokens: then the first ones are written.
    meanwhile = plain["generation"] * (1 - 4000 / 12_288 / 8) + passes_seconds(slow, Work(), 0.5)
    assert step_seconds(slow, Work())["teacher"] == pytest.approx(scoring_seconds(slow, Work()) - meanwhile)
    here = replace(LARGE, streaming=True)
    assert step_seconds(here, Work()) == step_seconds(LARGE, Work())


def test_several_devices_share_prompts_and_wait_for_the_fullest():
    work = replace(WORK, prompts=7)
    own = step_seconds(SETUP, replace(work, prompts=3))
    three = step_seconds(replace(SETUP, devices=3), work)  # 3, 2 and 2 prompts
    assert three.pop("update") == pytest.approx(own.pop("update") - 28 * 30 * (2 / 3) / (UTILISATION["decode"] * 1e9))
    assert three == {**own, "total": three["total"]} and three["total"] < own["total"]


def test_a_served_teacher_has_its_own_devices_and_hides_behind_sampling_alone():
    served = replace(LARGE, devices=8, teacher_at="elsewhere")
    whole, quarter = (step_seconds(replace(served, teacher_devices=n), Work())["teacher"] for n in (1, 4))
    assert whole == scoring_seconds(LARGE, Work())
    assert quarter == scoring_seconds(LARGE, Work(prompts=64)) == pytest.approx(whole / 4, rel=0.01)
    assert step_seconds(replace(LARGE, devices=8), Work())["teacher"] == scoring_seconds(LARGE, Work(prompts=32))
    streaming = replace(served, streaming=True, teacher=replace(LARGE.student, active=10**13))
    sampling = generation_seconds(streaming, Work(prompts=32)) * (1 - 4000 / 12_288)
    assert hidden_seconds(streaming, Work()) == pytest.approx(sampling)


def test_generation_seconds_by_hand_where_arithmetic_decides():
    # Prefill: 2 prompts of 3 tokens, 6 pairs each. Decode: 16 tokens, each prompt's rows look at 4 + 5 tokens.
    prefill = 2 * (120 + 8 * 6)
    decode = 2 * 20 * 16 + 8 * (8 * 9) + 2 * 5 * 16
    steps = 2 * 4  # two batches of four rows, until the longest of four tokens
    expected = (prefill + decode) / (UTILISATION["prefill"] * 1000) + steps * 2 * 0.5
    assert step_seconds(SETUP, WORK)["generation"] == pytest.approx(expected)


def test_generation_seconds_by_hand_where_memory_decides():
    slow = replace(SETUP, device=replace(DEVICE, flops=1e18, bandwidth=100.0, layer_seconds=0.0))
    weights = 8 * (20 + 5) * 4  # steps × weights × 4 bytes
    cache = 8 * 9 * (2 * 2 * 1) * 12  # pairs × numbers a token × 12 bytes
    expected = (weights + cache) / (UTILISATION["decode"] * 100)
    assert step_seconds(slow, WORK)["generation"] == pytest.approx(expected)


def test_total_is_the_sum_and_verification_counts_rollouts():
    seconds = step_seconds(SETUP, WORK)
    assert seconds["verification"] == pytest.approx(0.8)
    assert seconds.pop("total") == pytest.approx(sum(seconds.values()))


@pytest.mark.parametrize(
    "method, scored, updated",
    [
        ("scope", 0.25, 1.0),
        ("scope-student-path", 0.0, 0.75),
        ("scope-teacher-path", 0.25, 0.25),
        ("reference", 0.25, 1.0),
        ("scope-fixed-negative", 0.0, 1.0),
        ("opd", 1.0, 1.0),
        ("grpo", 0.0, 0.4),
        ("psr", 0.0, 0.75),
        ("kd", 0.0, 1.0),
    ],
)
def test_what_each_method_scores_and_updates(method, scored, updated):
    work = replace(WORK, method=method, mixed=0.4)
    assert (work.scored, work.updated) == (scored, updated)


def test_scope_costs_grpo_and_the_wrong_share_of_opds_teacher():
    found = compared(LARGE, Work(wrong=0.3))
    assert found["grpo"]["teacher"] == 0
    assert found["scope"]["teacher"] == pytest.approx(0.3 * found["opd"]["teacher"], rel=1e-3)
    assert found["grpo"]["total"] < found["scope"]["total"] < found["opd"]["total"]
    assert compared(replace(LARGE, teacher=None), Work()).keys() == {"grpo"}


def test_kd_is_written_by_the_teacher():
    float32 = replace(LARGE, mixed=False)
    student, teacher = (step_seconds(float32, Work(method=m))["generation"] for m in ("psr", "kd"))
    assert teacher > 1.2 * student


def test_longer_batches_share_the_weights():
    one, many = (step_seconds(replace(LARGE, sequences_per_batch=n), Work())["generation"] for n in (16, 256))
    assert one > 3 * many  # sixteen times the steps, but the same cache


def test_savings_of_memory_cost_time_and_lora_saves_it():
    whole = step_seconds(LARGE, Work())["update"]
    assert step_seconds(replace(LARGE, gradient_checkpointing=True), Work())["update"] == pytest.approx(
        4 / 3 * whole, rel=0.02
    )
    assert step_seconds(replace(LARGE, lora_rank=16), Work())["update"] == pytest.approx(2 / 3 * whole, rel=0.02)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Work(method="scoop"), "method: found 'scoop'"),
        (lambda: Work(prompts=0), "prompts: found 0, accepted above 0"),
        (lambda: Work(response_tokens=300, longest=200), "response_tokens: found 300, accepted at most 200"),
        (lambda: Work(wrong=1.2), "wrong: found 1.2, accepted a share"),
        (lambda: replace(SETUP, teacher_at="home"), "teacher_at: found 'home', accepted here, adapter, elsewhere"),
        (lambda: replace(SETUP, engine="magic"), "engine: found 'magic'"),
        (lambda: replace(SETUP, devices=0), "devices: found 0, accepted 1 or more"),
        (lambda: step_seconds(replace(SETUP, teacher=None), WORK), "teacher: this method needs one"),
    ],
)
def test_mistakes_are_told_in_one_line(make, words):
    with pytest.raises(InputError, match=words):
        make()
