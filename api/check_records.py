"""Check whole patient records at the prompt: FHIR bundles in files, folders or tar archives."""

from __future__ import annotations

import datetime as dt
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import msgspec

from adapters.emr.mapping import from_bundle, to_facts
from adapters.emr.settings import Settings
from adapters.gm_crypto.sm3 import sm3
from adapters.releases.folder import read_folder
from engine.decision import Decision, Finding, NotChecked, Stage
from engine.errors import RuleErrors
from engine.evaluate import evaluate
from engine.facts import Facts
from engine.lint import examine
from engine.release import read_release
from engine.snapshot import Snapshot

__all__ = ["check_records"]

_LARGEST = 512 * 1024 * 1024


def check_records(
    paths: list[Path], rules: Path, at: dt.datetime, stage: Stage, language: str, out: TextIO
) -> int:
    """Check every order of every bundle, write an answer for each, return how many were unreadable."""
    snapshot = _load(rules)
    totals: Counter[str] = Counter()
    for name, content in _contents(paths):
        try:
            bundle = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            out.write(f"{name}: unreadable: {error}\n")
            totals["unreadable"] += 1
            continue
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            out.write(f"{name}: unreadable: not a FHIR Bundle\n")
            totals["unreadable"] += 1
            continue
        action, data = from_bundle(bundle)
        mapped = to_facts(action, data, snapshot.drugs, at, Settings())
        decision = evaluate(snapshot, mapped.facts, at, stage)
        totals["records"] += 1
        _write(name, mapped.facts, decision, language, out, totals)
    out.write(", ".join(f"{count} {what}" for what, count in totals.items()) + "\n")
    return totals["unreadable"]


def _load(rules: Path) -> Snapshot:
    files, errors = read_folder(rules)
    release, faults = read_release(files, sm3)
    snapshot, found = examine(release)
    if errors or faults or found:
        raise RuleErrors([*errors, *faults, *found])
    return snapshot


def _contents(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        if path.is_dir():
            yield from ((one.name, one.read_bytes()) for one in sorted(path.rglob("*.json")))
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() else None
                    if file is not None and member.name.endswith(".json") and member.size <= _LARGEST:
                        yield Path(member.name).name, file.read()
        else:
            yield path.name, path.read_bytes()


def _write(
    name: str, facts: Facts, decision: Decision, language: str, out: TextIO, totals: Counter[str]
) -> None:
    about: dict[str, list[Finding]] = {}
    for finding in decision.findings:
        about.setdefault(_order(finding, facts), []).append(finding)
    gaps: dict[str, list[NotChecked]] = {}
    for gap in decision.not_checked:
        for subject in gap.subjects or ():
            gaps.setdefault(subject.id.partition("#")[0], []).append(gap)
    general = sorted({what for gap in decision.not_checked if not gap.subjects for what in gap.missing})
    out.write(f"{name}: {decision.status}, {len(decision.findings)} findings\n")
    if general:
        out.write(f"  not checked, not supplied: {', '.join(general)}\n")
    owners = {component.id: component.medication for component in facts.components or ()}
    for order in facts.medications or ():
        if not order.in_focus:
            continue
        totals["orders"] += 1
        found = about.get(order.id, [])
        open_ = [gap for key, held in gaps.items() if owners.get(key, key) == order.id for gap in held]
        for finding in found:
            text = finding.message.zh if language == "zh" else finding.message.en
            out.write(f"  {order.name}: {finding.level}: {text} [{finding.rule}]\n")
        if open_:
            missing = sorted({what for gap in open_ for what in (*gap.missing, gap.fault) if what})
            out.write(f"  {order.name}: not checked by {len(open_)} checks: {', '.join(missing)}\n")
        if not found and not open_:
            out.write(f"  {order.name}: {'not checked' if general else 'nothing found'}\n")
        totals["orders with findings"] += bool(found)
        totals["orders not fully checked"] += bool(open_ or general)


def _order(finding: Finding, facts: Facts) -> str:
    """Return the order that a finding is about."""
    owners = {component.id: component.medication for component in facts.components or ()}
    return next((owners.get(subject.id, subject.id) for subject in finding.subjects), "")
