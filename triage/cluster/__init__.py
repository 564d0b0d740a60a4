"""The same story over Ray: `prepare` and `settle` as tasks, `judge` as a pool of actors with an engine each.

The only importer of ray: `driver` keeps the engines fed, `judge` is the actor, `connection` joins or starts a cluster.
Tasks and actors with object references rather than Ray Data: a slice's questions and its events travel apart (the
engine's actor never holds events), a compressed shard yields its slices as they are read, and a receipt is the only
thing that comes back to the driver, whose cost is the same however large the slices are. benchmarks/ray_shape.py
holds both against each other (0.85 against 0.66 of a simulated engine).

Promises: a bounded number of slices is in flight (back-pressure end to end); only loopback listens when the cluster
is a local one; what vLLM and Ray print goes to OUTPUT/logs. Does not restart an engine that died: the run stops and
can be resumed.
"""

from __future__ import annotations

from triage.boundary import egress

egress.switch_off()  # before ray is imported

from triage.cluster.connection import connected  # noqa: E402
from triage.cluster.driver import Driver, Outcome, Progress, run  # noqa: E402
from triage.cluster.judge import Judge, LoadEngine, start_pool  # noqa: E402

__all__ = ["Driver", "Judge", "LoadEngine", "Outcome", "Progress", "connected", "run", "start_pool"]
