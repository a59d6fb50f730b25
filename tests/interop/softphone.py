"""pyVoIP as a softphone in a process of its own: `python -m tests.interop.softphone EDGE PORT ADDRESS OWN_PORT USER PASSWORD answer|deny`.

It registers, then obeys the words `call NUMBER`, `hangup` and `end` on standard input and writes what becomes of its calls to standard
output: REGISTERED, DIALING, RINGING, ANSWERED, ENDED.
"""

from __future__ import annotations

import os
import select
import sys
import time
import warnings

from pyVoIP.VoIP import CallState, VoIPCall, VoIPPhone
from pyVoIP.VoIP.status import PhoneStatus

LOOK = 0.02
RECEIVES_AFTER = 1.1
"""Seconds after which a phone that has registered begins to receive."""


class Softphone:
    """One phone with at most one call."""

    def __init__(self, edge: str, port: int, address: str, own_port: int, user: str, password: str, *, answers: bool) -> None:
        self._answers = answers
        self._call: VoIPCall | None = None
        self._told: object = None
        self._phone = VoIPPhone(
            edge, port, user, password, myIP=address, sipPort=own_port, callCallback=self._called, rtpPortLow=21000, rtpPortHigh=21998
        )

    def run(self) -> None:
        """Until told to end."""
        self._phone.start()
        time.sleep(RECEIVES_AFTER)
        while True:
            status: object = self._phone.get_status() if self._call is None else self._call.state
            if status is not self._told and status in (PhoneStatus.REGISTERED, *CallState):
                self._told = status
                print(status.value if isinstance(status, CallState) else "REGISTERED", flush=True)
            if select.select([sys.stdin], [], [], LOOK)[0]:
                verb, _, number = sys.stdin.readline().strip().partition(" ")
                if verb == "call":
                    self._call = self._phone.call(number)
                elif verb == "hangup" and self._call is not None:
                    self._call.hangup()
                else:
                    break
        self._phone.stop()

    def _called(self, call: VoIPCall) -> None:
        self._call = call
        time.sleep(3 * LOOK)  # so that RINGING is told
        if self._answers:
            call.answer()
            while call.state is CallState.ANSWERED:  # pyVoIP forgets a call whose callback has returned
                time.sleep(LOOK)
        else:
            call.RTPClients.clear()  # deny stops what was never started, which raises
            call.deny()


def main(edge: str, port: str, address: str, own_port: str, user: str, password: str, what: str) -> None:
    """Run one."""
    warnings.simplefilter("ignore")  # pyVoIP warns of what it is told, a number that is not found for one
    Softphone(edge, int(port), address, int(own_port), user, password, answers=what == "answer").run()
    sys.stdout.flush()
    os._exit(0)  # pyVoIP leaves timers behind


if __name__ == "__main__":
    main(*sys.argv[1:])
