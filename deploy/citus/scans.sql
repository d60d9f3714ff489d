-- Distributes the scans database over the nodes of a Citus cluster, after the scan service has migrated it. Read
-- docs/scaling.md first: the services of this version do not run on a distributed database.

-- Tables of few rows, which every node has in full.
SELECT create_reference_table('feed');
SELECT create_reference_table('devices');
SELECT create_reference_table('signing_keys');
SELECT create_reference_table('retired_keys');
SELECT create_reference_table('recoveries');

-- All rows of an event are on one node.
SELECT create_distributed_table('events', 'event_id', colocate_with => 'none');
SELECT create_distributed_table('feed_cursors', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('tickets', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('revocations', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('scans', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('incidents', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('incident_scans', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('changes', 'event_id', colocate_with => 'events');
