"""Kernels written by hand in PTX, for tests of the emulator and the assembler."""

from dataclasses import dataclass

VERSIONS = {"sm_80": "7.0", "sm_89": "8.4", "sm_90": "8.4", "sm_90a": "8.4"}
REGISTERS = """
    .reg .pred %p<16>;
    .reg .b16 %h<16>;
    .reg .b32 %r<64>;
    .reg .f32 %f<32>;
    .reg .b64 %rd<32>;
"""


@dataclass(frozen=True)
class Kernel:
    """PTX text without its head, which differs by target."""

    name: str
    params: tuple[str, ...]
    threads: int
    body: str
    shared: int = 0
    needs: str = "sm_80"

    def text(self, target: str = "sm_80") -> str:
        shared = f".shared .align 16 .b8 buffer[{self.shared}];" if self.shared else ""
        params = ", ".join(f".param {param}" for param in self.params)
        head = f".version {VERSIONS[target]}\n.target {target}\n.address_size 64\n"
        interface = f".visible .entry {self.name}({params})\n.reqntid {self.threads}\n"
        return f"{head}{interface}{{\n{shared}{REGISTERS}{self.body}\n}}\n.file 1 \"kernel.py\"\n"


# Four floats per thread; the last vector of the array is the last that is touched, so n is a multiple of 4.
VECTOR_ADD = Kernel("vector_add", (".u64 x", ".u64 y", ".u64 out", ".u32 n"), 128, """
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [y];
    ld.param.u64 %rd3, [out];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.u32 %r4, %r2, 128, %r3;
    shl.b32 %r4, %r4, 2;
    setp.lt.u32 %p1, %r4, %r1;
    mul.wide.u32 %rd4, %r4, 4;
    add.u64 %rd1, %rd1, %rd4;
    add.u64 %rd2, %rd2, %rd4;
    add.u64 %rd3, %rd3, %rd4;
    .loc 1 7 12
    @%p1 ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1];
    @%p1 ld.global.v4.f32 {%f5, %f6, %f7, %f8}, [%rd2];
    @%p1 add.f32 %f1, %f1, %f5;
    @%p1 add.f32 %f2, %f2, %f6;
    @%p1 add.f32 %f3, %f3, %f7;
    @%p1 add.f32 %f4, %f4, %f8;
    .loc 1 9 4
    @%p1 st.global.v4.f32 [%rd3], {%f1, %f2, %f3, %f4};
    ret;
""")

WARP_SUM = Kernel("warp_sum", (".u64 x", ".u64 out"), 64, """
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [out];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd3, %r1, 4;
    add.u64 %rd1, %rd1, %rd3;
    ld.global.s32 %r2, [%rd1];
    shfl.sync.bfly.b32 %r3, %r2, 16, 31, -1;
    add.s32 %r2, %r2, %r3;
    shfl.sync.bfly.b32 %r3, %r2, 8, 31, -1;
    add.s32 %r2, %r2, %r3;
    shfl.sync.bfly.b32 %r3, %r2, 4, 31, -1;
    add.s32 %r2, %r2, %r3;
    shfl.sync.bfly.b32 %r3, %r2, 2, 31, -1;
    add.s32 %r2, %r2, %r3;
    shfl.sync.bfly.b32 %r3, %r2, 1, 31, -1;
    add.s32 %r2, %r2, %r3;
    mov.u32 %r4, %laneid;
    setp.ne.u32 %p1, %r4, 0;
    @%p1 bra $end;
    shr.u32 %r5, %r1, 5;
    mul.wide.u32 %rd3, %r5, 4;
    add.u64 %rd2, %rd2, %rd3;
    st.global.s32 [%rd2], %r2;
$end:
    ret;
""")

