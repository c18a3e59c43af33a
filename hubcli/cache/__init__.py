"""The cache on disk, shared with tensorflow_hub 0.16.1 in both directions.

    <root>/
      CACHEDIR.TAG                 where hubcli made the root
      <sha1>/                      the model: saved_model.pb, variables/, assets/ …
      <sha1>.descriptor.txt        handle, time, host and process; tensorflow_hub's form
      <sha1>.hubcli.json           manifest: what hubcli knows of the entry
      <sha1>.lock                  `host.pid.uid` of who downloads now
      <sha1>.<uid>.tmp/            what that process has unpacked so far
      <sha1 of another spelling>   relative link to the one copy

<sha1> is the SHA-1 of the handle in hex. Nothing is visible under `<sha1>/`
before it has passed every check; one rename publishes it.

Files are not flushed to the disk before that rename: it would cost more than the
download from a near server. A file that a power loss cut short has another size
than the manifest says, and the next hit notices.
"""
