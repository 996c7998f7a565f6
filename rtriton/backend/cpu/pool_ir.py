"""The native worker pool, in LLVM IR: `worker_main(pool, index)` and `launch(pool, records, count)`.

A record is one kernel launch: {function, arguments, grid x, y, z, programs, chunk, kernel's number}, eight 64-bit
slots. `launch` runs the records of a list in order. Programs are handed out in increasing order, `chunk` at a time;
the calling thread takes part; a record begins when every program of the one before has ended.

The heart is one 64-bit word, `work` = launch number << 32 | chunks left. A thread takes a chunk by compare-and-swap
of `work` with `work - 1`; success proves that this launch is still open, so its fields in the pool are stable. A
worker that sleeps or was preempted holds nothing up: the caller waits only for chunks that were taken (`unfinished`).

Idle workers spin briefly, then sleep on the futex word `wake`. `sleepers` is raised before the last look at `work`,
and the caller publishes `work` before it looks at `sleepers` (both sequentially consistent): no wake-up is lost.
"""

from __future__ import annotations

# Byte offsets in the pool; what many threads write has a cache line of its own.
WORK, UNFINISHED, WAKE, SLEEPERS, STOP = 0, 64, 128, 192, 256
RECORD, CHUNKS, ARENAS, ERROR = 320, 328, 336, 344
SLEEP_ADDRESS = 352  # a C function `int f(unsigned microseconds)` where the system has no futex
POOL_BYTES = 384
RECORD_SLOTS = 8

IDLE_SPINS = 4000
BUSY_SPINS = 4000

_X86 = {
    "pause": "call void @llvm.x86.sse2.pause()",
    "declare": "declare void @llvm.x86.sse2.pause()",
    "syscall": (
        'call i64 asm sideeffect "syscall", "={rax},{rax},{rdi},{rsi},{rdx},{r10},~{rcx},~{r11},~{memory}"'
        "(i64 %number, i64 %a, i64 %b, i64 %c, i64 0)"
    ),
    "futex": "202",
    "yield": "24",
}
_ARM = {
    "pause": "call void @llvm.aarch64.hint(i32 1)",
    "declare": "declare void @llvm.aarch64.hint(i32)",
    "syscall": (
        'call i64 asm sideeffect "svc #0", "={x0},{x8},{x0},{x1},{x2},{x3},~{memory}"'
        "(i64 %number, i64 %a, i64 %b, i64 %c, i64 0)"
    ),
    "futex": "98",
    "yield": "124",
}

_LINUX_WAIT = """
define internal i64 @system(i64 %number, i64 %a, i64 %b, i64 %c) noinline nounwind {
  %r = SYSCALL
  ret i64 %r
}
define internal void @sleep_while(ptr %pool, ptr %word, i32 %seen) nounwind {
  %a = ptrtoint ptr %word to i64
  %v = zext i32 %seen to i64
  %r = call i64 @system(i64 FUTEX, i64 %a, i64 128, i64 %v)
  ret void
}
define internal void @wake_all(ptr %word) nounwind {
  %a = ptrtoint ptr %word to i64
  %r = call i64 @system(i64 FUTEX, i64 %a, i64 129, i64 2147483647)
  ret void
}
define internal void @give_way(ptr %pool) nounwind {
  %r = call i64 @system(i64 YIELD, i64 0, i64 0, i64 0)
  ret void
}
"""

# Elsewhere the libc's usleep, whose address Python puts into the pool; a sleeper looks again every 50 microseconds.
_PORTABLE_WAIT = """
define internal void @doze(ptr %pool, i32 %microseconds) nounwind {
  %slot = getelementptr i8, ptr %pool, i64 SLEEP_ADDRESS
  %f = load ptr, ptr %slot
  %r = call i32 %f(i32 %microseconds)
  ret void
}
define internal void @sleep_while(ptr %pool, ptr %word, i32 %seen) nounwind {
  call void @doze(ptr %pool, i32 50)
  ret void
}
define internal void @wake_all(ptr %word) nounwind {
  ret void
}
define internal void @give_way(ptr %pool) nounwind {
  call void @doze(ptr %pool, i32 1)
  ret void
}
"""

