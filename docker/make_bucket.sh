#!/bin/sh
# Makes the bucket of the profile s3, unless it is there.
set -eu
ask() { echo "$1" | weed shell -master="${MASTER:-s3:9333}" -filer="${FILER:-s3:8888}"; }
ask s3.bucket.list | grep -qw harmonicdet || ask "s3.bucket.create -name harmonicdet"
