/* LD_PRELOAD for user-mode-linux 6.1 on processors whose register state is larger than it knows.
 *
 * It keeps 832 bytes of each guest thread: x87, SSE and AVX. With AVX-512, AMX or protection keys
 * the host's kernel refuses to set so few (PTRACE_SETREGSET fails, the guest dies at its first
 * process). Here each PTRACE_GETREGSET reads the whole state and keeps what lies behind those bytes
 * under the address of the guest's buffer, which is the thread's own; each SETREGSET puts the two
 * together again. So a guest's program may use AVX-512, as orjson does, also with threads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    XSTATE = 0x202,    /* NT_X86_XSTATE */
    FEATURES = 512,    /* where XSTATE_BV is: which parts are not in their initial state */
    KNOWN = 7,         /* its bits for x87, SSE and AVX */
    AVX_BEGIN = 576, AVX_END = 832,
    STATE_BYTES = 16384, /* AMX makes it 11,008 */
    THREADS = 4096,
};

static struct { const void *buffer; unsigned char state[STATE_BYTES]; } threads[THREADS]
    __attribute__((aligned(64)));

static unsigned char *state_of(const void *buffer)
{
    size_t at = ((uintptr_t)buffer >> 6) % THREADS;
    for (size_t i = 0; i < THREADS; i++, at = (at + 1) % THREADS) {
        if (!threads[at].buffer)
            threads[at].buffer = buffer;
        if (threads[at].buffer == buffer)
            return threads[at].state;
    }
    static const char full[] = "xstate.c: more threads than THREADS\n";
    (void)!write(2, full, sizeof full - 1);
    _exit(1);
}

static long get_state(long pid, struct iovec *asked)
{
    unsigned char *state = state_of(asked->iov_base);
    struct iovec whole = {state, STATE_BYTES};
    long result = syscall(SYS_ptrace, PTRACE_GETREGSET, pid, XSTATE, &whole);
    if (result < 0)
        return result;
    if (asked->iov_len > whole.iov_len)
        asked->iov_len = whole.iov_len;
    memcpy(asked->iov_base, state, asked->iov_len);
    return result;
}

static long set_state(long pid, struct iovec *given)
{
    static unsigned char merged[STATE_BYTES] __attribute__((aligned(64)));
    struct iovec whole = {merged, STATE_BYTES};
    long result = syscall(SYS_ptrace, PTRACE_GETREGSET, pid, XSTATE, &whole); /* for its size */
    if (result < 0)
        return result;
    const unsigned char *from = given->iov_base;
    uint64_t kept, features;
    memcpy(merged, state_of(from), whole.iov_len);
    memcpy(&kept, merged + FEATURES, sizeof kept);
    memcpy(&features, from + FEATURES, sizeof features);
    features = (features & KNOWN) | (kept & ~(uint64_t)KNOWN);
    memcpy(merged, from, FEATURES);
    memcpy(merged + FEATURES, &features, sizeof features);
    if (given->iov_len >= AVX_END)
        memcpy(merged + AVX_BEGIN, from + AVX_BEGIN, AVX_END - AVX_BEGIN);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    long pid = va_arg(arguments, int);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);
    if (request == PTRACE_GETREGSET && (long)address == XSTATE)
        return get_state(pid, data);
    if (request == PTRACE_SETREGSET && (long)address == XSTATE)
        return set_state(pid, data);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        /* The kernel stores the word; the C library returns it. */
        long word = 0;
        long result = syscall(SYS_ptrace, request, pid, address, &word);
        return result < 0 ? result : word;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
