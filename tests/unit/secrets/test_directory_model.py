"""Random interleavings of changes, look-ups, gaps and outages: in the end every client has what is in force, and nothing that is gone."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.usecases.known_secrets import KnownSecret
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.subscription import Absence
from tests.fakes.certificates import InMemoryCertificates, InMemorySealing, issue
from tests.fakes.secret_holders import Time, running, serialise, settled

DOMAINS = {"a.example": ("a.example", "www.a.example"), "b.example": ("b.example",)}
NAMES = [name for names in DOMAINS.values() for name in names]
RECORDS = {fqdn: issue(*names)[0] for fqdn, names in DOMAINS.items()}
REMOVED = ""


class Client:
    """Holds names on one stream, and keeps what it is answered. `owed` are names that it waits for."""

    def __init__(self, directory: SecretDirectory) -> None:
        self.told: dict[str, str | None] = {}
        self.owed: set[str] = set()
        self._due: set[str] = set()
        self._directory = directory
        self._work = asyncio.Event()
        directory.attach(self)

    def holds(self, key: str) -> bool:
        """Whether it holds a name."""
        return key in self.told

    def changed(self, keys: Iterable[str]) -> None:
        """Has names compared."""
        self._due |= set(keys)
        self._work.set()

    def subscribe(self, name: str, version: str | None) -> None:
        """Subscribes to a name, with a version from an earlier stream or none; once more if it is held already."""
        if name not in self.told:
            self._directory.hold([name], [name] if version else [])
            self.told[name] = version
        if version is None:
            self.owed.add(name)
        self.changed([name])

    def unsubscribe(self, name: str) -> None:
        """Wants a name no more."""
        if name in self.told:
            del self.told[name]
            self.owed.discard(name)
            self._directory.release([name])

    @property
    def idle(self) -> bool:
        """Whether nothing is due."""
        return not self._due and not self._work.is_set()

    async def run(self) -> None:
        """Asks for what is due and takes the answers, for ever."""
        while True:
            await self._work.wait()
            due, self._due = self._due & self.told.keys(), set()
            owed = due & self.owed
            told = {key: version for key in due - owed if (version := self.told[key])}
            found = await self._directory.resolve(due, told)
            for key in due & self.told.keys():
                if key not in found:
                    self._due.add(key)
                    continue
                self._take(key, found[key], owed=key in owed)
            if not self._due:
                self._work.clear()

    def _take(self, key: str, found, *, owed: bool) -> None:
        if not isinstance(found, Absence):
            assert isinstance(found, KnownSecret) or not owed
            if isinstance(found, KnownSecret) or found.version == self.told[key]:
                self.told[key] = found.version
            else:
                self._due.add(key)
        elif owed or not self.told[key] or found is Absence.GONE:
            self.told[key] = REMOVED
        if owed:
            self.owed.discard(key)


class World:
    """A directory over a store, two clients, and what has been in force."""

    def __init__(self) -> None:
        self.store = InMemoryCertificates(InMemorySealing())
        self.time = Time()
        self.directory = SecretDirectory(self.store, self.store.sealing, self.store, serialise, reconcile_seconds=3600, monotonic=self.time)
        self.clients = [Client(self.directory) for _ in range(2)]
        self.versions: dict[str, list[str]] = {name: [] for name in NAMES}
        self._generation = 0

    async def put(self, fqdn: str, publish: bool) -> None:
        """Issues a certificate, and tells of it or not."""
        self._generation += 1
        version = f"{fqdn} {self._generation}"
        await self.store.put_record(replace(RECORDS[fqdn], id=version, generation=self._generation), publish=publish)
        for name in DOMAINS[fqdn]:
            self.versions[name].append(version)

    async def delete(self, fqdn: str, publish: bool) -> None:
        """Deletes a domain, if it exists."""
        if fqdn in self.store._by_domain:
            await self.store.delete(fqdn, publish=publish)

    async def subscribe(self, client: int, name: str, back: int) -> None:
        """Subscribes, with the version in force so many certificates ago if there was one, else without."""
        known = self.versions[name]
        self.clients[client].subscribe(name, known[-back] if 0 < back <= len(known) else None)

    async def unsubscribe(self, client: int, name: str) -> None:
        """Unsubscribes."""
        self.clients[client].unsubscribe(name)

    async def lose(self) -> None:
        """Loses changes."""
        await self.store.lose_changes()

    async def gate(self, open_: bool) -> None:
        """Holds answers of the store back, or lets them go."""
        (self.store.gate.set if open_ else self.store.gate.clear)()

    async def away(self, away: bool) -> None:
        """Takes the store away, or brings it back."""
        self.store.away = away

    async def headless(self, fqdn: str) -> None:
        """Makes the records of a domain such as an earlier version wrote."""
        self.store.headless.add(fqdn)

    async def wait(self, seconds: int) -> None:
        """Lets time pass for what is remembered for seconds."""
        self.time.seconds += seconds

    async def turns(self, count: int) -> None:
        """Lets so many turns of the loop pass."""
        for _ in range(count):
            await asyncio.sleep(0)

    def expected(self, name: str) -> str:
        """What a client should have in the end."""
        (fqdn,) = (fqdn for fqdn, names in DOMAINS.items() if name in names)
        record = self.store._by_domain.get(fqdn)
        return record.version if record is not None else REMOVED


fqdns, names, clients = st.sampled_from(sorted(DOMAINS)), st.sampled_from(NAMES), st.integers(0, 1)
steps = st.one_of(
    st.tuples(st.just("put"), fqdns, st.booleans()),
    st.tuples(st.just("delete"), fqdns, st.booleans()),
    st.tuples(st.just("subscribe"), clients, names, st.integers(0, 2)),
    st.tuples(st.just("unsubscribe"), clients, names),
    st.tuples(st.just("lose")),
    st.tuples(st.just("gate"), st.booleans()),
    st.tuples(st.just("away"), st.booleans()),
    st.tuples(st.just("headless"), fqdns),
    st.tuples(st.just("wait"), st.integers(5, 20)),
    st.tuples(st.just("turns"), st.integers(1, 12)),
)


async def _play(script) -> None:
    world = World()
    async with running(world.directory), asyncio.TaskGroup() as tasks:
        running_clients = [tasks.create_task(client.run()) for client in world.clients]
        for step, *arguments in script:
            await getattr(world, step)(*arguments)
        await world.gate(True)
        await world.away(False)
        for _ in range(2):
            # What nothing told of is found by the regular comparison; what it finds is told, and asked for.
            await _quiet(world)
            world.directory._rereading.doubt_all()
        await _quiet(world)
        for task in running_clients:
            task.cancel()
    for client in world.clients:
        assert {name: world.expected(name) for name in client.told} == client.told


async def _quiet(world: World) -> None:
    async with asyncio.timeout(20):
        while True:
            await world.turns(30)
            await settled(world.directory)
            await world.turns(30)
            if all(client.idle for client in world.clients):
                return


@settings(deadline=None, max_examples=150)
@given(st.lists(steps, max_size=25))
def test_every_client_ends_with_what_is_in_force(script):
    """Whatever happened in whatever order, with and without a word from the feed, and whatever clients had from before."""
    asyncio.run(_play(script))
