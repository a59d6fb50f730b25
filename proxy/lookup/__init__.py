"""Look-ups that a verdict waits for: services by kind, answers kept, deadlines kept, a service that fails left in peace.

`desk` decides what becomes of a question and has no clock; `lookups` runs the questions; `http` asks the services of `[[lookup]]`, and
is imported only where there is one. `certificates` fetches those of PASSporTs, from addresses that are `public`.
"""

from proxy.lookup.desk import Desk, NoAnswer
from proxy.lookup.lookups import Lookups, Service

__all__ = ["Desk", "Lookups", "NoAnswer", "Service"]
