"""Modules and types that have another name since 0.2: the old ones work for one more release, with a warning.

Documentation named them, so scripts may import them. The finder is the last one of `sys.meta_path`, and is
called only for a module that no file has: importing by the names of today costs nothing more.
"""

from __future__ import annotations

TYPE_CHECKING = False  # Every start pays for what is imported here.
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["MOVED", "RENAMED", "MovedModules", "renamed", "warn_of_old_name"]

# The old name of each module, and today's.
MOVED = {
    "hubcli.archive.member_names": "hubcli.archive.unpack",
    "hubcli.archive.members": "hubcli.archive",
    "hubcli.cache.atomic_files": "hubcli.atomic_files",
    "hubcli.cache.entries": "hubcli.cache.cached_model",
    "hubcli.cache.gc.policy": "hubcli.cache.gc.plan",
    "hubcli.cache.lock_owner": "hubcli.cache.records",
    "hubcli.cache.mounts": "hubcli.cache.disk_usage",
    "hubcli.cache.policy": "hubcli.cache.gc.plan",
    "hubcli.cli.help": "hubcli.cli.help_pages",
    "hubcli.cli.rm": "hubcli.cli.gc",
    "hubcli.cli.signals": "hubcli.cli.entrypoint",
    "hubcli.cli.views.doctor": "hubcli.cli.doctor",
    "hubcli.cli.views.dry_run": "hubcli.cli.views.fetch",
    "hubcli.cli.views.verify": "hubcli.cli.verify",
    "hubcli.commands.fetch_options": "hubcli.fetching.options",
    "hubcli.commands.finetune_options": "hubcli.finetuning",
    "hubcli.config.network": "hubcli.config.environment",
    "hubcli.config.variables": "hubcli.diagnosing.settings",
    "hubcli.diagnosing.check": "hubcli.diagnosing.context",
    "hubcli.diagnosing.compatibility": "hubcli.diagnosing.packages",
    "hubcli.diagnosing.credentials": "hubcli.diagnosing.settings",
    "hubcli.diagnosing.hosts": "hubcli.diagnosing.network",
    "hubcli.diagnosing.shared_caches": "hubcli.diagnosing.cache",
    "hubcli.drop_in.errors": "hubcli.drop_in.load",
    "hubcli.exporting.layouts": "hubcli.exporting.destination",
    "hubcli.exporting.placement": "hubcli.exporting.destination",
    "hubcli.fetching.addresses": "hubcli.fetching.model_ref",
    "hubcli.fetching.aliases": "hubcli.fetching.cached",
    "hubcli.fetching.disk_space": "hubcli.fetching.sources",
    "hubcli.fetching.dry_run": "hubcli.fetching.peek",
    "hubcli.fetching.expected_digests": "hubcli.fetching.options",
    "hubcli.fetching.partial_downloads": "hubcli.fetching.cached",
    "hubcli.fetching.requirements": "hubcli.fetching.options",
    "hubcli.fetching.retry": "hubcli.fetching.sources",
    "hubcli.finetuning.acceptance": "hubcli.finetuning.result",
    "hubcli.finetuning.options": "hubcli.finetuning",
    "hubcli.finetuning.trained_values": "hubcli.finetuning.kept_values",
    "hubcli.formats.bundle_reader": "hubcli.formats.bundles",
    "hubcli.formats.bundle_writer": "hubcli.formats.bundles",
    "hubcli.formats.crc32c": "hubcli.formats.checksums",
    "hubcli.formats.dtypes": "hubcli.formats.tensor_layout",
    "hubcli.formats.farmhash": "hubcli.formats.checksums",
    "hubcli.formats.files": "hubcli.regular_file",
    "hubcli.formats.leveldb_table": "hubcli.formats.tensor_bundle",
    "hubcli.formats.leveldb_table_writer": "hubcli.formats.bundles",
    "hubcli.formats.npz": "hubcli.formats.array_files",
    "hubcli.formats.safetensors": "hubcli.formats.array_files",
    "hubcli.formats.slices": "hubcli.formats.tensor_layout",
    "hubcli.formats.tensors": "hubcli.formats.tensor_values",
    "hubcli.handle": "hubcli.providers.handle",
    "hubcli.net.certificates": "hubcli.net.connections",
    "hubcli.net.checksums": "hubcli.net.byte_source",
    "hubcli.net.proxies": "hubcli.net.connections",
    "hubcli.net.segments": "hubcli.net.download",
    "hubcli.providers.kaggle_account": "hubcli.providers.kaggle",
    "hubcli.redaction": "hubcli.urls",
    "hubcli.savedmodel.checkpoint": "hubcli.savedmodel.variables",
    "hubcli.savedmodel.checks.asset_variables": "hubcli.savedmodel.checks.path_origins",
    "hubcli.savedmodel.checks.file_findings": "hubcli.savedmodel.checks.scan",
    "hubcli.savedmodel.checks.keras_metadata": "hubcli.savedmodel.checks.file_scan",
    "hubcli.savedmodel.checks.keras_ops": "hubcli.savedmodel.checks.keras_names",
    "hubcli.savedmodel.checks.known_ops": "hubcli.savedmodel.checks.scan",
    "hubcli.savedmodel.checks.layout": "hubcli.savedmodel.layout",
    "hubcli.savedmodel.checks.op_classes": "hubcli.savedmodel.checks.scan",
    "hubcli.savedmodel.checks.risky_ops": "hubcli.savedmodel.checks.scan",
    "hubcli.savedmodel.compare.calls": "hubcli.savedmodel.compare.preservation",
    "hubcli.savedmodel.compare.value_changes": "hubcli.savedmodel.compare.diff",
    "hubcli.savedmodel.files": "hubcli.savedmodel.model",
    "hubcli.savedmodel.issue": "hubcli.issues",
    "hubcli.savedmodel.main_file": "hubcli.savedmodel.layout",
    "hubcli.savedmodel.model_format": "hubcli.savedmodel.layout",
    "hubcli.savedmodel.outline": "hubcli.savedmodel.graph",
    "hubcli.savedmodel.outputs": "hubcli.savedmodel.checks.reusable",
    "hubcli.savedmodel.signatures": "hubcli.savedmodel.functions",
    "hubcli.savedmodel.weights.checkpoint_graph": "hubcli.savedmodel.weights.assignable",
    "hubcli.savedmodel.weights.listed": "hubcli.savedmodel.weights.matching",
    "hubcli.settings": "hubcli.config.settings",
    "hubcli.suggestions": "hubcli.errors",
    "hubcli.tf.keras.h5_file": "hubcli.tf.keras.source",
    "hubcli.tf.keras.interface": "hubcli.tf.keras.export",
    "hubcli.tf.keras.layer_weights": "hubcli.tf.keras.layer",
    "hubcli.tf.sampling": "hubcli.tf.compare",
    "hubcli.tf.strategies": "hubcli.tf.training",
    "hubcli.tf.user_code": "hubcli.tf.importing",
    "hubcli.tf.variables": "hubcli.tf.loading",
}

