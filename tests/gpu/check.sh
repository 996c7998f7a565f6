#!/bin/sh
# Everything that only a GPU can show, in one go: op cases plain and under the sanitizer, planted faults, tutorials, speed.
#   sh tests/gpu/check.sh [MODEL.gguf]
set -u
export RTRITON_TEST_BACKENDS=cuda PYTHONUNBUFFERED=1
fail=0
run() { echo "== $*"; "$@" || { echo "FAILED: $*"; fail=1; }; }
finds() { echo "== must find: $*"; "$@" >/tmp/found.$$ 2>&1; code=$?; grep -m1 -E "Invalid|Race|hazard|Error" /tmp/found.$$; [ "$code" = 9 ] || { echo "NOT FOUND ($code): $*"; fail=1; }; rm -f /tmp/found.$$; }
run python3 -m pytest tests/ops tests/gpu -q -p no:cacheprovider --tb=short
run python3 -m tests.gpu.faults clean
for tool in memcheck racecheck; do
  run compute-sanitizer --tool $tool --error-exitcode 9 python3 -m pytest tests/ops/test_cases.py tests/gpu -q -p no:cacheprovider --tb=line
done
finds compute-sanitizer --tool memcheck --error-exitcode 9 python3 -m tests.gpu.faults out_of_bounds
finds compute-sanitizer --tool racecheck --error-exitcode 9 python3 -m tests.gpu.faults race
run python3 -m tests.gpu.explain_counters
run python3 -m benchmarks.kernels
run python3 -m benchmarks.ablation
run python3 -m benchmarks.launch
if [ $# -gt 0 ]; then
  run python3 -m tests.reference.check_engine --device cuda --model "$1"
  run python3 -m benchmarks.decode --device cuda --model "$1"
fi
exit $fail
