"""One worker within the test's own process: the core, its transports and its timers, without a supervisor."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.config import load_config
from proxy.control import Ask, Forget, Load, Loaded, Switch, Switched
from proxy.flow import Flow
from proxy.generation import Faults, Generation, load, open_generation, save_generation
from proxy.hep import decode
from proxy.owners import octets
from proxy.session import Session
from proxy.sockets import open_inboxes, open_own, open_sockets
from proxy.supervisor import open_tables
from proxy.worker import Worker, _shared
from rules.numbers import normalise
from tests.proxy.node import CONFIG, SEGMENTS, Peer, free_port

SECRET = b"a secret for tests only, 32 long"


def generation(folder: Path, text: str) -> Generation:
    (folder / "segments.csv").write_text(SEGMENTS)
    (folder / "sipwarden.toml").write_text(text)
    return load(folder / "sipwarden.toml")[0]


class Pair:
    """Two workers of one node that share its address."""

    def __init__(self, folder: Path, node: str = "") -> None:
        self.port, self.switch = free_port(), free_port()
        self.text = CONFIG.format(port=self.port, admin=free_port(), switch=self.switch, workers=f"2\n{node}")
        self.generation = generation(folder, self.text)
        self.sockets = open_sockets(self.generation.config.bindings(), 2)
        self.ports = open_own([self.generation.config.worker_ports(number) for number in range(2)])
        self.legs = open_tables(2)
        self.inboxes = open_inboxes(2)
        loop = asyncio.get_running_loop()
        owners = memoryview(bytearray(octets(2)))
        self.workers = [
            Worker(
                loop,
                self.generation,
                SECRET,
                self.sockets[number],
                ports=self.ports[number],
                number=number,
                legs=self.legs,
                inbox=self.inboxes[number][0],
                others={1 - number: self.inboxes[1 - number][1]},
                owners=owners,
            )
            for number in range(2)
        ]

    async def close(self) -> None:
        for worker in self.workers:
            worker.close()
        await asyncio.sleep(0.01)
        for sock in (
            *(one for sockets in (*self.sockets, *self.ports) for one in sockets),
            *(one for inbox in self.inboxes for one in inbox),
        ):
            sock.close()
        for file in self.legs:
            os.close(file)


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    for worker in made.workers:
        await worker.start()
    yield made
    await made.close()


async def received(peer: Peer) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(peer.socket, 65535)


async def test_a_response_goes_to_the_worker_that_sent_the_request(pair: Pair) -> None:
    with closing(Peer("127.0.0.5", pair.switch)) as switch:
        switch.socket.setblocking(False)
        for _ in range(8):
            with closing(Peer("127.0.0.2")) as caller:
                caller.socket.setblocking(False)
                caller.send(caller.request("INVITE"), pair.port)
                assert (await received(caller)).startswith(b"SIP/2.0 100 ")
                invite = await received(switch)
                switch.send(switch.answer(invite, "486 Busy Here"), pair.port)
                assert (await received(switch)).startswith(b"ACK ")
                assert (await received(caller)).startswith(b"SIP/2.0 486 ")
    invites = [sum(worker.proxy.counters.invites.values()) for worker in pair.workers]
    assert sum(invites) == 8
    # the switch's responses all come to one of the two, which hands over the other's
    assert sum(worker.proxy.counters.handed_over for worker in pair.workers) in invites


@pytest.mark.parametrize("address", ["127.0.0.5", "::1"])
async def test_with_ports_of_their_own_responses_come_straight_to_the_worker(tmp_path: Path, address: str) -> None:
    first = free_port()
    pair = Pair(tmp_path, f'worker_ports = "{first}-{first + 1}"')
    pair.text = pair.text.replace("127.0.0.5:", "[::1]:") if address == "::1" else pair.text
    made = generation(tmp_path, pair.text)
    for worker in pair.workers:
        worker.switch(made)
        await worker.start()
    with closing(Peer(address, pair.switch)) as switch:
        switch.socket.setblocking(False)
        for _ in range(8):
            with closing(Peer("127.0.0.2")) as caller:
                caller.socket.setblocking(False)
                caller.send(caller.request("INVITE"), pair.port)
                assert (await received(caller)).startswith(b"SIP/2.0 100 ")
                invite, source = await asyncio.get_running_loop().sock_recvfrom(switch.socket, 65535)
                assert source[1] == pair.port  # everything leaves from the shared address
                assert f":{pair.port};lr;sw=".encode() in invite  # and Record-Route names it
                (via,) = re.findall(rb"Via: SIP/2.0/UDP (?:127.0.0.1|\[::1\]):(\d+);branch=z9hG4bKsw(\d)", invite)
                assert int(via[0]) == first + int(via[1])
                switch.send(switch.answer(invite), int(via[0]))
                assert (await received(caller)).startswith(b"SIP/2.0 200 ")
                before = sum(worker.proxy.counters.handed_over for worker in pair.workers)
                switch.send(switch.answer(invite), first + 1 - int(via[1]))  # at the other's port: handed over all the same
                assert (await received(caller)).startswith(b"SIP/2.0 200 ")
                assert sum(worker.proxy.counters.handed_over for worker in pair.workers) == before + 1
    await pair.close()


async def test_a_cancel_and_an_ack_from_another_port_find_their_call(pair: Pair) -> None:
    """Without steering each port of a peer has its worker; what one of them has the other finds. An INVITE that is sent again, too."""
    with closing(Peer("127.0.0.5", pair.switch)) as switch, closing(Peer("127.0.0.2")) as caller:
        switch.socket.setblocking(False)
        caller.socket.setblocking(False)
        for _ in range(8):
            with closing(Peer("127.0.0.2")) as other:
                invite = caller.request("INVITE").replace(b";rport", b"")
                caller.send(invite, pair.port)
                assert (await received(caller)).startswith(b"SIP/2.0 100 ")
                ringing = await received(switch)
                switch.send(switch.answer(ringing, "180 Ringing"), pair.port)
                assert (await received(caller)).startswith(b"SIP/2.0 180 ")
                other.send(invite, pair.port)
                assert (await received(caller)).startswith(b"SIP/2.0 180 ")
                other.send(invite.replace(b"INVITE", b"CANCEL"), pair.port)
                assert (await received(caller)).startswith(b"SIP/2.0 200 ")
                cancel = await received(switch)
                assert cancel.startswith(b"CANCEL ")
                switch.send(switch.answer(cancel), pair.port)
                switch.send(switch.answer(ringing, "487 Request Terminated"), pair.port)
                assert (await received(switch)).startswith(b"ACK ")
                assert (await received(caller)).startswith(b"SIP/2.0 487 ")
                ack = invite.replace(b"INVITE", b"ACK").replace(b"@127.0.0.1>\r\nCall", b"@127.0.0.1>;tag=callee\r\nCall")
                other.send(ack, pair.port)
        await asyncio.sleep(0.6)  # longer than T1
        for peer in (caller, switch):
            with pytest.raises(BlockingIOError):
                peer.socket.recv(65535)
    assert sum(worker.proxy.counters.handed_over for worker in pair.workers) > 0
    assert sum(worker.proxy.counters.retransmissions_out for worker in pair.workers) == 8  # the 180s, asked for


async def test_timers_run_without_traffic(pair: Pair) -> None:
    with closing(Peer("127.0.0.5", pair.switch)) as switch, closing(Peer("127.0.0.2")) as caller:
        switch.socket.setblocking(False)
        caller.send(caller.request("INVITE"), pair.port)
        first = await received(switch)
        assert await received(switch) == first  # Timer A


async def test_a_stream_target_that_is_not_there_fails_the_call(tmp_path: Path) -> None:
    port, switch = free_port(), free_port()
    text = CONFIG.format(port=port, admin=free_port(), switch=switch, workers=1).replace(f":{switch}", f":{switch};transport=tcp")
    made = generation(tmp_path, text)
    (sockets,) = open_sockets(made.config.bindings(), 1)
    worker = Worker(asyncio.get_running_loop(), made, SECRET, sockets)
    await worker.start()
    with closing(Peer("127.0.0.2")) as caller:
        caller.socket.setblocking(False)
        caller.send(caller.request("INVITE"), port)
        assert (await received(caller)).startswith(b"SIP/2.0 100 ")
        assert (await received(caller)).startswith(b"SIP/2.0 5")
    assert worker.proxy.counters.connect_failures == 1
    worker.close()
    await asyncio.sleep(0.01)
    for sock in sockets:
        sock.close()


async def test_an_answer_leaves_by_the_worker_that_holds_the_connection(pair: Pair) -> None:
    """A message that came in on one worker's connection and was handed over is answered on that connection."""
    loop = asyncio.get_running_loop()
    for _ in range(8):
        with closing(socket.socket()) as tcp, closing(Peer("127.0.0.2")) as peer:
            tcp.bind(("127.0.0.2", 0))
            tcp.setblocking(False)
            await loop.sock_connect(tcp, ("127.0.0.1", pair.port))
            await loop.sock_sendall(tcp, peer.request("OPTIONS", uri=f"sip:127.0.0.1:{pair.port}", transport="TCP"))
            async with asyncio.timeout(5):
                assert (await loop.sock_recv(tcp, 65535)).startswith(b"SIP/2.0 200 ")
            holder = next(worker for worker in pair.workers if worker.streams.connections)
            other = pair.workers[1 - holder.number]
            (connection,) = holder.streams._by_number.values()
            assert connection.flow is not None
            other.proxy._layer.sends.append((connection.flow, b"from the other"))
            other.flush()
            async with asyncio.timeout(5):
                assert await loop.sock_recv(tcp, 65535) == b"from the other"
        while holder.streams.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_switching_keeps_calls_and_rule_failures(pair: Pair, tmp_path: Path) -> None:
    worker = pair.workers[0]
    worker.generation.ruleset.failures["segments"] = 3
    folder = tmp_path / "next"
    folder.mkdir()
    save_generation(pair.generation, folder)
    opened, routing = worker.prepare(folder)
    worker.switch(opened, routing)
    assert worker.proxy.routing is routing
    assert worker.snapshot().rule_failures["segments"] == 3
    assert worker.snapshot().directory_version == pair.generation.directory.version
    opened.ruleset.failures["segments"] = 1
    assert worker.snapshot().rule_failures["segments"] == 4


