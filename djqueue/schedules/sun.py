"""``solar``: at an event of the sun, computed by ephem (``pip install django-djqueue[solar]``)."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from .timing import Timing

# Celery's events: the altitude of the sun in degrees, which method finds it, and whether its centre counts. With
# -0:34, the refraction of the Almanac, the air pressure is set to zero.
EVENTS: dict[str, tuple[str, str, bool]] = {
    "dawn_astronomical": ("-18", "next_rising", True),
    "dawn_nautical": ("-12", "next_rising", True),
    "dawn_civil": ("-6", "next_rising", True),
    "sunrise": ("-0:34", "next_rising", False),
    "solar_noon": ("0", "next_transit", False),
    "sunset": ("-0:34", "next_setting", False),
    "dusk_civil": ("-6", "next_setting", True),
    "dusk_nautical": ("-12", "next_setting", True),
    "dusk_astronomical": ("-18", "next_setting", True),
}
POLAR_DAYS = 370
"""Where the sun does not rise or set for months, the event is looked for so many days ahead."""
DAY = timedelta(days=1)


class solar(Timing):
    """Due at an event of the sun at a place: ``solar("sunset", lat=52.5, lon=13.4)``.

    ``lat`` and ``lon`` are degrees, north and east positive. Where there is no such event for a while, as in polar
    summers, it is due when there is one again. Raises ``ValueError``, and ``ImportError`` where ephem is missing.
    """

    def __init__(self, event: str, lat: float, lon: float) -> None:
        if event not in EVENTS:
            raise ValueError(f"expected event to be one of {', '.join(EVENTS)}, got: {event!r}")
        self.event = event
        self.lat, self.lon = _degrees("lat", lat, 90), _degrees("lon", lon, 180)
        _ephem()

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        after = after.astimezone(UTC)
        # The search approaches an event from where it starts, and ends up to a second beside it. So that everybody
        # finds the same second, each day's event is always searched from the mean midnight of the place.
        midnight = after.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=self.lon / 15)
        for days in range(-2, POLAR_DAYS):
            start = midnight + timedelta(days=days)
            found = self._search(start)
            if found is not None and after < found <= start + DAY:
                return found
        return None

    def _search(self, start: datetime) -> datetime | None:
        """Return the first event after ``start``, to the second; None if the sun stays up or down."""
        ephem = _ephem()
        horizon, method, use_center = EVENTS[self.event]
        observer = ephem.Observer()
        observer.lat, observer.lon = str(self.lat), str(self.lon)
        observer.horizon, observer.elevation, observer.pressure = horizon, 0, 0
        observer.date = start.replace(tzinfo=None)
        options = {} if method == "next_transit" else {"use_center": use_center}
        try:
            found: datetime = getattr(observer, method)(ephem.Sun(), **options).datetime()
        except ephem.CircumpolarError:
            return None
        return (found + timedelta(milliseconds=500)).replace(microsecond=0, tzinfo=UTC)

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def _identity(self) -> tuple[object, ...]:
        return (self.event, self.lat, self.lon)


def _degrees(name: str, given: Any, most: int) -> float:
    try:
        degrees = float(given)
    except (TypeError, ValueError):
        degrees = math.nan
    if isinstance(given, bool) or not -most <= degrees <= most:
        raise ValueError(f"expected {name} to be degrees from -{most} to {most}, got: {given!r}")
    return degrees


def _ephem() -> Any:
    try:
        import ephem
    except ImportError:
        raise ImportError("solar schedules need ephem: pip install 'django-djqueue[solar]'") from None
    return ephem
