"""A CA with faults: a real Pebble behind a proxy of ours, and what an issuance makes of every fault at every step."""
