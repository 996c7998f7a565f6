#!/bin/sh
# The tests of the language on the GPU: plain, then the shorter ones under the sanitizer; Triton's own tests where fetched.
#   sh tests/gpu/language.sh [FOLDER for rows]
set -u
# not in one process with others on a GPU: failed assertions, which end its context; nor printing, which passes Python's
# capture by; nor addresses of arrays in CPU memory
leave="--ignore tests/language/test_debug.py --ignore tests/memory/test_pointers.py --ignore tests/language/test_page.py"
export RTRITON_TEST_BACKENDS=interpret,cuda PYTHONUNBUFFERED=1
out=${1:-/tmp}
timeout 200 python3 -m pytest tests/language tests/memory tests/frontend tests/backend/ptx $leave -q -p no:cacheprovider --tb=line -n 12 >"$out/language.log" 2>&1
grep -E "^(FAILED|ERROR)|passed|failed" "$out/language.log" | cut -c1-200 | tail -60
for tool in memcheck racecheck; do
  timeout 75 compute-sanitizer --tool $tool --error-exitcode 9 python3 -m pytest tests/language/test_sort.py tests/language/test_regions.py tests/memory/test_block_pointer.py -q -x -p no:cacheprovider -k "not large and not long" >"$out/$tool.log" 2>&1
  echo "$tool: exit $?"; grep -E "passed|failed|ERROR SUMMARY|RACECHECK SUMMARY|hazard" "$out/$tool.log" | tail -4
done
