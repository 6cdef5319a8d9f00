"""The doctor: what is wrong is named with the command that repairs it."""

import pytest

from autograde import doctor


def one(findings, what):
    (finding,) = (f for f in findings if f.what == what)
    return finding


def test_this_machine_runs_the_tests_so_nothing_needed_is_missing(course, capsys):
    findings = doctor.examine(course)
    assert one(findings, "Python").state == "good"
    assert one(findings, "torch").state == "good"
    assert "tested versions" in one(findings, "packages").saw
    assert {f.what for f in findings} >= {"GPU", "sandbox", "bubblewrap", "chromium", "postgresql"}
    assert all(f.do for f in findings if f.state != "good" and f.what not in ("GPU", "sandbox"))
    doctor.show(findings)
    assert "Python: 3." in capsys.readouterr().out


def test_another_version_than_the_lock_is_named(course):
    lock = course / "requirements.lock"
    text = lock.read_text()
    pinned = next(line for line in text.split("\n") if line.startswith("nbformat=="))
    lock.write_text(text.replace(pinned, "nbformat==1.2.3"))
    finding = one(doctor.examine(course), "packages")
    assert finding.state == "missing" and "(lock: 1.2.3)" in finding.saw and "requirements.lock" in finding.do


def test_a_package_that_is_not_there_is_wrong(course, monkeypatch):
    monkeypatch.setattr(doctor, "needs", lambda: {"torch", "no-such-package"})
    finding = one(doctor.examine(course), "packages")
    assert finding.state == "wrong" and finding.saw == "not installed: no-such-package"


def test_python_that_is_too_new(course, monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 14, 0, "final", 0))
    assert one(doctor.examine(course), "Python").state == "wrong"


def test_pins_follow_the_markers_of_this_machine(course):
    (course / "requirements.lock").write_text(
        "# a comment\nalpha==1.0 ; python_full_version < '3'\nalpha==2.0 ; python_full_version >= '3'\nBeta_x==3.0\n"
    )
    assert doctor.pins(course) == {"alpha": "2.0", "beta-x": "3.0"}


@pytest.mark.parametrize(("tier", "state"), [(1, "good"), (2, "missing"), (3, "wrong")])
def test_the_sandbox_of_this_machine(course, monkeypatch, tier, state):
    from autograde.grading.instructor import attack
    from autograde.grading.sandbox import tiers

    monkeypatch.setattr(tiers, "tier", lambda: tier)
    monkeypatch.setattr(attack, "self_attack", lambda: [])
    finding = one(doctor.examine(course), "sandbox")
    assert finding.state == state and finding.saw == f"tier {tier}: {tiers.ADVICE[tier]}"
    assert bool(finding.do) == (state != "good")


def test_a_sandbox_that_leaks_is_wrong(course, monkeypatch):
    from autograde.grading.instructor import attack
    from autograde.grading.sandbox import tiers

    monkeypatch.setattr(tiers, "tier", lambda: 1)
    monkeypatch.setattr(attack, "self_attack", lambda: ["it read the gradebook"])
    finding = one(doctor.examine(course), "sandbox under attack")
    assert finding.state == "wrong" and finding.saw == "it read the gradebook" and "do not grade" in finding.do
