/* backend/cpu/isa.c - which of the kernels' instruction sets this machine has.
 *
 * A set is had only when everything that its files are compiled for is there
 * (cmake/isa.cmake names the flags) and the system saves the registers.
 */
#include "backend/cpu/linear.h"

#if defined(__x86_64__)
#include <cpuid.h>

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
    B7_F = 1 << 16,
    B7_DQ = 1 << 17,
    B7_BW = 1 << 30,
    C7_VBMI = 1 << 1,
    C7_VNNI = 1 << 11,
    A71_BF16 = 1 << 5,
    XCR_AVX = 0x06,
    XCR_AVX512 = 0xe6
};

static bool all(uint32_t seen, uint32_t wanted)
{
    return (seen & wanted) == wanted;
}

bool lm_isa_has(lm_isa isa)
{
    uint32_t a, b, c, d, a1 = 0, b7 = 0, c7 = 0, c1 = 0;
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
    return isa == LM_ISA_AVX512 && all(b7, (uint32_t)B7_F | B7_DQ | B7_BW | 1u << 31) &&
           all(c7, C7_VBMI | C7_VNNI) && all(a1, A71_BF16) && (xcr0() & XCR_AVX512) == XCR_AVX512;
}
#else
bool lm_isa_has(lm_isa isa)
{
    return isa == LM_ISA_PORTABLE;
}
#endif

lm_isa lm_isa_best(void)
{
    return lm_isa_has(LM_ISA_AVX512) ? LM_ISA_AVX512
           : lm_isa_has(LM_ISA_AVX2) ? LM_ISA_AVX2
                                     : LM_ISA_PORTABLE;
}

const char *lm_isa_name(lm_isa isa)
{
    static const char *const names[LM_ISA_COUNT] = { "portable", "avx2", "avx512" };
    return (unsigned)isa < LM_ISA_COUNT ? names[isa] : "?";
}
