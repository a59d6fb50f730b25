"""What the supervisor shows over HTTP: /metrics, /healthz, /readyz."""
