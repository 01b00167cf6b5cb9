"""Write the skeleton of a rule: ``make new-rule NAME=ruleset/rule_name``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rules import FOLDER

__all__ = ["write"]

SKELETON = Path(__file__).parent / "skeletons" / "rule"
NAME = re.compile(r"(?P<ruleset>[a-z][a-z0-9_]*)/(?P<rule>[a-z][a-z0-9_]*)")
NOT_RULESETS = ("knowledge", "parameters")


def write(name: str, into: Path) -> tuple[Path, ...]:
    """Write what the rule ``ruleset/rule_name`` needs below the folder ``into``; return the new files.

    Nothing that exists is touched: a rule that is already there is a :class:`ValueError`.
    """
    parts = NAME.fullmatch(name)
    if parts is None or parts["ruleset"] in NOT_RULESETS:
        raise ValueError(
            f"{name!r} is no name of a rule. Write NAME=ruleset/rule_name in lower-case ASCII words "
            "joined by underscores, for example NAME=dosage/paracetamol_daily."
        )
    ruleset = into / parts["ruleset"]
    folder = ruleset / parts["rule"]
    if folder.exists():
        raise ValueError(f"{folder} exists already. Choose another name, or edit the rule that is there.")
    wanted = {"rule.yaml": folder, "cases.yaml": folder}
    if not (ruleset / "ruleset.yaml").exists():
        wanted["ruleset.yaml"] = ruleset
    folder.mkdir(parents=True)
    written = []
    for file, place in wanted.items():
        text = (SKELETON / file).read_text(encoding="utf-8")
        text = text.replace("__RULESET__", parts["ruleset"]).replace("__RULE__", parts["rule"])
        (place / file).write_text(text, encoding="utf-8")
        written.append(place / file)
    return tuple(written)


def main() -> None:
    """Write the rule named on the command line; end with 1 and one clear line when that cannot be."""
    try:
        written = write(sys.argv[1] if len(sys.argv) > 1 else "", FOLDER)
    except ValueError as error:
        sys.exit(f"new-rule: {error}")
    for path in written:
        print(path.relative_to(FOLDER.parent))
    print("Replace what they say, then: make rules")


if __name__ == "__main__":
    main()
