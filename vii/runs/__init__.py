"""Edits on many photos: what becomes which file, on one machine or on a cluster, going on where a run was stopped."""
