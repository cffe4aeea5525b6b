"""Known vulnerabilities of the versions in constraints.txt: `make audit`. A package that was not looked up is said so.

pip-audit alone says "no known vulnerabilities" of packages that it could not look up. Exit codes: 0 every package was
looked up and none is vulnerable, 1 anything else.
"""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[1] / "constraints.txt"


def main(pip_audit: str) -> int:
    command = [pip_audit, "-r", str(PINS), "--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"audit: nothing was looked up, the advisory database cannot be reached ({reason[:160]})")
        return 1
    return verdict(packages)


def verdict(packages: list[dict]) -> int:
    """Say what pip-audit found: a line a vulnerability, then a line of counts."""
    looked_up = [package for package in packages if "skip_reason" not in package]
    found = [(package, each) for package in looked_up for each in package.get("vulns", [])]
    for package, each in found:
        fixed = ", ".join(each.get("fix_versions", [])) or "none"
        print(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    if not looked_up:
        print(
            f"audit: nothing was looked up, the advisory database knows none of the {len(packages)} packages from here"
        )
        return 1
    missing = [package["name"] for package in packages if "skip_reason" in package]
    rest = f"; not looked up: {', '.join(missing)}" if missing else ""
    print(f"audit: {len(looked_up)} packages looked up, {len(found)} known vulnerabilities{rest}")
    return 1 if found or missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
