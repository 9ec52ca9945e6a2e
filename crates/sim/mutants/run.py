#!/usr/bin/env python3
"""Shows that the tests can fail: takes one rule at a time out of a scratch copy of the PBFT core
and says which tests notice. Exits with 1 if a mutant survives, or if its text is not found."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRATCH = ROOT / "target" / "mutants"
CRATES = ["sha256-pair", "primitives", "crypto", "ledger", "pbft", "sim"]
SECONDS_MAX = 600


def copy() -> None:
    for crate in CRATES:
        target = SCRATCH / "crates" / crate
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(ROOT / "crates" / crate, target)  # keeps times: what is built stays built
    # The golden bytes that the core's tests read stand there.
    shutil.copytree(ROOT / "docs/protocol", SCRATCH / "docs/protocol", dirs_exist_ok=True)
    members = ", ".join(f'"crates/{crate}"' for crate in CRATES)
    manifest = (ROOT / "Cargo.toml").read_text()
    manifest = re.sub(r"^members = .*$", f"members = [{members}]", manifest, flags=re.M)
    manifest = re.sub(r"^pentad-[a-z-]+ = \{ path.*$", keep_own, manifest, flags=re.M)
    (SCRATCH / "Cargo.toml").write_text(manifest)
    shutil.copy(ROOT / "Cargo.lock", SCRATCH)


def keep_own(line: re.Match) -> str:
    return line[0] if any(f'"crates/{crate}"' in line[0] for crate in CRATES) else ""


def failures() -> list[str]:
    """Names of the tests that fail: those of the simulation or, if none does, the core's own."""
    return failed("pentad-sim", "--test", "attacks", "--test", "model") or failed("pentad-pbft")


def failed(*package: str) -> list[str]:
    command = ["cargo", "test", "--quiet", "--offline", "--no-fail-fast", "-p", *package]
    command += ["--", "--format", "pretty"]
    try:
        done = subprocess.run(
            command, cwd=SCRATCH, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return ["(no end in time)"]
    if "could not compile" in done.stderr:
        sys.exit(done.stderr)
    return sorted(set(re.findall(r"^test (\S+) \.\.\. FAILED$", done.stdout, flags=re.M)))


def main() -> None:
    table = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())["mutant"]
    wanted = sys.argv[1:]
    copy()
    if not wanted:
        broken = failures()
        if broken:
            sys.exit(f"the core as it is fails: {', '.join(broken)}")
    survived = []
    for mutant in table:
        name = mutant["name"]
        if wanted and not any(word in name for word in wanted):
            continue
        path = SCRATCH / "crates" / "pbft" / "src" / mutant["file"]
        honest = path.read_text()
        if honest.count(mutant["old"]) != 1:
            sys.exit(f"{name}: its text stands {honest.count(mutant['old'])} times in the core")
        path.write_text(honest.replace(mutant["old"], mutant["new"]))
        caught = failures()
        path.write_text(honest)
        shown = ", ".join(caught) if caught else "SURVIVED"
        print(f"| {name} | {len(caught)} | {shown} |", flush=True)
        if not caught:
            survived.append(name)
    if survived:
        sys.exit(f"nothing notices: {', '.join(survived)}")


main()
