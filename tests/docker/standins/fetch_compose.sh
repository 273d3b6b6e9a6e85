#!/bin/sh
# Unpacks the compose plugin of Debian 13 into WORK/docker/cli-plugins, with nothing installed: fetch_compose.sh WORK
set -eu
folder=$1/apt
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/empty"
: > "$folder/status"
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2> /dev/null \
    | awk '/^URIs:/ { print $2 } $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; break } }' \
    | grep -E '/debian/?$' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" > "$folder/sources.list"
apt() {
    apt-get -qq -o Dir::State::lists="$folder/lists" -o Dir::State::status="$folder/status" \
        -o Dir::Cache="$folder/cache" -o Dir::Etc::sourcelist="$folder/sources.list" \
        -o Dir::Etc::sourceparts="$folder/empty" -o Dir::Etc::preferencesparts="$folder/empty" \
        -o APT::Sandbox::User=root "$@"
}
cd "$folder"
apt update
apt download docker-compose
dpkg-deb -x docker-compose_*.deb unpacked
cp unpacked/usr/libexec/docker/cli-plugins/docker-compose "$1/docker/cli-plugins/"
