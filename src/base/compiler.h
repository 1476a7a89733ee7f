/* base/compiler.h - the extensions to C11 that the project uses, in one place. */
#ifndef LM_COMPILER_H
#define LM_COMPILER_H

#define LM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define LM_NODISCARD         __attribute__((warn_unused_result))
#define LM_UNUSED            __attribute__((unused))
#define LM_NOINLINE          __attribute__((noinline))
#define LM_INLINE            static inline __attribute__((always_inline))
#define LM_ALIGNED(n)        __attribute__((aligned(n)))
#define LM_LIKELY(x)         __builtin_expect(!!(x), 1)
#define LM_UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define LM_LEN(a)            (sizeof(a) / sizeof((a)[0]))
#define LM_MIN(a, b)         ((a) < (b) ? (a) : (b))
#define LM_MAX(a, b)         ((a) > (b) ? (a) : (b))

#endif