# One row of 128 per CTA: the row's maximum and sum go through shared memory; exp(x - max) / sum.
SOFTMAX = Kernel("softmax", (".u64 x", ".u64 out"), 128, """
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [out];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mad.lo.u32 %r3, %r2, 128, %r1;
    mul.wide.u32 %rd3, %r3, 4;
    add.u64 %rd1, %rd1, %rd3;
    add.u64 %rd2, %rd2, %rd3;
    ld.global.f32 %f1, [%rd1];
    mov.u32 %r10, buffer;
    and.b32 %r4, %r1, 31;
    shr.u32 %r5, %r1, 5;
    setp.eq.u32 %p1, %r4, 0;
    shl.b32 %r6, %r5, 2;
    add.u32 %r6, %r6, %r10;
    // maximum
    mov.f32 %f2, %f1;
    mov.u32 %r7, 16;
$max_step:
    mov.b32 %r8, %f2;
    shfl.sync.bfly.b32 %r9, %r8, %r7, 31, -1;
    mov.b32 %f3, %r9;
    max.f32 %f2, %f2, %f3;
    shr.u32 %r7, %r7, 1;
    setp.ne.u32 %p2, %r7, 0;
    @%p2 bra $max_step;
    @%p1 st.shared.f32 [%r6], %f2;
    bar.sync 0;
    ld.shared.v4.f32 {%f4, %f5, %f6, %f7}, [%r10];
    max.f32 %f4, %f4, %f5;
    max.f32 %f6, %f6, %f7;
    max.f32 %f4, %f4, %f6;
    // exp(x - max) and its sum
    sub.f32 %f1, %f1, %f4;
    mul.f32 %f1, %f1, 0f3FB8AA3B;
    ex2.approx.ftz.f32 %f1, %f1;
    mov.f32 %f2, %f1;
    mov.u32 %r7, 16;
$sum_step:
    mov.b32 %r8, %f2;
    shfl.sync.bfly.b32 %r9, %r8, %r7, 31, -1;
    mov.b32 %f3, %r9;
    add.f32 %f2, %f2, %f3;
    shr.u32 %r7, %r7, 1;
    setp.ne.u32 %p2, %r7, 0;
    @%p2 bra $sum_step;
    .loc 1 33 8
    @%p1 st.shared.f32 [%r6+16], %f2;
    bar.sync 0;
    .loc 1 35 8
    ld.shared.v4.f32 {%f4, %f5, %f6, %f7}, [%r10+16];
    add.f32 %f4, %f4, %f5;
    add.f32 %f6, %f6, %f7;
    add.f32 %f4, %f4, %f6;
    div.full.f32 %f1, %f1, %f4;
    st.global.f32 [%rd2], %f1;
    ret;
""", shared=32)


