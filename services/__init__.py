"""The marketplace: four services on one chassis."""

import os

# gRPC reads this when it is imported: or it complains of the fork that starts the gateway.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
