"""Connections to Redis for the queue and its signals: commands that wait, and none that is sent twice."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from handoff.redis.connection import connection_pool
from handoff.redis.keys import Keys

MOST_CONNECTIONS = 8
WAIT_SECONDS = 5.0
"""For an answer, or a connection that is free; commands that wait on purpose wait less."""
CONNECT_SECONDS = 3.0

FAULTS = (RedisError, OSError)
"""What a command raises when the server is gone, or refuses it."""


def open_client(url: str) -> Redis:
    """A client whose connections are opened when they are needed. Raises: StructuredError for a bad URL."""
    connection_pool(url)  # the store's form of URL, and no other
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        url,
        max_connections=MOST_CONNECTIONS,
        timeout=WAIT_SECONDS,
        socket_timeout=WAIT_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_keepalive=True,
        protocol=2,
        driver_info=None,
        # A command that is repeated by itself could queue a run twice, or wait far beyond its time.
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


def key_of(namespace: str, name: str) -> str:
    """A key beside those of the namespace's store, under the same hash tag."""
    return Keys.of(namespace).meta.decode().removesuffix("meta") + name
