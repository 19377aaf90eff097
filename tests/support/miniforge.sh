#!/bin/bash
# Stands for Miniforge's installer: it takes what that one takes, `-b -p DIR`. Its mamba makes the environment that
# --prefix names, with this machine's Python in it, and keeps its calls.
[ "$1" = -b ] && [ "$2" = -p ] && [ ! -e "$3" ] || { echo "wrong: $*"; exit 1; }
mkdir -p "$3/bin"
cat >"$3/bin/mamba" <<'END'
#!/bin/bash
root=$(dirname "$(dirname "$0")")
echo "$*" >>"$root/calls"
while [ $# -gt 0 ]; do
    [ "$1" = --prefix ] && mkdir -p "$2/bin" && ln -sf "$(command -v python3)" "$2/bin/python"
    [ "$1" = --file ] && grep impossible "$2" && exit 1
    shift
done
exit 0
END
printf '#!/bin/sh\necho "No action taken."\n' >"$3/bin/conda"
chmod +x "$3/bin/"*
