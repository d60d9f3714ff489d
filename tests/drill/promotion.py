"""A drill whose databases lose their last commits by the promotion of a standby that lagged, not by a restore of a backup."""

from pathlib import Path

from sqlalchemy.engine import URL

from tests.drill.drill import Drill
from tests.drill.site import MODULES, Site
from tests.environment import ROOT
from tests.faults.database import LAGGING, DatabaseServers
from ticketing.chassis.migrations import migrate


class PromotionSite(Site):
    """A pair of services, each of whose databases has a server and a standby of its own."""

    def back_up(self, name: str) -> Path:
        """Cut the standby off once it has everything so far; its later commits are those that a promotion loses."""
        self._servers[name].inflict("hold standby")
        return self._folder

    def restore(self, name: str, path: Path) -> None:
        """Kill the server, and promote its standby."""
        self._servers[name].inflict("promote held standby")

    def _new_database(self, service: str) -> URL:
        name = f"{service}s"
        folder = self._folder / name
        folder.mkdir()
        servers = self._servers[name] = DatabaseServers(folder, LAGGING)
        url = servers.url(name)
        migrate(url, ROOT / MODULES[name] / "store" / "migrations")
        return url

    def _drop_databases(self) -> None:
        for servers in self._servers.values():
            servers.close()


class PromotionDrill(Drill):
    """A drill on a PromotionSite."""

    def _new_site(self) -> Site:
        return PromotionSite(self._template, self._issuer, self._folder, self._stack)
