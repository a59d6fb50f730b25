"""STIR/SHAKEN: what Identity header fields prove of a caller (RFC 8224, 8225, 8226, 8588, 8946). Pure: time and certificates are passed in.

`identity` takes header fields apart and `token` the PASSporTs in them; `credential` leads certificates back to roots, with `tn_auth_list`
for the numbers they speak for, and `files` reads those that lie beside a policy; `verify` joins them for one call; `location` reads the
URLs where certificates lie.
"""

from rules.passport.error import Unverified
from rules.passport.files import LARGEST_PEM, CertificateFile, SignerFile, trust_in
from rules.passport.location import Location, parse_authority, parse_location
from rules.passport.verify import Findings, Wanted, verify_identity
from rules.profile import stir_reason

__all__ = [
    "LARGEST_PEM",
    "CertificateFile",
    "Findings",
    "Location",
    "SignerFile",
    "Unverified",
    "Wanted",
    "parse_authority",
    "parse_location",
    "stir_reason",
    "trust_in",
    "verify_identity",
]
