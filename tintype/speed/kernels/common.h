/* What the kernels share: for which compilers they are, threads, and two functions of 16 numbers.
 *
 * They are called through ctypes (native.py) and know nothing of torch. Built where a compiler is; `tintype_here` says
 * whether this processor can run them.
 */

#include <stdint.h>

#if defined(__x86_64__) && ((defined(__GNUC__) && __GNUC__ >= 10) || (defined(__clang__) && __clang_major__ >= 9))

#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WITH_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define INLINE static inline __attribute__((always_inline)) WITH_BF16

enum { LANES = 16 }; /* fp32 in a register */

typedef void Work(const void *job, int64_t item, void *memory);

/* `work` on all items, shared among threads, each with `room` bytes of its own. 1 where there was no memory, else 0. */
int tintype_run(Work *work, const void *job, int64_t items, size_t room, int threads);

static inline int64_t rounded_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

INLINE __m512 from_bf16(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }

INLINE __m256i to_bf16(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

/* 2^x for x <= 0, to 4e-5: a hundredth of what rounding to bf16 loses. */
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

#endif
