"""The generic machine: work queue, worker loop, plan and executor, resync, leases, Events, health. Knows no kind of ours."""
