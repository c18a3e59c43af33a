"""Ops that reach beyond the graph: into Python, files, the network, the terminal.

Collected from the op registry of TensorFlow 2.21 (its documentation says which
take paths and addresses). Why they matter: tensorflow/SECURITY.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from hubcli.savedmodel.info import Severity

__all__ = ["SAVER_OPS", "TABLE_OPS", "Risk", "risk_of", "risk_of_print"]


@dataclass(frozen=True, slots=True)
class Risk:
    """What an op can do, in a word for scripts and in a sentence, and how grave that is."""

    code: str
    severity: Severity
    sentence: str


_PYTHON = Risk("runs-python", Severity.CRITICAL, "runs Python code of the process that loads it")
_WRITE = Risk("writes-files", Severity.HIGH, "writes files")
_READ = Risk("reads-files", Severity.HIGH, "reads files")
_ABORT = Risk("ends-process", Severity.HIGH, "ends the process that runs it")
_NATIVE = Risk("runs-native-code", Severity.MEDIUM, "calls native code by its registered name")
_NETWORK = Risk("uses-network", Severity.HIGH, "talks to other machines")
_PROGRAM = Risk("carries-program", Severity.HIGH, "runs a program that the scan can't look into")
_DESCRIPTOR = Risk("reads-files", Severity.MEDIUM, "may read its message type from a file")
_CONFIGURE = Risk("configures-files", Severity.MEDIUM, "sets up access to file systems")
_PRINT = Risk("prints", Severity.LOW, "prints")

# What every model needs to save and restore its own variables.
SAVER_OPS = frozenset(
    {
        "SaveV2",
        "RestoreV2",
        "MergeV2Checkpoints",
        "ShardedFilename",
        "Save",
        "SaveSlices",
        "Restore",
        "RestoreSlice",
    }
)
# What fills a vocabulary from one of the model's assets.
TABLE_OPS = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})

_GROUPS = (
    (_PYTHON, "PyFunc PyFuncStateless EagerPyFunc"),
    (
        _WRITE,
        "WriteFile SaveV2 Save SaveSlices MergeV2Checkpoints SaveDataset SaveDatasetV2 DatasetToTFRecord "
        "ExperimentalDatasetToTFRecord CacheDataset CacheDatasetV2 SnapshotDataset SnapshotDatasetV2 "
        "SnapshotChunkDataset CreateSummaryFileWriter CreateSummaryDbWriter DebugIdentity DebugIdentityV2 "
        "DebugIdentityV3 DebugNanCount DebugNumericSummary DumpTensor",
    ),
    (
        _READ,
        "ReadFile MatchingFiles MatchingFilesDataset ExperimentalMatchingFilesDataset WholeFileReader "
        "WholeFileReaderV2 LMDBReader LMDBDataset ExperimentalLMDBDataset TFRecordReader TFRecordReaderV2 "
        "TFRecordDataset TFRecordDatasetV2 TextLineReader TextLineReaderV2 TextLineDataset "
        "FixedLengthRecordReader FixedLengthRecordReaderV2 FixedLengthRecordDataset "
        "FixedLengthRecordDatasetV2 CSVDataset CSVDatasetV2 ExperimentalCSVDataset SqlDataset "
        "ExperimentalSqlDataset LoadDataset RestoreV2 Restore RestoreSlice ImmutableConst "
        "GenerateVocabRemapping LoadAndRemapMatrix InitializeTableFromTextFile "
        "InitializeTableFromTextFileV2 SnapshotDatasetReader SnapshotNestedDatasetReader "
        "ListSnapshotChunksDataset RecordInput DTensorRestoreV2",
    ),
    (
        _NETWORK,
        "RemoteCall RegisterDataset RegisterDatasetV2 DataServiceDataset DataServiceDatasetV2 "
        "DataServiceDatasetV3 DataServiceDatasetV4 DistributedSave BigQueryReader RpcClient RpcCall "
        "RpcServer RpcServerRegister RpcServerStart",
    ),
    (_ABORT, "Abort"),
    (_NATIVE, "XlaCustomCall XlaCustomCallV2 XlaCallModule"),
    (_PROGRAM, "DatasetFromGraph MlirPassthroughOp _TPUCompileMlir _XlaHostComputeMlir"),
    (_DESCRIPTOR, "DecodeProtoV2 EncodeProto"),
    (_CONFIGURE, "FileSystemSetConfiguration GcsConfigureBlockCache GcsConfigureCredentials"),
    (_PRINT, "Print PrintV2"),
)
_RISKS = {op: risk for risk, ops in _GROUPS for op in ops.split()}


def risk_of(op: str) -> Risk | None:
    """What the op can do beyond its tensors; None for most."""
    return _RISKS.get(op)


def risk_of_print(output_stream: str | None, *, is_unknown: bool = False) -> Risk:
    """What PrintV2 does with that stream: `file://` ones are files that it appends to."""
    return _WRITE if is_unknown or (output_stream or "").startswith("file://") else _PRINT
