"""The cache on disk, shared with tensorflow_hub 0.16.1 in both directions.

    <root>/
      CACHEDIR.TAG           where hubcli made the root
      hubcli.upkeep          empty; its time is that of the last upkeep
      hubcli.index           what the manifests of a large cache tell a listing; see record_index
      <sha1>/                the model: saved_model.pb, variables/, assets/ …
      <sha1>.descriptor.txt  handle, time, host and process; tensorflow_hub's form
      <sha1>.hubcli.json     manifest: what hubcli knows of the entry
      <sha1>.hubcli.pin      empty: the entry is pinned
      <sha1>.hubcli.part     what came of a download that can be resumed; .part.journal, .part.json
      <sha1>.lock            `host.pid.uid` of the process that downloads now
      <sha1>.<uid>.tmp/      what that process has unpacked so far
      <sha1>.<uid>.trash/    a model that is being deleted
      <sha1 of another spelling>  relative link to the one copy

<sha1> is the SHA-1 of the handle in hex. Nothing is visible under
`<sha1>/` before it has passed every check; one rename publishes it. Files and directories are synced to
the disk before that rename, and the root after it: a power loss leaves a model whole or absent, and no
record without its data (`hubcli.durability`). The lock file and what is unpacked are not: after a power
loss they are not used. A pin is a file of its own, because each process that fetches, adopts or
repairs the entry writes the manifest anew: a file that none of them writes can't be lost. It needs no
manifest either, so that tensorflow_hub's entries can be pinned.
"""
