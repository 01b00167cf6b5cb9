"""Let auditors search the audit log, take it along, and read it as FHIR; each of these is audited itself."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Annotated, Any, Literal, cast

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from adapters.store.audit_ledger import Ledger
from adapters.store.audit_reading import Sought, heads, reading, search, standing
from api.access import caller_of, requires
from api.audit_text import Counted, as_audit_event, as_csv, as_json, as_ndjson
from api.auditing import head_line
from api.problems import PROBLEM, problem
from engine.access import Resource, Verb
from engine.audit import Event, Kind, Result, event
from engine.errors import NotRecorded
from engine.ports import Clock

__all__ = ["Search", "router"]

_PAGE = 1000
_LAST_INDEX = 2**53 - 1
"""As far as JSON's numbers go unharmed, and the database's."""

_TEXT = r"^[^\x00]*$"
"""What the databases can hold, and so find."""

Moment = Annotated[
    AwareDatetime,
    # At the ends of the calendar a moment has no time in UTC.
    Field(ge=dt.datetime(1900, 1, 1, tzinfo=dt.UTC), lt=dt.datetime(3000, 1, 1, tzinfo=dt.UTC)),
]
_PIECE = 1 << 16


class Search(BaseModel):
    """Which entries; what is left out leaves open."""

    model_config = ConfigDict(extra="forbid")

    who: str | None = Field(None, max_length=256, pattern=_TEXT, description="Account")
    kind: Kind | None = None
    result: Result | None = None
    object: str | None = Field(
        None, max_length=512, pattern=_TEXT, description="Such as decision/ and its id"
    )
    patient: str | None = Field(
        None, max_length=256, pattern=_TEXT, description="The patient's id; searched by blind index"
    )
    since: Moment | None = None
    until: Moment | None = None


class Page(Search):
    """One page of a search, newest first."""

    limit: int = Field(100, ge=1, le=_PAGE)
    before: int | None = Field(None, ge=1, le=_LAST_INDEX, description="`next` of the page before")


class Export(Search):
    """All that is sought, as a file."""

    format: Literal["csv", "ndjson"] = "csv"


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {
        "description": "The body is no JSON in UTF-8",
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
    401: {"description": "A token is needed", **PROBLEM},
    403: {"description": "This is not yours to do", **PROBLEM},
    503: {"description": "The database does not answer, so that nothing is shown", **PROBLEM},
}
_FORMATS = {"csv": (as_csv, "text/csv; charset=utf-8"), "ndjson": (as_ndjson, "application/x-ndjson")}


class _Desk:
    """What the routes share."""

    def __init__(self, engine: sa.Engine, ledger: Ledger, clock: Clock) -> None:
        self.engine, self.ledger, self.clock = engine, ledger, clock

    def sought(self, wanted: Search) -> Sought:
        return Sought(
            who=wanted.who,
            kind=wanted.kind,
            result=wanted.result,
            object=wanted.object,
            # Without keys nobody has a blind index, so that nothing is found: "" stands for no patient.
            patient=self.ledger.blind(wanted.patient) or "-" if wanted.patient else None,
            since=wanted.since,
            until=wanted.until,
        )

    def note(self, request: Request, kind: Kind, detail: dict[str, str | int], patient: str | None) -> None:
        """Record who looked; raises if that cannot be recorded, so that nothing is shown."""
        noted: Event = event(
            kind,
            at=self.clock(),
            who=caller_of(request).subject,
            source=request.client.host if request.client else "",
            object="audit",
            patient=self.ledger.blind(patient) if patient else "",
            detail=detail,
        )
        self.ledger.record(self.engine, noted)


def router(engine: sa.Engine, ledger: Ledger, clock: Clock) -> APIRouter:
    """Return ``/audit/search``, ``/audit/export``, ``/audit/AuditEvent`` and ``/audit/heads``.

    Searches are POST: a patient's id has no place in a URL.
    """
    routes = APIRouter(prefix="/audit", tags=["audit"], responses=_REFUSALS)
    desk = _Desk(engine, ledger, clock)

    def answered(answer: Callable[[], Response]) -> Response:
        try:
            return answer()
        except (sa.exc.SQLAlchemyError, NotRecorded) as error:
            return problem(503, "The database does not answer", type(error).__name__)

    @routes.post(
        "/search",
        summary="Entries, newest first",
        dependencies=[requires(Verb.READ, Resource.AUDIT)],
    )
    def searched(wanted: Page, request: Request) -> Response:
        def answer() -> Response:
            with reading(engine) as connection:
                found = list(
                    search(connection, desk.sought(wanted), limit=wanted.limit, before=wanted.before)
                )
            desk.note(request, Kind.SEARCH, {"rows": len(found)}, wanted.patient)
            more = found[-1].index if len(found) == wanted.limit else None
            return _json({"entries": [as_json(link) for link in found], "next": more})

        return answered(answer)

    @routes.post(
        "/export",
        summary="Entries as a file: its rows and SM3 digest stand in the headers and in the audit log",
        dependencies=[requires(Verb.EXPORT, Resource.AUDIT)],
        response_class=StreamingResponse,
    )
    def exported(wanted: Export, request: Request) -> Response:
        def answer() -> Response:
            form, media = _FORMATS[wanted.format]
            # On disk first: the headers and the audit log tell the digest before the first byte goes out.
            file = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115 - closed when it is sent
            with reading(engine) as connection:
                counted = Counted(search(connection, desk.sought(wanted)))
                for piece in counted.pieces(form(counted.links())):
                    file.write(piece)
            digest = counted.digest()
            detail: dict[str, str | int] = {
                "file_digest": digest,
                "format": wanted.format,
                "rows": counted.rows,
            }
            desk.note(request, Kind.EXPORT, detail, wanted.patient)
            file.seek(0)
            headers = {
                "Content-Disposition": f'attachment; filename="audit.{wanted.format}"',
                "RuleWard-Rows": str(counted.rows),
                "RuleWard-Digest": digest,
                "Cache-Control": "no-store",
            }
            return StreamingResponse(_sent(file), headers=headers, media_type=media)

        return answered(answer)

    @routes.get(
        "/AuditEvent",
        summary="Entries as a FHIR R4 Bundle of AuditEvents, newest first",
        response_class=Response,
        responses={
            200: {
                "description": "A Bundle",
                "content": {"application/fhir+json": {"schema": {"type": "object"}}},
            }
        },
        dependencies=[requires(Verb.READ, Resource.AUDIT)],
    )
    def audit_events(
        request: Request,
        agent: Annotated[str | None, Query(max_length=256, pattern=_TEXT, description="Account")] = None,
        since: Annotated[Moment | None, Query(description="Inclusive")] = None,
        until: Annotated[Moment | None, Query(description="Exclusive")] = None,
        count: Annotated[int, Query(alias="_count", ge=1, le=_PAGE)] = 100,
        before: Annotated[int | None, Query(ge=1, le=_LAST_INDEX, description="Of the link `next`")] = None,
    ) -> Response:
        def answer() -> Response:
            sought = Sought(who=agent, since=since, until=until)
            with reading(engine) as connection:
                chain = standing(connection).chain
                found = list(search(connection, sought, limit=count, before=before))
            desk.note(request, Kind.SEARCH, {"format": "fhir", "rows": len(found)}, None)
            links = [{"relation": "self", "url": str(request.url)}]
            if len(found) == count:
                following = request.url.include_query_params(before=found[-1].index)
                links.append({"relation": "next", "url": str(following)})
            entries = [{"resource": as_audit_event(link, chain)} for link in found]
            bundle = {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}
            return _json(bundle, "application/fhir+json")

        return answered(answer)

    @routes.get(
        "/heads",
        summary="Signed heads, a line each, for a witness outside",
        dependencies=[requires(Verb.READ, Resource.AUDIT)],
        response_class=Response,
    )
    def signed_heads(
        after: Annotated[int, Query(ge=0, le=_LAST_INDEX, description="Number of the last head known")] = 0,
    ) -> Response:
        def answer() -> Response:
            with reading(engine) as connection:
                found = heads(connection, after=after)
            return Response(b"".join(map(head_line, found)), media_type="application/x-ndjson")

        return answered(answer)

    return routes


def _sent(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece


def _json(body: object, media: str = "application/json") -> Response:
    return Response(msgspec.json.encode(body), media_type=media, headers={"Cache-Control": "no-store"})
