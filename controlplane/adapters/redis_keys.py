"""Every key name of the store, in one place.

Domains hash to 256 shards. The hash tag `{sNN}` puts everything about a domain into one slot of a Redis Cluster, so that one Lua
script can change a domain, its schedule and its shard's change stream together.

| key | type | content |
|---|---|---|
| `cp:{sNN}:domain:NAME` | hash | `spec`, `status`, `certificate`, `head`, `previous`, `sealed`, `order`, `revision`, `fence`, `wake`, and |
| | | `lane` when it is not that of renewals |
| `cp:{sNN}:claim:NAME` | string | `OWNER|UID|MILLISECONDS`: NAME is an additional name of this life of OWNER |
| `cp:{sNN}:gone:NAME` | string, TTL | NAME was taken away by a deletion, not by a store that lost it |
| `cp:{sNN}:lease:NAME` | string, TTL | `OWNER:FENCING_TOKEN` |
| `cp:{sNN}:names` | sorted set, score 0 | own names, for listing in order |
| `cp:{sNN}:due` | sorted set | own names in the lane of renewals by due time, milliseconds |
| `cp:{sNN}:due:LANE` | sorted set | the same of each other lane |
| `cp:{sNN}:expiry` | sorted set | own names by end of validity, milliseconds |
| `cp:{sNN}:fence` | integer | the shard's last fencing token |
| `cp:{sNN}:sequence` | integer | the shard's last change number |
| `cp:{sNN}:changes` | stream | `q` change number, `n` own name, `a` all names, `k` kind |
| `cp:{sNN}:token:TOKEN` | string, TTL | HTTP-01 token record, sharded by the token |
| `cp:intermediate:DIGEST` | string | a DER certificate |
| `cp:account:DIGEST` | string | an ACME account, by SHA-256 of its directory URL |
| `cp:{fleet}:replicas` | sorted set | replicas of `serve` by when they were last heard of, milliseconds |
| `cp:{fleet}:replica:REPLICA` | hash, TTL | what is connected to it: status by node id; its own status in the field with no name |
| `cp:{fleet}:nodes` | sorted set, score 0 | ids of remembered nodes, for listing in order |
| `cp:{fleet}:seen` | sorted set | the same by when they were last written, milliseconds |
| `cp:node:ID` | hash, TTL | what is remembered of a node: `status`, `names` |
| `cp:key-report:ID` | string, TTL | what a running process says of its keys |
| `cp:{ca-DIGEST}:bucket:BUCKET` | string, TTL | `FULL_AT BLOCKED_UNTIL` of a token bucket, microseconds, by a CA's directory URL |
| `cp:{ca-DIGEST}:breaker` | string, TTL | `STATE FAULTS OPENINGS UNTIL` of a CA's circuit breaker, microseconds |
| `cp:{authorities}:report:DIGEST` | string, TTL | what a worker last said of a CA, by SHA-256 of its directory URL |
| `cp:{authorities}:reported` | set, TTL | the digests of all CAs that workers speak of |
| `cp:lanes:MINUTE` | hash, TTL | attempts that ended in that minute since 1970, by lane |
| `cp:{replacements}:records` | hash | mass replacements by their identifiers |
| `cp:{replacements}:stopped` | hash | when each replacement was stopped that ever was, milliseconds |
| `cp:{replacements}:job` | string, TTL | the process that carries replacements on |
| `cp:reseal:TARGET` | string | where sealing anew to these keys was stopped |
| `cp:{checks}:waiting` | sorted set | ids of pre-flights that were asked for and nobody has taken, by when, microseconds |
| `cp:{checks}:check:ID` | hash, TTL | one of them: `request`, `run`, `taken`, `done` (milliseconds), `result` |
| `cp:{checks}:runner` | string, TTL | a worker that takes them is there |
| `cp:epoch` | string | random identifier of this store's life |
"""

import hashlib
import zlib

from controlplane.core.lane import Lane

SHARDS = 256
EPOCH = "cp:epoch"
REPLICAS = "cp:{fleet}:replicas"
NODES = "cp:{fleet}:nodes"
NODES_SEEN = "cp:{fleet}:seen"
CHECKS_WAITING = "cp:{checks}:waiting"
CHECK_PREFIX = "cp:{checks}:check:"
"""What the key of every pre-flight starts with; its id follows."""
CHECK_RUNNER = "cp:{checks}:runner"
AUTHORITIES_REPORTED = "cp:{authorities}:reported"
REPLACEMENTS = "cp:{replacements}:records"
REPLACEMENTS_STOPPED = "cp:{replacements}:stopped"
REPLACEMENTS_JOB = "cp:{replacements}:job"


def shard_of(name: str) -> int:
    """Returns the shard of a domain name or a token: 0 to 255."""
    return zlib.crc32(name.encode()) % SHARDS


def _in_shard(shard: int, rest: str) -> str:
    return _PREFIXES[shard] + rest


