"""Several customers behind one trunk: `customers` and `customer_header` of a [[trunk]], checked."""

from __future__ import annotations

from typing import Final

from proxy.config.report import Report
from proxy.sip.grammar import is_token
from proxy.sip.message import canonical_name
from rules.call import Trunk
from rules.toml_lines import Path as KeyPath

_STANDARD: Final = frozenset(
    b"""
    accept accept-contact accept-encoding accept-language alert-info allow allow-events also attestation-info authentication-info
    authorization call-id call-info contact content-disposition content-encoding content-language content-length content-type cseq date
    diversion error-info event expires feature-caps flow-timer from geolocation history-info identity identity-info in-reply-to info-package
    join max-breadth max-forwards mime-version min-expires min-se organization origination-id p-access-network-info
    p-asserted-identity p-asserted-service p-associated-uri p-called-party-id p-charging-function-addresses p-charging-vector
    p-early-media p-preferred-identity p-preferred-service p-visited-network-id path priority privacy proxy-authenticate
    proxy-authorization proxy-require rack reason record-route recv-info refer-sub refer-to referred-by reject-contact remote-party-id
    replaces reply-to request-disposition require resource-priority response-key retry-after route rseq security-client security-server
    security-verify server service-route session-expires session-id sip-etag sip-if-match subject subscription-state supported
    target-dialog timestamp to unsupported user-agent user-to-user via warning www-authenticate
    """.split()
)
"""Header fields with a meaning of their own: they are not ours to take out."""


def check_customers(report: Report, at: KeyPath, trunk: Trunk) -> None:
    """Note what is wrong with the customers of one trunk."""
    if trunk.customers and trunk.customer:
        report.fault((*at, "customers"), "customer is there too", "", "keep one: customer, or customers where several share the trunk")
    if report.given((*at, "customers")) and not trunk.customers:
        report.fault((*at, "customers"), "is empty", "[]", '["acme", "beta"], or customer = "acme"')
    if trunk.customers and trunk.kind != "enterprise":
        what = "only an enterprise trunk is shared by customers"
        report.fault((*at, "customers"), what, trunk.kind, 'customer = "..." on a trunk of another kind')
    for place, name in enumerate(trunk.customers):
        if not name or not name.isprintable() or any(character in name for character in ' ",;<>*'):
            report.fault((*at, "customers", place), "not usable as a customer", name, "letters, digits, . - and _")
        elif name in trunk.customers[:place]:
            report.fault((*at, "customers", place), "stands here already", name, "each customer once")
    header = trunk.customer_header
    if header is None:
        return
    if not report.given((*at, "customers")):
        report.fault((*at, "customer_header"), "there are no customers to tell apart", header, 'customers = ["acme", "beta"]')
    field = header.encode()
    if not is_token(field):
        report.fault((*at, "customer_header"), "not the name of a header field", header, '"X-Customer", without a colon')
    elif canonical_name(field + b":") in _STANDARD:
        what = "has a meaning of its own in SIP, and would be taken out of what goes on"
        report.fault((*at, "customer_header"), what, header, 'one that only your own equipment writes, such as "X-Customer"')
