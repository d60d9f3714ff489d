from tests.environment import ROOT
from ticket_service.adapters.providers import PROVIDERS, provider_of, read_provider_settings
from ticket_service.domain.purchases import EXTERNAL, FREE
from ticketing.chassis.settings import Environment


def test_only_the_adapter_and_the_registry_name_a_provider() -> None:
    package = ROOT / "ticket_service"
    for provider in PROVIDERS:
        named = {
            str(path.relative_to(package))
            for path in package.rglob("*.py")
            if provider.name in path.read_text().lower() and provider.name not in path.relative_to(package).parts
        }
        assert named == {"adapters/providers.py"}


def test_provider_names_are_unique_and_not_our_own() -> None:
    names = [provider.name for provider in PROVIDERS]
    assert len({*names, FREE, EXTERNAL}) == len(names) + 2


def test_unset_providers_are_not_configured() -> None:
    assert read_provider_settings(Environment({})) == {}


def test_every_payment_method_has_a_provider() -> None:
    assert provider_of("pm_unknown") == "stripe"
