"""A good change arrives in every worker; a bad one leaves what is in force where it is, and says so."""

from __future__ import annotations

import datetime as dt
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, Protocol

import msgspec
import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.gm_crypto.sm3 import sm3
from adapters.releases.announcer import Bell
from adapters.releases.bundle import LARGEST
from adapters.store import releases as store
from adapters.store import tables
from adapters.store.database import open_database
from api.publishing import Publisher
from api.rollout import Follower
from engine.decision import Stage
from engine.evaluate import evaluate
from engine.facts import Facts, Medication, Patient

MAN = Facts(
    patient=Patient(sex="male", age_years=40.0),
    medications=(Medication(id="m1", name="alpha", in_focus=True),),
)
AT = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)


class Folder(Protocol):
    RULE: str
    CASES: str
    TABLE: str
    root: Path

    def write(self, path: str, text: str) -> None: ...
    def replace(self, path: str, old: str, new: str) -> None: ...
    def say(self, words: str) -> None: ...
    def mend(self) -> None: ...


class RedisServer(Protocol):
    url: str

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def client(self) -> redis.Redis: ...


def clock() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Site:
    """A publisher and followers on one database, stepped by hand."""

    def __init__(self, url: str, folder: Folder, data: Path) -> None:
        self.url, self.folder, self.data = url, folder, data
        self._engines: list[Engine] = []
        self.engine = self._open()
        self.publisher = Publisher(folder.root, self._open(), Bell(None), sm3, clock)

    def _open(self) -> Engine:
        self._engines.append(open_database(self.url, patience=2.0))
        return self._engines[-1]

    def follower(self, name: str = "one", bell: Bell | None = None, poll: float = 0.05) -> Follower:
        return Follower(self._open(), bell or Bell(None), sm3, clock, self.data / name, poll)

    def publish(self) -> bool:
        return self.publisher.publish()

    def announced(self) -> str:
        latest = store.latest_announcement(self.engine)
        assert latest is not None
        return latest.release

    def tamper(self, change: Callable[[bytes], bytes]) -> str:
        """Announce a release whose blob was changed in the database; return its digest."""
        self.folder.say("tampered")
        assert self.publish()
        name = self.announced()
        with self.engine.begin() as connection:
            blob = connection.execute(
                sa.select(tables.release.c.content).where(tables.release.c.digest == name)
            ).scalar_one()
            connection.execute(
                sa.update(tables.release)
                .where(tables.release.c.digest == name)
                .values(content=change(bytes(blob)))
            )
        return name

    def close(self) -> None:
        self.publisher.stop()
        for engine in self._engines:
            engine.dispose()


