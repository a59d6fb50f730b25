"""sipwarden.toml: what an operator configures, as typed values that have been checked.

`load_config` is the way in; it raises `ConfigFaults` with every fault it found, each with file, line, key, value and remedy.
"""

from proxy.config.addresses import SourcePattern, Target, parse_source, parse_target
from proxy.config.certificates import CERTIFICATE, CertificatesConfig
from proxy.config.duration import Duration
from proxy.config.faults import ConfigFault, ConfigFaults, ConfigWarning
from proxy.config.journal import JournalConfig
from proxy.config.load import load_config, pack, unpack
from proxy.config.lookups import LONGEST_DEADLINE, LookupConfig, UrlTemplate, parse_url
from proxy.config.meaning import can_name_a_file
from proxy.config.model import AdminConfig, Config, Listen, NextHop, Node, PolicyConfig
from proxy.config.signing import SigningConfig
from proxy.config.size import Size

__all__ = [
    "CERTIFICATE",
    "LONGEST_DEADLINE",
    "AdminConfig",
    "CertificatesConfig",
    "Config",
    "ConfigFault",
    "ConfigFaults",
    "ConfigWarning",
    "Duration",
    "JournalConfig",
    "Listen",
    "LookupConfig",
    "NextHop",
    "Node",
    "PolicyConfig",
    "SigningConfig",
    "Size",
    "SourcePattern",
    "Target",
    "UrlTemplate",
    "can_name_a_file",
    "load_config",
    "pack",
    "parse_source",
    "parse_target",
    "parse_url",
    "unpack",
]
