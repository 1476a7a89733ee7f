/* backend/cpu/isa.c - which of the kernels' instruction sets this machine has.
 *
 * A set is had only when everything that its files are compiled for is there
 * (cmake/isa.cmake names the flags) and the system saves the registers.
 */
#define _DEFAULT_SOURCE /* syscall */
#include "backend/cpu/linear.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Register state that the system saves: bits of XCR0. */
static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

enum {
    C1_FMA = 1 << 12,
    C1_OSXSAVE = 1 << 27,
    C1_AVX = 1 << 28,
    C1_F16C = 1 << 29,
    B7_AVX2 = 1 << 5,
    A71_AVX_VNNI = 1 << 4,
    B7_F = 1 << 16,
    B7_DQ = 1 << 17,
    B7_BW = 1 << 30,
    C7_VBMI = 1 << 1,
    C7_VNNI = 1 << 11,
    D7_AMX_TILE = 1 << 24,
    D7_AMX_INT8 = 1 << 25,
    A71_BF16 = 1 << 5,
    XCR_AVX = 0x06,
    XCR_AVX512 = 0xe6,
    XCR_AMX = 0x60000
};

static bool all(uint32_t seen, uint32_t wanted)
{
    return (seen & wanted) == wanted;
}

/* Tiles are 8 KiB of registers that Linux saves only for processes that asked:
 * arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), inherited by threads.
 * Source: Linux, Documentation/arch/x86/xstate.rst. */
static bool tiles_allowed(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

static bool has_tiles(void)
{
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && all(d, D7_AMX_TILE | D7_AMX_INT8);
}

const char *lm_isa_why(lm_isa isa)
{
    if (isa != LM_ISA_AMX || !lm_isa_has(LM_ISA_AVX512) || !has_tiles())
        return NULL;
    return (xcr0() & XCR_AMX) != XCR_AMX ? "the operating system does not save its registers"
           : tiles_allowed()             ? NULL
                                         : "the kernel does not permit it to this process";
}

bool lm_isa_has(lm_isa isa)
{
    uint32_t a, b, c, d, a1 = 0, b7 = 0, c7 = 0, c1 = 0;
    if (isa == LM_ISA_AMX)
        return lm_isa_has(LM_ISA_AVX512) && has_tiles() && (xcr0() & XCR_AMX) == XCR_AMX && tiles_allowed();
    if (isa == LM_ISA_PORTABLE)
        return true;
    if (!__get_cpuid(1, &a, &b, &c1, &d) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d))
        return false;
    if (!all(c1, C1_FMA | C1_OSXSAVE | C1_AVX | C1_F16C) || !all(b7, B7_AVX2) ||
        (xcr0() & XCR_AVX) != XCR_AVX)
        return false;
    if (isa == LM_ISA_AVX2)
        return true;
    if (a < 1 || !__get_cpuid_count(7, 1, &a1, &b, &c, &d))
        return false;
    if (isa == LM_ISA_AVX_VNNI)
        return all(a1, A71_AVX_VNNI);
    return isa == LM_ISA_AVX512 && all(b7, (uint32_t)B7_F | B7_DQ | B7_BW | 1u << 31) &&
           all(c7, C7_VBMI | C7_VNNI) && all(a1, A71_BF16) && (xcr0() & XCR_AVX512) == XCR_AVX512;
}
#else
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

/* Bits of the auxiliary vector: Linux, Documentation/arch/arm64/elf_hwcaps.rst. */
bool lm_isa_has(lm_isa isa)
{
    const unsigned long asimd = 1ul << 1, dotprod = 1ul << 20, i8mm = 1ul << 13;
    unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
    switch (isa) {
    case LM_ISA_PORTABLE: return true;
    case LM_ISA_NEON: return (one & asimd) != 0;
    case LM_ISA_NEON_DOTPROD: return (one & asimd) && (one & dotprod);
    case LM_ISA_NEON_I8MM: return (one & asimd) && (one & dotprod) && (two & i8mm);
    default: return false;
    }
}
#elif defined(__aarch64__)
bool lm_isa_has(lm_isa isa) /* every aarch64 has vectors; how to ask for more is the system's */
{
    return isa == LM_ISA_PORTABLE || isa == LM_ISA_NEON;
}
#else
bool lm_isa_has(lm_isa isa)
{
    return isa == LM_ISA_PORTABLE;
}
#endif

const char *lm_isa_why(lm_isa isa)
{
    (void)isa;
    return NULL;
}
#endif

lm_isa lm_isa_best(void)
{
    static const lm_isa fastest[] = { LM_ISA_AMX,       LM_ISA_AVX512,       LM_ISA_AVX_VNNI, LM_ISA_AVX2,
                                      LM_ISA_NEON_I8MM, LM_ISA_NEON_DOTPROD, LM_ISA_NEON };
    for (size_t i = 0; i < LM_LEN(fastest); i++)
        if (lm_isa_has(fastest[i]))
            return fastest[i];
    return LM_ISA_PORTABLE;
}

const char *lm_isa_name(lm_isa isa)
{
    static const char *const names[LM_ISA_COUNT] = { "portable", "avx2", "avx-vnni",     "avx512",
                                                     "amx",      "neon", "neon-dotprod", "neon-i8mm" };
    return (unsigned)isa < LM_ISA_COUNT ? names[isa] : "?";
}
