"""A runbook as a page for people: what it does step by step, what it waits for, what to do when it fails."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bot.core.lint import Vocabulary
from bot.core.runbook import (
    AskStep,
    ByHand,
    CheckStep,
    DoStep,
    Emergency,
    FactSource,
    Order,
    QuietStep,
    Runbook,
    StepBase,
    Trouble,
    WaitStep,
)
from bot.slack.steps import BOXES

_EFFECTS = {"creates": "creates", "changes": "changes, reversible", "destroys": "**destroys**", "reads": "reads"}
_VARIABLE = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)")
_ASSIGNED = re.compile(r"(?:^|[;&({ ])([A-Z][A-Z0-9_]*)=(?=[$'\"v])")
_READ = re.compile(r"\bread (?:-\w+ )*([A-Z][A-Z0-9_ ]*)")
_FUNCTION = re.compile(r"(?m)^([a-z][a-z_]*)\(\) *[{(]")
_LIST = re.compile(r"\[([^\]]*)\]")
_SHELL = (
    "Everything below can be done without the bot, with bash, kubectl, openssl and curl. Begin by saying what it is",
    "about; every later command uses these variables, in the same shell. Lists are separated by spaces. No command",
    "below shows a secret, puts one on a command line or into a file.",
)
_EMERGENCY_BY_HAND = "Have a second person agree first, and write down who did what and when."
SHELL = "In a shell"
BACK = "Roll back by hand"


def page_path(runbook: Runbook) -> str:
    """Where the page of a runbook stands, from the root of the checkout."""
    return f"docs/RUNBOOKS/{runbook.page or runbook.runbook}.md"


def runbook_page(runbook: Runbook, source: str, vocabulary: Vocabulary) -> str:
    """The page of one runbook; `source` is its file, whose first comment opens the page."""
    lines = [f"# {runbook.runbook}", "", f"<!-- Made by `make docs` from runbooks/{runbook.runbook}.yaml. -->", ""]
    lines += [runbook.summary, ""]
    first = source.partition("\n")[0]
    if first.startswith("#"):
        lines += [first.lstrip("# "), ""]
    lines += [_written_by(runbook), ""]
    lines += _preface(runbook)
    lines += ["## What it is given", "", "| Input | Kind | Default | Means |", "|---|---|---|---|"]
    for name, given in runbook.inputs.items():
        default = "required" if given.required else f"`{given.default}`"
        lines.append(f"| `{name}` | {given.type} | {default} | {given.help} |")
    lines += _shell(runbook)
    if runbook.facts:
        lines += ["", "## What it looks up", "", "| Fact | Read by | If it changes |", "|---|---|---|"]
        for name, fact in runbook.facts.items():
            held = {"same": "the rotation holds", "any": "goes on", "at_most": f"holds above `{fact.at_most}`"}
            told = f"{fact.title}, `{name}`" if fact.title else f"`{name}`"
            lines.append(f"| {told} | `{fact.read}` | {held[fact.bound]} |")
        parts = [(name, fact.title or name, fact.by_hand) for name, fact in runbook.facts.items()]
        lines += _by_hand("Look it up by hand", parts)
    lines += ["", "## Before it begins", "", *(f"- [ ] {BOXES[box]}" for box in runbook.before)]
    lines += ["", f"A rollback takes at most `{runbook.rollback_within}`."]
    lines += ["", "## Rotation", "", *_steps(runbook.steps, vocabulary)]
    parts = [(step.id, step.title, step.by_hand) for step in runbook.steps]
    lines += _by_hand("Rotate by hand", parts, _to_note(runbook))
    lines += _back(runbook)
    if runbook.retire:
        kind = {"both-valid": "old and new both valid", "verify-only": "the old one only verifies"}[runbook.overlap]
        lines += ["", "## Retirement of the old one", "", f"Within `{runbook.retire_within}`; until then {kind}.", ""]
        lines += _steps(runbook.retire, vocabulary)
        parts = [(step.id, step.title, step.by_hand) for step in runbook.retire]
        lines += _by_hand("Retire by hand", parts, _again(runbook))
    if runbook.emergency:
        lines += ["", "## Emergency", "", *_emergency(runbook, runbook.emergency, vocabulary)]
    if runbook.trouble:
        lines += ["", "## When a step fails", "", "Buttons on the card of a failed step:", ""]
        for branch in runbook.trouble:
            word = branch.check or branch.do
            does = f" (`{word}`)" if word else ""
            lines.append(f"- **{branch.when}**{does}: {branch.advice}")
        lines += _by_hand("Look by hand", [(branch.id, branch.when, branch.by_hand) for branch in runbook.trouble])
    return "\n".join([*lines, ""])


def _written_by(runbook: Runbook) -> str:
    told = f"Written by {runbook.author}" if runbook.author else "Nobody says who wrote it"
    told += f", reviewed by {runbook.reviewed.by}" if runbook.reviewed else "; nobody has reviewed it"
    return f"{told}. Comes from: {runbook.source}." if runbook.source else f"{told}."


def _preface(runbook: Runbook) -> Iterator[str]:
    """What to know first: notes, background, whom to call."""
    if runbook.notes:
        yield from ("## Read this first", "", *(f"- {note}" for note in runbook.notes), "")
    if runbook.background:
        yield from ("## Background", "", *(f"- **{name}** {told}" for name, told in runbook.background.items()), "")
    if runbook.contacts:
        yield from ("## Whom to call", "", *(f"{i}. {who}" for i, who in enumerate(runbook.contacts, 1)), "")


def _hands(runbook: Runbook) -> Iterator[ByHand]:
    """Everything that a person can do without the bot."""
    steps = [step for _, step in runbook.sections()]
    parts: Sequence[FactSource | StepBase | Trouble] = (*runbook.facts.values(), *steps, *runbook.trouble)
    yield from (part.by_hand for part in parts if part.by_hand is not None)
    if runbook.back_by_hand is not None:
        yield runbook.back_by_hand


def _shell(runbook: Runbook) -> Iterator[str]:
    """The inputs as variables of a shell, as far as commands use them."""
    used = {name for hand in _hands(runbook) for line in hand.run for name in _VARIABLE.findall(line)}
    named = {name.upper(): given for name, given in runbook.inputs.items() if name.upper() in used}
    if not named:
        return
    yield from ("", f"### {SHELL}", "", *_SHELL, "", "```sh")
    for name, given in named.items():
        if given.required:
            value = f"'<{name.lower().replace('_', '-')}>'"
        else:
            value = f"'{' '.join(given.default) if isinstance(given.default, list) else given.default}'"
        told = _LIST.sub(lambda found: found[1].replace(",", ""), given.help) if given.type == "list" else given.help
        yield f"{name}={value}  # {told}"
    yield "```"


def _noted(runbook: Runbook) -> list[str]:
    """What is found out on the way and needed when the old one is retired, days later."""
    return sorted(_names(_lines(runbook.retire)) & _made(_earlier(runbook)) - _inputs(runbook))


def _names(lines: Iterable[str]) -> set[str]:
    return {name for line in lines for name in _VARIABLE.findall(line)}


def _made(lines: Iterable[str]) -> set[str]:
    """The variables that these commands set; what a function sets is its own."""
    typed = [line for line in lines if not _FUNCTION.match(line)]
    made = {name for line in typed for name in _ASSIGNED.findall(line)}
    return made | {name for line in typed for names in _READ.findall(line) for name in names.split()}


def _inputs(runbook: Runbook) -> set[str]:
    return {name.upper() for name in runbook.inputs}


def _lines(parts: Iterable[FactSource | StepBase]) -> list[str]:
    return [line for part in parts if part.by_hand is not None for line in part.by_hand.run]


def _earlier(runbook: Runbook) -> list[str]:
    return _lines([*runbook.facts.values(), *runbook.steps])


def _functions(lines: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those of the known definitions that these commands need before they say themselves what is meant."""
    bodies = {name: line for line in [*known, *lines] for name in _FUNCTION.findall(line)}
    said: set[str] = set()
    missing: set[str] = set()
    for line in lines:
        if _FUNCTION.match(line):
            said.update(_FUNCTION.findall(line))
        else:
            missing.update(_calls(line, bodies) - said)
    return [line for line in dict.fromkeys(known) if missing.intersection(_FUNCTION.findall(line))]


