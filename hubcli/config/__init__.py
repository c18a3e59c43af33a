"""Settings, network, environment variables, user directories: no other room reads the environment."""
