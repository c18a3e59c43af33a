"""Values for variables: where they come from, how they are matched, and the rewrite of a model with them."""