async def test_an_old_generation_is_gone_without_the_garbage_collector(pair: Pair, tmp_path: Path) -> None:
    """What refers to itself would keep the old lists mapped until a collection that stops all calls."""
    worker = pair.workers[0]
    folder = tmp_path / "next"
    folder.mkdir()
    save_generation(pair.generation, folder)
    worker.switch(*worker.prepare(folder))
    with closing(Peer("127.0.0.2")) as caller:
        caller.socket.setblocking(False)
        caller.send(caller.request("INVITE", caller="075599999999"), pair.port)
        assert (await received(caller)).startswith(b"SIP/2.0 403 ")
    old = weakref.ref(worker.generation.directory.life)
    mapped = weakref.ref(next(iter(worker.generation.directory._sections.values())).obj)
    for _ in worker.generation.directory.let_go():  # which does no harm to whoever still asks
        caller_known = worker.generation.directory.segment(normalise("075583123401", "755"), "acme", 0.0)
        assert caller_known is not None
    gc.disable()
    try:
        worker.switch(*worker.prepare(folder))
        assert old() is None
        assert mapped() is None
    finally:
        gc.enable()


def test_a_generation_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    text = CONFIG.format(port=5060, admin=9090, switch=5080, workers=1) + '[policy]\nfile = "policy.toml"\n'
    (tmp_path / "policy.toml").write_text('order = ["emergency", "trunk", "segments"]\n')
    made = generation(tmp_path, text)
    folder = tmp_path / "saved"
    folder.mkdir()
    save_generation(made, folder)
    (tmp_path / "policy.toml").write_text("nonsense")
    opened = open_generation(folder)
    assert opened.config == load_config(tmp_path / "sipwarden.toml")
    assert opened.ruleset.policy_version == made.ruleset.policy_version
    assert [rule.name for rule in opened.ruleset.order] == ["emergency", "trunk", "segments"]
    assert opened.directory.version == made.directory.version


