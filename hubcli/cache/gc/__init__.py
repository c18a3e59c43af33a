"""Collection: policy, snapshot of the cache, plan, and its application."""
