"""Python's side of TestInterop: python interop.py read|write|upload FOLDER COMMIT FILE...

read    finds the model in the cache FOLDER without a network, and prints where.
write   downloads the files into the cache FOLDER from HF_ENDPOINT.
upload  uploads the files of FOLDER to HF_ENDPOINT.
"""
import sys

from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, scan_cache_dir, snapshot_download

task, cache, commit, *files = sys.argv[1:]
if task == "read":
    folder = snapshot_download("owner/model", cache_dir=cache, local_files_only=True)
    assert folder == snapshot_download("owner/model", revision=commit, cache_dir=cache, local_files_only=True)
    for file in files:
        assert hf_hub_download("owner/model", file, cache_dir=cache, local_files_only=True) == f"{folder}/{file}"
    scan = scan_cache_dir(cache)
    assert not scan.warnings, scan.warnings
    (repo,) = scan.repos
    (revision,) = repo.revisions
    assert repo.repo_id == "owner/model" and revision.commit_hash == commit and "main" in revision.refs
    print(folder)
elif task == "write":
    for file in files:
        hf_hub_download("owner/model", file, cache_dir=cache)
else:
    api = HfApi()
    api.create_repo("owner/model", repo_type="model", private=True)
    operations = [CommitOperationAdd(file, f"{cache}/{file}") for file in files]
    api.create_commit("owner/model", operations, commit_message="Adapter")