_POOL = """
; Take one chunk of the open launch and run it; false if there was none.
define internal i1 @take(ptr %pool, i64 %self) nounwind {
entry:
  %first = load atomic i64, ptr %pool seq_cst, align 8
  br label %try
try:
  %seen = phi i64 [ %first, %entry ], [ %found, %swap ]
  %left = and i64 %seen, 4294967295
  %none = icmp eq i64 %left, 0
  br i1 %none, label %nothing, label %swap
swap:
  %less = sub i64 %seen, 1
  %pair = cmpxchg ptr %pool, i64 %seen, i64 %less seq_cst seq_cst
  %found = extractvalue { i64, i1 } %pair, 0
  %ok = extractvalue { i64, i1 } %pair, 1
  br i1 %ok, label %run, label %try
run:
  %record.at = getelementptr i8, ptr %pool, i64 RECORD
  %record = load ptr, ptr %record.at, align 8
  %chunks.at = getelementptr i8, ptr %pool, i64 CHUNKS
  %chunks = load i64, ptr %chunks.at, align 8
  %number = sub i64 %chunks, %left
  call void @run_chunk(ptr %pool, ptr %record, i64 %number, i64 %self)
  %unfinished.at = getelementptr i8, ptr %pool, i64 UNFINISHED
  %before = atomicrmw sub ptr %unfinished.at, i64 1 seq_cst
  ret i1 true
nothing:
  ret i1 false
}

; Programs [number * chunk, ...) of a record, with the arena of thread `self`.
define internal void @run_chunk(ptr %pool, ptr %record, i64 %number, i64 %self) nounwind {
  %function = load ptr, ptr %record, align 8
  %arguments.at = getelementptr i64, ptr %record, i64 1
  %arguments = load ptr, ptr %arguments.at, align 8
  %grid = getelementptr i64, ptr %record, i64 2
  %total.at = getelementptr i64, ptr %record, i64 5
  %total = load i64, ptr %total.at, align 8
  %chunk.at = getelementptr i64, ptr %record, i64 6
  %chunk = load i64, ptr %chunk.at, align 8
  %begin = mul i64 %number, %chunk
  %full = add i64 %begin, %chunk
  %over = icmp ugt i64 %full, %total
  %end = select i1 %over, i64 %total, i64 %full
  %arenas.at = getelementptr i8, ptr %pool, i64 ARENAS
  %arenas = load ptr, ptr %arenas.at, align 8
  %arena.at = getelementptr ptr, ptr %arenas, i64 %self
  %arena = load ptr, ptr %arena.at, align 8
  call void %function(ptr %arguments, ptr %grid, i64 %begin, i64 %end, ptr %arena)
  ret void
}

define void @worker_main(ptr %pool, i64 %self) nounwind {
entry:
  %stop.at = getelementptr i8, ptr %pool, i64 STOP
  %wake.at = getelementptr i8, ptr %pool, i64 WAKE
  %sleepers.at = getelementptr i8, ptr %pool, i64 SLEEPERS
  br label %look
look:
  %spins = phi i64 [ 0, %entry ], [ 0, %worked ], [ %more, %pause ], [ 0, %awake ]
  %stop = load atomic i32, ptr %stop.at acquire, align 4
  %stopped = icmp ne i32 %stop, 0
  br i1 %stopped, label %leave, label %attempt
attempt:
  %took = call i1 @take(ptr %pool, i64 %self)
  br i1 %took, label %worked, label %idle
worked:
  br label %look
idle:
  %more = add i64 %spins, 1
  %tired = icmp ugt i64 %more, IDLE_SPINS
  br i1 %tired, label %lie_down, label %pause
pause:
  PAUSE
  br label %look
lie_down:
  %up = atomicrmw add ptr %sleepers.at, i32 1 seq_cst
  %word = load atomic i32, ptr %wake.at seq_cst, align 4
  %work = load atomic i64, ptr %pool seq_cst, align 8
  %left = and i64 %work, 4294967295
  %empty = icmp eq i64 %left, 0
  %stop2 = load atomic i32, ptr %stop.at seq_cst, align 4
  %running = icmp eq i32 %stop2, 0
  %may = and i1 %empty, %running
  br i1 %may, label %sleep, label %awake
sleep:
  call void @sleep_while(ptr %pool, ptr %wake.at, i32 %word)
  br label %awake
awake:
  %down = atomicrmw sub ptr %sleepers.at, i32 1 seq_cst
  br label %look
leave:
  ret void
}

define void @wake_workers(ptr %pool) nounwind {
entry:
  %sleepers.at = getelementptr i8, ptr %pool, i64 SLEEPERS
  %n = load atomic i32, ptr %sleepers.at seq_cst, align 4
  %any = icmp ne i32 %n, 0
  br i1 %any, label %wake, label %done
wake:
  %wake.at = getelementptr i8, ptr %pool, i64 WAKE
  %before = atomicrmw add ptr %wake.at, i32 1 seq_cst
  call void @wake_all(ptr %wake.at)
  br label %done
done:
  ret void
}

define void @launch(ptr %pool, ptr %records, i64 %count) nounwind {
entry:
  %unfinished.at = getelementptr i8, ptr %pool, i64 UNFINISHED
  %record.at = getelementptr i8, ptr %pool, i64 RECORD
  %chunks.at = getelementptr i8, ptr %pool, i64 CHUNKS
  %error.at = getelementptr i8, ptr %pool, i64 ERROR
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %k1, %finished ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %begin, label %leave
begin:
  %record = getelementptr [RECORD_SLOTS x i64], ptr %records, i64 %k
  %total.at = getelementptr i64, ptr %record, i64 5
  %total = load i64, ptr %total.at, align 8
  %chunk.at = getelementptr i64, ptr %record, i64 6
  %chunk = load i64, ptr %chunk.at, align 8
  %rounded = add i64 %total, %chunk
  %rounded1 = sub i64 %rounded, 1
  %chunks = udiv i64 %rounded1, %chunk
  %alone = icmp ule i64 %chunks, 1
  br i1 %alone, label %maybe_alone, label %share
maybe_alone:
  %empty = icmp eq i64 %chunks, 0
  br i1 %empty, label %finished, label %run_alone
run_alone:
  call void @run_chunk(ptr %pool, ptr %record, i64 0, i64 0)
  br label %finished
share:
  store ptr %record, ptr %record.at, align 8
  store i64 %chunks, ptr %chunks.at, align 8
  store atomic i64 %chunks, ptr %unfinished.at seq_cst, align 8
  %old = load atomic i64, ptr %pool seq_cst, align 8
  %high = lshr i64 %old, 32
  %high1 = add i64 %high, 1
  %shifted = shl i64 %high1, 32
  %word = or i64 %shifted, %chunks
  %swapped = atomicrmw xchg ptr %pool, i64 %word seq_cst
  call void @wake_workers(ptr %pool)
  br label %help
help:
  %took = call i1 @take(ptr %pool, i64 0)
  br i1 %took, label %help, label %wait
wait:
  %spins = phi i64 [ 0, %help ], [ %spins1, %again ]
  %unfinished = load atomic i64, ptr %unfinished.at acquire, align 8
  %done = icmp eq i64 %unfinished, 0
  br i1 %done, label %finished, label %patience
patience:
  PAUSE
  %spins1 = add i64 %spins, 1
  %tired = icmp ugt i64 %spins1, BUSY_SPINS
  br i1 %tired, label %yield, label %again
yield:
  call void @give_way(ptr %pool)
  br label %again
again:
  br label %wait
finished:
  %error = load atomic i64, ptr %error.at acquire, align 8
  %failed = icmp ne i64 %error, 0
  %k1 = add i64 %k, 1
  br i1 %failed, label %leave, label %next
leave:
  ret void
}
"""


def pool_text(triple: str) -> str:
    """The pool's module for a triple (x86-64 or arm64; futex on Linux, usleep elsewhere)."""
    parts = _ARM if triple.startswith(("aarch64", "arm64")) else _X86
    waiting = _LINUX_WAIT if "linux" in triple else _PORTABLE_WAIT
    text = parts["declare"] + waiting + _POOL
    words = {
        "SLEEP_ADDRESS": SLEEP_ADDRESS, "RECORD_SLOTS": RECORD_SLOTS, "IDLE_SPINS": IDLE_SPINS,
        "BUSY_SPINS": BUSY_SPINS, "UNFINISHED": UNFINISHED, "SLEEPERS": SLEEPERS, "CHUNKS": CHUNKS,
        "ARENAS": ARENAS, "RECORD": RECORD, "ERROR": ERROR, "WAKE": WAKE, "STOP": STOP, "PAUSE": parts["pause"],
        "SYSCALL": parts["syscall"], "FUTEX": parts["futex"], "YIELD": parts["yield"],
    }  # fmt: skip
    for word, value in words.items():
        text = text.replace(word, str(value))
    return text
