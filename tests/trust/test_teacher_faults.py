"""A teacher behind servers that fail in every way at hand: no fault becomes a number, and few cost a rollout."""

import json
from collections import Counter

import pytest
import torch
from fake_vllm import CUT, FAULTS, REFUSED, SLOW, SPOILED, SWAPPED, FakeTeacher, FaultProxy, closed_port
from safetensors.torch import load_file

from scope_lab import ScopeTrainer
from scope_lab.engines.transformers import sample
from scope_lab.errors import InputError, RunStopped
from scope_lab.models import load_model
from scope_lab.rollouts import Sampling
from scope_lab.servers import Servers
from scope_lab.settings import build_config
from scope_lab.tasks import load_task
from scope_lab.teachers import LocalTeacher
from scope_lab.teachers.vllm import ServerTeacher

QUICK = {"timeout": 1.0, "concurrency": 8, "pause": 0.01, "rest": 0.02}  # seconds
# Another rollout's answer holds other ids, or, where it is of another length, too few or too many.
LENGTHS = ("too few tokens", "too many tokens")
KINDS = {fault: kind for fault, (kind, _) in SPOILED.items()} | {
    **{fault: fault for fault in FAULTS if fault.startswith("http")},
    SWAPPED: "other token ids",
    SLOW: "timeout",
    CUT: "cut off",
}


@pytest.fixture(scope="module")
def model():
    return load_model("countdown-teacher", device="cpu")


@pytest.fixture(scope="module")
def server(model, tokenizer):
    with FakeTeacher(model, tokenizer) as server:
        yield server


@pytest.fixture(scope="module")
def many(student, tokenizer):
    problems = load_task("countdown").problems("test", 25, seed=2)
    return sample(student, tokenizer, problems, 8, Sampling(max_new_tokens=27, seed=1))


def connected(*proxies: FaultProxy, urls=(), **changes) -> ServerTeacher:
    """A teacher behind proxies that begin to fail once it has looked at them."""
    shares = [proxy.share for proxy in proxies]
    for proxy in proxies:
        proxy.share = 0.0
    servers = Servers([proxy.url for proxy in proxies], **{**QUICK, **changes})
    teacher = ServerTeacher(servers)
    for proxy, share in zip(proxies, shares, strict=True):
        proxy.share = share
    servers.servers += Servers(urls, **QUICK).servers if urls else []
    return teacher


def wrong_numbers(found_BT, true_BT) -> int:
    """Finite values that are not what the teacher's model says."""
    return int((found_BT.isfinite() & ~((found_BT - true_BT).abs() < 1e-4)).sum())


def test_a_thousand_faults_of_every_kind_and_none_becomes_a_number(model, server, many, faults):
    """Four answers in ten are spoiled, and one of three servers is not there: every rollout still gets its numbers."""
    everything = torch.arange(len(many))
    true_BT = LocalTeacher(model).score(many, everything, 1.0)
    wrong: Counter[str] = Counter()
    with FaultProxy(server.url, 0.4, seconds=2.0, seed=1) as one, FaultProxy(server.url, 0.4, 2.0, seed=2) as other:
        teacher = connected(one, other, urls=[closed_port()], retries=40)
        while (one.injected + other.injected).total() < 1000:
            found_BT = teacher.score(many, everything, 1.0)
            assert torch.equal(found_BT.isfinite(), many.mask_BT), "a rollout was lost"
            wrong["all"] += wrong_numbers(found_BT, true_BT)
        teacher.close()
    injected = one.injected + other.injected
    assert set(injected) == set(FAULTS) and min(injected.values()) > 30
    expected, counted_as = Counter(), Counter()
    for fault, count in injected.items():
        expected[KINDS[fault]] += count
    for kind in teacher.faults.keys() - {REFUSED, "all servers rest"}:
        counted_as["other token ids" if kind in LENGTHS else kind] += teacher.faults[kind]
    for kind in LENGTHS:
        expected["other token ids"] += expected.pop(kind)
    late = counted_as["timeout"] - expected["timeout"]  # a busy machine's own
    assert late >= 0 and (expected - counted_as).total() <= late, "each fault is counted under its kind"
    assert not counted_as - expected - Counter(timeout=late), "and nothing else is"
    assert teacher.faults[REFUSED] >= 5
    for fault, count in {**injected, REFUSED: teacher.faults[REFUSED]}.items():
        with faults(f"teacher: {fault}", count) as counted:
            counted.wrong_numbers = wrong["all"]
    assert not wrong.total()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rollout_that_meets_nothing_but_faults_has_no_number(fault, model, server, many, faults):
    rows = torch.arange(3)
    with FaultProxy(server.url, 1.0, seconds=0.3, faults=(fault,)) as proxy:
        teacher = connected(proxy, retries=1, timeout=0.2 if fault == SLOW else 5.0)
        with faults(f"teacher: {fault}", injected=6) as counted:
            found_BT = teacher.score(many, rows, 1.0)
            true_BT = LocalTeacher(model).score(many, rows, 1.0)
            counted.wrong_numbers = wrong_numbers(found_BT, true_BT)
            failed = found_BT.isnan().all(-1)
            assert not counted.wrong_numbers
            # The first answer cannot be swapped with an earlier one.
            assert failed.sum() >= (2 if fault == SWAPPED else 3)
        teacher.close()
    assert set(teacher.faults) <= {KINDS[fault], "all servers rest", *(LENGTHS if fault == SWAPPED else ())}