def matmul(a: str, b: str, result: str, k: int, needs: str = "sm_80") -> Kernel:
    """out[M, N] = A[M, K] @ B[N, K].T: two warps make 32 rows of 8 columns, K in double-buffered slices of 32 bytes."""
    zero = "mov.b32" if result == "s32" else "mov.f32"
    clamp = ".satfinite" if result == "s32" else ""
    c = "%r40, %r41, %r42, %r43" if result == "s32" else "%f1, %f2, %f3, %f4"
    none = "0" if result == "s32" else "0f00000000"
    first = "\n".join(f"    {zero} {name.strip()}, {none};" for name in c.split(","))
    store = "\n".join(f"    st.global.b32 [%rd{10 + i // 2}+{4 * (i % 2)}], {name.strip()};"
                      for i, name in enumerate(c.split(",")))
    copy = """
    add.u32 %r26, %r20, %r25;
    @%p9 cp.async.cg.shared.global [%r26], [%rd4], 16;
    @%p10 cp.async.cg.shared.global [%r26+1024], [%rd5], 16;
    add.u64 %rd4, %rd4, 32;
    add.u64 %rd5, %rd5, 32;
    xor.b32 %r25, %r25, 2048;
"""
    return Kernel(f"matmul_{a}_{b}", (".u64 x", ".u64 y", ".u64 out", ".u32 n", ".u32 row_bytes"), 64, f"""
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [y];
    ld.param.u64 %rd3, [out];
    ld.param.u32 %r1, [n];
    ld.param.u32 %r2, [row_bytes];
    mov.u32 %r3, %tid.x;
    mov.u32 %r4, %ctaid.x;
    mov.u32 %r5, %ctaid.y;
    mov.u32 %r10, buffer;
    // what this thread copies: 16 bytes of a row of A, and of B in the first 16 threads
    shr.u32 %r6, %r3, 1;
    and.b32 %r7, %r3, 1;
    shl.b32 %r7, %r7, 4;
    mad.lo.u32 %r8, %r4, 32, %r6;
    mad.lo.u32 %r8, %r8, %r2, %r7;
    cvt.u64.u32 %rd4, %r8;
    add.u64 %rd4, %rd1, %rd4;
    mad.lo.u32 %r8, %r5, 8, %r6;
    mad.lo.u32 %r8, %r8, %r2, %r7;
    cvt.u64.u32 %rd5, %r8;
    add.u64 %rd5, %rd2, %rd5;
    setp.lt.u32 %p10, %r3, 16;
    setp.eq.u32 %p9, %r3, %r3;
    shl.b32 %r20, %r3, 4;
    add.u32 %r20, %r20, %r10;
    mov.u32 %r25, 0;
    mov.u32 %r27, 0;
    // addresses for ldmatrix: row of the lane's address, and which 16 bytes of it
    and.b32 %r11, %r3, 31;
    shr.u32 %r12, %r3, 5;
    and.b32 %r13, %r11, 15;
    shr.u32 %r14, %r11, 4;
    shl.b32 %r14, %r14, 4;
    mad.lo.u32 %r15, %r12, 16, %r13;
    mad.lo.u32 %r15, %r15, 32, %r14;
    add.u32 %r15, %r15, %r10;
    and.b32 %r16, %r11, 7;
    shr.u32 %r17, %r11, 3;
    and.b32 %r17, %r17, 1;
    shl.b32 %r17, %r17, 4;
    mad.lo.u32 %r16, %r16, 32, %r17;
    add.u32 %r16, %r16, %r10;
    add.u32 %r16, %r16, 1024;
{first}
    shr.u32 %r18, %r2, 5;
{copy}
    cp.async.commit_group;
$slice:
    sub.u32 %r18, %r18, 1;
    setp.ne.u32 %p1, %r18, 0;
    and.pred %p9, %p9, %p1;
    and.pred %p10, %p10, %p1;
{copy}
    cp.async.commit_group;
    cp.async.wait_group 1;
    bar.sync 0;
    add.u32 %r28, %r15, %r27;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r30, %r31, %r32, %r33}}, [%r28];
    add.u32 %r28, %r16, %r27;
    ldmatrix.sync.aligned.m8n8.x2.shared.b16 {{%r34, %r35}}, [%r28];
    xor.b32 %r27, %r27, 2048;
    mma.sync.aligned.m16n8k{k}.row.col{clamp}.{result}.{a}.{b}.{result} {{{c}}}, {{%r30, %r31, %r32, %r33}}, \
{{%r34, %r35}}, {{{c}}};
    bar.sync 0;
    @%p1 bra $slice;
    // rows 16 * warp + lane / 4 and 8 below, columns 2 * (lane % 4) and the next
    shr.u32 %r19, %r11, 2;
    mad.lo.u32 %r22, %r12, 16, %r19;
    mad.lo.u32 %r22, %r4, 32, %r22;
    and.b32 %r23, %r11, 3;
    shl.b32 %r23, %r23, 1;
    mad.lo.u32 %r23, %r5, 8, %r23;
    mad.lo.u32 %r24, %r22, %r1, %r23;
    mul.wide.u32 %rd10, %r24, 4;
    add.u64 %rd10, %rd3, %rd10;
    mul.wide.u32 %rd11, %r1, 32;
    add.u64 %rd11, %rd10, %rd11;
{store}
    ret;
""", shared=4096, needs=needs)


MATMULS = {
    "f16": matmul("f16", "f16", "f32", 16), "bf16": matmul("bf16", "bf16", "f32", 16),
    "tf32": matmul("tf32", "tf32", "f32", 8), "s8": matmul("s8", "s8", "s32", 32), "u8": matmul("u8", "s8", "s32", 32),
    "e4m3": matmul("e4m3", "e5m2", "f32", 32, needs="sm_89"),
}

