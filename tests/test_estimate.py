"""`scope-lab plan`: what it prints, what it assumes, and what it refuses, in one line each."""

import re

import pytest

from scope_lab.cli import build_parser, main
from scope_lab.commands.plan import plan_of
from scope_lab.cost import Work
from scope_lab.devices import DEVICES, device
from scope_lab.errors import InputError
from scope_lab.estimate import duration, number, plan_text, setup_from, size, work_from
from scope_lab.memory import memory
from scope_lab.settings import build_config
from scope_lab.tasks import load_task

PAIR = ["plan", "--student", "qwen3-1.7b", "--teacher", "qwen3-8b", "--max-new-tokens", "2048"]


def printed(capsys, *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    assert main(list(words)) == 2
    out = capsys.readouterr()
    assert out.err.count("\n") == 1 and out.out == ""
    return out.err


def test_a_pair_of_named_sizes_on_a_named_device(capsys):
    said = printed(capsys, *PAIR, "--on", "h100", "--gradient-checkpointing", "--sequences-per-batch", "64")
    assert "student   qwen3-1.7b, 1.72 B parameters; all weights train" in said
    assert "teacher   qwen3-8b, 8.19 B parameters; on the same device" in said
    assert "response 1,024 (longest 2,048), 50% wrong" in said
    seconds = {stage: float(s.replace(",", "")) for stage, s in re.findall(r"^  (\w+) +([\d.,]+)$", said, re.M)}
    assert seconds["total"] == pytest.approx(sum(seconds.values()) - seconds["total"], rel=0.01)
    assert "fits on h100: 68.6 GiB of 80.0 GiB" in said and "100 steps: " in said


def test_what_does_not_fit_comes_with_a_way_out(capsys):
    said = printed(capsys, *PAIR, "--on", "a100-40")
    assert "does not fit on a100-40" in said
    assert "\nit would with lora_rank 16, gradient_checkpointing, sequences_per_batch 64\n" in said


def test_single_changes_are_alternatives(capsys):
    itself = ["--engine", "transformers", "--engine-memory", "0.3", "--sequences-per-batch", "256"]
    said = printed(capsys, "plan", "--recipe", "one_gpu", "--on", "h100", *itself)
    assert "\nit would with sequences_per_batch 64\n" in said


def test_vllm_takes_its_share_and_less_time(capsys):
    said = printed(capsys, *PAIR, "--on", "h100", "--gradient-checkpointing", "--engine", "vllm")
    assert re.search(r"^  vLLM +24\.0 GiB$", said, re.M) and "KV cache" not in said
    with_transformers = printed(capsys, *PAIR, "--on", "h100", "--gradient-checkpointing")
    vllm, transformers = (
        float(re.search(r"^  generation +([\d.]+)$", text, re.M)[1]) for text in (said, with_transformers)
    )
    assert vllm < transformers


def test_what_can_never_fit_is_told(capsys):
    said = printed(capsys, *PAIR, "--on", "l4", "--student", "qwen3-8b", "--kl-coef", "1e-4")
    assert "\nno setting of the trainer is enough\n" in said


def test_a_bundled_pair_is_measured_here(capsys):
    said = printed(capsys, "plan", "--pair", "countdown", "--on", "cpu", "--response-tokens", "22", "--wrong", "0.86")
    assert "student   countdown-student, 0.3 M parameters" in said
    assert re.search(r"prompt 1\d(\.\d+)? tokens, response 22 \(longest 30\), 86% wrong", said)
    assert re.search(r"device    CPU, \d+ threads?: [\d.]+ TFLOP/s float32", said)
    assert "fits on CPU" in said


def test_a_recipe_of_several_devices_is_planned_on_them(capsys):
    said = printed(capsys, "plan", "--recipe", "eight_gpus", "--on", "h100")
    assert "all weights train, in shards on 8 devices (FSDP2)\n" in said and "; a copy on each of them\n" in said
    assert "memory of each device at its fullest" in said and "\nfits on h100: " in said
    assert "without the time to send weights, gradients and rollouts between devices" in said
    said = printed(capsys, "plan", "--recipe", "eight_gpus", "--on", "h100", "--devices", "1")
    assert "on one device, unsharded\n" in said and "does not fit" in said and "to send" not in said


def test_a_served_teacher_is_not_on_the_students_devices(capsys):
    said = printed(capsys, "plan", "--recipe", "several_nodes", "--on", "h100")
    assert "in shards on 16 devices" in said and "teacher weights" not in said
    assert "; elsewhere, on 4 more of the same kind, whose memory is not in this plan\n" in said
    words = ["plan", "--recipe", "several_nodes", "--on", "h100", "--teacher-servers", "http://a:8000,http://b:8000"]
    assert "; elsewhere, on 2 more" in printed(capsys, *words)
    assert "; elsewhere, on 3 more" in printed(capsys, *words, "--teacher-devices", "3")


def test_every_setting_of_a_run_can_be_given(capsys):
    said = printed(capsys, *PAIR, "--on", "h100", "--lora-rank", "16", "--method", "grpo", "--steps", "7")
    assert "a LoRA adapter of rank 16 trains" in said and "step      grpo" in said
    assert "teacher   none" in said and "\n7 steps: " in said


@pytest.mark.parametrize(
    "words, error",
    [
        (["--on", "abacus"], "on: found 'abacus', accepted h100"),
        (["--wrong", "2"], "wrong: found 2.0, accepted a share between 0 and 1"),
        (["--response-tokens", "4000"], "response_tokens: found 4000, accepted at most 2048"),
        (["--max-new-tokens", "99999"], "in the context of qwen3-1.7b, 40960"),
        (["--student", "unheard/of"], "the sizes of unheard/of are not known here"),
        (["--teacher-at", "adapter"], "teacher_at: adapter needs lora_rank above 0"),
        (["--teacher-at", "home"], "--teacher-at: invalid choice"),
        (["--tau", "-1"], "tau: found -1"),
        (["--devices", "0"], "devices: found 0, accepted 1 or more"),
        (["--prompts-per-step", "many"], "prompts_per_step: found 'many'"),
    ],
)
def test_bad_input_is_told_in_one_line(capsys, words, error):
    assert error in refused(capsys, *PAIR, "--on", "h100", *words)


def test_longer_responses_in_evaluation_take_memory_and_must_fit_the_context():
    def cache(settings):
        pair = {"student": "qwen3-1.7b", "teacher": "qwen3-8b", "task": "problems.jsonl"}
        config = build_config(None, {**pair, **settings})
        setup, work = setup_from(config, device("h100")), work_from(config)
        return memory(setup, work)["generation"]["KV cache"], setup, work

    short, *_ = cache({"max_new_tokens": 400})
    for settings in ({"eval_max_new_tokens": 1000}, {"eval_max_new_tokens": 300}):
        found, setup, work = cache({"max_new_tokens": 400, **settings})
        longest = max(400, settings["eval_max_new_tokens"])
        assert found / short == pytest.approx((work.prompt_tokens + longest) / (work.prompt_tokens + 400))
    _, setup, work = cache({"max_new_tokens": 400, "eval_max_new_tokens": 100_000})
    with pytest.raises(InputError, match="max_new_tokens: found 100000"):
        plan_text(setup, work, 1)


def test_the_longest_response_is_the_tasks_as_in_train(capsys, tmp_path):
    words = ["plan", "--student", "qwen3-1.7b", "--teacher", "qwen3-8b", "--on", "h100"]
    file = tmp_path / "mine.jsonl"
    file.write_text('{"id": 1, "problem": "1 + 1?", "answer": 2}\n')
    mine = printed(capsys, *words, "--task", str(file))
    assert f"(longest {load_task(str(file)).max_new_tokens})" in mine and mine == printed(capsys, *words)
    assert "(longest 30)" in printed(capsys, *words, "--task", "countdown")


def test_without_a_pair_there_is_nothing_to_plan(capsys):
    assert "pair: set pair, or both student and teacher" in refused(capsys, "plan", "--on", "h100")


def test_a_recipe_gives_the_same_setup_as_its_config():
    parsed = build_parser().parse_args(["plan", "--recipe", "one_gpu", "--on", "h100"])
    setup, work, config = plan_of(parsed)
    assert config == build_config("one_gpu", {})
    assert (setup, work) == (setup_from(config, DEVICES["h100"]), work_from(config))
    assert setup.mixed and work.rollouts == 256 and work.prompt_tokens == Work.prompt_tokens


def test_an_adapter_teacher_on_the_students_base_holds_no_weights_of_its_own():
    config = build_config("laptop", {})
    setup = setup_from(config, DEVICES["laptop"])
    assert setup.teacher_at == "adapter" and setup.lora_rank == 16 and not setup.mixed
    assert setup_from(config, DEVICES["h100"]).mixed


def test_a_file_of_problems_that_is_not_there_is_told():
    config = build_config(None, {"student": "qwen3-1.7b", "teacher": "qwen3-8b", "task": "nowhere.jsonl"})
    with pytest.raises(InputError, match=r"nowhere.jsonl is not a file"):
        work_from(config)


def test_words_for_numbers():
    assert [number(x) for x in (31_430.4, 4.84, 0.446)] == ["31,430", "4.84", "0.45"]
    assert [size(x) for x in (51.6 * 2**30, 244 * 2**20)] == ["51.6 GiB", "244 MiB"]
    assert [duration(x) for x in (12.3, 600, 7200, 300_000)] == [
        "12.3 seconds", "10.0 minutes", "2.0 hours", "3.5 days",
    ]  # fmt: skip


def test_a_teacher_behind_servers_is_elsewhere_and_its_seconds_are_hidden(capsys):
    config = build_config("several_nodes", {"teacher_servers": "http://teacher:8000"})
    setup = setup_from(config, DEVICES["h100"])
    assert setup.teacher_at == "elsewhere" and setup.streaming
    said = printed(capsys, *PAIR, "--on", "h100", "--teacher-servers", "http://teacher:8000", "--temperature", "1")
    assert "; elsewhere" in said and "teacher weights" not in said
    assert re.search(r"^  teacher +0$", said, re.M) and re.search(r"^  \(teacher meanwhile +[\d.]+\)$", said, re.M)
    assert "meanwhile" not in printed(capsys, *PAIR, "--on", "h100")
