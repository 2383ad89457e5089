/* What the kernels share. They are called through ctypes (kernels.py) and know nothing of torch. Built into one library where
 * a compiler is; `tintype_here` says whether this processor can run them.
 */

#if !defined(__x86_64__) || !((defined(__GNUC__) && __GNUC__ >= 10) || (defined(__clang__) && __clang_major__ >= 9))
#error "The kernels want an x86-64 processor and GCC 10, clang 9 or newer; without them torch computes."
#endif

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* What is done for each item of a job, with memory of the thread's own. */
typedef void Work(const void *job, int64_t item, void *memory);

/* Every item once, shared by this thread and others, each with `room` bytes. 0, or 1 where there was no memory for that. */
int tintype_share(Work *work, const void *job, int64_t items, size_t room, int threads);

int tintype_here(void);

#define WITH_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define INLINE static inline __attribute__((always_inline)) WITH_BF16

enum { LANES = 16 }; /* fp32 in a register */

/* 2^x, to 4e-5: a hundredth of what rounding to bf16 loses. */
INLINE __m512 power_of_two(__m512 x) {
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 rest = _mm512_sub_ps(x, whole); /* in [-1/2, 1/2] */
    __m512 y = _mm512_set1_ps(9.618129e-3f);
    y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(5.5504109e-2f));
    y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(2.4022651e-1f));
    y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(6.9314718e-1f));
    y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, whole);
}

INLINE __m512 sigmoid(__m512 x) {
    __m512 one = _mm512_set1_ps(1);
    return _mm512_div_ps(one, _mm512_add_ps(one, power_of_two(_mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f)))));
}

/* 16 bf16 as fp32, and back. */
INLINE __m512 widened(const uint16_t *at) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at)), 16));
}

INLINE void narrowed(uint16_t *to, __m512 x) { _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x)); }