# out[16, 8] = A[16, 16] @ B[16, 8] in f16, with B row by row: ldmatrix turns it, and stmatrix writes the result.
TRANSPOSED = Kernel("transposed", (".u64 x", ".u64 y", ".u64 out"), 32, """
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [y];
    ld.param.u64 %rd3, [out];
    mov.u32 %r1, %tid.x;
    mov.u32 %r10, buffer;
    mul.wide.u32 %rd4, %r1, 16;
    add.u64 %rd1, %rd1, %rd4;
    ld.global.v4.b32 {%r2, %r3, %r4, %r5}, [%rd1];
    shl.b32 %r6, %r1, 4;
    add.u32 %r6, %r6, %r10;
    st.shared.v4.b32 [%r6], {%r2, %r3, %r4, %r5};
    setp.lt.u32 %p1, %r1, 16;
    add.u64 %rd2, %rd2, %rd4;
    @%p1 ld.global.v4.b32 {%r2, %r3, %r4, %r5}, [%rd2];
    @%p1 st.shared.v4.b32 [%r6+512], {%r2, %r3, %r4, %r5};
    bar.warp.sync -1;
    and.b32 %r7, %r1, 15;
    shl.b32 %r7, %r7, 5;
    shr.u32 %r8, %r1, 4;
    shl.b32 %r8, %r8, 4;
    add.u32 %r7, %r7, %r8;
    add.u32 %r7, %r7, %r10;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r7];
    and.b32 %r9, %r1, 15;
    shl.b32 %r9, %r9, 4;
    add.u32 %r9, %r9, %r10;
    ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r24, %r25}, [%r9+512];
    mov.b32 %r26, 0;
    mov.b32 %r27, 0;
    mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16
        {%r26, %r27}, {%r20, %r21, %r22, %r23}, {%r24, %r25}, {%r26, %r27};
    stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r9+768], {%r26, %r27};
    bar.warp.sync -1;
    @%p1 ld.shared.v4.b32 {%r2, %r3, %r4, %r5}, [%r9+768];
    add.u64 %rd3, %rd3, %rd4;
    @%p1 st.global.v4.b32 [%rd3], {%r2, %r3, %r4, %r5};
    ret;
""", shared=1024, needs="sm_90")

DOUBLES = Kernel("doubles", (".u64 x", ".u64 y", ".u64 out"), 32, """
    .reg .f64 %d<8>;
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [y];
    ld.param.u64 %rd3, [out];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd4, %r1, 8;
    add.u64 %rd1, %rd1, %rd4;
    add.u64 %rd2, %rd2, %rd4;
    ld.global.f64 %d1, [%rd1];
    ld.global.f64 %d2, [%rd2];
    mov.f64 %d3, 0d0000000000000000;
    mov.f64 %d4, 0d3FF0000000000000;
    mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d5, %d6}, {%d1}, {%d2}, {%d3, %d4};
    mul.wide.u32 %rd4, %r1, 16;
    add.u64 %rd3, %rd3, %rd4;
    st.global.v2.f64 [%rd3], {%d5, %d6};
    ret;
""")

# Each CTA adds its number to a sum that no atomic protects, only a lock.
SPIN_LOCK = Kernel("spin_lock", (".u64 lock", ".u64 sum"), 64, """
    ld.param.u64 %rd1, [lock];
    ld.param.u64 %rd2, [sum];
    mov.u32 %r1, %tid.x;
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra $after;
$take:
    atom.acquire.gpu.global.cas.b32 %r2, [%rd1], 0, 1;
    setp.ne.u32 %p2, %r2, 0;
    @%p2 bra $take;
    ld.volatile.global.u32 %r3, [%rd2];
    mov.u32 %r4, %ctaid.x;
    add.u32 %r3, %r3, %r4;
    st.volatile.global.u32 [%rd2], %r3;
    membar.gl;
    atom.release.gpu.global.exch.b32 %r2, [%rd1], 0;
$after:
    bar.sync 0;
    ret;
""")

