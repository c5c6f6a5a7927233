"""The cost budget of one provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from decahertz.clock import NS_PER_SECOND
from providers.errors import BudgetExhaustedError
from storage.write.provider_costs import OverBudgetError

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.provider import ProviderOptions
    from storage.write.provider_costs import Costs, ProviderCostStore

_DAY_NS: Final = 86_400 * NS_PER_SECOND


class Budget:
    """Limits the costs of the calls of a day, of all callers together and of each API key.

    Each call is charged in the database before it is made, so that neither a crash nor a second recorder lets
    the costs exceed the limit. A call that fails has its cost too: vendors count it. Days are those of UTC.
    Without a limit nothing is charged, and the database is not needed.
    """

    def __init__(self, name: str, options: ProviderOptions, clock: Clock, store: ProviderCostStore) -> None:
        self._name = name
        self._clock = clock
        self._store = store
        self.call_cost = options.call_cost
        self.limit = options.budget_per_day
        """0: none."""
        self.key_limit = options.key_budget_per_day
        """0: none."""
        self._spent: tuple[int, float] | None = None
        """The day, and the costs at the newest charge."""

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self.call_cost > 0 and (self.limit > 0 or self.key_limit > 0)

    @property
    def day_ns(self) -> int:
        """Start of the day."""
        now_ns = self._clock.time_ns()
        return now_ns - now_ns % _DAY_NS

    @property
    def reset_ns(self) -> int:
        """When the next day begins."""
        return self.day_ns + _DAY_NS

    @property
    def spent(self) -> float | None:
        """Costs of this day at the newest charge; ``None``: not known, or there is no limit."""
        if self._spent is None or not self.is_limited:
            return None
        day_ns, cost = self._spent
        return cost if day_ns == self.day_ns else 0.0

    async def charge(self, key: str) -> None:
        """Charge one call to a key.

        Raises :class:`~providers.errors.BudgetExhaustedError`, and
        :class:`~storage.database.DatabaseUnavailableError`: a call that cannot be charged is not made.
        """
        if not self.is_limited:
            return
        day_ns = self.day_ns
        try:
            cost = await self._store.charge(
                self._name, day_ns, key, self.call_cost, limit=self.limit, key_limit=self.key_limit
            )
        except OverBudgetError as error:
            whose, limit = f"the provider {self._name}", self.limit
            if error.key is not None:
                whose, limit = f"the key {error.key!r} with {self._name}", self.key_limit
            now_ns = self._clock.time_ns()
            raise BudgetExhaustedError(whose, limit, now_ns, day_ns + _DAY_NS) from error
        self._spent = day_ns, cost

    async def read(self) -> Costs | None:
        """The costs of this day; ``None`` without a limit."""
        if not self.is_limited:
            return None
        day_ns = self.day_ns
        costs = await self._store.spent(self._name, day_ns)
        self._spent = day_ns, costs.cost
        return costs
