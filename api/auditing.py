"""Join the audit log to the rest: who signs its heads, what identity reports, how the clock goes."""

from __future__ import annotations

import base64
import datetime as dt
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from adapters.gm_crypto.keys import KeyStore, Use
from adapters.gm_crypto.provider import Provider
from adapters.store.sealing import Seal
from engine.audit import Event, Head, Kind, Result, SignedHead, event
from engine.errors import RuleWardError
from engine.ports import Clock

__all__ = [
    "ClockWatch",
    "Happened",
    "KeySigner",
    "Monotonic",
    "event_of",
    "head_line",
    "read_witness",
    "write_witness",
]


class KeySigner:
    """Sign with the key store's SM2 key: fulfils ``engine.ports.Signer``."""

    def __init__(self, provider: Provider, store: KeyStore) -> None:
        self._provider, self._store = provider, store

    def sign(self, content: bytes, /) -> tuple[str, bytes]:
        """Return the id of the active key and the DER signature; 13 ms in software."""
        key = self._store.ring().active(Use.SIGN)
        return key.id, self._provider.sign(key.material, content)

    def verify(self, content: bytes, key_id: str, signature: bytes, /) -> bool:
        """Say whether the signature is good and by one of our signing keys, old ones too."""
        key = self._store.ring().find(key_id)
        if key is None or key.use is not Use.SIGN:
            return False
        return self._provider.verify(self._provider.public_key(key.material), content, signature)


class Happened(Protocol):
    """What identity reports; ``engine.identity.Happening`` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def result(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def by(self) -> str: ...
    @property
    def detail(self) -> str: ...


_KINDS: Final = {
    "sign_out": Kind.LOGOUT,
    "account": Kind.PERMISSION_CHANGE,
    "client": Kind.CONFIGURATION,
    "glass": Kind.BREAK_GLASS,
    "refused_token": Kind.ACCESS_DENIED,
}
_BAD: Final = {
    "refused": Result.DENIED,
    "forbidden": Result.DENIED,
    "locked": Result.DENIED,
    "code_reused": Result.FAILURE,
    "refresh_reused": Result.FAILURE,
}


def event_of(happening: Happened, at: dt.datetime, source: str = "") -> Event:
    """Return the event of what identity reports; its own words stay in the detail."""
    result = _BAD.get(happening.result, Result.SUCCESS)
    kind = _KINDS.get(happening.kind)
    if kind is None:
        signing_in = happening.kind in {"sign_in", "lock"}
        if signing_in:
            kind = (
                Kind.LOGIN if result is Result.SUCCESS and happening.kind == "sign_in" else Kind.LOGIN_FAILED
            )
        else:  # password, second factor, token
            kind = Kind.PERMISSION_CHANGE if result is Result.SUCCESS else Kind.LOGIN_FAILED
    return event(
        kind,
        at=at,
        who=happening.by or happening.subject or "unknown",
        result=result,
        source=source,
        object=f"account/{happening.subject}" if happening.subject else "",
        detail={
            "operation": happening.kind[:64],
            "outcome": happening.result[:64],
            "method": happening.detail[:256],
        },
    )


def sealed_note(seal: Seal, text: str) -> bytes:
    """Return free text as an event may carry it (a reason, a comment); nothing where there are no keys."""
    key = seal.active()
    return seal.seal(text.encode(errors="replace"), b"audit/note", key) if key and text else b""


class Monotonic(Protocol):
    """Tell seconds that no change of the clock touches."""

    def __call__(self) -> float: ...


class ClockWatch:
    """Notice when the clock was set: the wall's time against one that only runs.

    ``tolerance`` in seconds; slewing by NTP (at most 0.5 ms a second) stays below it. One a thread.
    """

    def __init__(self, clock: Clock, monotonic: Monotonic, tolerance: float = 1.0) -> None:
        self._clock, self._monotonic, self._tolerance = clock, monotonic, tolerance
        self._wall, self._running = clock(), monotonic()

    def look(self) -> float:
        """Return by how many seconds the clock has jumped since the last look, 0 if it has not."""
        wall, running = self._clock(), self._monotonic()
        jump = (wall - self._wall).total_seconds() - (running - self._running)
        self._wall, self._running = wall, running
        return jump if abs(jump) > self._tolerance else 0.0


class _Line(msgspec.Struct):
    """A head as a line of the witness's file."""

    chain: str
    number: int
    index: int
    digest: str
    at: dt.datetime
    previous: str
    key_id: str
    signature: str  # base64 of DER


def witness_path(environment: Mapping[str, str], data: Path) -> Path | None:
    """Return where heads go for a witness: RULEWARD_AUDIT_WITNESS, ``-`` for nowhere, else beside the data.

    Only a file on another machine, or on a disk that is written once, is a witness: see the audit guide.
    """
    stated = environment.get("RULEWARD_AUDIT_WITNESS") or ""
    if stated == "-":
        return None
    return Path(stated).absolute() if stated else data / "audit-witness.ndjson"


def write_witness(path: Path, heads: Iterable[SignedHead]) -> None:
    """Append heads to the witness's file, a line each, and sync; raises ``OSError``."""
    lines = b"".join(map(head_line, heads))
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.write(file, lines)
        os.fsync(file)
    finally:
        os.close(file)


def read_witness(path: Path) -> list[SignedHead]:
    """Return the heads of a witness's file; ``RuleWardError`` names a line that cannot be read.

    A last line without its end is left out: the machine stopped while it was written.
    """
    heads: list[SignedHead] = []
    content = path.read_bytes()
    for number, text in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            line = msgspec.json.decode(text, type=_Line)
            signature = base64.b64decode(line.signature, validate=True)
        except (msgspec.DecodeError, ValueError) as error:
            raise RuleWardError(
                f"{path}: line {number} is no signed head. Bring an unaltered copy."
            ) from error
        head = Head(
            chain=line.chain,
            number=line.number,
            index=line.index,
            digest=line.digest,
            at=line.at,
            previous=line.previous,
        )
        heads.append(SignedHead(head, line.key_id, signature))
    return heads


def head_line(one: SignedHead) -> bytes:
    """Return a head as a line of the witness's file."""
    head = one.head
    line = _Line(
        head.chain,
        head.number,
        head.index,
        head.digest,
        head.at,
        head.previous,
        one.key_id,
        base64.b64encode(one.signature).decode(),
    )
    return msgspec.json.encode(line) + b"\n"
