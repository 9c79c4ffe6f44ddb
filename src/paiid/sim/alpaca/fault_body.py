"""Orders as no client expects them: a status nobody knows, fields that are gone or of another type."""

from typing import Any

from paiid.sim.alpaca.faults import Fault

__all__ = ["spoiled"]


def spoiled(fault: Fault, value: Any) -> Any:
    """The same JSON value with every order in it (or, where there is none, its top objects) spoiled."""
    if isinstance(value, list):
        return [spoiled(fault, one) for one in value]
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
    for name in ("legs", "body"):
        if isinstance(changed.get(name), (list, dict)):
            changed[name] = spoiled(fault, changed[name])
    return changed
