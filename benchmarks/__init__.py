"""What hubcli costs, measured in whole processes against the tools that it replaces."""
