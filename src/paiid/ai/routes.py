"""The routes of the AI services: chat, explain, status."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from paiid.ai.asked import Asked, Chat, ChatBody, Explain, ExplainBody
from paiid.ai.service import AiService
from paiid.ai.stream import AnswerStream, looks_again, wants_events
from paiid.auth.access import may, request_id_of
from paiid.core.json import StrictRoute, encode
from paiid.domain.identity import Principal
from paiid.stream.service import StreamService

router = APIRouter(prefix="/api/ai", tags=["ai"], route_class=StrictRoute)
Reader = Annotated[Principal, Depends(may("read"))]


def _ai(request: Request) -> AiService:
    ai: AiService = request.app.state.ai
    return ai


def _json(value: Any) -> Response:
    return Response(encode(value), 200, {"cache-control": "no-store"}, media_type="application/json")


@router.post("/chat", summary="Ask about what the service knows")
async def chat(request: Request, user: Reader, body: ChatBody) -> Response:
    """`{id, source, model?, text, figures, withheld, usage, budget, reason?}`. `source` is `anthropic`, or `rules` where there is no model to
    ask (`reason` says why). Every figure in `text` is one of `figures`, with label, value, unit, source and time; the model writes none
    itself, and what it tried is left out (`withheld`). It reads with your rights and can place no order. With `Accept: text/event-stream`
    the answer comes as events: `figures`, `text`, `done`, `error`. See docs/ai.md."""
    messages = tuple((one.role, one.content) for one in body.messages)
    return await _answer(request, user, Chat(messages, body.account))


@router.post("/explain", summary="Have something explained")
async def explain(request: Request, user: Reader, body: ExplainBody) -> Response:
    """`kind`: `position` (with `symbol`), `order` (with `order`), `chain` (with `symbol`), `portfolio`, `risk`, `halt`. The answer is that of
    chat. 404 for what is not there, or not yours to see."""
    asked = Explain(body.kind, body.symbol, body.order, body.expiration, body.account, body.question)
    return await _answer(request, user, asked)


@router.get("/status", summary="Who answers now, and your budget")
async def status(request: Request, user: Reader) -> Response:
    """`{configured, source, model, problem, budget}`: `source` is who would answer now, `problem` what was the matter with the model last."""
    return _json(await _ai(request).status(user))


async def _answer(request: Request, user: Principal, asked: Asked) -> Response:
    ai = _ai(request)
    await ai.admit(user)
    if wants_events(request):
        streams: StreamService = request.app.state.streams
        streams.clients.refuse_while_draining()
        known = await streams.credentials.of_header(request.headers.raw)
        return AnswerStream(request, ai, user, known, asked)
    with ai.places.of_user(user.user_id):
        reader = ai.reader(user, asked, looks_again(request))
        readings = await ai.read(asked, reader)
        answer = await ai.answer(user, asked, reader, readings, request_id_of(request))
    return _json(answer.view())
