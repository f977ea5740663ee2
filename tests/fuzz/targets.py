"""All fuzz targets by name."""

from __future__ import annotations

import data_targets
import record_targets
import text_targets
from cases import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (record_targets, text_targets, data_targets) for target in module.TARGETS
}