def _calls(text: str, bodies: Mapping[str, str]) -> set[str]:
    """The functions that a command calls, and those that they call."""
    found: set[str] = set()
    texts = [text]
    while texts:
        here = texts.pop()
        called = {name for name in bodies if re.search(rf"(?<![\w/-]){name}(?![\w(-])", here)} - found
        found |= called
        texts += [bodies[name] for name in called]
    return found


def _to_note(runbook: Runbook) -> Iterator[str]:
    if noted := _noted(runbook):
        yield f"Note in the ticket as soon as they are shown: {', '.join(f'`{name}`' for name in noted)}. They are no"
        yield "secrets, and whoever retires the old one needs them."


def _again(runbook: Runbook) -> Iterator[str]:
    """What a shell needs to know that is opened days after the first one."""
    noted, functions = _noted(runbook), _functions(_lines(runbook.retire), _earlier(runbook))
    if not noted and not functions:
        return
    yield "The shell that you began in may be gone by now. Set the variables of the first section again,"
    if noted:
        yield "and these from the ticket, where you noted them when they were first shown. Do not look them up once"
        yield "more: what was new then is the one in use now, and the steps below would destroy it."
    else:
        yield "and say again what these mean."
    yield from ("", "```sh", *(f"{name}='<from-the-ticket>'" for name in noted), *functions, "```")


def _in_need(runbook: Runbook, steps: Sequence[StepBase]) -> Iterator[str]:
    """What a shell needs to know that is opened for an emergency."""
    lines, known = _lines(steps), _earlier(runbook)
    functions = _functions(lines, known)
    wanted = sorted(_unset(lines, known) & _made(known) - _inputs(runbook))
    yield _EMERGENCY_BY_HAND
    if wanted:
        yield "Then fill in the variables of the first section and these, in one shell, and type everything in that."
        yield 'Look these up as under "Look it up by hand"; where a rotation is under way, take them from its ticket,'
        yield "for by then the look-ups may show what is new."
    else:
        yield "Then fill in the variables of the first section, in one shell, and type everything in that."
    if wanted or functions:
        yield from ("", "```sh", *(f"{name}='<looked-up>'" for name in wanted), *functions, "```")


