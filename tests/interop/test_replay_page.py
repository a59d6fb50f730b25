"""The page of a replay in a browser: it loads without a complaint or a request, filters, opens calls, and a hostile trace stays text."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.__main__ import main
from tests.interop.browser import Browser, browser
from tests.proxy.replay.traffic import busy, write_pcap

pytestmark = [pytest.mark.interop("chromium"), pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "proxy" / "demo" / "config" / "sipwarden.toml"
CANDIDATE = ROOT / "tests" / "cases" / "judged" / "candidate.toml"
HOSTILE = b'"><img/src=x/onerror=document.title=1><script>document.title=2</script>'
CALLS = 400
SHOWN = "document.querySelectorAll('#table tr.call').length"
COUNT = "document.getElementById('count').textContent"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 calls, one of which says in every place what a browser must not obey."""
    folder = tmp_path_factory.mktemp("page")
    messages = busy(CALLS)
    call_id = next(one.data for one in messages if one.data.startswith(b"INVITE")).split(b"Call-ID: ")[1].partition(b"\r\n")[0]
    for one in messages:
        if b"Call-ID: " + call_id in one.data:
            one.data = one.data.replace(b"Call-ID: " + call_id + b"\r\n", b"Call-ID: " + HOSTILE + b"\r\nSubject: " + HOSTILE + b"\r\n")
            one.data = one.data.replace(b"Ringing", HOSTILE).replace(b"Forbidden", HOSTILE)
    capture = write_pcap(folder / "busy hour.pcap", messages)
    out = folder / "page.html"
    assert main(["replay", "-c", str(DEMO), str(capture), "--candidate", str(CANDIDATE), "--html", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def rows(page: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the page was given, by the script's own data."""
    text = page.read_text(encoding="utf-8")
    data = text.split('<script type="application/json" id="calls">')[1].split("</script>")[0]
    calls: list[dict[str, Any]] = json.loads(data)
    return calls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tab(page: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with browser(tmp_path_factory.mktemp("browser")) as opened:
        await opened.open(page)
        yield opened
        assert opened.errors == []
        assert opened.requests == [page.as_uri()]


async def reset(tab: Browser) -> None:
    await tab.run("document.getElementById('reset').click()")
    assert await tab.run(COUNT) == f"{CALLS} calls"


async def test_it_loads_in_parts(tab: Browser) -> None:
    assert await tab.run("document.title") == "Replay of busy hour.pcap"
    assert await tab.run(COUNT) == f"{CALLS} calls"
    assert 0 < await tab.run(SHOWN) < CALLS
    await tab.run("scrollTo(0, document.body.scrollHeight)")
    await tab.until(f"{SHOWN} > 150 && (scrollTo(0, document.body.scrollHeight), {SHOWN}) === {CALLS}")
    await tab.run("scrollTo(0, 0)")


async def test_filters(tab: Browser, rows: list[dict[str, Any]]) -> None:
    rejected = sum(call["action"] == "reject" for call in rows)
    await tab.run("document.querySelector('[data-action=reject]').click()")
    assert await tab.run(COUNT) == f"{rejected} of {CALLS} calls"
    failed = sum(call["code"] == "AUTH_FAIL" for call in rows)
    await tab.run(
        "document.getElementById('code').value = '=AUTH_FAIL'; document.getElementById('code').dispatchEvent(new Event('change'))"
    )
    assert await tab.run(COUNT) == f"{failed} of {CALLS} calls"
    await reset(tab)
    peer = sum(call["trunk"] == "peer-gz" for call in rows)
    await tab.run(
        "document.getElementById('trunk').value = '=peer-gz'; document.getElementById('trunk').dispatchEvent(new Event('change'))"
    )
    assert await tab.run(COUNT) == f"{peer} of {CALLS} calls"
    await reset(tab)
    await tab.run("document.getElementById('changed').click()")
    assert await tab.run(COUNT) == f"{sum(call['changed'] for call in rows)} of {CALLS} calls"
    await reset(tab)
    wanted = rows[123]
    await tab.run(f"document.getElementById('text').value = '{wanted['id'].upper()}'")
    await tab.run("document.getElementById('text').dispatchEvent(new Event('input'))")
    await tab.until(f"{SHOWN} === 1")
    assert wanted["time"] in await tab.run("document.querySelector('tr.call').textContent")
    await reset(tab)
    await tab.run("document.querySelector('button[data-code=AUTH_FAIL]').click()")
    assert await tab.run(COUNT) == f"{failed} of {CALLS} calls"
    await reset(tab)
    caller = await tab.run("document.querySelector('button[data-find]').textContent")
    await tab.run("document.querySelector('button[data-find]').click()")
    with_it = sum(caller in (call["caller"] or call["from"]) for call in rows)
    assert int((await tab.run(COUNT)).partition(" ")[0]) >= with_it > 0
    await reset(tab)


async def test_sorting(tab: Browser, rows: list[dict[str, Any]]) -> None:
    first = "document.querySelector('tr.call .c-time').textContent"
    assert await tab.run(first) == rows[0]["time"]
    await tab.run("document.querySelector('th.c-time button').click()")
    assert await tab.run(first) == rows[-1]["time"]
    assert await tab.run("document.querySelector('th.c-time').getAttribute('aria-sort')") == "descending"
    await tab.run("document.querySelector('th.c-time button').click()")


async def test_a_call_opens(tab: Browser, rows: list[dict[str, Any]]) -> None:
    """The ladder has an arrow for each message, retransmissions counted in one; a click shows the message."""
    source = {one["id"]: 0 for one in rows}
    again = dict(source)
    seen: set[bytes] = set()
    for one in busy(CALLS):
        call_id = one.data.split(b"Call-ID: ")[1].partition(b"\r\n")[0].decode()
        if call_id in source:
            key = one.source.encode() + one.destination.encode() + one.data
            (again if key in seen else source)[call_id] += 1
            seen.add(key)
    place = next(place for place, call in enumerate(rows) if again.get(call["id"]) and call["action"] == "reject")
    call = rows[place]
    await tab.run(f"location.hash = '#call-{place + 1}'")
    await tab.until("document.querySelector('.detail .rung')")
    assert await tab.run("document.querySelectorAll('.detail .rung').length") == source[call["id"]]
    labels = await tab.run("[...document.querySelectorAll('.detail .rung .label')].map((label) => label.textContent)")
    assert labels[0] == "INVITE ×2"
    hosts = await tab.run("[...document.querySelectorAll('.detail .host')].map((host) => host.textContent)")
    assert hosts == [call["source"].partition(":")[0], "127.0.0.1", "127.0.0.6"]
    said = await tab.run("document.querySelector('.detail').textContent")
    assert call["code"] in said and call["id"] in said and "×2" in said
    assert await tab.run("document.querySelector('.detail .reason [lang=zh]').textContent.length") > 4
    await tab.run("document.querySelector('.detail .rung').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    assert (await tab.run("document.querySelector('.detail pre').textContent")).startswith("INVITE sip:")
    await tab.run("document.querySelector('tr.call.open').click()")
    assert await tab.run("document.querySelectorAll('.detail').length") == 0
    await reset(tab)


async def test_a_hostile_call_stays_text(tab: Browser) -> None:
    await tab.run("document.querySelector('#call-1').click()")
    await tab.until("document.querySelector('.detail .rung')")
    rungs = await tab.run("document.querySelectorAll('.detail .rung').length")
    for number in range(rungs):
        await tab.run(f"document.querySelectorAll('.detail .rung')[{number}].dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
        assert HOSTILE.decode() in await tab.run("document.querySelector('.detail pre').textContent")
    assert await tab.run("document.querySelectorAll('img').length") == 0
    assert await tab.run("document.title") == "Replay of busy hour.pcap"
    await tab.run("document.querySelector('#call-1').click()")


async def test_all_calls_are_printed(tab: Browser) -> None:
    await tab.run("dispatchEvent(new Event('beforeprint'))")
    assert await tab.run(SHOWN) == CALLS


@pytest.fixture
def marred(page: Path, tmp_path: Path) -> Path:
    """The page with another script and a picture in it, as if something had slipped through."""
    more = "</h1><script>document.title = 'owned'</script><img src='http://127.0.0.1:9/x.png'>"
    path = tmp_path / "marred.html"
    path.write_text(page.read_text(encoding="utf-8").replace("</h1>", more), "utf-8")
    return path


async def test_another_script_would_not_run(marred: Path, tmp_path: Path) -> None:
    async with browser(tmp_path) as opened:
        await opened.open(marred)
        assert await opened.run("document.title") == "Replay of busy hour.pcap"
        assert sum("Content Security Policy" in error for error in opened.errors) == 2
