"""Clusters and databases: two Dask workers and a PostgreSQL server give the scores that one machine gives."""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from autograde.errors import Refusal
from autograde.grading.attacks import target
from autograde.grading.instructor import reports, session

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
RIGHT = target.right()
CLASS = {
    "a": RIGHT,
    "b": RIGHT | {"facts": "def facts(): return {}"},
    "c": {},
    "d": RIGHT | {"lse": "def lse(x): return x"},
}
SCORES = {"a": 10.0, "b": 8.0, "c": 0.0, "d": 8.0}


@pytest.fixture
def course(tmp_path):
    target.write_course(tmp_path)
    for name, answers in CLASS.items():
        target.write_submission(tmp_path, name, answers)
    return tmp_path


def stop(process, how):
    process.send_signal(how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_dask_cluster_gives_the_same_scores(course, tmp_path):
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    log = (tmp_path / "dask.log").open("wb")
    options = {"stdout": log, "stderr": log, "cwd": tmp_path}
    processes = [subprocess.Popen([*dask, "--no-dashboard"], **options)]
    processes += [subprocess.Popen([*worker, "--no-dashboard"], **options) for _ in range(2)]
    try:
        report = session.run(course, "07", session.Options(scheduler=address), quiet=True)
        assert {row.student: row.score for row in report.rows} == SCORES
        assert all(row.fresh for row in report.rows)
        again = session.run(course, "07", session.Options(), quiet=True)  # the cache does not care who graded
        assert not any(row.fresh for row in again.rows)
    finally:
        for process in reversed(processes):
            stop(process, signal.SIGTERM)
        log.close()


def test_no_scheduler_is_said_in_a_sentence(course, monkeypatch):
    from autograde.grading.running import workers

    monkeypatch.setattr(workers, "CONNECT_SECONDS", 1)
    with pytest.raises(Refusal, match="no Dask scheduler answers at tcp://127.0.0.1"):
        session.run(course, "07", session.Options(scheduler=f"tcp://127.0.0.1:{free_port()}"), quiet=True)


@pytest.fixture
def postgres(tmp_path):
    """A server of our own on loopback, run by a user who is not root."""
    binaries = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not binaries:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql), so its gradebook was not tried")
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    home = tmp_path / "postgres"
    home.mkdir()
    prefix = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is missing, and PostgreSQL does not run as root")
        entry = pwd.getpwnam(user)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        for folder in home.parents:
            if str(folder).startswith("/tmp/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        prefix = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--"]
    data, port = home / "data", free_port()
    make = [*prefix, f"{binaries[-1]}/initdb", "-D", str(data), "-A", "trust", "-U", "grader", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, cwd=home)
    serve = [*prefix, f"{binaries[-1]}/postgres", "-D", str(data), "-p", str(port), "-k", str(home), "-h", "127.0.0.1"]
    with (tmp_path / "postgres.log").open("wb") as log:
        server = subprocess.Popen(serve, stdout=log, stderr=log, cwd=home)
    url = f"postgresql+psycopg://grader@127.0.0.1:{port}/postgres"
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import OperationalError

    deadline = time.monotonic() + 60
    while True:
        try:
            with create_engine(url).connect() as connection:
                connection.execute(text("select 1"))
            break
        except OperationalError:
            assert time.monotonic() < deadline and server.poll() is None, (tmp_path / "postgres.log").read_text()
            time.sleep(0.2)
    yield url
    stop(server, signal.SIGINT)  # PostgreSQL's fast shutdown: it waits for no client


def test_a_gradebook_in_postgresql(course, postgres):
    report = session.run(course, "07", session.Options(db=postgres), quiet=True)
    assert {row.student: row.score for row in report.rows} == SCORES
    marks = reports.marks(session.planning.load("07", course), postgres)
    assert {name: sum(score for score, _, _ in own.values()) for name, own in marks.items()} == SCORES
    assert not (course / "gradebook.db").exists()
    assert reports.export(course, postgres, course / "grades.csv") == 4
    assert len(session.feedback(course, "07", None, postgres)) == 4
    again = session.run(course, "07", session.Options(db=postgres), quiet=True)
    assert not any(row.fresh for row in again.rows)
    session.run(course, "07", session.Options(), quiet=True)  # the same cache into SQLite: nothing is graded again
    assert (course / "gradebook.db").exists()
