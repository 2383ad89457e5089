/* Group normalisation and SiLU together, over the map that they are given where nobody else needs it.
 *
 * torch writes a new map between the two. Memory for that, which must be faulted in page by page, costs more than all
 * that is computed here.
 */

#include "common.h"

#ifdef WITH_BF16

enum { PORTION = 1 << 18 }; /* numbers that a thread takes at once, about */

INLINE __mmask16 lanes(int64_t left) { return left < LANES ? (__mmask16)((1u << left) - 1) : 0xFFFF; }

INLINE __m512 read(const uint16_t *from, __mmask16 there) { return from_bf16(_mm256_maskz_loadu_epi16(there, from)); }

/* Some processors take tens of cycles for a store with a mask, so there is none where all lanes are there. */
INLINE void write(uint16_t *to, __mmask16 there, __m512 x) {
    if (there == 0xFFFF)
        _mm256_storeu_si256((__m256i *)to, to_bf16(x));
    else
        _mm256_mask_storeu_epi16(to, there, to_bf16(x));
}

INLINE void keep(float *to, __mmask16 there, __m512 x) {
    if (there == 0xFFFF)
        _mm512_storeu_ps(to, x);
    else
        _mm512_mask_storeu_ps(to, there, x);
}

/* x / (1 + e^-x) */
INLINE __m512 silu(__m512 x) {
    __m512 one = _mm512_set1_ps(1);
    __m512 power = power_of_two(_mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(-1.44269504f))); /* e^-|x| */
    __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
    __m512 above = _mm512_mask_mov_ps(one, negative, power);
    return _mm512_mul_ps(x, _mm512_div_ps(above, _mm512_add_ps(one, power)));
}

typedef struct {
    const uint16_t *x, *weight, *bias;
    uint16_t *out;
    int64_t pixels, channels, groups, portion, portions; /* a portion: so many pixels of one picture */
    float eps;
    float *sums;          /* (batch portions 2 channels): what differs from the first pixel, and its squares */
    float *scale, *shift; /* (batch channels) */
} Norm;

static int64_t first_of(const Norm *job, int64_t item) { return item % job->portions * job->portion; }

static int64_t last_of(const Norm *job, int64_t item) {
    int64_t last = first_of(job, item) + job->portion;
    return last < job->pixels ? last : job->pixels;
}

/* The first pixel stands for the mean while that is not known, so that large means cost no digits. */
WITH_BF16 static void add_up(const void *of, int64_t item, void *unused) {
    (void)unused;
    const Norm *job = of;
    int64_t c = job->channels;
    const uint16_t *x = job->x + item / job->portions * job->pixels * c;
    float *sums = job->sums + 2 * item * c, *squares = sums + c;
    memset(sums, 0, 2 * c * sizeof *sums);
    for (int64_t pixel = first_of(job, item); pixel < last_of(job, item); pixel++)
        for (int64_t i = 0; i < c; i += LANES) {
            __mmask16 there = lanes(c - i);
            __m512 away = _mm512_sub_ps(read(x + pixel * c + i, there), read(x + i, there));
            __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(there, sums + i), away);
            __m512 square = _mm512_fmadd_ps(away, away, _mm512_maskz_loadu_ps(there, squares + i));
            keep(sums + i, there, sum);
            keep(squares + i, there, square);
        }
}

static float wide(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* Mean and variance of one picture's groups, and from them each channel's way: y = scale x + shift. */
static void settle(const void *of, int64_t batch, void *memory) {
    const Norm *job = of;
    int64_t c = job->channels, in_group = c / job->groups;
    const uint16_t *first = job->x + batch * job->pixels * c;
    double *means = memory, *squares = means + c; /* of what differs from the first pixel */
    for (int64_t i = 0; i < c; i++) {
        means[i] = squares[i] = 0;
        for (int64_t p = 0; p < job->portions; p++) {
            const float *sums = job->sums + 2 * (batch * job->portions + p) * c + i;
            means[i] += sums[0] / (double)job->pixels, squares[i] += sums[c] / (double)job->pixels;
        }
    }
    for (int64_t group = 0; group < c; group += in_group) {
        double mean = 0, variance = 0;
        for (int64_t i = group; i < group + in_group; i++) mean += (wide(first[i]) + means[i]) / in_group;
        for (int64_t i = group; i < group + in_group; i++) {
            double away = wide(first[i]) - mean;
            variance += (squares[i] + 2 * away * means[i] + away * away) / in_group;
        }
        for (int64_t i = group; i < group + in_group; i++) {
            double scale = wide(job->weight[i]) / sqrt(variance + job->eps);
            job->scale[batch * c + i] = (float)scale;
            job->shift[batch * c + i] = (float)(wide(job->bias[i]) - scale * mean);
        }
    }
}

WITH_BF16 static void activate(const void *of, int64_t item, void *unused) {
    (void)unused;
    const Norm *job = of;
    int64_t c = job->channels, batch = item / job->portions;
    const float *scale = job->scale + batch * c, *shift = job->shift + batch * c;
    for (int64_t pixel = first_of(job, item); pixel < last_of(job, item); pixel++)
        for (int64_t i = 0; i < c; i += LANES) {
            __mmask16 there = lanes(c - i);
            int64_t at = (batch * job->pixels + pixel) * c + i;
            __m512 y = _mm512_fmadd_ps(read(job->x + at, there), _mm512_maskz_loadu_ps(there, scale + i),
                                       _mm512_maskz_loadu_ps(there, shift + i));
            write(job->out + at, there, silu(y));
        }
}

/* SiLU of group normalisation, (batch pixels channels) -> the same, `out` may be `x`. 0, or 1 where there was no memory:
 * then nothing is written. */
int tintype_norm_silu(const uint16_t *x, uint16_t *out, const uint16_t *weight, const uint16_t *bias, int64_t batch,
                      int64_t pixels, int64_t channels, int64_t groups, float eps, int threads) {
    int64_t portion = PORTION / channels + 1, portions = (pixels + portion - 1) / portion;
    Norm job = {x, weight, bias, out, pixels, channels, groups, portion, portions, eps, NULL, NULL, NULL};
    job.sums = malloc(2 * batch * (portions + 1) * channels * sizeof(float));
    if (!job.sums) return 1;
    job.scale = job.sums + 2 * batch * portions * channels, job.shift = job.scale + batch * channels;
    tintype_run(add_up, &job, batch * portions, 0, threads);
    int short_of_memory = tintype_run(settle, &job, batch, 2 * channels * sizeof(double), threads);
    if (!short_of_memory) tintype_run(activate, &job, batch * portions, 0, threads);
    free(job.sums);
    return short_of_memory;
}

#endif
