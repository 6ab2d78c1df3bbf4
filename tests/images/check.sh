#!/usr/bin/env bash
# Builds the three images of the Dockerfile from programs that are built already, and looks at what came out. No base is pulled and no
# daemon runs: the stage `build` is a folder here, made by the same scripts as in the Dockerfile, and the last stages have no base.
#
#   tests/images/check.sh FOLDER [MEGABYTES [ARCHITECTURE]]    no image may be larger; amd64 or arm64, unless this machine's
#
# Programs for another architecture than this machine's are run by qemu-user-static. Prints a line for each image: name, bytes, id.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v buildah >/dev/null || { echo "error: buildah is missing (scripts/setup.sh installs it)" >&2; exit 1; }
# Somebody other than root has users of their own for what an image contains.
[ "$(id -u)" = 0 ] || [ -n "${_CONTAINERS_USERNS_CONFIGURED:-}" ] || exec buildah unshare "$0" "$@"
programs=$(realpath "$1")
most=${2:-}
own=$(dpkg --print-architecture)
architecture=${3:-$own}
case $architecture in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; *) echo "error: not $architecture" >&2; exit 2 ;; esac
emulator=
if [ "$architecture" != "$own" ]; then
  LIBRARIES=$(tests/images/libraries.sh "$architecture")
  export LIBRARIES
  emulator=$(command -v "qemu-$machine-static") || { echo "error: qemu-user-static is missing (Debian package)" >&2; exit 1; }
fi

# shellcheck source=tests/images/store.sh
. tests/images/store.sh
fail() { echo "error: $image: $*" >&2; exit 1; }

scripts/sbom.sh "$architecture" "$work/programs"
root() { # folder
  mkdir -p "$1/images/empty"
  for program in brokkr-broker brokkr-agent brokkr; do
    "$machine-linux-gnu-strip" -o "$work/programs/$program" "$programs/$program"
    SOURCE_DATE_EPOCH=0 scripts/image-root.sh "$work/programs/$program" "$1/images/$program"
  done
}
root "$work/one"
root "$work/two"

build() { # folder, image
  buildah bud --isolation chroot --no-cache --timestamp 0 --quiet --arch "$architecture" --build-context "build=$1" --target "$2" --tag "$2" \
    --file Dockerfile "$work/run" >/dev/null
  buildah inspect --type image --format '{{.FromImageID}}' "localhost/$2"
}

mkdir -p "$work/run"
for image in broker agent cli; do
  case $image in cli) program=brokkr folder=/work ;; *) program=brokkr-$image folder=/var/lib/brokkr ;; esac
  first=$(build "$work/two" $image)
  id=$(build "$work/one" $image)
  [ "$first" = "$id" ] || fail "the same programs made two images, $first and $id"
  user=$(buildah inspect --type image --format '{{.OCIv1.Config.User}}' localhost/$image)
  [ "$user" = 65532:65532 ] || fail "it runs as $user"
  entry=$(buildah inspect --type image --format '{{.OCIv1.Config.Entrypoint}}' localhost/$image)
  [ "$entry" = "[/usr/bin/$program]" ] || fail "it starts $entry"
  for_which=$(buildah inspect --type image --format '{{.OCIv1.Architecture}}' localhost/$image)
  [ "$for_which" = "$architecture" ] || fail "it says that it is for $for_which"

  container=$(buildah from --pull-never --arch "$architecture" localhost/$image)
  mount=$(buildah mount "$container")
  bytes=$(du --summarize --bytes "$mount" | cut -f 1)
  [ -z "$most" ] || [ "$bytes" -le $((most * 1000 * 1000)) ] || fail "$bytes bytes are more than $most MB"
  [ "$(ls "$mount/usr/bin")" = "$program" ] || fail "there is more than one program in it: $(ls "$mount/usr/bin")"
  [ -z "$(find "$mount" -name '*sh' -type f -perm -u+x)" ] || fail "there is a shell in it"
  [ -s "$mount/etc/ssl/certs/ca-certificates.crt" ] || fail "it believes no authority"
  [ -z "$(find "$mount" -perm -4000 -o -perm -2000)" ] || fail "something in it changes the user"
  [ "$(stat -c %u "$mount$folder")" = 65532 ] || fail "$folder is not its user's"
  [ -z "$(find "$mount/usr" "$mount/etc" "$mount"/lib* ! -user 0)" ] || fail "its user may change the program"
  # What it is made of, for who scans it: the crates of this program, and Debian's libraries for this architecture.
  jq --exit-status --arg program "$program" 'any(.metadata.component.components[]; .name == $program)' \
    "$mount/usr/share/sbom/$program.cdx.json" >/dev/null || fail "it has no list of the crates of $program"
  for package in libc6 libgcc-s1; do
    grep -qx "Architecture: $architecture" "$mount/var/lib/dpkg/status.d/$package" || fail "it does not tell of its $package"
  done

  # It runs, as nobody, with what is in it and no more.
  if [ -n "$emulator" ]; then install -m 0755 "$emulator" "$mount/emulator"; fi
  inside() { buildah run --isolation chroot "$container" -- ${emulator:+/emulator} "$@"; }
  version=$(inside "/usr/bin/$program" --version)
  [[ $version == "$program "* ]] || fail "--version says $version"
  case $image in
    broker)
      buildah config --env BROKKR__DATABASE__URL=sqlite:/var/lib/brokkr/brokkr.db "$container"
      inside /usr/bin/brokkr-broker migrate >/dev/null || fail "it makes no database"
      [ "$(stat -c %u "$mount/var/lib/brokkr/brokkr.db")" = 65532 ] || fail "the database is somebody else's"
      ;;
    agent)
      buildah config --env BROKKR__AGENT__NAME=edge "$container"
      inside /usr/bin/brokkr-agent config check >/dev/null || fail "config check"
      ;;
    cli) inside /usr/bin/brokkr completion bash >/dev/null || fail "completion" ;;
  esac
  printf '%s\t%s\t%s\n' "$image" "$bytes" "$id"
done
