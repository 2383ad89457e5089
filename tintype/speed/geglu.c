/* GEGLU, value gelu(gate), and its gradients, in one go (Shazeer 2020, arXiv 2002.05202, eq. 6). bf16 in and out, fp32 between.
 *
 * gelu(g) = g F(g), F the normal distribution's share below g: with t = 1 / (1 + p |g| / sqrt(2)) it is a polynomial of t
 * times exp(-g^2 / 2) / 2 for g < 0, to 1.5e-7 (Abramowitz and Stegun, 7.1.26), and 1 less that for the others.
 */

#include "kernels.h"

typedef struct {
    const uint16_t *both, *dout; /* (rows 2 width): values, then gates; (rows width) */
    uint16_t *out;               /* (rows width), or the gradient of `both` */
    int64_t width;
} Job;

/* F(g), and in `*density` its slope. */
INLINE __m512 share_below(__m512 g, __m512 *density) {
    __m512 bell = power_of_two(_mm512_mul_ps(_mm512_mul_ps(g, g), _mm512_set1_ps(-0.72134752f)));
    __m512 t = _mm512_fmadd_ps(_mm512_abs_ps(g), _mm512_set1_ps(0.3275911f * 0.70710678f), _mm512_set1_ps(1));
    t = _mm512_div_ps(_mm512_set1_ps(1), t);
    __m512 tail = _mm512_set1_ps(1.061405429f);
    tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-1.453152027f));
    tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(1.421413741f));
    tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-0.284496736f));
    tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.254829592f));
    tail = _mm512_mul_ps(_mm512_mul_ps(tail, t), _mm512_mul_ps(bell, _mm512_set1_ps(0.5f)));
    *density = _mm512_mul_ps(bell, _mm512_set1_ps(0.39894228f));
    __mmask16 below = _mm512_cmp_ps_mask(g, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_sub_ps(tail, (__mmask16)~below, _mm512_set1_ps(1), tail);
}

WITH_BF16 static void forward(const void *of, int64_t row, void *unused) {
    const Job *job = of;
    const uint16_t *value = job->both + 2 * row * job->width, *gate = value + job->width;
    (void)unused;
    for (int64_t i = 0; i < job->width; i += LANES) {
        __m512 g = widened(gate + i), density;
        narrowed(job->out + row * job->width + i, _mm512_mul_ps(widened(value + i), _mm512_mul_ps(g, share_below(g, &density))));
    }
}

WITH_BF16 static void backward(const void *of, int64_t row, void *unused) {
    const Job *job = of;
    const uint16_t *value = job->both + 2 * row * job->width, *gate = value + job->width;
    uint16_t *dvalue = job->out + 2 * row * job->width, *dgate = dvalue + job->width;
    (void)unused;
    for (int64_t i = 0; i < job->width; i += LANES) {
        __m512 g = widened(gate + i), slope = widened(job->dout + row * job->width + i), density;
        __m512 below = share_below(g, &density);
        narrowed(dvalue + i, _mm512_mul_ps(slope, _mm512_mul_ps(g, below)));
        narrowed(dgate + i, _mm512_mul_ps(_mm512_mul_ps(slope, widened(value + i)), _mm512_fmadd_ps(g, density, below)));
    }
}

/* Without `dout` forwards, with it backwards. `width` is a multiple of 16. */
int tintype_geglu(const uint16_t *both, const uint16_t *dout, uint16_t *out, int64_t rows, int64_t width, int threads) {
    Job job = {both, dout, out, width};
    return tintype_share(dout ? backward : forward, &job, rows, 0, threads);
}
