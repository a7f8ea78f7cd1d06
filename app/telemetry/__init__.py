"""What can be measured and told about calls: latency, metrics, logs."""