# By the module of today, the old name of each type, and today's module and name.
RENAMED = {
    "hubcli.cache.cached_model": {  # Which was hubcli.cache.entries, with all of this.
        "Catalog": ("hubcli.cache.catalog", "Catalog"),
        "CatalogRow": ("hubcli.cache.catalog", "CachedModelInfo"),
        "Entry": ("hubcli.cache.cached_model", "CachedModel"),
        "EntryState": ("hubcli.cache.catalog", "EntryState"),
        "read_catalog": ("hubcli.cache.catalog", "read_catalog"),
    },
    "hubcli.config.settings": {  # Which was hubcli.settings.
        "ShellHomes": ("hubcli.config.user_directories", "ShellHomes"),
        "UpkeepRules": ("hubcli.config.settings", "AutoGcRules"),
    },
    "hubcli.issues": {"Fault": ("hubcli.issues", "Issue")},  # Which was hubcli.savedmodel.issue.
    "hubcli.savedmodel.model": {
        "Finding": ("hubcli.issues", "Issue"),
        "Problem": ("hubcli.issues", "Issue"),
    },
    "hubcli.cache.gc.snapshot": {"ModelFacts": ("hubcli.cache.catalog", "CachedModelInfo")},
}


def renamed(module: str, name: str) -> object:
    """The type that the module had under the old name; raises AttributeError for a name it never had."""
    if name not in RENAMED.get(module, {}):
        raise AttributeError(f"module '{module}' has no attribute '{name}'")
    import warnings
    from importlib import import_module

    home, today = RENAMED[module][name]
    warnings.warn(f"{module}.{name} is {home}.{today} since hubcli 0.2", DeprecationWarning, stacklevel=3)
    found: object = getattr(import_module(home), today)
    return found


class MovedModules:
    """Finds a moved module under its old name, as today's module itself."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """How to load the module, None for one that didn't move; the warning names today's."""
        if name not in MOVED:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, cls())  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Today's module: classes must be the same under both names."""
        import warnings
        from importlib import import_module

        today = MOVED[spec.name]
        # At the line that imports it: the frames of the import system between aren't counted.
        warnings.warn(f"{spec.name} is {today} since hubcli 0.2", DeprecationWarning, stacklevel=2)
        module = import_module(today)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run under its own name, which the import system has just replaced by the old one."""
        module.__spec__ = self._spec


def warn_of_old_name(owner: object, old: str, today: str) -> None:
    """What a property under the old name of an attribute calls: warns at the line that reads it."""
    import warnings

    kind = type(owner).__name__
    warnings.warn(f"{kind}.{old} is {kind}.{today} since hubcli 0.2", DeprecationWarning, stacklevel=3)
