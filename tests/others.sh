#!/usr/bin/env bash
# The tests of AnnData with other interpreters, with anndata 0.13 and whatever pandas goes with it: tests/others.sh PYTHON...
# An interpreter that is not here, or for which pip finds no packages, is SKIPPED with the reason; a test that fails is not.
set -uo pipefail
cd "$(dirname "$0")/.."
pins=.constraints-others.txt
# The newest of everything else.
grep '^torch==' constraints.txt > "$pins"
needed=(anndata'>=0.13' beartype hypothesis jsonschema jinja2 matplotlib psutil pyarrow pytest)
failed=0
for name in "$@"; do
  python=$name
  if ! "$python" -c "" 2> /dev/null; then
    python=$(ls -d "$HOME/.pyenv/versions/${name#python}".*/bin/python 2> /dev/null | tail -1)
  fi
  if [ -z "$python" ] || ! "$python" -c "" 2> /dev/null; then
    echo "$name: SKIPPED, this interpreter is not here"
    continue
  fi
  venv=.venv-$name
  [ -d "$venv" ] || "$python" -m venv "$venv"
  pip=("$venv/bin/pip" install --quiet --disable-pip-version-check -c "$pins")
  if ! "${pip[@]}" -e . "${needed[@]}"; then
    echo "$name: SKIPPED, pip could not install what the tests need"
    continue
  fi
  "${pip[@]}" "scanpy>=1.12" || echo "$name: scanpy SKIPPED, pip could not install it"
  echo "$name: $("$venv/bin/pip" list 2> /dev/null | grep -E '^(anndata|pandas|scanpy) ' | tr -s ' ' | paste -sd, -)"
  OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -q tests/test_scanpy.py tests/test_h5ad.py || failed=1
done
exit "$failed"
