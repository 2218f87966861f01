"""The queue in front of the loop: in this process, or in Redis for many workers."""