@pytest.fixture
def site(url: str, rules_folder: Folder, tmp_path: Path) -> Iterator[Site]:
    made = Site(url, rules_folder, tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def embedded(sqlite_url: str, rules_folder: Folder, tmp_path: Path) -> Iterator[Site]:
    """Give a site on SQLite alone, for what does not depend on the database."""
    made = Site(sqlite_url, rules_folder, tmp_path / "data")
    yield made
    made.close()


def says(follower: Follower) -> str:
    """Return what the rule in force says about the man."""
    snapshot = follower.now()
    assert snapshot is not None
    decision = evaluate(snapshot, MAN, AT, Stage.ORDER_SIGN)
    return decision.findings[0].message.en


def test_an_edited_rule_gets_in_force_in_every_worker(site: Site) -> None:
    assert site.publish()
    one, other = site.follower("one"), site.follower("other")
    one.look()
    other.look()
    assert says(one) == says(other) == "alpha is for female patients"
    site.folder.say("now")
    assert site.publish()
    one.look()
    assert says(one) == "alpha now is for female patients"
    assert says(other) == "alpha is for female patients"
    other.look()
    assert one.standing.release == other.standing.release == site.announced()
    assert not one.standing.refused
    assert one.standing.rejection is None


def test_the_same_folder_is_announced_once(site: Site) -> None:
    assert site.publish()
    first = store.latest_announcement(site.engine)
    assert site.publish()
    assert store.latest_announcement(site.engine) == first


RULE_PAGE, CASES_PAGE = "rules/demo/sex_limit/rule.yaml", "rules/demo/sex_limit/cases.yaml"


def unlink(folder: Folder, *names: str) -> None:
    for name in names:
        (folder.root / name).unlink()


def move_away(folder: Folder) -> None:
    folder.root.rename(folder.root.with_name("gone"))


BROKEN: dict[str, tuple[Callable[[Folder], None], str, str]] = {
    "bad YAML": (lambda f: f.write(f.RULE, "id: demo\nwhen: [unclosed"), RULE_PAGE, "cannot be read"),
    "an unknown fact": (lambda f: f.replace(f.RULE, "patient.sex", "patient.shoe"), RULE_PAGE, "shoe"),
    "a failing case": (
        lambda f: f.replace(f.CASES, "sex: female", "sex: male"),
        f"{CASES_PAGE}: a woman gets it",
        "silent",
    ),
    "a missing table": (lambda f: unlink(f, f.TABLE), "rules/knowledge/demo_limits.csv", "missing"),
    "a cell that is no day": (
        lambda f: f.replace(f.TABLE, "2026-01-08\nbeta", "yesterday\nbeta"),
        "rules/knowledge/demo_limits.csv: line 2",
        "no date",
    ),
    "an unknown operator": (
        lambda f: f.replace(f.RULE, "operator: not_equal_to", "operator: differs"),
        RULE_PAGE,
        "differs",
    ),
    "a missing parameter": (
        lambda f: unlink(f, "parameters/demo_age_years.yaml"),
        RULE_PAGE,
        "demo_age_years",
    ),
    "a file without a place": (
        lambda f: f.write("demo/notes.yaml", "a: 1\n"),
        "rules/demo/notes.yaml",
        "no place",
    ),
    "no rule at all": (lambda f: unlink(f, f.RULE, f.CASES), "rules", "no rule"),
    "no folder at all": (move_away, "rules", "is no folder"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_change_keeps_the_old_and_says_where_and_how_to_mend(embedded: Site, kind: str) -> None:
    breaks, where, what = BROKEN[kind]
    embedded.publish()
    follower = embedded.follower()
    follower.look()
    breaks(embedded.folder)
    assert not embedded.publish()
    follower.look()
    assert says(follower) == "alpha is for female patients"
    rejection = follower.standing.rejection
    assert rejection is not None
    told = [problem for problem in rejection.problems if problem.where.startswith(where)]
    assert told, rejection
    assert any(what in problem.what for problem in told)
    assert all(problem.mend for problem in told)


def is_refused(follower: Follower) -> bool:
    return follower.standing.rejection is not None


def test_a_mended_folder_clears_the_refusal(site: Site) -> None:
    site.publish()
    follower = site.follower()
    follower.look()
    site.folder.write(site.folder.RULE, "id: [")
    site.publish()
    follower.look()
    assert is_refused(follower)
    site.folder.mend()
    assert site.publish()
    follower.look()
    assert not is_refused(follower)
    assert says(follower) == "alpha is for female patients"


def test_a_fault_of_ours_in_reading_a_folder_is_reported_and_does_not_end_the_watch(
    embedded: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.publish()

    def breaks(*_: object) -> NoReturn:
        raise KeyError("surprise")

    monkeypatch.setattr("api.publishing.examine", breaks)
    published = embedded.publish()
    assert not published
    rejection = store.latest_rejection(embedded.engine)
    assert rejection is not None
    assert "KeyError" in rejection.problems[0].what


def opened(blob: bytes) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.msgpack.decode(zlib.decompress(blob))
    return plain


def altered(blob: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    plain = opened(blob)
    change(plain)
    return zlib.compress(msgspec.msgpack.encode(plain))


TABLE = "knowledge/demo_limits.csv"
TAMPERED: dict[str, Callable[[bytes], bytes]] = {
    "a table row altered": lambda b: altered(
        b, lambda p: p["files"].update({TABLE: p["files"][TABLE].replace(b"female", b"male")})
    ),
    "a file extra": lambda b: altered(b, lambda p: p["files"].update({"demo/x/rule.yaml": b"{}"})),
    "a file missing": lambda b: altered(b, lambda p: p["files"].pop("demo/sex_limit/cases.yaml")),
    "a file renamed": lambda b: altered(
        b, lambda p: p["files"].update({"knowledge/other.csv": p["files"].pop(TABLE)})
    ),
    "zero rules": lambda b: altered(b, lambda p: p["files"].clear()),
    "a wrong digest in the manifest": lambda b: altered(
        b, lambda p: p["manifest"]["files"].update({TABLE: "sm3:" + "0" * 64})
    ),
    "another digest of the whole": lambda b: altered(b, lambda p: p["manifest"].update({"digest": "sm3:0"})),
    "a field more": lambda b: altered(b, lambda p: p["manifest"].update({"alg": "none"})),
    "cut off": lambda b: b[: len(b) // 2],
    "its end cut off": lambda b: b[:-1],
    "a bit turned": lambda b: b[:30] + bytes([b[30] ^ 1]) + b[31:],
    "empty": lambda _: b"",
    "no zlib": lambda _: b"not compressed",
    "no bundle": lambda _: zlib.compress(msgspec.msgpack.encode(["rules"])),
    "no msgpack": lambda _: zlib.compress(b"\xc1\xc1"),
    "something behind it": lambda b: b + b"x",
    "a bomb": lambda _: zlib.compress(b"\x00" * (LARGEST // 8)),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_release_altered_in_the_database_is_refused_and_the_old_keeps_deciding(
    embedded: Site, kind: str
) -> None:
    embedded.publish()
    follower = embedded.follower()
    follower.look()
    before = follower.standing.release
    name = embedded.tamper(TAMPERED[kind])
    follower.look()
    assert follower.standing.release == before
    assert follower.standing.refused == name
    assert follower.standing.problems[0].where.startswith("release ")
    assert follower.standing.problems[0].mend
    assert says(follower) == "alpha is for female patients"


def test_an_older_release_under_a_newer_name_is_refused(site: Site) -> None:
    site.publish()
    old = store.get_release(site.engine, site.announced())
    assert old is not None
    follower = site.follower()
    follower.look()
    site.tamper(lambda _: old.content)
    follower.look()
    assert old.digest in follower.standing.problems[0].what
    assert follower.standing.release == old.digest


def test_a_whole_release_whose_case_fails_in_the_worker_is_refused(
    embedded: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.publish()
    follower = embedded.follower()
    follower.look()
    embedded.folder.replace(embedded.folder.CASES, "sex: female", "sex: male")
    monkeypatch.setattr("api.publishing.run_cases", lambda *_: ())
    assert embedded.publish()
    follower.look()
    assert follower.standing.refused == embedded.announced()
    assert "a woman gets it" in follower.standing.problems[0].where
    assert says(follower) == "alpha is for female patients"


def test_the_publisher_writes_an_altered_release_anew(site: Site) -> None:
    site.publish()
    follower = site.follower()
    follower.look()
    site.tamper(lambda b: b[:-1])
    follower.look()
    assert follower.standing.refused
    assert site.publish()
    follower.look()
    assert not follower.standing.refused
    assert says(follower) == "alpha tampered is for female patients"


def test_a_release_may_be_taken_back_by_announcing_the_one_before(site: Site) -> None:
    site.publish()
    first = site.announced()
    follower = site.follower()
    follower.look()
    site.folder.say("newer")
    site.publish()
    follower.look()
    assert says(follower) == "alpha newer is for female patients"
    store.announce(site.engine, first, at=clock())
    follower.look()
    assert says(follower) == "alpha is for female patients"


def test_without_a_database_the_last_good_release_is_loaded_from_disk(embedded: Site, tmp_path: Path) -> None:
    embedded.publish()
    follower = embedded.follower("same")
    follower.look()
    away = open_database(f"sqlite:///{tmp_path}/away/none.db", patience=0.1)
    cold = Follower(away, Bell(None), sm3, clock, embedded.data / "same", 0.05)
    cold.start(wait_seconds=0.1)
    try:
        assert cold.standing.from_disk
        assert cold.standing.trouble
        assert says(cold) == "alpha is for female patients"
    finally:
        cold.close()
        away.dispose()


def last_good(folder: Path) -> Path:
    return folder / "last-good.release"


ON_DISK: dict[str, Callable[[bytes], bytes]] = {
    "a bit turned": lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:],
    "cut off": lambda b: b[:-10],
    "another name": lambda b: b"sm3:" + b"0" * 64 + b[b.index(b"\n") :],
    "no name": lambda b: b[b.index(b"\n") + 1 :],
    "empty": lambda _: b"",
    "a table row altered": lambda b: (
        b[: b.index(b"\n") + 1] + TAMPERED["a table row altered"](b[b.index(b"\n") + 1 :])
    ),
}


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_disk_copy_that_was_altered_is_not_loaded(embedded: Site, tmp_path: Path, kind: str) -> None:
    embedded.publish()
    follower = embedded.follower("same")
    follower.look()
    copy = last_good(embedded.data / "same")
    copy.write_bytes(ON_DISK[kind](copy.read_bytes()))
    away = open_database(f"sqlite:///{tmp_path}/away/none.db", patience=0.1)
    cold = Follower(away, Bell(None), sm3, clock, embedded.data / "same", 0.05)
    cold.start(wait_seconds=0.1)
    try:
        assert cold.now() is None
        assert cold.standing.problems
    finally:
        cold.close()
        away.dispose()


def test_a_worker_that_starts_before_the_first_announcement_waits_for_it(embedded: Site) -> None:
    follower = embedded.follower()
    embedded.publisher.start()
    try:
        follower.start(wait_seconds=20)
        assert says(follower) == "alpha is for female patients"
    finally:
        follower.close()


def test_a_worker_does_not_wait_for_what_was_refused(embedded: Site) -> None:
    embedded.folder.write(embedded.folder.RULE, "id: [")
    embedded.publish()
    follower = embedded.follower()
    began = time.monotonic()
    follower.start(wait_seconds=60)
    try:
        assert time.monotonic() - began < 30
        assert follower.now() is None
        assert follower.standing.rejection is not None
    finally:
        follower.close()


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_watched_folder_is_published_followed_refused_and_mended_by_itself(site: Site) -> None:
    follower = site.follower()
    site.publisher.start()
    follower.start(wait_seconds=20)
    try:
        site.folder.say("live")
        eventually(lambda: says(follower) == "alpha live is for female patients")
        site.folder.write(site.folder.RULE, "id: [")
        eventually(lambda: follower.standing.rejection is not None)
        assert says(follower) == "alpha live is for female patients"
        site.folder.mend()
        eventually(lambda: follower.standing.rejection is None)
        eventually(lambda: says(follower) == "alpha is for female patients")
    finally:
        follower.close()


def test_a_folder_that_goes_away_and_comes_back_is_watched_again(embedded: Site) -> None:
    follower = embedded.follower()
    embedded.publisher.start()
    follower.start(wait_seconds=20)
    try:
        embedded.folder.root.rename(embedded.folder.root.with_name("away"))
        eventually(lambda: follower.standing.rejection is not None)
        embedded.folder.root.with_name("away").rename(embedded.folder.root)
        eventually(lambda: follower.standing.rejection is None)
        embedded.folder.say("again")
        eventually(lambda: says(follower) == "alpha again is for female patients")
    finally:
        follower.close()


def test_a_second_publisher_stands_by_until_the_first_ends(embedded: Site, new_rules_folder: Any) -> None:
    other_folder = new_rules_folder(embedded.folder.root.with_name("other"))
    other_folder.say("second")
    follower = embedded.follower()
    second = Site(embedded.url, other_folder, embedded.data)
    embedded.publisher.start()
    follower.start(wait_seconds=20)
    second.publisher.start()
    try:
        time.sleep(0.3)
        follower.look()
        assert says(follower) == "alpha is for female patients"
        embedded.publisher.stop()
        eventually(lambda: says(follower) == "alpha second is for female patients")
    finally:
        follower.close()
        second.close()


@pytest.mark.redis
def test_redis_brings_a_release_long_before_the_next_look(site: Site, redis_server: RedisServer) -> None:
    site.publish()
    follower = site.follower(bell=Bell(redis_server.url), poll=300.0)
    follower.start(wait_seconds=20)
    ringing = Publisher(site.folder.root, site.engine, Bell(redis_server.url), sm3, clock)
    try:
        time.sleep(0.2)
        redis_server.client().flushall()
        site.folder.say("rung")
        ringing.publish()
        eventually(lambda: says(follower) == "alpha rung is for female patients")
    finally:
        follower.close()


@pytest.mark.redis
def test_a_release_arrives_by_the_next_look_while_redis_is_down(
    site: Site, redis_server: RedisServer
) -> None:
    site.publish()
    follower = site.follower(bell=Bell(redis_server.url), poll=0.05)
    follower.start(wait_seconds=20)
    ringing = Publisher(site.folder.root, site.engine, Bell(redis_server.url), sm3, clock)
    try:
        redis_server.kill()
        site.folder.say("quiet")
        assert ringing.publish()
        eventually(lambda: says(follower) == "alpha quiet is for female patients")
    finally:
        follower.close()


def test_what_did_not_change_is_taken_over_and_what_changed_is_not(embedded: Site) -> None:
    embedded.publish()
    follower = embedded.follower()
    follower.look()
    first = follower.now()
    embedded.folder.say("newly")
    embedded.publish()
    follower.look()
    second = follower.now()
    assert first is not None
    assert second is not None
    assert second.tables["demo_limits"] is first.tables["demo_limits"]
    assert second.drugs is first.drugs
    assert second.checks["demo.sex_limit"] is not first.checks["demo.sex_limit"]
    embedded.folder.replace(embedded.folder.TABLE, "beta,male", "gamma,male")
    embedded.publish()
    follower.look()
    third = follower.now()
    assert third is not None
    assert third.tables["demo_limits"] is not second.tables["demo_limits"]
    assert third.rules["demo.sex_limit"] is second.rules["demo.sex_limit"]
    assert third.checks["demo.sex_limit"] is not second.checks["demo.sex_limit"]
    assert says(follower) == "alpha newly is for female patients"
    embedded.folder.replace("parameters/demo_age_years.yaml", "value: 14", "value: 90")
    embedded.folder.replace(embedded.folder.CASES, "1980-05-01", "1920-05-01")
    assert embedded.publish()
    follower.look()
    fourth = follower.now()
    assert fourth is not None
    assert evaluate(fourth, MAN, AT, Stage.ORDER_SIGN).findings == ()


def test_reloads_do_not_pile_up_old_releases(embedded: Site) -> None:
    import gc
    import weakref

    embedded.publish()
    follower = embedded.follower()
    follower.look()
    held: list[weakref.ref[object]] = []
    for number in range(5):
        snapshot = follower.now()
        assert snapshot is not None
        held.append(weakref.ref(snapshot))
        del snapshot
        embedded.folder.say(f"take {number}")
        embedded.publish()
        follower.look()
    gc.collect()
    assert [one() for one in held] == [None] * 5
