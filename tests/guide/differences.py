"""The page of the guide about the oddities, written from ``quirks.toml``."""

from compat.quirks import QUIRKS, Quirk, themes

__all__ = ["page"]

_INTRODUCTION = """\
# Differences: the oddities of AIToolbox, one by one

AIToolbox 1.8 has 135 oddities that a program may meet. Each has an id, and a section here. Most are one of two things:

* **kept**: this package does what AIToolbox does. Where that changes numbers and is hardly what anybody wants, it warns
  once at your line.
* **corrected**: AIToolbox crashed, mislabelled, lost or ignored something, and this package does not.

`compat.quirks.counts()` returns which of them changed the outcome of your process, and how often: what is not in it
made no difference to you. `python -m compat run program.py` shows them when the program is over, and with `--strict`
the first corrected one is an error.

Those that have a switch are set to `"kept"` or `"fixed"` in one of three places; the nearer one wins, and either ends
the warning:

* one loop: `TrainLoop(..., quirks={"Q11": "fixed"})`
* a process: `compat.quirks.set(Q11="fixed")`
* a run, in the shell: `COMPAT_QUIRKS=Q11=fixed,Q01=kept python -m compat run train.py`

Most programs meet only a few: [Q18](#q18) and [Q19](#q19) in nearly every run, [Q69](#q69) with early stopping,
[Q11](#q11) with gradient accumulation, [Q91](#q91) with a warm-up, [Q01](#q01) when `fit` is called again, and
[Q41](#q41) with several losses, where the old reports were wrong.

In the table of contents, those with a switch are printed in bold.

This page is written from `compat/quirks.toml` by `python -m tests.guide`.
"""


def page() -> str:
    """Write the page."""
    parts = [_INTRODUCTION, *_contents()]
    for theme, title in themes().items():
        parts.append(f"# {title}\n")
        parts += [_section(row) for row in QUIRKS.values() if row.theme == theme]
    return "\n".join(parts)


def _contents() -> list[str]:
    lines = ["| theme | ids |", "|---|---|"]
    for theme, title in themes().items():
        ids = ", ".join(map(_link, (row for row in QUIRKS.values() if row.theme == theme)))
        lines.append(f"| {title} | {ids} |")
    return ["\n".join(lines) + "\n"]


def _link(row: Quirk) -> str:
    link = f"[{row.id}](#{row.id.lower()})"
    return f"**{link}**" if row.switch else link


def _section(row: Quirk) -> str:
    lines = [f'<a id="{row.id.lower()}"></a>', "", f"## {row.id} {row.title}", "", f"*{_state(row)}*", ""]
    lines += [f"In AIToolbox {row.kept}.", ""]
    if row.fixed:
        lines += [f"{'Here' if row.default == 'fixed' else 'Corrected,'} {row.fixed}.", ""]
    if row.note:
        lines += [row.note, ""]
    if row.modes:
        lines += [_switch(row), ""]
    if row.uncounted:
        lines += [f"Not counted: {row.uncounted}", ""]
    return "\n".join(lines)


def _state(row: Quirk) -> str:
    if row.state == "later":
        return "Belongs to something that is not served yet"
    if row.default == "fixed":
        return "Corrected, with a switch back" if row.switch else "Corrected"
    if row.switch:
        return "Kept, with a switch to correct it"
    return "Kept, with a warning" if row.warns else "Kept"


def _switch(row: Quirk) -> str:
    if not row.switch:
        return f'`compat.quirks.set({row.id}="kept")` ends the warning.'
    other = "kept" if row.default == "fixed" else "fixed"
    return f'To have it otherwise: `compat.quirks.set({row.id}="{other}")`.'
