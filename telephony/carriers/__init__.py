"""The carriers that the bridge speaks with. A carrier is one file in this folder and one line in `CARRIERS`."""

from telephony.carrier import Carrier
from telephony.carriers.twilio import TWILIO

CARRIERS: dict[str, Carrier] = {carrier.name: carrier for carrier in (TWILIO,)}
"""Every carrier by its name, which is also the first segment of its routes: `/{name}/voice`, `/{name}/media`, …"""
