"""Stores and rules of the tests of history."""
MEMORY0, MEMORY20 = {"store": "memory", "store_memory_delay_ms": 0}, {"store": "memory", "store_memory_delay_ms": 20}
DISK = {"store": "lmdb", "store_dir": "store", "store_max_size": "256M"}
RULES = {"history": "100000 h/#", "history_age": "1h h/aged/#", "max_queued_messages": 200000, "threads": 4}
STORES = {"params": [MEMORY0, MEMORY20, DISK], "ids": ["memory0ms", "memory20ms", "lmdb"]}
