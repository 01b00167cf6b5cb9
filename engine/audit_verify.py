"""Read an audit chain against its heads and name what was altered, taken out, put in, moved or cut off."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from engine.audit import Kind, Link, SignedHead, head_content, link_digest, root_of
from engine.ports import Digest

__all__ = ["Fault", "Report", "Standing", "Wrong", "verify"]

Genuine = Callable[[SignedHead], bool]
"""Say whether the signature of a head is good."""

_BACKWARDS: Final = dt.timedelta(seconds=5)
"""Workers write in the order in which they commit, some milliseconds apart from the order of their clocks."""
_SOUGHT: Final = 64


class Wrong(enum.StrEnum):
    """What is wrong with a chain."""

    ALTERED = "altered"
    MISSING = "missing"
    MOVED = "re-ordered"
    INSERTED = "inserted"
    REWRITTEN = "rewritten"
    CUT = "cut off"
    ROLLED_BACK = "rolled back"
    HEAD = "head"
    CLOCK = "clock"


class Fault(msgspec.Struct, frozen=True, order=True):
    """One fault: the first and last index that it is about, and what it means."""

    first: int
    last: int
    wrong: Wrong
    what: str


class Standing(msgspec.Struct, frozen=True):
    """Where the database says that its chain ends; ``genuine`` says whether its own key vouches for it."""

    chain: str
    index: int
    digest: str
    genuine: bool = True


class Report(msgspec.Struct, frozen=True):
    """What a verification found: ``faults`` is empty when all is well."""

    chain: str
    entries: int
    index: int  # of the last entry
    digest: str
    heads: int
    signed_to: int  # what comes later is vouched for by no signature yet
    faults: tuple[Fault, ...]


def verify(
    links: Iterable[Link],
    standing: Standing,
    heads: Sequence[SignedHead],
    witnessed: Sequence[SignedHead],
    *,
    digest: Digest,
    genuine: Genuine,
    begin: SignedHead | None = None,
) -> Report:
    """Verify ``links``, in the order in which they are stored, against everything that fixes them.

    ``heads`` are those of the database, ``witnessed`` those that a witness outside holds. A head states the
    digest of the one before, so the newest signature vouches for all; only heads that no believed head
    follows need theirs looked at (an SM2 signature takes 23 ms, and there may be one a minute).
    With ``begin``, ``links`` and ``heads`` are only those after that head.
    """
    reader = _Reader(standing, digest)
    if begin is not None:
        reader.begin(begin, genuine)
    own = reader.heads(heads, genuine, "this database", whole=begin is None)
    outside = reader.heads(witnessed, genuine, "the witness", whole=False)
    claims = reader.claims(own, outside)
    for link in links:
        reader.read(link, claims)
    reader.end(own, outside)
    return Report(
        standing.chain,
        reader.entries,
        reader.index,
        reader.last,
        len(own),
        max((one.head.index for one in own.values()), default=0),
        tuple(sorted(reader.faults)),
    )


_Heads = dict[int, SignedHead]


class _Reader:
    def __init__(self, standing: Standing, digest: Digest) -> None:
        self.standing, self.digest = standing, digest
        self.faults: list[Fault] = []
        self.entries = 0
        self.index, self.last = 0, root_of(standing.chain, digest)
        self.digest_at_standing = self.last if standing.index == 0 else ""
        self._latest: dt.datetime | None = None
        self._altered: list[Link] = []
        self._seen: set[int] = set()

    def _fault(self, first: int, last: int, wrong: Wrong, what: str) -> None:
        self.faults.append(Fault(first, last, wrong, what))

    def begin(self, begin: SignedHead, genuine: Genuine) -> None:
        """Take for granted what an earlier head covers, if that head can be believed."""
        head = begin.head
        if head.chain != self.standing.chain or not genuine(begin):
            self._fault(
                head.index,
                head.index,
                Wrong.HEAD,
                f"head {head.number} of this database is not to be believed",
            )
        self.index, self.last = head.index, head.digest
        if self.standing.index == head.index:
            self.digest_at_standing = head.digest

    def heads(
        self, signed: Sequence[SignedHead], genuine: Genuine, where: str, *, whole: bool = True
    ) -> _Heads:
        """Return the heads that can be believed, by number; ``whole``: all to the last must be there."""
        by_number: dict[int, list[SignedHead]] = {}
        for one in signed:
            by_number.setdefault(one.head.number, []).append(one)
        good: _Heads = {}
        for number in sorted(by_number, reverse=True):
            after = good.get(number + 1)
            for one in by_number[number]:
                vouched = after is not None and after.head.previous == self.digest(head_content(one.head))
                what = self._against(one, good, genuine, vouched=vouched)
                if what:
                    self._fault(
                        one.head.index, one.head.index, Wrong.HEAD, f"head {number} of {where} {what}"
                    )
                else:
                    good[number] = one
                if after is not None and not vouched:
                    self._fault(
                        one.head.index,
                        after.head.index,
                        Wrong.HEAD,
                        f"head {number} of {where} is not the one that head {number + 1} follows",
                    )
        for number in range(1, max(by_number, default=0)) if whole else ():
            if number not in by_number:
                self._fault(0, 0, Wrong.HEAD, f"head {number} of {where} is missing")
        return good

    def _against(self, one: SignedHead, good: _Heads, genuine: Genuine, *, vouched: bool) -> str:
        """Return what speaks against a head, nothing if it can be believed."""
        if one.head.chain != self.standing.chain:
            return "is of another chain"
        if one.head.number in good and good[one.head.number].head != one.head:
            return "stands there twice"
        return "" if vouched or genuine(one) else "has a signature that is not good"

    def claims(self, own: _Heads, outside: _Heads) -> dict[int, list[tuple[str, str]]]:
        """Return by index which digest each head states."""
        claims: dict[int, list[tuple[str, str]]] = {}
        for heads, where in ((own, "this database"), (outside, "the witness")):
            for number, one in heads.items():
                claims.setdefault(one.head.index, []).append((one.head.digest, f"head {number} of {where}"))
        return claims

    def read(self, link: Link, claims: dict[int, list[tuple[str, str]]]) -> None:
        """Check one entry by itself, against the one before, and against the heads."""
        self.entries += 1
        index = link.index
        whole = link_digest(link.previous, index, link.event, self.digest) == link.digest
        if not whole:
            self._altered.append(link)
            self._fault(index, index, Wrong.ALTERED, f"entry {index} is not what its digest says")
        if index in self._seen or index <= self.index:
            again = index in self._seen
            self._fault(
                index,
                index,
                Wrong.INSERTED if again else Wrong.MOVED,
                f"entry {index} stands there twice"
                if again
                else f"entry {index} stands after entry {self.index}",
            )
        elif index > self.index + 1:
            first, last = self.index + 1, index - 1
            self._fault(first, last, Wrong.MISSING, f"entries {first} to {last} are missing")
        elif link.previous != self.last:
            self._fault(
                index - 1,
                index,
                Wrong.REWRITTEN,
                f"entry {index} follows another entry than the {index - 1} that stands there"
                if index > 1
                else "the first entry does not begin this chain",
            )
        self._seen.add(index)
        self._clock(link)
        for stated, who in claims.get(index, ()):
            if stated != link.digest:
                self._fault(index, index, Wrong.REWRITTEN, f"{who} states another digest of entry {index}")
        if index == self.standing.index:
            self.digest_at_standing = link.digest
        self.index, self.last = max(index, self.index), link.digest

    def _clock(self, link: Link) -> None:
        at = link.event.at
        # Feedback carries the moment at which a user acted, which another clock tells.
        if link.event.kind in {Kind.FEEDBACK, Kind.OVERRIDE}:
            return
        if link.event.kind is Kind.CLOCK_JUMP:
            self._latest = at
        elif self._latest is not None and at < self._latest - _BACKWARDS:
            self._fault(
                link.index,
                link.index,
                Wrong.CLOCK,
                f"time runs backwards at entry {link.index}, with no clock jump noted",
            )
            self._latest = at
        else:
            self._latest = at if self._latest is None else max(at, self._latest)

    def end(self, own: _Heads, outside: _Heads) -> None:
        """Check what only shows at the end: where the chain stops and which heads it lacks."""
        self._name_the_moved()
        standing = self.standing
        if not standing.genuine:
            self._fault(
                standing.index, standing.index, Wrong.REWRITTEN, "the note of where the chain ends is forged"
            )
        if standing.index > self.index:
            self._fault(
                self.index + 1,
                standing.index,
                Wrong.CUT,
                f"entries {self.index + 1} to {standing.index} are cut off the end",
            )
        elif standing.index < self.index:
            self._fault(
                standing.index + 1,
                self.index,
                Wrong.INSERTED,
                f"entries {standing.index + 1} to {self.index} were put behind the end of the chain",
            )
        elif standing.digest != self.digest_at_standing:
            self._fault(
                standing.index,
                standing.index,
                Wrong.REWRITTEN,
                "the chain ends in another digest than was noted",
            )
        for number, one in own.items():
            if one.head.index > self.index:
                self._fault(
                    self.index + 1,
                    one.head.index,
                    Wrong.CUT,
                    f"head {number} was signed over entries that are cut off",
                )
        for number, one in outside.items():
            mine = own.get(number)
            if mine is None or mine.head != one.head:
                self._fault(
                    one.head.index,
                    one.head.index,
                    Wrong.ROLLED_BACK,
                    f"the witness holds head {number} over {one.head.index} entries, this database does not:"
                    " an older state was restored, or the heads were taken out",
                )

    def _name_the_moved(self) -> None:
        """Say of an altered entry that it is whole at another's place, where that is so."""
        places = [link.index for link in self._altered[:_SOUGHT]]
        places += [fault.first for fault in self.faults if fault.wrong is Wrong.MISSING][:_SOUGHT]
        for link in self._altered[:_SOUGHT]:
            for place in places:
                if place != link.index and self._fits(link, place):
                    self._fault(
                        min(place, link.index),
                        max(place, link.index),
                        Wrong.MOVED,
                        f"what stands as entry {link.index} was entry {place}",
                    )

    def _fits(self, link: Link, index: int) -> bool:
        return link_digest(link.previous, index, link.event, self.digest) == link.digest