def test_faults_of_lists_and_policy_are_found_together(tmp_path: Path) -> None:
    text = CONFIG.format(port=5060, admin=9090, switch=5080, workers=1) + '[policy]\nfile = "policy.toml"\n'
    (tmp_path / "policy.toml").write_text('order = ["emergency", "trunk", "segmments"]\n')
    (tmp_path / "segments.csv").write_text("customer,trunk,first,last\nacme,acme,1234567,\n")
    (tmp_path / "sipwarden.toml").write_text(text)
    with pytest.raises(Faults) as raised:
        load(tmp_path / "sipwarden.toml")
    shown = "\n".join(map(str, raised.value.faults))
    assert "segments.csv:2: first" in shown
    assert "policy.toml:1: " in shown


async def test_a_forwarded_call_is_proven_by_a_call_that_another_worker_has(tmp_path: Path) -> None:
    made = Pair(tmp_path)
    with closing(Peer("127.0.0.2")) as pbx, closing(Peer("127.0.0.5")) as inside, closing(Peer("127.0.0.5", made.switch)) as switch:
        for peer in (pbx, inside, switch):
            peer.socket.setblocking(False)
        target = f'\n[[next_hop]]\nid = "pbx"\ntargets = ["sip:127.0.0.2:{pbx.port}"]\n'
        config = made.text.replace('next_hop = "switch"', 'next_hop = "switch"\ndeliver = "pbx"') + target
        folder = tmp_path / "delivering"
        folder.mkdir()
        delivering = generation(folder, config)
        for worker in made.workers:
            worker.switch(delivering)
            await worker.start()
        inside.send(inside.request("INVITE", to="+8675583123456", caller="+8613712345678"), made.port)
        assert (await received(inside)).startswith(b"SIP/2.0 100 ")
        assert (await received(pbx)).startswith(b"INVITE ")
        for _ in range(8):
            with closing(Peer("127.0.0.2")) as line:
                line.socket.setblocking(False)
                invite = line.request("INVITE", caller="+8613712345678")
                line.send(invite.replace(b"\r\nMax-", b"\r\nDiversion: <tel:+8675583123456>\r\nMax-"), made.port)
                assert (await received(line)).startswith(b"SIP/2.0 100 ")
                answer = switch.answer(await received(switch), "486 Busy Here")
                switch.send(answer, made.port)
                assert (await received(switch)).startswith(b"ACK ")
        decided = [worker.proxy.counters.invites.get(("acme", "pass", "FWD_OK"), 0) for worker in made.workers]
        assert sum(decided) == 8
    await made.close()


