"""What a search knows about English: words that carry no meaning, and words that mean the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Words = tuple[str, ...]
"""Words in a row."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The language of one kind of record. Names of people need fewer stop words than questions do."""

    stop_words: frozenset[str]
    """Dropped from a query, unless it has no other words."""
    synonyms: Mapping[Words, tuple[Words, ...]] = field(default_factory=dict)
    """Stemmed words in a row, to what else may be said instead."""

    @property
    def longest_synonym(self) -> int:
        return max(map(len, self.synonyms), default=0)


def stem(word: str) -> str:
    """A rough stem, so that a synonym is found in whatever form it is written.

    Only for looking synonyms up: the index has its own, better stemmer.
    """
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz"
    return word[:-1] if doubled else word


def synonym_table(lines: Iterable[str]) -> dict[Words, tuple[Words, ...]]:
    """Read lines such as `sign in: login, log in`: whoever asks for the latter also finds the former.

    One direction only: the first is what texts use, and the more forms a query has, the more it finds
    that nobody asked for.
    """
    table: dict[Words, tuple[Words, ...]] = {}
    for line in lines:
        written, _, variants = line.partition(":")
        for variant in variants.split(","):
            key = tuple(stem(word) for word in variant.split())
            table[key] = (*table.get(key, ()), tuple(written.split()))
    return table


_FUNCTION_WORDS = """
    a about after again all am and any are as at be because been before being both but by did do does
    doing during each for from had has have having he her here his how i if in into is it its itself just
    me my nor not of on once only or our own same she so some such than that the their them then there these
    they this those through to too until up us very was we were what when where which while who whom why with
    you your yours
"""

_QUESTION_WORDS = """
    am anybody anyone anything apparently can cannot could doesn don didn isn wasn won would should couldn
    shouldn wouldn haven hasn aren ll ve re im ive dont doesnt didnt cant isnt wont explain find get gets
    getting give go goes going got happen happens hello help hi keep keeps know let lets like look make may
    might much must need needs now please possible really see seem show tell thank thanks there thing things
    try trying use using want wanted wants way will wish without work works yet still ever every else either
    say says said put one even also always never already shall been come comes sort kind somebody someone
    something somehow explain question instead more less many several other another else long now
    today together straight soon quickly immediately around whole different show shows showing left enter
    since yesterday morning
"""

PLAIN = Vocabulary(frozenset(_FUNCTION_WORDS.split()))
"""For records that hold names: only words that are hardly ever a name are dropped."""

_SYNONYMS = """
    administrator: admin
    back up: backup
    backup: back up
    browser: web
    buy: bought, purchase
    cancel: stop paying, unsubscribe, end subscription, terminate, quit
    card: credit card, debit card
    charge: bill, debit
    client: customer
    computer: laptop, notebook, pc, machine
    dead: died, broken, broke, damaged
    delete account: close account
    delete: remove, erase, wipe
    duplicate: twice, double
    e mail: email, mail
    earlier: previous, older
    expire: run out, ran out
    external drive: usb stick, usb drive, external disk, external hard disk
    file: document
    folder: directory
    guest: external, freelancer, contractor
    invoice: bill, receipt
    largest: biggest, maximum
    lost: vanished, disappeared, gone, left
    mac: macbook, macos, imac, osx
    member: colleague, coworker, co worker, teammate, employee, staff
    memory: ram
    mistake: accident, accidentally
    not allowed: forbid, prevent, block, disallow, restrict
    outage: down, offline
    phone: mobile, smartphone, cell phone
    photo: picture, image
    plan: subscription
    price: cost, pricing, expensive, cheap, how much
    processor: cpu
    ransomware: virus, malware
    refund: money back, reimburse
    region: country, location
    remove: delete
    remove: take away, revoke
    restore: recover, undelete, bring back, get back, go back, revert
    rewind: roll back, undo
    schedule: often, frequency
    seat: user, licence, license
    sign in: login, log in, logon, signin, signed in, logged in
    single sign on: sso, saml
    slow: speed, slowly, faster
    sso: single sign on
    stolen: theft, thief, steal
    storage: quota
    stuck: freeze, frozen, hang, hung
    support: human, person, agent
    twice: two times, double, duplicate
    two factor: two step, 2fa, mfa
    wi fi: wifi
    yearly: annual, annually, per year, whole year
"""

SUPPORT = Vocabulary(
    frozenset(_FUNCTION_WORDS.split()) | frozenset(_QUESTION_WORDS.split()),
    synonym_table(_SYNONYMS.strip().splitlines()),
)
"""For questions put in whole sentences, and the texts that answer them."""
