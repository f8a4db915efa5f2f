"""`python -m forms replay < CASES.jsonl > OUT.jsonl` and `python -m forms xpath` likewise."""

from __future__ import annotations

import argparse
import json
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m forms", description=__doc__)
    parser.add_argument("command", choices=["replay", "xpath"])
    parser.add_argument("--dialect", choices=["collect", "webforms"], default="collect")
    asked = parser.parse_args(arguments)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    for raw in source:
        if not raw.strip():
            continue
        case = json.loads(raw)
        if asked.command == "replay":
            from forms.replay import line  # noqa: PLC0415 - each command loads only its own

            told = line(case, asked.dialect)
        else:
            from forms.language.replay import replay_xpath  # noqa: PLC0415 - as above

            told = json.dumps(replay_xpath(case), ensure_ascii=False)
        target.write(told.encode() + b"\n")
        target.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
