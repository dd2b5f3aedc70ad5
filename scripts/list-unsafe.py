#!/usr/bin/env python3
"""Lists every use of `unsafe` in src/ with the reason why it holds, from the comments beside it.

    scripts/list-unsafe.py            writes docs/UNSAFE.md
    scripts/list-unsafe.py --check    says whether it is fresh, and ends with 1 where it is not

It stops at an `unsafe` without a reason. No line numbers: moving code does not make the list stale.
"""

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "UNSAFE.md"

BLOCK, FUNCTION, IMPLEMENTATION, TRAIT, ATTRIBUTE = "block", "function", "implementation", "trait", "attribute"
COLUMNS = {BLOCK: "blocks", FUNCTION: "functions", IMPLEMENTATION: "implementations", TRAIT: "traits"}

USE = re.compile(r"\bunsafe\s*(\{|fn\b|extern\s+\"C\"\s+fn\b|impl\b|trait\b|extern\s+\"\w+\"\s*\{|\()|#!?\[unsafe\(")
ITEM = re.compile(
    r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:const\s+|async\s+)?(?:unsafe\s+)?"
    r"(?:extern\s+\"[^\"]*\"\s+)?(fn|impl|trait|mod|struct|enum|const|static|type|macro_rules!)\b\s*(.*)"
)
FUNCTION_TYPE = re.compile(r"unsafe\s+extern\s+\"C\"\s+fn\s*\(")


def stripped(line):
    """The code of a line: no comment, no strings, no characters that look like braces."""
    line = re.sub(r"'(\\.|[^'\\])'", "' '", line)
    line = re.sub(r'"(\\.|[^"\\])*"', lambda match: '"C"' if match[0] == '"C"' else '""', line)
    return line.split("//")[0]


def name_of(kind, rest):
    if kind == "impl":
        rest = re.sub(r"^<[^{]*?>\s+(?=\w)", "", rest) if rest.startswith("<") else rest
        return "impl " + rest.split("{")[0].split(" where ")[0].strip()
    match = re.match(r"(\w+)", rest)
    return match[1] if match else "_"


class Source:
    """One file: its lines, and which items each line lies in."""

    def __init__(self, path):
        self.module = path.relative_to(ROOT).as_posix()
        self.lines = path.read_text(encoding="utf-8").splitlines()
        self.items = []
        depth, open_items, waiting = 0, [], None
        for line in self.lines:
            code = stripped(line)
            match = ITEM.match(code)
            if match and not code.rstrip().endswith(",") and match[1] not in ("const", "static", "type"):
                waiting = name_of(match[1], match[2])
                test = bool(self.items) and match[1] == "mod" and waiting == "tests"
                waiting = "tests" if test else waiting
            self.items.append([name for _, name in open_items] + ([waiting] if waiting else []))
            for mark in code:
                if mark == "{":
                    if waiting:
                        open_items.append((depth, waiting))
                        waiting = None
                    depth += 1
                elif mark == "}":
                    depth -= 1
                    if open_items and open_items[-1][0] == depth:
                        open_items.pop()
                elif mark == ";" and waiting and depth == (open_items[-1][0] + 1 if open_items else 0):
                    waiting = None

    def where(self, number):
        names = [name for name in self.items[number] if name]
        names = [re.sub(r"^impl (?:.* for )?", "", name) for name in names]
        return "::".join(dict.fromkeys(names)) or "the module"

    def comment_above(self, number):
        """The lines of the comment that ends just above a line, attributes in between aside."""
        found = []
        number -= 1
        while number >= 0:
            text = self.lines[number].strip()
            if text.startswith("//"):
                found.insert(0, text)
            elif not (text.startswith("#[") and not found):
                break
            number -= 1
        return found

    def safety(self, number):
        """The reason for a block: the nearest SAFETY comment above it, within its statement."""
        for above in range(number, max(-1, number - 12), -1):
            comment = self.comment_above(above)
            starts = [at for at, line in enumerate(comment) if line.startswith("// SAFETY:")]
            if starts:
                lines = [line.lstrip("/").strip() for line in comment[starts[-1] :]]
                return " ".join(lines)[len("SAFETY:") :].strip()
        return None

    def contract(self, number):
        """What an unsafe function or trait asks: the `# Safety` section of its documentation."""
        lines = [line.removeprefix("///").strip() for line in self.comment_above(number) if line.startswith("///")]
        if "# Safety" not in lines:
            return None
        section = lines[lines.index("# Safety") + 1 :]
        end = next((at for at, line in enumerate(section) if line.startswith("# ")), len(section))
        return " ".join(line for line in section[:end] if line)


