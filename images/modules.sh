# shellcheck shell=bash disable=SC2034,SC2154
# Which modules of a kernel a guest gets, and in which order they load. For build,
# whose `die` and `first_of` it uses.

# Debian 12 has plain modules, 13 has compressed ones; names use - and _ freely.
module_file() {
	local pattern=${1//[-_]/[-_]}
	find "$modules" -name "$pattern.ko" -o -name "$pattern.ko.xz" | sort | sed -n 1p
}
is_builtin() { grep -qE "/${1//[-_]/[-_]}\.ko$" "$builtin"; }

declare -A placed
place_module() { # NAME: the module's file into $placed_in, after those it needs
	local name=${1//-/_} file need
	[ -z "${placed[$name]:-}" ] || return 0
	placed[$name]=yes
	file=$(module_file "$name")
	if [ -z "$file" ]; then
		is_builtin "$name" || die "kernel $release has no module $name"
		return 0
	fi
	case $file in
	*.xz) xz -dc "$file" >"$placed_in/$name.ko" ;;
	*) cat "$file" >"$placed_in/$name.ko" ;;
	esac
	for need in $(tr '\0' '\n' <"$placed_in/$name.ko" | sed -n 's/^depends=//p' | tr ',' ' '); do
		place_module "$need"
	done
	module_order="$module_order $name.ko"
}
take_modules() { # RELEASE ROOT DIRECTORY EARLY LATE -> sets early_order, module_order
	local release=$1 placed_in=$3 modules builtin name
	modules=$(first_of "$2" "lib/modules/$release/kernel" "usr/lib/modules/$release/kernel")
	builtin=${modules%/kernel}/modules.builtin
	mkdir -p "$placed_in"
	placed=() module_order=
	for name in $4; do place_module "$name"; done
	early_order=$module_order
	for name in $5; do place_module "$name"; done
}
module_tree() { # RELEASE DIRECTORY ORDER TREE: what modprobe looks for
	local to=$4/lib/modules/$1 file
	mkdir -p "$to"
	for file in $3; do install -m 644 "$2/$file" "$to/$file"; done
	(cd "$to" && for file in $3; do
		echo "$file: $(tr '\0' '\n' <"$file" | sed -n 's/^depends=//p' | tr ',-' ' _' | sed 's/[^ ]\+/&.ko/g')"
	done | sort) >"$work/modules.dep"
	install -m 644 "$work/modules.dep" "$to/modules.dep"
}
