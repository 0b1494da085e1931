"""Tasks whose arguments have types, and the types."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, Optional, Union
from uuid import UUID

import pydantic

from djqueue import shared_task

from .models import Mark

if TYPE_CHECKING:
    from no_such_module import OnlyForTypeCheckers

OrderId = NewType("OrderId", UUID)


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Corner(enum.Enum):
    """Its values are tuples, which JSON does not have."""

    ORIGIN = (0, 0)
    FAR = (9, 9)


class Point(NamedTuple):
    x: int
    when: datetime


@dataclass(frozen=True)
class Item:
    sku: str
    price: Decimal
    colours: frozenset[Colour] = frozenset()


@dataclass
class Order:
    id: UUID
    items: list[Item]
    placed: datetime
    note: str | None = None
    total: Decimal = field(init=False, default=Decimal(0))

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError("an order has items")
        self.total = sum((item.price for item in self.items), Decimal(0))


@dataclass
class RushOrder(Order):
    courier: str = ""


@dataclass
class Node:
    """Contains itself."""

    value: int
    children: list[Node] = field(default_factory=list)
    unresolved: OnlyForTypeCheckers | None = None


@dataclass
class Twin:
    sku: str
    price: Decimal
    colours: frozenset[Colour] = frozenset()


@dataclass
class LemonCard:
    holder: str
    card_number: str


class Address(pydantic.BaseModel):
    street: str
    since: date


class Customer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    id: int = pydantic.Field(alias="customerId")
    addresses: list[Address] = []
    tags: set[str] = set()

    @pydantic.computed_field
    @property
    def described(self) -> str:
        return f"customer {self.id}"


class StrictModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    when: datetime
    amount: Decimal


class WithSecret(pydantic.BaseModel):
    secret: pydantic.SecretStr


class Positive(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def _positive(cls, number: int, info: pydantic.ValidationInfo) -> int:
        least = (info.context or {}).get("least", 1)
        if number < least:
            raise ValueError(f"not {least} or more, says {(info.context or {}).get('celery_task_name')}")
        return number


def described(value: Any) -> str:
    """Return a value with its types, all the way down."""
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(described, value))})"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({', '.join(sorted(map(described, value)))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{described(key)}: {described(inner)}' for key, inner in value.items())})"
    return f"{type(value).__name__} {value}"


@shared_task
def takes_order(order: Order) -> str:
    return described((order, order.items, order.placed, order.total))


@shared_task
def takes_many(
    when: datetime,
    day: date,
    at: time,
    lasting: timedelta,
    price: Decimal,
    id: OrderId,
    *points: Point,
    colours: set[Colour],
    **levels: Level,
) -> str:
    return described((when, day, at, lasting, price, id, points, colours, levels))


@shared_task
def returns_order(order: Order) -> Order:
    return order


@shared_task
def takes_customer(customer: Customer) -> Customer:
    customer.tags.add("seen")
    return customer


@shared_task(pydantic=True, pydantic_context={"least": 10})
def takes_positive(positive: Positive, maybe: Positive | None = None) -> Positive:
    return Positive.model_construct(number=positive.number + (maybe.number if maybe else 0))


@shared_task(bind=True)
def bound(self: Any, when: datetime, id: UUID | None = None) -> str:
    return described((when, id, self.request.args))


@shared_task
def plain(number: int, text: str = "", *more: Any, items: list[int] | None = None, **rest: float) -> int:
    return number


@shared_task
def half_resolved(unknown: OnlyForTypeCheckers, when: datetime) -> str:
    return described((unknown, when))


@shared_task
def takes_row(mark: Mark) -> None:
    pass


@shared_task
def pays(password: str, amount: Decimal, card: dict[str, Any] | None = None) -> str:
    return f"{amount} paid with {password}"


@shared_task
def leaks(password: str) -> None:
    raise ValueError(f"wrong password {password}", {"password": password})


def signatures(  # only its annotations matter
    optional: Optional[date],  # noqa: UP045
    union: Union[Order, Item],  # noqa: UP007
    date_or_text: datetime | str,
    annotated: Annotated[Decimal, "money"],
    literal: Literal[Colour.RED, "blue"],
    mapping: Mapping[UUID, Item],
    counts: dict[int, str],
    sequence: Sequence[date],
    iterable: Iterable[Corner],
    pair: tuple[date, Level],
    pairs: tuple[Item, ...],
    bare: tuple,  # type: ignore[type-arg]
    nested: dict[str, list[Item | None]],
    twins: Item | Twin,
    set_or_list: set[int] | list[int],
    node: Node,
    implicit: Item = None,  # type: ignore[assignment]
) -> None: ...