_PREFIXES = tuple(f"cp:{{s{shard:02x}}}:" for shard in range(SHARDS))


def domain(name: str) -> str:
    """The domain's record."""
    return _in_shard(shard_of(name), f"domain:{name}")


def domain_prefix(shard: int) -> str:
    """What every domain's key of a shard starts with; the own name follows."""
    return _in_shard(shard, "domain:")


def claim(name: str) -> str:
    """The claim of an additional name."""
    return _in_shard(shard_of(name), f"claim:{name}")


def tombstone(name: str) -> str:
    """Says that a name went with a deletion."""
    return _in_shard(shard_of(name), f"gone:{name}")


def of_name(name: str) -> tuple[str, str, str]:
    """All that a look-up reads of a name: the domain's record, the claim, the tombstone."""
    prefix = _PREFIXES[shard_of(name)]
    return f"{prefix}domain:{name}", f"{prefix}claim:{name}", f"{prefix}gone:{name}"


def lease(name: str) -> str:
    """The lease on a domain."""
    return _in_shard(shard_of(name), f"lease:{name}")


def lease_prefix(shard: int) -> str:
    """What every lease of a shard starts with; the own name follows."""
    return _in_shard(shard, "lease:")


def names(shard: int) -> str:
    """Own names of a shard."""
    return _in_shard(shard, "names")


def due(shard: int, lane: Lane = Lane.RENEWAL) -> str:
    """Due times of a lane of a shard. That of renewals, where nearly all domains rest, has the name from before there were lanes."""
    return _in_shard(shard, "due" if lane is Lane.RENEWAL else f"due:{lane}")


def due_sets(shard: int) -> tuple[str, ...]:
    """Due times of all lanes of a shard, in the order that the scripts expect."""
    return tuple(due(shard, lane) for lane in Lane)


def expiry(shard: int) -> str:
    """Ends of validity of a shard."""
    return _in_shard(shard, "expiry")


def fence(shard: int) -> str:
    """Fencing counter of a shard."""
    return _in_shard(shard, "fence")


def sequence(shard: int) -> str:
    """Change counter of a shard."""
    return _in_shard(shard, "sequence")


def changes(shard: int) -> str:
    """Change stream of a shard."""
    return _in_shard(shard, "changes")


def bell_pattern(kind: str) -> str:
    """The channels that ring when a change of this kind is written, of all shards: the stream's name, `/`, and the kind."""
    return f"cp:{{s*}}:changes/{kind}"


def stream_of_bell(channel: bytes) -> bytes:
    """The change stream that a channel rings for."""
    return channel.rpartition(b"/")[0]


def token(value: str) -> str:
    """An HTTP-01 token; sharded by itself, because the host that asks may be an additional name."""
    return _in_shard(shard_of(value), f"token:{value}")


def intermediate(digest: bytes) -> str:
    """An intermediate certificate by SHA-256 of its DER."""
    return f"cp:intermediate:{digest.hex()}"


def account(directory_url: str) -> str:
    """An ACME account."""
    return f"cp:account:{hashlib.sha256(directory_url.encode()).hexdigest()[:32]}"


def replica(identifier: str) -> str:
    """What is connected to a replica of `serve`."""
    return f"cp:{{fleet}}:replica:{identifier}"


def node(node_id: str) -> str:
    """What is remembered of a node; by itself, since its names may be a hundred kilobytes."""
    return f"cp:node:{node_id}"


def bucket(directory_url: str, name: str) -> str:
    """A token bucket; all of a CA share a slot, so that one script can take from several."""
    return f"{_of_authority(directory_url)}bucket:{name}"


def breaker(directory_url: str) -> str:
    """The circuit breaker of a CA."""
    return f"{_of_authority(directory_url)}breaker"


def _of_authority(directory_url: str) -> str:
    return f"cp:{{ca-{authority_digest(directory_url)}}}:"


def authority_digest(directory_url: str) -> str:
    """What stands for a CA in names of keys."""
    return hashlib.sha256(directory_url.encode()).hexdigest()[:16]


def authority_report(digest: str) -> str:
    """What a worker last said of a CA, by its digest; all reports share a slot, so that one command reads them."""
    return f"cp:{{authorities}}:report:{digest}"


ACCOUNTS_PATTERN = "cp:account:*"
"""All accounts."""

LEASES_PATTERN = "cp:{s*}:lease:*"
"""All leases."""

TOKENS_PATTERN = "cp:{s*}:token:*"
"""All HTTP-01 tokens."""

KEY_REPORTS_PATTERN = "cp:key-report:*"
"""All processes that report their keys."""


def key_report(replica: str) -> str:
    """The report of a running process."""
    return f"cp:key-report:{replica}"


def lanes_completed(minute: int) -> str:
    """How many attempts ended in a minute, counted since 1970, by lane."""
    return f"cp:lanes:{minute}"


def reseal(target: str) -> str:
    """The cursor of sealing anew to what `target` names."""
    return f"cp:reseal:{target}"