def test_a_server_that_fails_is_left_alone_and_tried_again_later(server, many):
    with FaultProxy(server.url, 1.0, seconds=0, faults=("http 503",)) as bad:
        teacher = connected(bad, rest=0.2, retries=12)
        teacher.servers.servers += Servers([server.url], **QUICK).servers
        teacher.score(many, torch.arange(100), 1.0)
        asked = bad.injected.total()
        assert 5 <= asked < 5 + teacher.servers.concurrency + 5  # those in flight when the fifth failed, and few tries
        assert teacher.servers.servers[0].rest > 0
        bad.share = 0.0  # it is well again
        deadline = 100
        while teacher.servers.servers[0].rest and (deadline := deadline - 1):
            teacher.score(many, torch.arange(20), 1.0)
        assert teacher.servers.servers[0].rest == 0
        teacher.close()


def run_config(out, urls, **changes):
    few = {"steps": 4, "prompts_per_step": 6, "rollouts_per_prompt": 4, "eval_problems": 0, "checkpoint_every": 2}
    few |= {"temperature": 1.0, "teacher_servers": ",".join(urls), "out": str(out)}
    return build_config(None, {"pair": "countdown", **few, **changes})


def trainer(config, resume=False) -> ScopeTrainer:
    run = ScopeTrainer(config, resume=resume, progress=False)
    servers = run.teacher.servers
    servers.timeout, servers.pause = QUICK["timeout"], QUICK["pause"]
    for one in servers.servers:
        one.first_rest = QUICK["rest"]
    return run


