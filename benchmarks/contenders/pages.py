"""The pages that the rivals fetch, the 15 selectors they apply, and what a right extraction finds. Pure.

Page `number` is a product page of about 64 kB: navigation, a product with its 15 fields, reviews and related products
as ballast, a footer. Every page differs in its fields; its ballast is cut anew from one text, so that pages compress
like real ones (about 1 : 7) and are all of the same size.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Mapping

PAGE_SIZE = 64_000

SELECTORS: Mapping[str, str] = {
    "title": "h1.product-title",
    "sku": "dl.facts dd.sku",
    "brand": "div.product > p.brand a",
    "price": "span.price-now",
    "old_price": "span.price-before",
    "currency": "div.offer span.currency",
    "stock": "div.offer p.stock",
    "rating": "div.rating span.value",
    "reviews": "div.rating a.count",
    "category": "nav.crumbs li:last-child a",
    "weight": "table.specification tr.weight td",
    "colour": "table.specification tr.colour td",
    "origin": "table.specification tr.origin td",
    "seller": "section#seller h2",
    "shipping": "section#seller p.shipping",
}
"""Field → CSS selector. Each matches one element that holds one text without white space around it."""

_WORDS = tuple(
    word
    for line in (
        "sturdy light compact handle cover charger battery warranty delivery returned quality colour pleased expected",
        "cheaper instead recommend small large after weeks daily travel kitchen garden office screws manual missing",
        "fits perfectly arrived early broken replaced service friendly value money again never always sometimes",
    )
    for word in line.split()
)


def path(number: int) -> str:
    """The address of a page, without host."""
    return f"/product/{number}"


def expected(number: int) -> dict[str, str]:
    """The 15 fields of a page."""
    source = random.Random(f"page {number}")
    price = source.randint(500, 90_000)
    return {
        "title": f"Product {number} {source.choice(_WORDS)} {source.choice(_WORDS)}",
        "sku": f"SKU-{number:06d}",
        "brand": f"Brand {source.randint(1, 400)}",
        "price": f"{price / 100:.2f}",
        "old_price": f"{price * 1.2 / 100:.2f}",
        "currency": source.choice(("EUR", "USD", "GBP")),
        "stock": f"{source.randint(0, 500)} in stock",
        "rating": f"{source.randint(10, 50) / 10:.1f}",
        "reviews": f"{source.randint(0, 9_000)} reviews",
        "category": f"Category {source.randint(1, 60)}",
        "weight": f"{source.randint(50, 9_000)} g",
        "colour": source.choice(("Größe S, blau", "rouge cerise", "graphite", "noir", "vert d’eau")),
        "origin": source.choice(("Portugal", "Türkiye", "Côte d’Ivoire", "Viet Nam")),
        "seller": f"Seller {source.randint(1, 3_000)}",
        "shipping": f"Ships within {source.randint(1, 9)} days",
    }


class PageMaker:
    """Makes the pages of a site; they share their ballast's source."""

    def __init__(self) -> None:
        source = random.Random("ballast")
        self._reviews = [_review(source, number) for number in range(400)]

    def compressed(self, number: int) -> bytes:
        """A page as gzip."""
        return gzip.compress(self.page(number).encode(), 6, mtime=0)

    def page(self, number: int) -> str:
        """A page as text."""
        head = _head(number, expected(number))
        pieces = [head]
        size, place = len(head) + len(_FOOTER), number
        while size < PAGE_SIZE:
            pieces.append(self._reviews[place % len(self._reviews)])
            size += len(pieces[-1])
            place += 7
        return "".join([*pieces, _FOOTER])


def _head(number: int, field: Mapping[str, str]) -> str:
    links = "".join(
        f'<li class="item"><a href="/department/{n}" data-n="{n}">Department {n}</a></li>' for n in range(60)
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{field["title"]}</title>'
        f'<link rel="canonical" href="{path(number)}"><script>window.page = {{number: {number}}};</script></head>\n'
        f'<body><header><nav class="main"><ul>{links}</ul></nav></header>\n'
        f'<nav class="crumbs"><ol><li><a href="/">Home</a></li><li><a href="/c">{field["category"]}</a></li></ol>'
        "</nav>\n"
        f'<main><div class="product"><h1 class="product-title">{field["title"]}</h1>'
        f'<p class="brand">by <a href="/b">{field["brand"]}</a></p>'
        f'<div class="rating"><span class="stars"></span><span class="value">{field["rating"]}</span>'
        f'<a class="count" href="#reviews">{field["reviews"]}</a></div>\n'
        f'<div class="offer"><span class="price-now">{field["price"]}</span><span class="price-before">'
        f'{field["old_price"]}</span><span class="currency">{field["currency"]}</span>'
        f'<p class="stock">{field["stock"]}</p></div>\n'
        f'<dl class="facts"><dt>Article</dt><dd class="sku">{field["sku"]}</dd></dl>\n'
        f'<table class="specification"><tbody><tr class="weight"><th>Weight</th><td>{field["weight"]}</td></tr>'
        f'<tr class="colour"><th>Colour</th><td>{field["colour"]}</td></tr>'
        f'<tr class="origin"><th>Origin</th><td>{field["origin"]}</td></tr></tbody></table></div>\n'
        f'<section id="seller"><h2>{field["seller"]}</h2><p class="shipping">{field["shipping"]}</p></section>\n'
        '<section id="reviews"><h2>Reviews</h2>\n'
    )


def _review(source: random.Random, number: int) -> str:
    text = " ".join(source.choices(_WORDS, k=source.randint(20, 60)))
    return (
        f'<article class="review" data-id="{source.getrandbits(48):012x}"><header>'
        f'<span class="stars s{number % 5}"></span>'
        f'<a class="author" href="/user/{source.getrandbits(32)}">Customer {source.randint(1, 99_999)}</a>'
        f'<time datetime="2026-0{source.randint(1, 9)}-1{source.randint(0, 9)}">last year</time></header>'
        f'<p class="text">{text}</p><footer><button type="button">Helpful</button>'
        f"<span>{source.randint(0, 99)} people</span></footer></article>\n"
    )


_FOOTER = (
    '</section></main>\n<footer><a href="/imprint">Imprint</a><a href="/privacy">Privacy</a></footer></body></html>\n'
)
