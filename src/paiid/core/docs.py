"""`/api/docs`: the OpenAPI description as a page that needs nothing from anywhere else."""

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>PaiiD API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0}h2{margin-top:2.5rem;text-transform:capitalize;border-bottom:1px solid var(--line)}
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:var(--soft);padding:.7rem;border-radius:6px;overflow:auto}
.m{display:inline-block;min-width:4.2rem;font-weight:700}.GET{color:#2a7}.POST{color:#27c}.DELETE{color:#c43}
.PUT,.PATCH{color:#b70}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.15rem .6rem .15rem 0;
vertical-align:top;border-bottom:1px solid var(--soft)}.q{opacity:.7}
</style></head><body><h1 id="title">PaiiD API</h1><p id="about" class="q"></p><div id="api">Loading…</div>
<script src="docs.js"></script></body></html>"""

_SCRIPT = """'use strict';
const el=(tag,cls,text)=>{const e=document.createElement(tag);if(cls)e.className=cls;if(text!==undefined)e.textContent=text;return e};
const named=(doc,s)=>s&&s.$ref?doc.components.schemas[s.$ref.split('/').pop()]:s;
function words(doc,s){if(!s)return'';if(s.$ref)return s.$ref.split('/').pop();if(s.enum)return s.enum.map(v=>JSON.stringify(v)).join(' | ');
if(s.const!==undefined)return JSON.stringify(s.const);if(s.anyOf)return s.anyOf.map(x=>words(doc,x)).join(' | ');
if(s.type==='array')return words(doc,s.items)+'[]';return s.format||s.type||'any'}
function fields(doc,s,depth){s=named(doc,s);const t=el('table');if(!s||!s.properties)return el('pre','',JSON.stringify(s,null,1));
for(const[name,p]of Object.entries(s.properties)){const r=el('tr');r.append(el('td','',name+((s.required||[]).includes(name)?' *':'')));
r.append(el('td','q',words(doc,p)));r.append(el('td','',p.description||''));t.append(r);
const inner=p.$ref?p:(p.items&&p.items.$ref?p.items:null);
if(inner&&depth<2){const c=el('td');c.colSpan=3;c.append(fields(doc,inner,depth+1));const row=el('tr');row.append(c);t.append(row)}}return t}
function operation(doc,path,method,op){const d=el('details'),s=el('summary');s.append(el('span','m '+method,method),el('code','',path+'  '));
s.append(el('span','q',op.summary||''));d.append(s);if(op.description)d.append(el('p','',op.description));
if(op.parameters&&op.parameters.length){d.append(el('h4','','Parameters'));const t=el('table');for(const p of op.parameters){const r=el('tr');
r.append(el('td','',p.name+(p.required?' *':'')),el('td','q',p.in),el('td','q',words(doc,p.schema)),el('td','',p.description||(p.schema||{}).description||''));t.append(r)}d.append(t)}
const body=op.requestBody&&op.requestBody.content&&op.requestBody.content['application/json'];
if(body){d.append(el('h4','','Body'));d.append(fields(doc,body.schema,0))}
d.append(el('h4','','Answers'));const t=el('table');for(const[code,r]of Object.entries(op.responses||{})){const row=el('tr');
row.append(el('td','',code),el('td','',r.description||''));t.append(row)}d.append(t);return d}
fetch('openapi.json').then(r=>r.json()).then(doc=>{document.getElementById('title').textContent=doc.info.title+' API '+doc.info.version;
document.getElementById('about').textContent=doc.info.description||'';const api=document.getElementById('api');api.textContent='';const groups={};
for(const[path,ops]of Object.entries(doc.paths))for(const[m,op]of Object.entries(ops)){const tag=(op.tags||['other'])[0];(groups[tag]=groups[tag]||[]).push([path,m.toUpperCase(),op])}
for(const[tag,list]of Object.entries(groups)){api.append(el('h2','',tag));for(const[p,m,op]of list)api.append(operation(doc,p,m,op))}
}).catch(()=>{document.getElementById('api').textContent='The description could not be loaded.'});
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
_PROBLEM = {
    "description": "What was wrong, where, and how to mend it (RFC 9457).",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:paiid:problem: and a stable code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "For people: what was wrong and how to mend it."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
        "request_id": {"type": "string"},
    },
}


def install(app: FastAPI) -> None:
    """Add the page and complete the description."""

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(_PAGE, media_type="text/html", headers={"content-security-policy": _POLICY})

    @app.get("/api/docs.js", include_in_schema=False)
    async def script() -> Response:
        return Response(_SCRIPT, media_type="text/javascript")

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(
                    title=app.title, version=app.version, description=app.description, routes=app.routes
                )
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(schema: dict[str, object]) -> dict[str, object]:
    """Errors are problems, and a bearer token signs requests."""
    components = schema.setdefault("components", {})
    assert isinstance(components, dict)
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM_SCHEMA
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    paths = schema["paths"]
    assert isinstance(paths, dict)
    for path, operations in paths.items():
        public = path.startswith("/api/health") and not path.endswith("detailed")
        for operation in operations.values():
            responses = operation["responses"]
            responses.pop("422", None)
            responses["default"] = _PROBLEM
            if not public and not path.endswith(("/login", "/refresh", "/webhook")):
                operation["security"] = [{"bearer": []}]
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An access token or an API token."}
    }
    return schema
