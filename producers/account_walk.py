"""One walk down the pages of a /portfolio list, newest first, that ends whatever the other side does."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from venues.kalshi.account import Unwrapped, unwrap
from venues.kalshi.account_rest import AccountRest
from venues.kalshi.subaccounts import Subaccounts

log = logging.getLogger(__name__)

PAGE_LIMIT = 200
PAGES_MAX = 5_000  # a million items: a day at ten fills a second; a longer absence needs several walks
SHAPE_TRIES_MAX = 3  # a page of a wrong shape is asked again so often

#: Takes the items of one page; True when the walk has gone far enough.
OnPage = Callable[[list[dict[str, Any]]], bool]


@dataclass(slots=True)
class WalkResult:
    """`complete`: the end was reached. `clean`: no page came twice, so equal items in it are different things."""

    complete: bool = False
    clean: bool = True
    pages: int = 0
    items: int = 0
    dropped: int = 0
    problem: str | None = None


async def walk(rest: AccountRest, path: str, name: str, params: Mapping[str, str | int], on_page: OnPage) -> WalkResult:
    """Hand every page's items of the desk's subaccount to `on_page` until it has enough or the list ends.

    A cursor that was there already ends it: the venue's lists have been seen to lead back into themselves, and all was
    read by then. If what it brought was only the same page once more, nothing says that there is no other: the walk is
    incomplete then, with a problem, as where the answers have another shape.

    Raises:
        RestUnavailable, RestRefused: as `AccountRest.get`.
    """
    result, cursor, seen, tries = WalkResult(), "", set[str](), 0
    previous: bytes | None = None
    while result.pages < PAGES_MAX:
        asked = {"limit": PAGE_LIMIT, **rest.subaccounts.parameters, **params, **({"cursor": cursor} if cursor else {})}
        page = unwrap(await rest.get(path, asked), name)
        result.pages += 1
        if page.error is not None:
            log.warning("%s: %s", path, page.error)
            tries += 1
            if tries > SHAPE_TRIES_MAX:
                result.problem = page.error
                return result
            continue
        encoded = msgspec.json.encode(page.items)
        is_repeated, previous = bool(page.items) and encoded == previous, encoded
        result.clean = result.clean and not is_repeated
        enough = _take(page, result, on_page, rest.subaccounts, name)
        if page.cursor in seen and is_repeated and not enough:
            result.problem = f"{path}: the same page again"
            return result
        if enough or not page.cursor or page.cursor in seen:
            result.complete = True
            return result
        seen.add(page.cursor)
        cursor = page.cursor
    result.problem = f"{path}: expected a last page, was none after {PAGES_MAX}"
    return result


def _take(page: Unwrapped, result: WalkResult, on_page: OnPage, subaccounts: Subaccounts, name: str) -> bool:
    result.dropped += page.dropped
    result.items += len(page.items)
    own = [item for item in page.items if subaccounts.is_own(item, name)]
    # A page of others' alone says nothing of how far the own ones reach.
    return on_page(own) if own or not page.items else False
