#!/usr/bin/env bash
# Makes the root of an image: one program, the libraries it is linked with, the authorities it believes, one unprivileged user. The list
# of its crates goes with it, where it lies beside the program as PROGRAM.cdx.json.
#
#   scripts/image-root.sh PROGRAM FOLDER
#
# The program may be for another architecture than this machine's. LIBRARIES is a folder with Debian's packages for it, unless they are
# installed here.
set -euo pipefail
program=$1
root=$2
libraries=${LIBRARIES:-}

umask 022
mkdir -p "$root"/{etc/ssl/certs,usr/bin,tmp,var/lib/dpkg/status.d}
install -m 0755 "$program" "$root/usr/bin/"
if [ -e "$program.cdx.json" ]; then install -D -m 0644 -t "$root/usr/share/sbom" "$program.cdx.json"; fi

# Read and not run, as `ldd` would do.
needed() { readelf --dynamic --wide "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
loader=$(readelf --program-headers --wide "$program" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p')
case $loader in
  */ld-linux-x86-64.so.2) folder=/lib/x86_64-linux-gnu ;;
  */ld-linux-aarch64.so.1) folder=/lib/aarch64-linux-gnu ;;
  *) echo "error: nobody knows where the libraries of $program lie, which asks for $loader" >&2; exit 1 ;;
esac
# Scanners know these packages of Debian by the files that `distroless` images have, too.
package() { # path
  local name
  name=$(dpkg-query --admindir="$libraries/var/lib/dpkg" --search "$1" | sed 's/: .*//')
  dpkg-query --admindir="$libraries/var/lib/dpkg" --status "$name" >"$root/var/lib/dpkg/status.d/${name%%:*}"
}
# The loader and each library, at the path by which the program asks for it; names are resolved by glibc itself since 2.34.
library() { # path
  local name
  [ ! -e "$root$1" ] || return 0
  install -D -m 0755 "$(readlink -f "$libraries$1")" "$root$1"
  package "$folder/${1##*/}"
  for name in $(needed "$root$1"); do
    [ "$name" = "${loader##*/}" ] || library "$folder/$name"
  done
}
library "$loader"
for name in $(needed "$program"); do
  [ "$name" = "${loader##*/}" ] || library "$folder/$name"
done
install -D -m 0644 "$(readlink -f /etc/os-release)" "$root/etc/os-release"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/var/lib/brokkr:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
# The same content has the same layer.
find "$root" -exec touch --no-dereference --date=@"${SOURCE_DATE_EPOCH:-0}" {} +
