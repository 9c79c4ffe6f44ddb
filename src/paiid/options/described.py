"""What an answer looks like, for the API description: from the types that are encoded, so that it cannot tell anything else."""

from typing import Any

import msgspec


def answered(kind: Any, text: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route whose body is of this type, and which may answer 304."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    return {
        200: {"description": text, "content": {"application/json": {"schema": _inlined(schema, components)}}},
        304: {"description": "The client has exactly this (If-None-Match)."},
    }


def _inlined(schema: Any, components: dict[str, Any]) -> Any:
    """The schema with every reference replaced by what it names."""
    if isinstance(schema, list):
        return [_inlined(one, components) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(components[schema["$ref"]], components)
    return {name: _inlined(one, components) for name, one in schema.items()}
