# shellcheck shell=bash disable=SC2034,SC2154 # what one file sets, the other uses
# What the recipes of the lab's images have in common: from Debian's packages to a
# disk that boots. Read by images/build and images/wine/build, which set, before:
#   recipe         its name, for messages
#   arguments      its arguments
#   lab            the folder images/
#   disks          where its disks go
#   system_size    of the system volume, in sectors
#   system_inodes  and how many files it can have
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin

sector=512
boot_start=2048    # sectors
boot_size=65536    # 32 MiB
system_start=$((boot_start + boot_size))
epoch=1700000000   # every time stamp in the images

# Identifiers are fixed, or no two builds would be equal.
boot_serial=6b6f7274
system_uuid=6b6f7274-0002-4c61-8b00-73797374656d
hash_seed=6b6f7274-0003-4c61-8b00-686173680000
disk_signature='\x6b\x6f\x72\x74'

# Quiet, quick to start under emulation, and the same screen every time. The
# clock words keep the kernel from calibrating against an emulated timer, which
# on a busy host makes its clock run many times too fast (the HPET has a fixed
# rate, and wraps only after 42 s without a core), and from panicking where that timer's interrupts come late;
# errors and panics still show on both consoles.
kernel_cmdline='console=tty0 console=ttyS0,115200 loglevel=4 vt.global_cursor_default=0
 mitigations=off nokaslr tsc=reliable clocksource=hpet no_timer_check random.trust_cpu=on
 8250.nr_uarts=1 consoleblank=0 net.ifnames=0 vga=0xf01'

# Modules for the initramfs, in this order (a module's dependencies go before
# it), and modules for the system volume, loaded by name. Built-in ones are skipped.
early_modules='pvpanic pvpanic-mmio virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev
 virtio_pci virtio_blk virtio_console ext4'
late_modules='virtio_net vfat nls_cp437 nls_ascii button evdev sr_mod ata_piix virtio_scsi isofs nls_utf8 efivarfs'

say() { printf 'images: %s\n' "$*"; }
die() { printf '%s: %s\n' "$recipe" "$*" >&2; exit 1; }

for tool in qemu-img:qemu-utils mke2fs:e2fsprogs debugfs:e2fsprogs cpio:cpio xz:xz-utils \
	syslinux:syslinux mformat:mtools apt-cache:apt dpkg-deb:dpkg flock:util-linux ldd:libc-bin; do
	command -v "${tool%:*}" >/dev/null || die "${tool%:*} is missing: install ${tool#*:} (ci/setup does)"
done
mbr=
for file in /usr/lib/syslinux/mbr/mbr.bin /usr/lib/SYSLINUX/mbr.bin; do [ -r $file ] && mbr=$file && break; done
[ -n "$mbr" ] || die "syslinux's mbr.bin is missing: install syslinux-common (ci/setup does)"

# One build at a time per output; the second then finds everything done.
exec 9>"$disks/.lock"
flock 9

work=$(mktemp -d "$disks/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/bootgate/packages
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || cache=$work/packages
mkdir -p "$cache"

# --- Inputs ------------------------------------------------------------------

# The packages' files come from the host where installed, else from a download:
# a workstation should not have to install a cloud kernel and an agent service.
candidate() { apt-cache policy "$1" | sed -n 's/^  Candidate: //p'; }
kernel_package() { # META -> the package that the meta package names
	local found
	found=$(apt-cache depends "$1" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | sed -n 1p)
	# Without apt's lists: the one that is installed.
	[ -n "$found" ] ||
		found=$(dpkg-query -W -f '${Package}\n' "linux-image-[0-9]*${1#linux-image}" 2>/dev/null |
			grep -E "^linux-image-[0-9.+~-]+(deb[0-9]+-)?${1#linux-image-}\$" | sort -V | tail -n 1)
	[ -n "$found" ] || die "package $1 is unknown: run 'apt-get update' as root (ci/setup does)"
	echo "$found"
}
find_input() { # PACKAGE FILE... -> sets found_version, found_root ('' = to download)
	local package=$1 file
	shift
	found_root= found_version=
	if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ]; then
		for file; do
			# Some systems keep the kernel readable for root only: then download.
			[ -r "/$file" ] || continue
			found_root=/ found_version=$(dpkg-query -W -f '${Version}' "$package")
			return
		done
	fi
	found_version=$(candidate "$package")
	[ -n "$found_version" ] && [ "$found_version" != '(none)' ] ||
		die "no candidate for package $package: run 'apt-get update' as root (ci/setup does)"
}

