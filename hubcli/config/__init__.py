"""Settings, network, environment variables, user directories: no other room reads the environment.

`settings.Settings.read` gives all settings: options come before variables, variables before the config
file (`config_file.ConfigFile`). `environment` has the variables, user directories, mirrors and the
network's settings.
"""