class Talk:
    """The supervisor's end of a channel: what a session said."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.news = asyncio.Event()

    def send(self, message: object) -> None:
        self.said.append(message)
        self.news.set()

    async def until(self, count: int) -> list[object]:
        """Everything that was said, when there is as much."""
        async with asyncio.timeout(5):
            while len(self.said) < count:
                self.news.clear()
                await self.news.wait()
        return self.said


class SlowWorker:
    """A worker whose next generation is ready when a test says so; a folder called "bad" has none."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.generation = self
        self.directory = self
        self.switched: list[str] = []

    def prepare(self, folder: Path) -> tuple[str, str]:
        assert self.go.wait(5)
        if folder.name == "bad":
            raise ValueError("it is broken")
        return folder.name, ""

    def switch(self, name: str, routing: str) -> None:
        self.switched.append(name)

    def snapshot(self) -> str:
        return "snapshot"


async def test_a_worker_answers_while_it_loads() -> None:
    talk, worker = Talk(), SlowWorker()
    session = Session(asyncio.get_running_loop(), talk)  # type: ignore[arg-type]
    obey = lambda message: session._obey(message, worker)  # type: ignore[arg-type]  # noqa: E731
    try:
        obey(Load("/run/one"))
        await asyncio.sleep(0.02)
        obey(Ask())
        assert talk.said == ["snapshot"]
        worker.go.set()
        assert await talk.until(2) == ["snapshot", Loaded("/run/one", "")]
        assert not gc.isenabled()
        obey(Switch())
        assert (worker.switched, talk.said[2:]) == (["one"], [Switched()])
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()