# How many steps until 1 (halve if even, else 3n + 1): threads leave the loop, and take branches, at their own times.
COLLATZ = Kernel("collatz", (".u64 x",), 128, """
    ld.param.u64 %rd1, [x];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mad.lo.u32 %r1, %r2, 128, %r1;
    mul.wide.u32 %rd2, %r1, 4;
    add.u64 %rd1, %rd1, %rd2;
    ld.global.u32 %r3, [%rd1];
    mov.u32 %r4, 0;
$loop:
    setp.eq.u32 %p1, %r3, 1;
    @%p1 bra $done;
    and.b32 %r5, %r3, 1;
    setp.eq.u32 %p2, %r5, 0;
    @%p2 bra $even;
    mad.lo.u32 %r3, %r3, 3, 1;
    bra.uni $next;
$even:
    shr.u32 %r3, %r3, 1;
$next:
    add.u32 %r4, %r4, 1;
    bra $loop;
$done:
    vote.sync.ballot.b32 %r6, %p1, -1;
    setp.eq.u32 %p3, %r6, -1;
    @%p3 st.global.u32 [%rd1], %r4;
    ret;
""")

HISTOGRAM = Kernel("histogram", (".u64 x", ".u64 bins"), 64, """
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [bins];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r10, buffer;
    and.b32 %r3, %r1, 15;
    shl.b32 %r4, %r3, 2;
    setp.lt.u32 %p1, %r1, 16;
    add.u32 %r5, %r10, %r4;
    @%p1 st.shared.u32 [%r5], 0;
    bar.sync 0;
    mad.lo.u32 %r6, %r2, 64, %r1;
    cvt.u64.u32 %rd3, %r6;
    add.u64 %rd1, %rd1, %rd3;
    ld.global.u8 %r7, [%rd1];
    shl.b32 %r7, %r7, 2;
    add.u32 %r7, %r7, %r10;
    atom.shared.add.u32 %r8, [%r7], 1;
    bar.sync 0;
    @%p1 ld.shared.u32 %r9, [%r5];
    cvt.u64.u32 %rd4, %r4;
    add.u64 %rd2, %rd2, %rd4;
    @%p1 red.global.add.u32 [%rd2], %r9;
    ret;
""", shared=64)

# Warp 0 fills a buffer four times; warp 1 adds up what it holds. Barriers 1 (full) and 2 (empty) are of both warps, but
# the filler only arrives at 1 and the adder only arrives at 2.
PRODUCER = Kernel("producer", (".u64 out",), 64, """
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, %tid.x;
    mov.u32 %r10, buffer;
    and.b32 %r2, %r1, 31;
    shl.b32 %r3, %r2, 2;
    add.u32 %r3, %r3, %r10;
    mov.u32 %r4, 0;
    mov.u32 %r5, 0;
    setp.lt.u32 %p1, %r1, 32;
    @%p1 bra $fill;
$add:
    bar.sync 1, 64;
    ld.shared.u32 %r6, [%r3];
    bar.arrive 2, 64;
    add.u32 %r5, %r5, %r6;
    add.u32 %r4, %r4, 1;
    setp.lt.u32 %p2, %r4, 4;
    @%p2 bra $add;
    mul.wide.u32 %rd2, %r2, 4;
    add.u64 %rd1, %rd1, %rd2;
    st.global.u32 [%rd1], %r5;
    ret;
$fill:
    mad.lo.u32 %r6, %r4, 100, %r2;
    st.shared.u32 [%r3], %r6;
    bar.arrive 1, 64;
    bar.sync 2, 64;
    add.u32 %r4, %r4, 1;
    setp.lt.u32 %p2, %r4, 4;
    @%p2 bra $fill;
    ret;
""", shared=128)

# How many of the CTA's numbers are odd, by bar.red, in every thread.
COUNT_ODD = Kernel("count_odd", (".u64 x",), 96, """
    ld.param.u64 %rd1, [x];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.u64 %rd1, %rd1, %rd2;
    ld.global.u32 %r2, [%rd1];
    and.b32 %r2, %r2, 1;
    setp.ne.u32 %p1, %r2, 0;
    bar.red.popc.u32 %r3, 0, %p1;
    st.global.u32 [%rd1], %r3;
    ret;
""")

ALL = (VECTOR_ADD, WARP_SUM, SOFTMAX, *MATMULS.values(), TRANSPOSED, DOUBLES, SPIN_LOCK, COLLATZ, HISTOGRAM, PRODUCER,
       COUNT_ODD)
