"""A real vLLM server of the bundled teacher on 127.0.0.1, from the environment that `make test-vllm` makes."""

import os
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv-vllm/bin"
PATIENCE = 600  # seconds until the server must be ready
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_HOST_IP": "127.0.0.1"}
SMALL = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}  # gigabytes; cores


@contextmanager
def serving(folder: Path, log: Path):
    """Serve a model folder in fp32 under its own name, and give the address once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--served-model-name", folder.name, "--host", "127.0.0.1", "--port", str(port)]
    flags += ["--dtype", "float32", "--max-model-len", "128", "--enforce-eager"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [BIN / "vllm", "serve", folder, *flags], env=os.environ | QUIET | SMALL, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not _ready(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("vllm serve did not start:\n" + "\n".join(log.read_text().splitlines()[-30:]))
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
