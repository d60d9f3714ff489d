-- Distributes the tickets database over the nodes of a Citus cluster, after the ticket service has migrated it. Read
-- docs/scaling.md first: the services of this version do not run on a distributed database.

-- Citus refuses triggers on distributed tables otherwise. The one of the ledger refuses changes of single rows, so it
-- works on each shard.
SET citus.enable_unsafe_triggers = on;

-- Tables of few rows, which every node has in full.
SELECT create_reference_table('feed');
SELECT create_reference_table('signing_keys');
SELECT create_reference_table('receiver_states');
SELECT create_reference_table('gate_devices');
SELECT create_reference_table('erasures');
SELECT create_reference_table('disputes');
SELECT create_reference_table('unmatched_payments');
SELECT create_reference_table('reconciliation_progress');
SELECT create_reference_table('reconciliation_queue');
SELECT create_reference_table('recoveries');
SELECT create_reference_table('recovery_findings');

-- All rows of an event are on one node. A table precedes those that refer to it.
SELECT create_distributed_table('events', 'event_id', colocate_with => 'none');
SELECT create_distributed_table('offers', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('past_terms', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('purchases', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('contacts', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('tickets', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('cancellations', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('ticket_refunds', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('callings_off', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('reissues', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('refund_orders', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('ledger', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('outside_refunds', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('changes', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('outbox', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('deliveries', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('told_incidents', 'event_id', colocate_with => 'events');

-- Tables whose key is unique over all events, and so cannot contain the event.
SELECT create_distributed_table('payments', 'payment_id', colocate_with => 'none');
SELECT create_distributed_table('idempotency_keys', 'request_id', colocate_with => 'none');
SELECT create_distributed_table('notifications', 'notification_id', colocate_with => 'none');