kernel=$(kernel_package linux-image-cloud-amd64)
kernel_release=${kernel#linux-image-}

find_input "$kernel" "boot/vmlinuz-$kernel_release"
kernel_version=$found_version kernel_root=$found_root

fetch() { # PACKAGE VERSION -> directory with its files, on stdout
	local package=$1 version=$2 root=$work/packages.x/$1 deb
	# apt writes the colon of an epoch as %3a.
	deb=$cache/${package}_${version//:/%3a}_amd64.deb
	[ -r "$deb" ] || ! [ -r "${deb%_amd64.deb}_all.deb" ] || deb=${deb%_amd64.deb}_all.deb
	if ! [ -r "$deb" ]; then
		say "downloading $package $version" >&2
		mkdir -p "$work/download"
		if ! (cd "$work/download" && apt-get -qq download "$package=$version" 2>"$work/apt.log"); then
			[ -n "${IMAGES_BUILD_LISTS:-}" ] || return 75
			die "cannot download $package $version: $(tail -n 3 "$work/apt.log")"
		fi
		# The version before goes: the cache holds one of each.
		rm -f "$cache/${package}"_*.deb
		for deb in "$work/download/${package}"_*.deb; do mv "$deb" "$cache/"; done
		deb=$cache/${deb##*/}
	fi
	mkdir -p "$root"
	dpkg-deb -x "$deb" "$root"
	echo "$root"
}
# Old lists name files that the mirror has replaced: refresh them, once, and begin anew.
refreshed() { # STATUS
	[ "$1" = 75 ] || exit "$1"
	say "refreshing apt's lists"
	if [ "$(id -u)" = 0 ]; then apt-get -qq update; else sudo apt-get -qq update; fi ||
		die "the packages are gone from the mirror: run 'apt-get update' as root"
	rm -rf "$work"
	IMAGES_BUILD_LISTS=fresh exec "$0" "${arguments[@]}"
}
first_of() { # ROOT FILE... -> the first that exists
	local root=${1%/} file
	shift
	for file; do [ -r "$root/$file" ] && { echo "$root/$file"; return; }; done
	die "none of $* in $root"
}

# shellcheck source=images/modules.sh
. "$lab/modules.sh"

# --- Initramfs ---------------------------------------------------------------

initramfs() { # FILE DIRECTORY ORDER: with these modules of the directory
	local tree=$work/initramfs applet name
	rm -rf "$tree"
	mkdir -p "$tree"/{bin,lib,dev,proc,sys,mnt}
	install -m 755 "$lab/guest/initramfs-init" "$tree/init"
	install -m 755 "$busybox" "$tree/bin/busybox"
	for applet in sh mount insmod cat usleep switch_root; do ln -s busybox "$tree/bin/$applet"; done
	for name in $3; do install -m 644 "$2/$name" "$tree/lib/$name"; done
	printf '%s\n' $3 >"$tree/modules"
	find "$tree" -exec touch -h -d @$epoch {} +
	(cd "$tree" && find . | sort | cpio --quiet --reproducible -o -H newc -R 0:0) >"$1"
}

# --- File systems ------------------------------------------------------------

# debugfs makes every file as root's, whoever runs this, and in the order given;
# `mke2fs -d` copies owners and follows the order of the host's directory.
export E2FSPROGS_FAKE_TIME=$epoch SOURCE_DATE_EPOCH=$epoch
# Not the host's defaults, which differ between releases.
printf '[fs_types]\next4 = {\ninode_size = 256\n}\nsmall = {\ninode_size = 256\n}\n' >"$work/mke2fs.conf"
export MKE2FS_CONFIG=$work/mke2fs.conf

make_fs() { # FILE SIZE_IN_SECTORS UUID LABEL FEATURES
	truncate -s $(($2 * sector)) "$1"
	mke2fs -q -F -t ext4 -b 4096 -I 256 -N $system_inodes -m 0 -U "$3" -L "$4" -O "$5" \
		-E "hash_seed=$hash_seed,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" "$1"
}
run_debugfs() { # FILE, commands on stdin
	local log=$work/debugfs.log
	debugfs -w -f /dev/stdin "$1" >"$log" 2>&1 || die "debugfs: $(tail -n 5 "$log")"
	# debugfs goes on after an error and ends with 0.
	if grep -vE '^debugfs( |:)|^Allocated inode:' "$log" | grep -q .; then
		die "debugfs: $(grep -vE '^debugfs( |:)|^Allocated inode:' "$log" | head -n 5)"
	fi
}
# Commands that copy a tree; file modes come from the files. Names may have blanks.
tree_commands() { # DIRECTORY
	(cd "$1" && find . -mindepth 1 | sort | while read -r path; do
		path=${path#./}
		if [ -L "$path" ]; then
			echo "symlink \"/$path\" \"$(readlink "$path")\""
		elif [ -d "$path" ]; then
			echo "mkdir \"/$path\""
		else
			echo "write \"$1/$path\" \"/$path\""
		fi
	done)
}

# The Linux below: busybox under all its names, the loader, the modules, a guest's own files.
base_tree() { # TREE
	local tree=$1 applet
	mkdir -p "$tree"/{bin,boot,dev,lib,lib64,mnt,proc,root,run,sys,tmp,etc,sbin,usr/bin,usr/sbin,usr/lib,usr/lib/x86_64-linux-gnu,var/lib,var/log,var/tmp}
	ln -s ../run "$tree/var/run"
	ln -s ../usr/lib/x86_64-linux-gnu "$tree/lib/x86_64-linux-gnu"
	install -m 755 "$busybox" "$tree/bin/busybox"
	# /sbin has our own init, shutdown and its other names.
	for applet in $("$busybox" --list | sort); do
		case $applet in
		busybox | init | linuxrc | reboot | poweroff | halt) ;;
		*) ln -s busybox "$tree/bin/$applet" ;;
		esac
	done
	for applet in reboot poweroff halt; do ln -s shutdown "$tree/sbin/$applet"; done
	for applet in hwclock modprobe; do ln -s ../bin/busybox "$tree/sbin/$applet"; done

	install -m 755 /lib64/ld-linux-x86-64.so.2 "$tree/lib64/ld-linux-x86-64.so.2"

	module_tree "$kernel_release" "$work/modules" "$module_order" "$tree"
}
guest_files() { # ROOT TREE: a guest's own files into the tree
	local root=$1 tree=$2 file
	(cd "$root" && find . -type f) | while read -r file; do
		mkdir -p "$tree/$(dirname "$file")"
		if [ -x "$root/$file" ]; then install -m 755 "$root/$file" "$tree/$file"
		else install -m 644 "$root/$file" "$tree/$file"; fi
	done
}
# The shared libraries that a program or library needs, from this machine.
place_libraries() { # FILE TREE -> sets missing
	local library
	missing=$(ldd "$1" | sed -n 's/^[[:space:]]*\(.*\) => not found/\1/p' | tr '\n' ' ')
	for library in $(ldd "$1" | sed -n 's/^.*=> \(\/[^ ]*\).*/\1/p' | sort); do
		[ "$library" -ef "$2/usr/lib/x86_64-linux-gnu/${library##*/}" ] ||
			install -m 644 "$library" "$2/usr/lib/x86_64-linux-gnu/${library##*/}"
	done
}

# --- Disks -------------------------------------------------------------------

# FAT for the loader: SYSLINUX reads a kernel from it in long runs, in a fifth of
# the time that GRUB needs under emulation (0.6 s against 4 s).
export MTOOLS_SKIP_CHECK=1 MTOOLSRC=/dev/null
put() { # IMAGE FILE NAME
	touch -d @$epoch "$2"
	mcopy -m -o -i "$1" "$2" "::$3"
}
boot_volume() { # kernel and initramfs; no configuration
	truncate -s $((boot_size * sector)) "$work/boot.img"
	mformat -i "$work/boot.img" -T $boot_size -h 16 -s 63 -c 32 -H $boot_start -N $boot_serial -v LAB-BOOT ::
	TMPDIR=$work syslinux --install "$work/boot.img"
	install -m 644 "$vmlinuz" "$work/vmlinuz"
	put "$work/boot.img" "$work/vmlinuz" vmlinuz
	put "$work/boot.img" "$work/initrd.img" initrd.img
}

le32() { printf '%08x' "$1" | sed 's/\(..\)\(..\)\(..\)\(..\)/\\x\4\\x\3\\x\2\\x\1/'; }
write_at() { dd of="$1" bs=$sector seek="$2" conv=notrunc,sparse status=none; }

# The MBR's program starts the active partition's loader.
partition_table() { # FILE
	truncate -s $(((system_start + system_size) * sector)) "$1"
	{
		cat "$mbr"
		head -c $((440 - $(stat -c %s "$mbr"))) /dev/zero
		printf "$disk_signature"'\0\0'
		printf "\\x80\\xfe\\xff\\xff\\x0e\\xfe\\xff\\xff$(le32 $boot_start)$(le32 $boot_size)"
		printf "\\x00\\xfe\\xff\\xff\\x83\\xfe\\xff\\xff$(le32 $system_start)$(le32 $system_size)"
		head -c 32 /dev/zero
		printf '\x55\xaa'
	} | write_at "$1" 0
}
disk() { # FILE BOOT SYSTEM
	cp --sparse=always "$work/table.raw" "$1"
	write_at "$1" $boot_start <"$2"
	write_at "$1" $system_start <"$3"
}