def _unset(lines: Sequence[str], known: Sequence[str]) -> set[str]:
    """The variables that these commands, or what they call, use before they set them."""
    bodies = {name: line for line in [*known, *lines] for name in _FUNCTION.findall(line)}
    unset: set[str] = set()
    made: set[str] = set()
    for line in lines:
        if not _FUNCTION.match(line):
            made |= _made([line])
            unset |= _names([line, *(bodies[name] for name in _calls(line, bodies))]) - made
    return unset


def _by_hand(title: str, parts: Sequence[tuple[str, str, ByHand | None]], first: Iterable[str] = ()) -> Iterator[str]:
    """Parts by id and title, in order, as far as a person can do them; `first` is what to know before."""
    told = [(name, text, hand) for name, text, hand in parts if hand is not None]
    if not told:
        return
    yield from ("", f"### {title}")
    if opening := list(first):
        yield from ("", *opening)
    for i, (name, text, hand) in enumerate(told, 1):
        yield from ("", f"**{i}. {text or name}**")
        yield from _hand(hand)


def _hand(hand: ByHand) -> Iterator[str]:
    if hand.run:
        yield from ("", "```sh", *hand.run, "```")
    if hand.see:
        yield from ("", f"See: {hand.see}")
    if hand.otherwise:
        yield from ("", f"If not: {hand.otherwise}")


def _back(runbook: Runbook) -> Iterator[str]:
    if runbook.back_by_hand is not None:
        yield from ("", f"### {BACK}", "", f"It takes at most `{runbook.rollback_within}`.")
        yield from _hand(runbook.back_by_hand)


def _emergency(runbook: Runbook, emergency: Emergency, vocabulary: Vocabulary) -> Iterator[str]:
    """The steps in the runbook's own order, the other order by its ids, and what each costs."""
    yield from (f"`/rotate revoke` does this, {emergency.order} unless asked otherwise:", "")
    yield from _steps([step for _, step in runbook.emergency_sections(emergency.order)], vocabulary)
    for order in emergency.orders[1:]:
        yield from ("", f"{order.capitalize()}: {', '.join(f'`{name}`' for name in emergency.ids(order))}.")
    alone = emergency.containment(Order.CONTAIN_FIRST) if Order.CONTAIN_FIRST in emergency.orders else 0
    if alone:
        names = ", ".join(f"`{name}`" for name in emergency.ids(Order.CONTAIN_FIRST)[:alone])
        yield from ("", f"Where policy lets one person break the glass, that person does {names} and nothing else.")
    own = [step for _, step in runbook.emergency_sections(emergency.order)]
    if all(step.by_hand is not None for step in own):
        parts = [(step.id, step.title, step.by_hand) for step in own]
        yield from _by_hand(f"Revoke by hand, {emergency.order}", parts, _in_need(runbook, own))
    if emergency.costs:
        yield from ("", "| Order | Outage | Exposure |", "|---|---|---|")
        for order, cost in emergency.costs.items():
            yield f"| {order} | {cost.outage} | {cost.exposure} |"


def _steps(steps: Sequence[StepBase], words: Vocabulary) -> list[str]:
    lines = ["| Step | What | How | Must hold |", "|---|---|---|---|"]
    for step in steps:
        how, held = _told(step, words)
        lines.append(f"| `{step.id}` | {step.title or step.id} | {how} | {held} |")
    return lines


def _told(step: StepBase, words: Vocabulary) -> tuple[str, str]:
    """How a step works, and what must hold before it is done."""
    each = f", for each of `{step.each}`" if step.each else ""
    match step:
        case DoStep():
            info = words.describe(step.do)
            how = f"`{step.do}`, {_EFFECTS[info.effect] if info else 'unknown'}{each}"
            watch = step.watch
            held = f"`{watch.check}` for `{watch.for_}`{_expected(watch)}, otherwise undone" if watch else ""
        case CheckStep():
            how = f"`{step.check}`{each}"
            held = f"within `{step.within}`{_expected(step)}"
        case WaitStep():
            how = f"wait `{step.wait}`"
            held = f"`{step.until.check}`{_expected(step.until)}" if step.until else ""
        case QuietStep():
            how = ", ".join(f"`{word}`" for word in step.quiet)
            held = f"unused for `{step.for_}`, watched at least `{step.at_least}`"
        case AskStep():
            how, held = "a person", step.ask
        case _:
            how, held = "", ""
    return how, held


def _expected(part: object) -> str:
    return "".join(f", {told}" for told in _bounds(getattr(part, "expect", None)))


def _bounds(expect: object) -> Iterator[str]:
    above, below, over = (getattr(expect, name, None) for name in ("above", "hold_below", "over"))
    if above is not None:
        yield f"above {above:.4g}"
    if below is not None:
        yield f"stops below {below:.4g}"
    if over is not None:
        yield f"over `{over}`"