def trained(out):
    return load_file(out / "model/model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    """A run whose teacher never fails."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    trainer(run_config(out, [server.url])).train()
    return out


def test_faults_below_the_limit_change_no_weight_of_a_run(server, undisturbed, tmp_path, faults):
    with FaultProxy(server.url, 0.0, seconds=2.0, seed=3) as one, FaultProxy(server.url, 0.0, 2.0, seed=4) as other:
        run = trainer(run_config(tmp_path / "run", [one.url, other.url]))
        run.teacher.servers.retries = 40
        one.share = other.share = 0.5
        history = run.train()
    injected = (one.injected + other.injected).total()
    with faults("teacher: a run with faults below the limit", injected) as counted:
        assert [metrics["teacher_failed"] for metrics in history] == [0] * 4
        ours, theirs = trained(tmp_path / "run"), trained(undisturbed)
        counted.wrong_numbers = sum(not torch.equal(ours[name], theirs[name]) for name in theirs)
        assert not counted.wrong_numbers and injected > 20


def test_above_the_limit_a_run_saves_stops_with_one_line_and_resumes(server, undisturbed, tmp_path, faults):
    out = tmp_path / "run"
    with FaultProxy(server.url, 0.0, seconds=2.0, seed=5, faults=("http 500", "NaN")) as proxy:
        run = trainer(run_config(out, [proxy.url]))
        run.teacher.servers.retries = 2
        done = run.train_step

        def step():
            proxy.share = 1.0 if run.step == 3 else 0.0
            return done()

        run.train_step = step
        with faults("teacher: a run with faults above the limit"):
            with pytest.raises(RunStopped) as stop:
                run.train()
            line = str(stop.value)
            assert "\n" not in line and "teacher_failure_limit" in line and "http 500" in line
            assert f"{out} is saved at step 3, --resume goes on" in line
            assert (out / "checkpoints/step-000003/state.json").is_file() and not (out / "model").exists()
            proxy.share = 0.0
            trainer(run_config(out, [proxy.url]), resume=True).train()
            ours, theirs = trained(out), trained(undisturbed)
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_the_command_says_why_it_stopped_and_exits_with_1(server, tmp_path, capsys, monkeypatch):
    from scope_lab import servers
    from scope_lab.cli import main

    monkeypatch.setattr(servers, "LONGEST_PAUSE", 0.01)
    with FaultProxy(server.url, 0.0, seconds=0, faults=("http 500",)) as proxy:
        monkeypatch.setattr(ServerTeacher, "check", lambda *_: setattr(proxy, "share", 1.0))
        flags = ["--teacher-servers", proxy.url, "--temperature", "1", "--steps", "2", "--eval-problems", "0"]
        flags += ["--prompts-per-step", "8", "--rollouts-per-prompt", "4", "--out", str(tmp_path / "run")]
        assert main(["train", "--pair", "countdown", *flags]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("scope-lab:")]
    assert len(lines) == 1 and "got no usable number (all servers rest" in lines[0] and "http 500" in lines[0]


# What is refused before a run starts


def refused(match: str, urls, tokenizer=None, **changes) -> None:
    with pytest.raises(InputError, match=match):
        ServerTeacher(Servers(urls, "teacher_servers", **QUICK), **changes).check(tokenizer)


def test_a_server_that_is_not_there_or_serves_something_else_is_refused_at_the_start(server, tokenizer):
    refused("gave no usable answer \\(refused\\)", [closed_port()])
    refused("found 'localhost:8000', accepted addresses like", ["localhost:8000"])
    refused("serves teacher, accepted qwen", [server.url], model="qwen")


def test_servers_whose_tokens_or_weights_differ_are_refused_at_the_start(student, model, server, tokenizer):
    class Shifted:
        chat_template = None

        def __call__(self, text):
            return type("Encoding", (), {"input_ids": [token + 1 for token in tokenizer(text).input_ids]})

        def __len__(self):
            return len(tokenizer)

    refused("tokenizers differ: .* for the student, .* --allow-mismatch overrides", [server.url], Shifted())

    class Larger(Shifted):
        def __call__(self, text):
            return tokenizer(text)

        def __len__(self):
            return len(tokenizer) + 1

    refused("completions gave no usable answer \\(http 400\\)", [server.url], Larger())
    with FakeTeacher(student, tokenizer) as other:
        refused("nats a token on a probe text.*is it the same model", [server.url, other.url], tokenizer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.6}, "logprob_temperature: found 0.6 .*accepted 1 with teacher_servers"),
        ({"temperature": 1.0, "logprob_temperature": 0.5}, "logprob_temperature: found 0.5"),
        ({"method": "psr"}, "teacher_servers: has no effect with method psr"),
        ({"method": "kd"}, "teacher_servers: has no effect with method kd"),
        ({"teacher_timeout": 0.0}, "teacher_timeout: found 0.0, accepted above 0"),
        ({"teacher_failure_limit": 1.5}, "teacher_failure_limit: found 1.5, accepted 0 to 1"),
    ],
)
def test_settings_that_no_server_can_serve_are_refused(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run_config(tmp_path, ["http://127.0.0.1:1"], **changes)


def test_the_reference_preset_may_use_servers_at_any_temperature_of_the_student(tmp_path):
    run_config(tmp_path, ["http://127.0.0.1:1"], method="reference", temperature=0.6)


def test_a_rollout_longer_than_the_servers_context_is_counted_and_not_asked_about(model, tokenizer, many):
    length_B = torch.tensor([len(many.prompt_tokens[g]) for g in many.group_B.tolist()]) + many.length_B
    with FakeTeacher(model, tokenizer, context=int(length_B.median())) as server:
        teacher = ServerTeacher(Servers([server.url], **QUICK))
        found_BT = teacher.score(many, torch.arange(len(many)), 1.0)
        teacher.close()
    assert torch.equal(found_BT.isnan().all(-1), length_B >= server.context)
    assert teacher.faults == {"longer than the server's context": int((length_B >= server.context).sum())}
