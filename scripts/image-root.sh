#!/usr/bin/env bash
# Makes the root of an image: one program, the libraries it is linked with, the authorities it believes, one unprivileged user.
#
#   scripts/image-root.sh PROGRAM FOLDER
set -euo pipefail
program=$1
root=$2

umask 022
mkdir -p "$root"/{etc/ssl/certs,usr/bin,tmp}
install -m 0755 "$program" "$root/usr/bin/"
# The loader and each library, at the path by which the program asks for it; names are resolved by glibc itself since 2.34.
ldd "$program" | grep -o '/[^ ]*' | sort -u | while read -r library; do
  install -D -m 0755 "$(readlink -f "$library")" "$root$library"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/var/lib/brokkr:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
# The same content has the same layer.
find "$root" -exec touch --no-dereference --date=@"${SOURCE_DATE_EPOCH:-0}" {} +
