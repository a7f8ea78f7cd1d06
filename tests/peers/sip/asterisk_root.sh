#!/bin/sh
# A root directory with Asterisk in it, from Debian sid, where this machine's own Debian has none. Usage: asterisk_root.sh ROOT MIRROR
# Takes about a minute and 400 MB, once; nothing outside ROOT is changed.
set -eu
root=$1
mirror=$2
rm -rf "$root.part"
debootstrap --variant=minbase --include=ca-certificates sid "$root.part" "$mirror"
# Nothing is started by its installation, and a mirror that stands still is as good: what it holds is signed.
printf '#!/bin/sh\nexit 101\n' >"$root.part/usr/sbin/policy-rc.d"
chmod +x "$root.part/usr/sbin/policy-rc.d"
printf 'Acquire::Check-Valid-Until "false";\nAPT::Install-Recommends "false";\nDpkg::Options {"--path-exclude=/usr/share/doc/*"; "--path-exclude=/usr/share/man/*"; "--path-exclude=/usr/share/locale/*";};\n' \
    >"$root.part/etc/apt/apt.conf.d/90peer"
cp /etc/resolv.conf "$root.part/etc/resolv.conf"
for name in /etc/apt/apt.conf.d/*proxy*; do
    [ ! -f "$name" ] || cp "$name" "$root.part/etc/apt/apt.conf.d/"
done
DEBIAN_FRONTEND=noninteractive chroot "$root.part" apt-get install -y -qq asterisk
rm -rf "$root.part/var/cache/apt" "$root.part/var/lib/apt/lists" "$root.part/usr/share/doc" "$root.part/usr/share/locale"
mv "$root.part" "$root"
