"""Orders as no client expects them: a status nobody knows, fields that are gone or of another type."""

from collections.abc import Collection
from typing import Any

from paiid.sim.engine.faults import Fault

__all__ = ["spoiled"]


def spoiled(fault: Fault, value: Any, within: Collection[str] = ("legs", "body")) -> Any:
    """The same JSON value with every order in it (or, where there is none, its top objects) spoiled; `within` are the
    fields that hold more of them."""
    if isinstance(value, list):
        return [spoiled(fault, one, within) for one in value]
    if not isinstance(value, dict):
        return value
    changed = dict(value)
    if fault.kind.name == "unknown_status":
        if "status" in changed:
            changed["status"] = fault.params["status"]
    else:
        for name in fault.params["remove"]:
            changed.pop(name, None)
        changed.update({name: one for name, one in fault.params["set"].items() if name in value})
    for name in within:
        if isinstance(changed.get(name), (list, dict)):
            changed[name] = spoiled(fault, changed[name], within)
    return changed
