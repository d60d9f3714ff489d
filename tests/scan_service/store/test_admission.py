"""The statements of a batch."""

import uuid
from dataclasses import replace

from scan_service.store.admission import LockRequest


def test_only_a_batch_with_a_group_locks_groups():
    """A join that finds groups would slow all other scans down."""
    request = LockRequest(events=[], tickets=[], code_digests=[], scans=[])
    with_group = replace(request, groups=[(uuid.uuid4(), uuid.uuid4())])
    for lock_first in (False, True):
        assert "groups" not in request.round_trip(lock_first=lock_first)[0]
        assert "lock_and_read_groups" in with_group.round_trip(lock_first=lock_first)[0]
