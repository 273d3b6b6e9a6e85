#!/bin/sh
# Makes stand-ins for the images that the compose file names, of Debian's packages and a Python 3.12 of this machine, for
# where no registry can be reached. For tests only.
#     make.sh PYTHON_IMAGE REDIS_IMAGE POSTGRES_IMAGE NGINX_IMAGE
# The mirror of Debian is that of the machine's own apt.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d -p /var/tmp standins.XXXXXX)
trap 'rm -rf "$work"' EXIT
build() { podman build --quiet --pull=never --network host --label standin=harmonicdet --file "$here/$1" --tag "$2" "$3"; }

mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2> /dev/null \
        | awk '/^URIs:/ { print $2 } $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; break } }' \
        | grep -E "/$1/?\$" | head -n 1
}
mmdebstrap --quiet --variant=minbase --aptopt='Apt::Install-Recommends "false"' --include=usr-is-merged \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$work/base.tar" "deb $(mirror debian) bookworm main" "deb $(mirror debian) bookworm-updates main" \
    "deb $(mirror debian-security) bookworm-security main"
podman import --quiet --change 'CMD ["bash"]' "$work/base.tar" docker.io/library/debian:bookworm-slim
rm "$work/base.tar"

python=$PYTHON312
root=$("$python" -c 'import sys; print(sys.base_prefix)')
mkdir "$work/local"
# As the image that it stands for: without tests, without static libraries, stripped.
(cd "$root" && tar --exclude=__pycache__ --exclude=tests --exclude='lib/python3.12/test' --exclude='lib/*.a' \
    --exclude='lib/python3.12/config-*' --exclude='lib/python3.12/site-packages/*' --exclude='lib/python3.12/idlelib' \
    --exclude='lib/python3.12/tkinter' --exclude='*_tkinter*' \
    -cf - lib/python3.12 include/python3.12 bin/python3.12 $(ls -d lib/libpython3.12*.so* 2> /dev/null)) \
    | tar -C "$work/local" -xf -
ln -s python3.12 "$work/local/bin/python3"
ln -s python3 "$work/local/bin/python"
find "$work/local" -type f \( -name '*.so*' -o -name python3.12 \) -exec strip --strip-unneeded {} +
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$work/ca-bundle.crt"
build python.Dockerfile "$1" "$work"
build redis.Dockerfile "$2" "$here"
build postgres.Dockerfile "$3" "$here"
build nginx.Dockerfile "$4" "$here"
