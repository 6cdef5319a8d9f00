"""Every hostile submission in both tiers, as whoever runs the tests and as a plain user: no point, no damage."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autograde.grading.attacks import Attack, target
from autograde.grading.instructor import attack
from autograde.grading.record.result import CellResult
from autograde.grading.running.engine import Result
from autograde.grading.sandbox import tiers

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
KINDS = {
    "metadata", "interpreter", "files", "gradebook", "processes", "memory", "output", "network", "protocol",
    "feedback page", "library", "lies",
}  # fmt: skip
# What is closed to other users (root's home, where Python may live) is rebuilt open, in a mount namespace of our own.
OPEN = """
set -e
for place in {places}; do mkdir -p /run/open/$place; mount --bind $place /run/open/$place; done
for folder in {closed}; do mount -t tmpfs -o mode=755 none $folder; done
for place in {places}; do mkdir -p $place; mount --bind /run/open/$place $place; done
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
"""


def plain_user():
    """The words before a command that make it run as a plain user; none where we are one."""
    if os.geteuid():
        return []
    for tool in ("unshare", "setpriv"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is missing, so nothing was tried as a plain user")
    places, closed = [], []
    for place in map(Path, [*tiers.runtime(), *map(str, tiers.libraries())]):
        shut = [p for p in (place, *place.parents) if not p.stat().st_mode & 0o001]
        if shut:
            places.append(str(place))
            closed.append(str(shut[-1]))
    script = OPEN.format(places=" ".join(places), closed=" ".join(sorted(set(closed))))
    return ["unshare", "-m", "bash", "-c", script, "bash"]


@pytest.mark.parametrize("user", ["self", "plain"])
@pytest.mark.parametrize("tier", [tiers.NAMESPACED, tiers.JAILED])
def test_no_undeserved_point_and_no_damage(tier, user):
    if tier < tiers.tier():
        pytest.skip(f"this machine gives sandbox tier {tiers.tier()}: install bubblewrap for tier 1")
    if user == "plain" and not os.geteuid() == 0:
        pytest.skip("the tests run as a plain user already")
    code = (
        "import json; from autograde.grading.instructor import attack\n"
        "from autograde.grading.sandbox import tiers\n"
        "outcomes, damage = attack.attack(jobs=4)\n"
        "rows = [[o.attack.name, o.attack.kind, o.undeserved, o.damage] for o in outcomes]\n"
        "print(json.dumps([tiers.tier(), rows, damage]))"
    )
    env = os.environ | {"AUTOGRADE_TIER": str(tier), "OMP_NUM_THREADS": "1", "HOME": "/tmp"}
    command = [*(plain_user() if user == "plain" else []), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd="/", timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    level, rows, damage = json.loads(done.stdout.splitlines()[-1])
    assert level == tier and damage == []
    assert [row for row in rows if row[2] or row[3]] == []
    assert len(rows) >= 50 and {row[1] for row in rows} == KINDS


def test_points_that_were_not_earned_would_be_seen(monkeypatch):
    """A twin: right answers that are declared to earn nothing."""
    monkeypatch.setattr(attack, "ATTACKS", [Attack("too-good", "lies", "right answers", target.right())])
    (outcome,), damage = attack.attack()
    assert outcome.undeserved == 10 and damage == []


def test_a_hole_in_the_jail_would_be_seen(monkeypatch):
    """A twin: the whole file system readable. The attack that reads the course must then be caught reading it."""
    monkeypatch.setattr(tiers, "tier", lambda: tiers.JAILED)
    monkeypatch.setattr(tiers, "readable", lambda _: (["/"], []))
    (outcome,), _ = attack.attack(["read-the-course"])
    assert {f"read {target.SECRET}", f"read {attack.PEER}"} <= set(outcome.damage)


@pytest.mark.parametrize(("beside", "seen"), [(0, True), (1, False)])
def test_a_process_left_behind_would_be_seen_and_anothers_is_not_ours(beside, seen):
    owner = {tiers.RUN: str(os.getpid() + beside), "PATH": os.environ["PATH"]}
    other = subprocess.Popen(["sleep", "60"], env=owner)
    try:
        assert any(f"process {other.pid}:" in line for line in attack.left_behind()) is seen
    finally:
        other.kill()
        other.wait()


def test_a_leak_in_an_output_would_be_seen():
    leaked = [{"output_type": "stream", "name": "stdout", "text": f"READ {target.SECRET}"}]
    assert attack.leaks(Result("s", cells=[CellResult(3, "x", "code", leaked)])) == [f"read {target.SECRET}"]
    assert attack.leaks(Result("s", cells=[CellResult(3, "x", "code", [])])) == []


def test_the_library_can_be_left_out_where_it_is_installed_among_other_packages(tmp_path):
    for path in (
        "lib/site/torch/a.py",
        "lib/site/genmodels/core.py",
        "lib/site/coursekit/checks.py",
        "lib/os.py",
        "bin/python",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    read, listed = tiers.around(
        str(tmp_path), [tmp_path / "lib" / "site" / name for name in ("genmodels", "coursekit")]
    )
    names = {str(Path(p).relative_to(tmp_path)) for p in read}
    assert names == {"bin", "lib/os.py", "lib/site/torch"}
    assert {str(Path(p).relative_to(tmp_path)) for p in listed} == {".", "lib", "lib/site"}
    assert tiers.around(str(tmp_path), [Path("/elsewhere")]) == ([str(tmp_path)], [])