async def test_what_was_not_made_ready_is_not_put_in_force(caplog: pytest.LogCaptureFixture) -> None:
    """The first load is given up while it runs; the second fails. A switch then would put the first in force, or nothing."""
    talk, worker = Talk(), SlowWorker()
    session = Session(asyncio.get_running_loop(), talk)  # type: ignore[arg-type]
    obey = lambda message: session._obey(message, worker)  # type: ignore[arg-type]  # noqa: E731
    try:
        for message in (Load("/run/one"), Forget(), Load("/run/bad")):
            obey(message)
            await asyncio.sleep(0.02)
        worker.go.set()
        assert await talk.until(2) == [Loaded("/run/one", ""), Loaded("/run/bad", "ValueError: it is broken")]
        obey(Switch())
        assert (worker.switched, talk.said[2:]) == ([], [])
        assert "none is ready" in caplog.text
        assert gc.isenabled()
        for message in (Load("/run/two"), Load("/run/three")):
            obey(message)
        await talk.until(3)
        assert talk.said[2:] == [Loaded("/run/three", "")]
        obey(Switch())
        assert worker.switched == ["three"]
    finally:
        gc.unfreeze()
        gc.enable()


def test_a_worker_that_starts_again_finds_the_calls_of_the_one_before() -> None:
    files = open_tables(2)
    called, caller = "+8675583123456", "+8613712345678"
    try:
        before = _shared(files, 1, SECRET)
        before.begin(("customer acme",), called, (caller,), 1000.0)
        for number, age in ((0, 0.0), (1, 30.0)):  # the other one still takes it for one that is being set up, until there is a new worker
            legs = _shared(files, number, SECRET)
            assert legs.age("customer acme", normalise(called, None), normalise(caller, None), 1030.0) == age
            assert legs.age("customer beta", normalise(called, None), None, 1030.0) is None
    finally:
        for file in files:
            os.close(file)


async def test_a_clock_that_is_set_is_followed_by_all_that_tell_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(tmp_path)
    worker = pair.workers[0]
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        traced = pair.text + f'[trace]\ncollector = "127.0.0.1:{server.getsockname()[1]}"\n'
        worker.switch(generation(tmp_path, traced))
        try:
            monkeypatch.setattr("proxy.worker.CLOCK", 0.01)
            await worker.start()
            stepped = int(time.time()) + 86_400
            monkeypatch.setattr("proxy.worker.time", lambda: float(stepped))
            await asyncio.sleep(0.1)
            assert worker.trace is not None
            worker.trace.sent([(Flow(worker.listeners[0], "127.0.0.9", 5060), b"SIP/2.0 200 OK\r\nCall-ID: a\r\n\r\n")])
            async with asyncio.timeout(5):
                heard = decode(await asyncio.get_running_loop().sock_recv(server, 65535))
            assert stepped <= heard.seconds <= stepped + 5
            assert int(worker.proxy.wall_offset + time.monotonic()) in range(stepped, stepped + 6)
        finally:
            await pair.close()
