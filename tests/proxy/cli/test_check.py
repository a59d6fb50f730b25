from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.__main__ import main
from tests.proxy.node import CONFIG, SEGMENTS

SAMPLE = Path(__file__).parents[3] / "deploy" / "config" / "sipwarden.toml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "segments.csv").write_text(SEGMENTS)
    path = tmp_path / "sipwarden.toml"
    path.write_text(CONFIG.format(port=5060, admin=9090, switch=5080, workers=1))
    return path


def test_the_sample_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(SAMPLE)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{SAMPLE}: good: 1 listener, 4 trunks, 3 next hops; policy ")
    assert len(out.splitlines()) == 1


def test_faults_name_file_and_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace("workers = 1", "workers = 1000").replace('"127.0.0.5"', '"127.0.0.2"'))
    assert main(["check", "-c", str(config)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{config}:4: node.workers: out of range (1000; 0 (one per core) to 256)"
    assert lines[1] == f'{config}:23: trunk[2].sources[1]: is a source of trunk acme already ("127.0.0.2"; each source on one trunk)'
    assert lines[2] == f"{config}: 2 faults"


def test_faults_of_a_list(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "segments.csv").write_text(SEGMENTS + "acme,acme,83123456,\n")
    assert main(["check", "-c", str(config)]) == 1
    assert f"{config.parent}/segments.csv:3: first: " in capsys.readouterr().out


def test_warnings_do_not_fail(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace('home_area = "755"', "tls_identity = 'x'"))
    assert main(["check", "-c", str(config)]) == 0
    assert f"warning: {config}:17: trunk[1].tls_identity: TLS is not in this version" in capsys.readouterr().out


def test_warnings_of_lists_are_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "segments.csv").write_text(SEGMENTS + "acme,acme,+8675583123400,+8675583123499\n")
    assert main(["check", "-c", str(config)]) == 0
    assert f"warning: {config.parent}/segments.csv:2: " in capsys.readouterr().out


def test_json_is_one_document(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    config.write_text("[[listen]]\n")
    assert main(["check", "-c", str(config), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["faults"][0]["line"] == 1
    assert document["faults"][0]["message"] == "address is missing"


@pytest.mark.parametrize("words", [[], ["check"], ["frobnicate"], ["check", "-c", "x", "--no-such"]])
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert "usage: sipwarden" in capsys.readouterr().err
