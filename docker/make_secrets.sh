#!/bin/sh
# Makes the passwords of the compose file, each a file of its own in docker/secrets; what is there stays as it is.
#     sh docker/make_secrets.sh
# A container sees only the files that it is given. On the host, the folder is its owner's alone.
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
# Readable by whoever runs inside a container: engines give a file with the mode and owner that it has here.
keep() {
    if [ -e "$folder/$1" ]; then return 0; fi
    cat > "$folder/$1.new"
    chmod 444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
    echo "made $folder/$1"
}
random 24 | keep postgres_password
random 24 | keep redis_password
# What API keys are hashed under: with another one, all keys end.
random 32 | keep harmonicdet_secret
random 24 | keep grafana_password
random 10 | keep s3_access_key
random 24 | keep s3_secret_key

# Redis and the object storage read files of their own, made of the same passwords.
hash=$(tr -d "\n" < "$folder/redis_password" | sha256sum | cut -d " " -f 1)
keep redis.acl <<END
user default on #$hash ~* &* +@all -@admin -@dangerous +info +keys
user health on nopass -@all +ping
END
keep s3.json <<END
{"identities": [{"name": "harmonicdet",
  "credentials": [{"accessKey": "$(cat "$folder/s3_access_key")", "secretKey": "$(cat "$folder/s3_secret_key")"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
END
