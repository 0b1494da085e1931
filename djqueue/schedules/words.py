"""Timings in words, for people: ``0 7 * * mon-fri`` is "at 07:00 on Monday to Friday"."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .cronlines import ALIASES, cron
from .crontabs import DAY_OF_WEEK, FULL_NAMES, MONTH_OF_YEAR, crontab
from .intervals import clocked, schedule
from .sun import solar
from .timing import Timing

MOST_TIMES = 6


def in_words(timing: Timing) -> str:
    """Return when a timing is due as a phrase in the current language; the expression itself where words fail."""
    match timing:
        case crontab():
            return _line_in_words(timing.expression, either_day=False)
        case cron():
            return _line_in_words(ALIASES.get(timing.expression.lower(), timing.expression), either_day=True)
        case schedule():
            every = _("every %(span)s") % {"span": span_in_words(timing.run_every)}
            return _("%(every)s, by the clock on the wall") % {"every": every} if timing.relative else every
        case clocked():
            return _("once, at %(moment)s UTC") % {"moment": f"{timing.clocked_time:%Y-%m-%d %H:%M:%S}"}
        case solar():
            event = timing.event.replace("_", " ")
            return _("at %(event)s at %(lat)s, %(lon)s") % {"event": event, "lat": timing.lat, "lon": timing.lon}
    return repr(timing)


def span_in_words(span: timedelta) -> str:
    """Return a length of time by its parts, such as "1 hour 30 minutes"."""
    seconds = span.seconds % 60 + span.microseconds / 1e6
    parts = [
        ngettext("%(n)s day", "%(n)s days", span.days) % {"n": span.days} if span.days else "",
        _counted_hours(span.seconds // 3600),
        _counted_minutes(span.seconds // 60 % 60),
        (ngettext("%(n)s second", "%(n)s seconds", 2 if seconds != 1 else 1) % {"n": f"{seconds:g}"})
        if seconds
        else "",
    ]
    return " ".join(part for part in parts if part) or _("0 seconds")


def _counted_hours(n: int) -> str:
    return ngettext("%(n)s hour", "%(n)s hours", n) % {"n": n} if n else ""


def _counted_minutes(n: int) -> str:
    return ngettext("%(n)s minute", "%(n)s minutes", n) % {"n": n} if n else ""


def _line_in_words(line: str, *, either_day: bool) -> str:
    fields = line.lower().replace("?", "*").split()
    if len(fields) != 5:
        return line
    minute, hour, day, month, weekday = fields
    return " ".join(
        part for part in (_time(minute, hour), _days(day, weekday, either_day=either_day), _months(month)) if part
    )


def _time(minute: str, hour: str) -> str:
    if _plain(minute) and _plain(hour):
        times = [f"{int(h):02}:{int(m):02}" for h, m in product(hour.split(","), minute.split(","))]
        if len(times) <= MOST_TIMES:
            return _("at %(times)s") % {"times": _listed(times)}
    if hour == "*":
        if minute in ("*", "*/1"):
            return _("every minute")
        if minute.startswith("*/"):
            return _("every %(span)s") % {"span": _counted_minutes(int(minute[2:]))}
        if minute == "0":
            return _("every hour")
        return _("at minute %(minutes)s of every hour") % {"minutes": _numbers(minute)}
    if hour.startswith("*/") and _plain(minute):
        every = _("every %(span)s") % {"span": _counted_hours(int(hour[2:]))}
        return every if minute == "0" else _("%(every)s at minute %(m)s") % {"every": every, "m": _numbers(minute)}
    if minute == "*":
        return _("every minute of hour %(hours)s") % {"hours": _numbers(hour)}
    if minute.startswith("*/"):
        span = _counted_minutes(int(minute[2:]))
        return _("every %(span)s of hour %(hours)s") % {"span": span, "hours": _numbers(hour)}
    return _("at minute %(minutes)s of hour %(hours)s") % {"minutes": _numbers(minute), "hours": _numbers(hour)}


def _days(day: str, weekday: str, *, either_day: bool) -> str:
    of_week = "" if weekday == "*" else _names(weekday, DAY_OF_WEEK.words, _weekday, lowest=0)
    of_month = "" if day == "*" else _("day %(days)s of the month") % {"days": _numbers(day)}
    if of_week and of_month:
        both = {"week": of_week, "month": of_month}
        if either_day:
            return _("on %(month)s or on %(week)s") % both
        return _("on %(week)s if it is %(month)s") % both
    return _("on %(days)s") % {"days": of_week or of_month} if of_week or of_month else ""


def _months(month: str) -> str:
    if month == "*":
        return ""
    return _("in %(months)s") % {"months": _names(month, MONTH_OF_YEAR.words, lambda n: str(MONTHS[n]), lowest=1)}


def _weekday(number: int) -> str:
    return str(WEEKDAYS[(number - 1) % 7])  # Django's begin with Monday


def _names(text: str, words: tuple[str, ...], name: object, *, lowest: int) -> str:
    def named(word: str) -> str:
        word = FULL_NAMES.get(word, word)
        if word in words:
            word = str(words.index(word) + lowest)
        return name(int(word)) if word.isdigit() and int(word) < len(words) + 1 else word  # type: ignore[operator]

    return _numbers(text, named)


def _numbers(text: str, named: object = str) -> str:
    """Return a field's parts as a list in words; what is more than a range stays as it is."""
    parts = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if "/" in part or "#" in part or "*" in part:
            parts.append(part)
        elif dash:
            parts.append(_("%(first)s to %(last)s") % {"first": named(first), "last": named(last)})  # type: ignore[operator]
        else:
            parts.append(named(part))  # type: ignore[operator]
    return _listed(parts)


def _plain(text: str) -> bool:
    return all(part.isdigit() for part in text.split(","))


def _listed(words: list[str]) -> str:
    if len(words) == 1:
        return words[0]
    return _("%(first)s and %(last)s") % {"first": ", ".join(words[:-1]), "last": words[-1]}
