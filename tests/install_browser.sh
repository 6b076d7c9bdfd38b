#!/bin/sh
# The browser tests need Chromium; on Debian it is installed where it is missing: without its windows where there is such a package.
set -eu
for one in chromium-headless-shell chromium chromium-browser google-chrome; do
    if command -v "$one" >/dev/null 2>&1; then exit 0; fi
done
if command -v apt-get >/dev/null 2>&1; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends chromium-headless-shell ||
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends chromium
else
    echo "The browser tests need Chromium: install it, then run make test again." >&2
    exit 1
fi