def uses_of(source):
    """(what, item, reason) of each use in a file."""
    found, last = [], None
    for number, line in enumerate(source.lines):
        code = stripped(line)
        for match in USE.finditer(code):
            if FUNCTION_TYPE.match(code, match.start()):
                continue
            rest = match[1] or ""
            if match[0].startswith("#"):
                # no_mangle: a name in the table of symbols. Each begins with sl_, and the ABI's test knows them all.
                found.append((ATTRIBUTE, "", ""))
                continue
            if rest.startswith("fn") or rest.startswith("extern"):
                what, reason = FUNCTION, source.contract(number)
            elif rest == "trait":
                what, reason = TRAIT, source.contract(number)
            else:
                what = IMPLEMENTATION if rest == "impl" else BLOCK
                reason = source.safety(number)
            where = source.where(number)
            if not reason:
                sys.exit(f"{source.module}:{number + 1}: no reason is given for this unsafe {what}")
            found.append((what, where, reason))
    return found


def row(cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def document():
    files = sorted((ROOT / "src").rglob("*.rs"), key=lambda path: path.relative_to(ROOT).as_posix())
    by_module = {source.module: uses_of(source) for source in map(Source, files)}
    by_module = {module: uses for module, uses in by_module.items() if uses}
    counts = {module: Counter(what for what, _, _ in uses) for module, uses in by_module.items()}
    out = [
        "# Every `unsafe`, and why it holds",
        "",
        "Made by `scripts/list-unsafe.py` from the comments in `src`: edit there. `bash .ci/run unsafe_list` says whether it is fresh.",
        "",
        "A *block* does something that the compiler cannot check, and its reason says why it holds there. A *function* asks something of",
        "whoever calls it, and its reason is what. An *implementation* promises something of a type. \"As above\" is the reason before it.",
        "",
        "| module | " + " | ".join(COLUMNS.values()) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for module, count in counts.items():
        if any(count[kind] for kind in COLUMNS):
            out.append(row([f"`{module}`", *(count[kind] or "" for kind in COLUMNS)]))
    total = sum(counts.values(), Counter())
    out.append(row(["**all**", *(f"**{total[kind]}**" for kind in COLUMNS)]))
    modules_without = len(files) - sum(1 for count in counts.values() if any(count[kind] for kind in COLUMNS))
    out += ["", f"{modules_without} other files have none. Besides, {total[ATTRIBUTE]} functions are exported by name (`#[unsafe(no_mangle)]`)."]
    for module, uses in by_module.items():
        listed = [use for use in uses if use[0] != ATTRIBUTE]
        if not listed:
            continue
        out += ["", f"## `{module}`", "", "| | in | reason |", "|---|---|---|"]
        for what, where, reason in listed:
            out.append(row([what, f"`{where}`", reason]))
    return "\n".join(out) + "\n"


def main():
    text = document()
    if "--check" in sys.argv[1:]:
        if not OUTPUT.exists() or OUTPUT.read_text(encoding="utf-8") != text:
            sys.exit("docs/UNSAFE.md is not what the sources say: run scripts/list-unsafe.py")
        return
    OUTPUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
