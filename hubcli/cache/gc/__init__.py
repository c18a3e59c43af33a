"""Collection: policy, snapshot of the cache, plan, and its application.

`snapshot.take_snapshot` reads the cache once; `planner.make_plan` decides by a `plan.Policy` and touches
nothing; `collect.collect` removes what the plan says, unless it changed meanwhile.
"""
