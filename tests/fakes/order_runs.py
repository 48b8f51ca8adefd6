"""Runs of one order against a scripted CA, on a clock that only moves when somebody waits."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from controlplane.core.order import OrderRecord, Phase
from controlplane.usecases.order_endings import FinishedOrder, OrderAbandoned, OrderFailed, OrderInterrupted, OrderSlow
from controlplane.usecases.order_run import OrderRun
from tests.fakes import samples
from tests.fakes.scripted_authority import ScriptedAuthority
from tests.fakes.tokens import InMemoryTokens

SHOP = "shop.example.com"
START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

Ending = FinishedOrder | OrderFailed | OrderAbandoned | OrderInterrupted | OrderSlow


def prepared(*names: str, replaces: str = "", profile: str = "") -> OrderRecord:
    """An order that was not posted yet."""
    return OrderRecord(
        Phase.PREPARED, names or (SHOP,), b"csr", samples.sealed(), "https://ca.example/dir", START, replaces=replaces, profile=profile
    )


@dataclass(slots=True)
class Runs:
    """A worker, its store and its clock. `saved` has every order that was persisted; the last is what a successor finds.

    The clock is `set_back` at each wait.
    """

    now: datetime = START
    set_back: timedelta = timedelta()
    authority: ScriptedAuthority = field(init=False)
    tokens: InMemoryTokens = field(init=False)
    saved: list[OrderRecord] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Makes the CA and the store of tokens."""
        self.authority = ScriptedAuthority(self.clock, takes=self.let_pass)
        self.tokens = InMemoryTokens(self.clock)

    def clock(self) -> datetime:
        """The time."""
        return self.now

    def let_pass(self, seconds: float) -> None:
        """Lets the time of a request pass."""
        self.now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Lets the time pass."""
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds) - self.set_back

    async def save(self, order: OrderRecord, step: str) -> None:
        """Persists, and notes in the CA's transcript where."""
        self.saved.append(order)
        self.steps.append(step)
        self.authority.calls.append(f"save {order.phase.name}{'' if not order.replaces else ' replaces'}")

    async def run(self, order: OrderRecord) -> Ending:
        """Runs `order`; returns how it ended."""
        run = OrderRun(
            order,
            token_names=order.names,
            authority=self.authority,
            tokens=self.tokens,
            clock=self.clock,
            save=self.save,
            planted=set(),
            sleep=self.sleep,
        )
        try:
            return await run.finish()
        except (OrderFailed, OrderAbandoned, OrderInterrupted, OrderSlow) as ending:
            return ending

    async def run_again(self) -> Ending:
        """Runs what is persisted, as the next attempt does."""
        return await self.run(self.saved[-1])

    async def placed(self, *names: str) -> OrderRecord:
        """Returns an order that the CA has, with nothing done for it yet; the transcript begins after that."""
        remote = await self.authority.new_order(names or (SHOP,))
        self.authority.calls.clear()
        return replace(
            prepared(*names),
            phase=Phase.PLACED,
            order_url=remote.url,
            finalize_url=remote.finalize_url,
            authorization_urls=remote.authorization_urls,
            expire_time=remote.expire_time,
        )
