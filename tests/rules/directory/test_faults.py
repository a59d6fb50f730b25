"""One small file per fault in tests/cases/directory: the comments that begin it say which faults it has, `# LINE message`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rules.call import Trunk
from rules.directory import DirectoryConfig, DirectoryFault, DirectoryFaults, load_directory
from rules.directory.fault import FAULTS_PER_FILE

CASES = Path(__file__).resolve().parents[2] / "cases" / "directory"
TRUNKS = {
    trunk.id: trunk
    for trunk in (
        Trunk(id="acme-sz", kind="enterprise", customer="acme"),
        Trunk(id="bank", kind="enterprise", customer="bank"),
        Trunk(id="sbc", kind="enterprise", customers=("beta", "gamma"), home_area="755"),
        Trunk(id="gate", kind="international", customer="abroad"),
    )
}


def faults_of(folder: Path, **files: tuple[str, ...]) -> tuple[DirectoryFault, ...]:
    with pytest.raises(DirectoryFaults) as caught:
        load_directory(DirectoryConfig(**files), folder, TRUNKS)
    return caught.value.faults


@pytest.mark.parametrize("case", sorted(CASES.glob("*.csv")), ids=lambda path: path.stem)
def test_each_fault_is_said_with_its_place_and_remedy(case: Path) -> None:
    expected = re.findall(r"^# (\d+) (.+?)\s*$", case.read_text("utf-8", errors="replace"), re.MULTILINE)
    assert expected
    faults = faults_of(CASES, **{case.name.split("_")[0]: (case.name,)})
    said = [str(fault) for fault in faults]
    for line, message in expected:
        place = f"{case.name}:{line}: " if line != "0" else f"{case.name}: "
        assert any(text.startswith(place + message) for text in said), (place + message, said)
    assert len(said) == len(expected), said


def test_release_of_what_the_police_listed_is_refused(tmp_path: Path) -> None:
    head = "list_id,seq,op,number,match,type,reason,source,evidence_ref,valid_from,valid_to,scope\n"
    (tmp_path / "intercept.csv").write_text(
        head
        + "p,1,A,+861380288,prefix,caller,,police,,,2026-06-30,\n"
        + "p,2,A,+8613900000000,exact,called,,Police,,,,trunk:acme-sz\n"
        + "p,3,A,+8613700000000>+8675583120000,exact,pair,,police,,,,\n"
        + "p,4,A,+8613600000000,exact,caller,,police,,,,\n"
        + "p,5,D,+8613600000000,exact,caller,,police,,,,\n"
    )
    (tmp_path / "release.csv").write_text(
        head
        + "r,1,A,+8613802881946,exact,caller,,,E1,2026-06-01,2026-12-31,\n"
        + "r,2,A,+8613802881947,exact,caller,,,E1,2026-07-01,2026-12-31,\n"  # nearly: the police's entry has ended
        + "r,3,A,+8613802881948,exact,called,,,E1,,2026-12-31,\n"  # nearly: another type
        + "r,4,A,+8613900000000,exact,called,,,E1,,2026-12-31,customer:acme\n"
        + "r,5,A,+8613900000000,exact,called,,,E1,,2026-12-31,customer:bank\n"  # nearly: another customer
        + "r,6,A,+8613700000000>+8675583120000,exact,pair,,,E1,,2026-12-31,\n"
        + "r,7,A,+8613600000000,exact,caller,,,E1,,2026-12-31,\n"  # nearly: withdrawn
        + "r,8,A,+8613802881949,exact,caller,,,E1,,2026-12-31,\n"
        + "r,9,D,+8613802881949,exact,caller,,,,,,\n"  # nearly: the release itself is withdrawn
    )
    faults = faults_of(tmp_path, intercept=("intercept.csv",), release=("release.csv",))
    assert [(fault.file, fault.line, fault.column) for fault in faults] == [("release.csv", line, "number") for line in (2, 5, 7)]
    assert "matches entry p:1 (prefix +861380288), whose source is police" in str(faults[0])


def test_all_files_are_read_before_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("number\nx\n")
    faults = faults_of(tmp_path, segments=("absent.csv",), own=("own.csv",))
    assert [str(fault).split(":")[0] for fault in faults] == ["absent.csv", "own.csv"]
    assert "cannot be read: No such file or directory" in str(faults[0])


def test_categories_that_are_configured_are_the_only_ones(tmp_path: Path) -> None:
    (tmp_path / "segments.csv").write_text(
        "customer,trunk,first,last,purpose,valid_from,valid_to,hours,direction,category\n"
        "acme,acme-sz,+8675583120000,,marketing,,,,,finence\n"
        "acme,acme-sz,+8675583120001,,marketing,,,,,FINANCE\n"
    )
    (tmp_path / "refusals.csv").write_text("number,category\n+8613802881946,loans\n+8613802881946,Finance\n")
    files = {"segments": ("segments.csv",), "refusals": ("refusals.csv",)}
    faults = faults_of(tmp_path, **files, categories=("Finance", "property"))
    remedy = "unknown category; one of finance, property, or more of them in [directory] categories"
    assert [str(fault) for fault in faults] == [
        f"segments.csv:2: category: 'finence': {remedy}",
        f"refusals.csv:2: category: 'loans': {remedy}",
    ]


def test_what_a_row_of_consent_can_never_count_for_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "segments.csv").write_text("customer,trunk,first,last,purpose\nacme,acme-sz,+8675583120000,,marketing\n")
    (tmp_path / "consent.csv").write_text("number,evidence_ref,category,customer\n" + "+8613802881946,E1,finence,acne\n" * 3)
    directory = load_directory(DirectoryConfig(segments=("segments.csv",), consent=("consent.csv",)), tmp_path, TRUNKS)
    assert directory.warnings == [
        "consent.csv:2: customer acne is not in the configuration: the row never counts here",
        "consent.csv:2: no marketing segment has category finence: the row counts for uncategorised calls at most",
    ]


def test_faults_of_one_file_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("number\n" + "x\n" * 10_000)
    (tmp_path / "ported.csv").write_text("number\ny\n")
    faults = faults_of(tmp_path, own=("own.csv",), ported=("ported.csv",))
    assert len(faults) == FAULTS_PER_FILE + 2
    assert f"more than {FAULTS_PER_FILE} faults" in str(faults[-2])
    assert faults[-1].file == "ported.csv"


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("number\n" + "9" * 10_000 + "\n")
    (fault,) = faults_of(tmp_path, own=("own.csv",))
    assert len(str(fault)) < 400
