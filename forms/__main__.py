"""`python -m forms replay < CASES.jsonl > OUT.jsonl`: the engine's own test language.

One case a line in, one line out: the whole state after each step, in the form that the Java peer
writes (`docs/engine.md` has the fields). `--dialect` says whose habits are asked for where ODK's
engines disagree: `collect` (JavaRosa's) or `webforms` (the browser's). A case that names its
`dialect` has that one; without a word a case recorded from Web Forms alone (`oracle` is "wf") has
the browser's, every other JavaRosa's.

`python -m forms xpath < EVALUATIONS.jsonl > OUT.jsonl` works out single expressions likewise.
"""

from __future__ import annotations

import argparse
import sys

from forms import cases


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m forms",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["replay", "xpath"])
    parser.add_argument(
        "--dialect",
        choices=["collect", "webforms"],
        help="whose habits, of replay (default: each case's own, else collect)",
    )
    asked = parser.parse_args(arguments)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    for raw in cases.lines(source):
        if asked.command == "replay":
            from forms.replay import line  # noqa: PLC0415 - each command loads only its own

            told = line(raw, asked.dialect)
        else:
            from forms.language.replay import line as xpath_line  # noqa: PLC0415 - as above

            told = xpath_line(raw)
        # Half of a letter that only UTF-16 cuts in two is written as JSON escapes it.
        target.write(told.encode("utf-8", "backslashreplace") + b"\n")
        target.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
