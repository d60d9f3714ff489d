"""PostgreSQL with automatic failover by Patroni and etcd, on one machine for trials and tests."""
