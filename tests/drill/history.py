"""A seeded random history: what shops, organizers, operators and gates do in one evening."""

from pathlib import Path
from random import Random

from tests.drill.callers import Callers
from tests.drill.doors import Doors
from tests.drill.events import PRICE, Events
from tests.drill.log import Kind, Log, World
from tests.drill.sales import Sales
from tests.drill.site import Site
from tests.drill.tickets import Tickets


class History:
    """One evening, operation by operation."""

    def __init__(self, site: Site, random: Random, folder: Path) -> None:
        self.callers = Callers(site, random)
        self.events, self.sales = Events(self.callers), Sales(self.callers)
        self.tickets, self.doors = Tickets(self.callers), Doors(self.callers, folder)
        self.operations = 0

    @property
    def log(self) -> Log:
        """Return the log of what was acknowledged."""
        return self.callers.log

    @property
    def world(self) -> World:
        """Return the state that the log adds up to."""
        return self.log.world()

    def prepare(self) -> None:
        """Publish two events with two gates each, and sell the first tickets."""
        self.callers.log.add(Kind.KEY_ADDED, key_id=1)
        for price in (0, PRICE):
            self.events.new_event(price)
            self.events.publish()
        self.callers.site.settle()
        self.callers.log.add(Kind.SETTLED)
        for _ in range(2):
            for event_id in self.callers.events("PUBLISHED"):
                self.doors.enroll(event_id)
        for _ in range(3):
            self.sales.buy()
        self.callers.settle()

    def operate(self) -> None:
        """Do one random operation, another one where the chosen one has no subject."""
        choices = {
            self.sales.buy: 8,
            self.sales.hold: 3,
            self.sales.end_hold: 3,
            self.doors.scan: 14,
            self.doors.cut: 3,
            self.doors.plug_in: 3,
            self.tickets.cancel: 5,
            self.tickets.reissue: 4,
            self.tickets.block: 3,
            self.tickets.unblock: 2,
            self.events.change_event: 2,
            self.events.new_event: 1,
            self.events.publish: 2,
            self.events.cancel_event: 0.3,
            self.tickets.add_key: 1,
            self.tickets.retire_key: 1,
            self.doors.enroll: 1,
            self.doors.revoke: 1,
            self.callers.settle: 2,
        }
        while True:
            [operation] = self.callers.random.choices(list(choices), list(choices.values()))
            if operation() is not False:
                self.operations += 1
                return
