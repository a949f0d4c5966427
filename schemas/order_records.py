"""Records of what we ask the venue to do, and of which decision an order came from.

An order carries our own `client_order_id` from the moment it is asked for;
the venue's `order_id` comes with its answer.
"""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.account_records import Action, CountE2, Id
from schemas.records import Payload, PriceE4, Record, Side, Ticker

# --- execution.orders (agent route_orders) ---


class OrderActionPayload(Payload):
    """One request of ours. `decision_id` names the decision behind it, `client_order_id` the order it makes or ends.

    `order_id` is null while the venue has given none (every `place`); `price_e4` is the own leg's limit; `request_json`
    is what goes to the venue, without credentials.
    """

    market_ticker: Ticker
    decision_id: Id
    client_order_id: Id
    order_id: Id | None
    kind: Literal["place", "cancel"]
    side: Side
    action: Action
    price_e4: PriceE4 | None
    count_e2: CountE2
    request_json: Annotated[str, Meta(max_length=10_000)]


class OrderAction(Record, tag="order_action"):
    payload: OrderActionPayload


# --- execution.decision_links (agent link_decisions) ---


class DecisionLinkPayload(Payload):
    """The order came from this decision, and so did every fill of it."""

    market_ticker: Ticker
    order_id: Id
    client_order_id: Id
    decision_id: Id


class DecisionLink(Record, tag="decision_link"):
    """Times are those of the order action; `cause` is null: a link joins three topics, and which of its records came
    last depends on timing. The key names the whole link, so a link that is published twice says the same twice."""

    payload: DecisionLinkPayload
