"""What all tests share: real peers and third-party corpora are skipped, with the reason, where they are absent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.rules.passport.material import Authority

ROOT = Path(__file__).resolve().parent.parent
CORPORA = ROOT.parent / "shared" / "corpora"
SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
PACKAGES = {"sipp": "sip-tester"}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here: `interop(*programs)` without its programs, `corpora` without ../shared/corpora."""
    for marker in item.iter_markers("interop"):
        absent = [program for program in marker.args if shutil.which(program, path=SYSTEM_PATH) is None]
        if absent:
            packages = " ".join(PACKAGES.get(program, program) for program in absent)
            pytest.skip(f"{', '.join(absent)} not installed (Debian: apt-get install {packages})")
    if item.get_closest_marker("corpora") is not None and not CORPORA.is_dir():
        pytest.skip("no third-party corpora at ../shared/corpora")


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Third-party messages and traces, beside the project and no part of it."""
    if not CORPORA.is_dir():
        pytest.skip("no third-party corpora at ../shared/corpora")
    return CORPORA


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates for PASSporTs, made by openssl."""
    return Authority(tmp_path_factory.mktemp("authority"))
