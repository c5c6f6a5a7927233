# Sourced: puts the servers that the tests drive on PATH.
# Debian's packages are unpacked below .venv rather than installed: no service starts, nothing of the
# system changes, and any user may do it where apt knows the packages.

SERVERS=$VENV/servers

unpack_package() { # unpack_package PACKAGE
    pool=$(mktemp -d) || return 1
    if [ "$(id -u)" = 0 ]; then chmod 755 "$pool"; fi
    (cd "$pool" && apt-get download -qq -o APT::Sandbox::User=root "$1" >/dev/null 2>&1 &&
        dpkg-deb -x ./*.deb "$SERVERS")
    status=$?
    rm -rf "$pool"
    return $status
}

# A browser needs libraries and fonts that a server has not: those that are missing are unpacked with it, and the
# program is started with them.
unpack_browser() {
    missing=$(apt-get -s install --no-install-recommends chromium 2>/dev/null |
        sed -n 's/^Inst \([^ ]*\) (.*/\1/p')
    [ -n "$missing" ] || return 1
    for package in $missing; do
        unpack_package "$package" || return 1
    done
    # libpulse has a part of its own in a folder of its own.
    libraries=$(echo "$SERVERS"/usr/lib/*-linux-gnu*)
    cat >"$SERVERS/usr/bin/chromium" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH=$libraries:$libraries/pulseaudio \\
    exec "$SERVERS/usr/lib/chromium/chromium" "\$@"
WRAPPER
    chmod 755 "$SERVERS/usr/bin/chromium"
}

# Debian's Alertmanager reads its templates from a folder below /usr. In the unpacked program a name of the same
# length stands for it, which is a link to the unpacked folder.
TEMPLATES=/usr/share/prometheus/alertmanager

alertmanager_templates() {
    program=$SERVERS/usr/bin/prometheus-alertmanager
    [ -x "$program" ] && [ ! -d "$TEMPLATES" ] || return 0
    link=/tmp/decahertz-alertmanager-$(id -u)
    [ -e "$link/default.tmpl" ] || ln -sfn "$SERVERS$TEMPLATES" "$link"
    while [ ${#link} -lt ${#TEMPLATES} ]; do link=$link/; done
    if grep -q "$TEMPLATES" "$program"; then
        LC_ALL=C sed "s|$TEMPLATES|$link|g" "$program" >"$program.new" && chmod 755 "$program.new" &&
            mv "$program.new" "$program"
    fi
}

# A program whose libraries are packages of their own is started with these libraries, and nothing else is.
# A library's package may have another name in another release: libevent-2.1-7t64|libevent-2.1-7.
unpack_with_libraries() { # unpack_with_libraries PROGRAM PACKAGE…
    wrapped=$1
    shift
    for packages in "$@"; do
        unpacked=
        for package in $(printf '%s' "$packages" | tr '|' ' '); do
            unpack_package "$package" && unpacked=1 && break
        done
        [ -n "$unpacked" ] || return 1
    done
    mkdir -p "$SERVERS/libexec" "$SERVERS/usr/bin"
    for folder in bin sbin; do
        [ -e "$SERVERS/usr/$folder/$wrapped" ] || continue
        cp -L "$SERVERS/usr/$folder/$wrapped" "$SERVERS/libexec/$wrapped" &&
            rm "$SERVERS/usr/$folder/$wrapped" || return 1
    done
    cat >"$SERVERS/usr/bin/$wrapped" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH=$(echo "$SERVERS"/usr/lib/*-linux-gnu*) exec "$SERVERS/libexec/$wrapped" "\$@"
WRAPPER
    chmod 755 "$SERVERS/usr/bin/$wrapped"
}

servers() { # servers PROGRAM=PACKAGE[+LIBRARY]…
    PATH=$PATH:$SERVERS/usr/bin:$SERVERS/usr/sbin
    export PATH
    updated=
    for pair in "$@"; do
        program=${pair%%=*} package=${pair#*=}
        command -v "$program" >/dev/null 2>&1 && continue
        if command -v apt-get >/dev/null 2>&1; then
            mkdir -p "$SERVERS"
            if [ -z "$updated" ] && [ "$(id -u)" = 0 ]; then
                say "fetching the servers that the tests drive"
                apt-get update -qq >/dev/null 2>&1
                updated=1
            fi
            case $package in
            chromium) unpack_browser ;;
            *+*) unpack_with_libraries "$program" $(printf '%s' "$package" | tr + ' ') ;;
            *) unpack_package "$package" ;;
            esac
        fi
        command -v "$program" >/dev/null 2>&1 ||
            say "$program is missing (Debian's package ${pair#*=}): the tests that need it are skipped"
    done
    alertmanager_templates
}
