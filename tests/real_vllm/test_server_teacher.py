"""Real vLLM as the teacher: its numbers are transformers' own, a broken connection costs nothing, a run trains."""

import pytest
import torch
from fake_vllm import CUT, SLOW, FaultProxy
from serve import BIN, ROOT, serving

from scope_lab import ScopeTrainer
from scope_lab.models import load_model
from scope_lab.servers import Servers
from scope_lab.settings import build_config
from scope_lab.teachers import LocalTeacher
from scope_lab.teachers.vllm import ServerTeacher

pytestmark = pytest.mark.vllm
TEACHER = ROOT / "data/models/countdown-teacher"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    if not (BIN / "vllm").is_file():
        pytest.skip("no vLLM: `make test-vllm` installs it")
    with serving(TEACHER, tmp_path_factory.mktemp("vllm") / "log.txt") as url:
        yield url


@pytest.fixture(scope="module")
def true_BT(rollouts):
    model = load_model("countdown-teacher", device="cpu")
    return LocalTeacher(model).score(rollouts, torch.arange(len(rollouts)), 1.0)


def gap(found_BT, true_BT, rollouts) -> float:
    assert torch.equal(found_BT.isfinite(), rollouts.mask_BT)
    return float((found_BT - true_BT).abs()[rollouts.mask_BT].max())


def test_log_probs_are_those_of_transformers(url, rollouts, tokenizer, true_BT):
    teacher = ServerTeacher([url])
    teacher.check(tokenizer)
    found_BT = teacher.score(rollouts, torch.arange(len(rollouts)), 1.0)
    teacher.close()
    difference = gap(found_BT, true_BT, rollouts)
    print(f"largest difference in log-probs, vLLM and transformers, fp32: {difference:.2g} nats")
    assert difference <= 1e-3 and not teacher.faults


def test_dropped_connections_cost_nothing(url, rollouts, true_BT):
    with FaultProxy(url, 0.0, seconds=4.0, faults=(CUT, SLOW)) as proxy:
        teacher = ServerTeacher(Servers([proxy.url], timeout=3.0, pause=0.05, rest=0.1, retries=20))
        proxy.share = 0.3
        found_BT = teacher.score(rollouts, torch.arange(len(rollouts)), 1.0)
        teacher.close()
    assert gap(found_BT, true_BT, rollouts) <= 1e-3
    assert proxy.injected.total() > 0 and teacher.faults.total() >= proxy.injected.total()


def test_a_few_steps_with_the_server_as_teacher(url, tmp_path):
    few = {"steps": 3, "prompts_per_step": 4, "rollouts_per_prompt": 4, "eval_problems": 0, "temperature": 1.0}
    histories = []
    for servers in ({"teacher_servers": url}, {}):
        config = build_config(None, {"pair": "countdown", **few, **servers})
        histories.append(ScopeTrainer(config, progress=False).train())
    served, local = histories
    assert all(metrics["teacher_failed"] == 0 and metrics["teacher_scored"] > 0 for metrics in served)
    assert [m["reverse_kl"] for m in served] == pytest.approx([m["reverse_kl"] for m in local], abs=1e-2)
