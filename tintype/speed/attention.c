/* Attention in bf16 for processors with AVX-512 BF16: softmax(q k^T scale + mask) v, never all scores at once.
 *
 * Dao et al. 2022, "FlashAttention" (arXiv 2205.14135), with the running maximum of Milakov and Gimelshein 2018
 * (arXiv 1805.02867). One instruction, vdpbf16ps, multiplies pairs of bf16 and adds them up in fp32: 16 sums of two
 * products. So what it is fed with lies in pairs: of dimensions for q k^T, of keys for p v.
 *
 * Tensors are (batch heads rows d) with any strides but the last, which is 1; the mask is one for all heads, or none.
 */

#include "kernels.h"

#include <cpuid.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 24,          /* queries of a tile: 24 sums of 16 fill the registers, with what feeds them */
    PANEL = 4 * LANES,  /* keys that meet 6 queries in registers */
    BLOCK = 4 * PANEL,  /* keys whose scores for a tile stay in the nearest cache */
};

typedef struct { int64_t batch, head, row; } Strides; /* in numbers */

typedef struct {
    const uint16_t *q, *k, *v, *mask; /* mask: (n s), dense, or NULL */
    uint16_t *out;
    Strides qs, ks, vs, outs;
    int64_t heads, n, s, d;
    float scale; /* of the scores, times log2(e): powers are of two here */
    int64_t pairs, width, keys, tiles; /* d / 2; d and s padded; tiles of queries in a head */
    uint32_t *packed_k, *packed_v;
} Job;

static int64_t rounded_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

/* Keys of one head, by panels of 64: for each pair of dimensions, the pair of each key. */
WITH_BF16 static void pack_keys(const Job *job, const uint16_t *k, uint32_t *to) {
    for (int64_t key = 0; key < job->keys; key++) {
        uint32_t *at = to + key / PANEL * PANEL * job->pairs + key % PANEL;
        for (int64_t pair = 0; pair < job->pairs; pair++) {
            uint32_t both = 0;
            if (key < job->s) memcpy(&both, k + key * job->ks.row + 2 * pair, sizeof both);
            at[pair * PANEL] = both;
        }
    }
}

/* Values of one head, by pairs of keys: for each dimension, those of both. */
WITH_BF16 static void pack_values(const Job *job, const uint16_t *v, uint32_t *to) {
    memset(to, 0, job->keys / 2 * job->width * sizeof *to);
    for (int64_t key = 0; key < job->s; key += 2) {
        const uint16_t *even = v + key * job->vs.row, *odd = even + job->vs.row;
        uint32_t *at = to + key / 2 * job->width;
        if (key + 1 < job->s)
            for (int64_t i = 0; i < job->d; i++) at[i] = even[i] | (uint32_t)odd[i] << 16;
        else
            for (int64_t i = 0; i < job->d; i++) at[i] = even[i];
    }
}

static void pack(const void *of, int64_t item, void *unused) {
    const Job *job = of;
    (void)unused;
    int64_t batch = item / job->heads, head = item % job->heads;
    pack_keys(job, job->k + batch * job->ks.batch + head * job->ks.head, job->packed_k + item * job->keys * job->pairs);
    pack_values(job, job->v + batch * job->vs.batch + head * job->vs.head,
                job->packed_v + item * job->keys / 2 * job->width);
}

/* rows x (16 columns) sums over pairs: sums[r][16 c ...] = start[r] * sums + sum over p of a[r][p] * b[p][16 c ...].
 * `rows` and `columns` are constants where this is called, so all sums stay in registers. */
INLINE void multiply(int rows, int columns, const uint32_t *a, int64_t a_stride, const uint32_t *b, int64_t b_stride,
                     int64_t pairs, const float *start, float *sums, int64_t stride) {
    __m512 sum[ROWS];
#pragma GCC unroll 24
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < columns; c++)
            sum[r * columns + c] = start ? _mm512_mul_ps(_mm512_set1_ps(start[r]), _mm512_loadu_ps(sums + r * stride + c * LANES))
                              : _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh column[4];
#pragma GCC unroll 4
        for (int c = 0; c < columns; c++) column[c] = (__m512bh)_mm512_loadu_si512(b + p * b_stride + c * LANES);
#pragma GCC unroll 24
        for (int r = 0; r < rows; r++) {
            __m512bh both = (__m512bh)_mm512_set1_epi32((int)a[r * a_stride + p]);
#pragma GCC unroll 4
            for (int c = 0; c < columns; c++) sum[r * columns + c] = _mm512_dpbf16_ps(sum[r * columns + c], both, column[c]);
        }
    }
#pragma GCC unroll 24
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < columns; c++) _mm512_storeu_ps(sums + r * stride + c * LANES, sum[r * columns + c]);
}

INLINE __mmask16 first_of(int64_t left) { return left < LANES ? (__mmask16)((1u << left) - 1) : 0xFFFF; }

/* One row's scores of a block become weights, against the largest so far; returns what its sums so far shrink by. The mask
 * may be -inf, even for all keys so far: then nothing counts yet. */
INLINE float weigh(float *scores, const uint16_t *mask, uint16_t *weights, int64_t keys, float scale, float *largest, float *total) {
    __m512 most = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps(), factor = _mm512_set1_ps(scale);
    if (mask) {
        for (int64_t i = 0; i < keys; i += LANES) {
            __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_of(keys - i), mask + i));
            __m512 plus = _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
            plus = _mm512_mul_ps(plus, _mm512_set1_ps(1.44269504f));
            _mm512_storeu_ps(scores + i, _mm512_fmadd_ps(_mm512_loadu_ps(scores + i), factor, plus));
        }
        scale = 1, factor = _mm512_set1_ps(1);
    }
    for (int64_t i = 0; i < keys; i += LANES)
        most = _mm512_mask_max_ps(most, first_of(keys - i), most, _mm512_loadu_ps(scores + i));
    float before = *largest, now = fmaxf(before, _mm512_reduce_max_ps(most) * scale), zero = now == -INFINITY ? 0 : now;
    __m512 against = _mm512_set1_ps(zero);
    for (int64_t i = 0; i < BLOCK; i += LANES) {
        __m256i two = _mm256_setzero_si256();
        if (i < keys) {
            __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(scores + i), factor, against);
            if (mask) x = _mm512_max_ps(_mm512_set1_ps(-1000), x); /* a weight of 0 all the same; NaN stays */
            __m512 weight = _mm512_maskz_mov_ps(first_of(keys - i), power_of_two(x));
            sum = _mm512_add_ps(sum, weight);
            two = (__m256i)_mm512_cvtneps_pbh(weight);
        }
        _mm256_storeu_si256((__m256i *)(weights + i), two);
    }
    float shrink = exp2f(before - zero); /* 0 the first time */
    *largest = now;
    *total = *total * shrink + _mm512_reduce_add_ps(sum);
    return shrink;
}

static size_t room(const Job *job) {
    return rounded_up(ROWS * job->pairs * sizeof(uint32_t), 64) + ROWS * BLOCK * (sizeof(float) + sizeof(uint16_t)) +
           ROWS * job->width * sizeof(float);
}

/* 24 queries of one head against all its keys. */
WITH_BF16 static void attend(const void *of, int64_t item, void *memory) {
    const Job *job = of;
    int64_t pairs = job->pairs, width = job->width, head = item / job->tiles, first = item % job->tiles * ROWS;
    int64_t rows = job->n - first < ROWS ? job->n - first : ROWS;
    int64_t batch = head / job->heads, within = head % job->heads;
    uint32_t *q = memory;
    float *scores = (float *)((char *)memory + rounded_up(ROWS * pairs * sizeof *q, 64)), *sums = scores + ROWS * BLOCK;
    uint16_t *weights = (uint16_t *)(sums + ROWS * width);
    float largest[ROWS], total[ROWS], shrink[ROWS];

    const uint16_t *from = job->q + batch * job->qs.batch + within * job->qs.head + first * job->qs.row;
    memset(q, 0, ROWS * pairs * sizeof *q);
    for (int64_t r = 0; r < rows; r++) memcpy(q + r * pairs, from + r * job->qs.row, pairs * sizeof *q);
    memset(sums, 0, ROWS * width * sizeof *sums);
    for (int r = 0; r < ROWS; r++) largest[r] = -INFINITY, total[r] = 0;

    const uint32_t *k = job->packed_k + head * job->keys * pairs, *v = job->packed_v + head * job->keys / 2 * width;
    for (int64_t key = 0; key < job->s; key += BLOCK) {
        int64_t keys = job->s - key < BLOCK ? job->s - key : BLOCK;
        for (int64_t panel = 0; panel < keys; panel += PANEL)
            for (int r = 0; r < ROWS; r += 6)
                multiply(6, 4, q + r * pairs, pairs, k + (key + panel) * pairs, PANEL, pairs, NULL,
                         scores + r * BLOCK + panel, BLOCK);
        for (int r = 0; r < ROWS; r++) {
            const uint16_t *mask = job->mask && r < rows ? job->mask + (first + r) * job->s + key : NULL;
            shrink[r] = weigh(scores + r * BLOCK, mask, weights + r * BLOCK, keys, job->scale, largest + r, total + r);
        }
        const uint32_t *w = (const uint32_t *)weights, *b = v + key / 2 * width;
        int64_t both = (keys + 1) / 2, half = BLOCK / 2, left = width / LANES;
        for (int64_t c = 0; left > 0;) {
            int columns = left % 4 == 0 || left > 6 ? 4 : left % 3 == 0 || left > 4 ? 3 : (int)left;
            if (columns == 4)
                for (int r = 0; r < ROWS; r += 6)
                    multiply(6, 4, w + r * half, half, b + c, width, both, shrink + r, sums + r * width + c, width);
            else if (columns == 3)
                for (int r = 0; r < ROWS; r += 8)
                    multiply(8, 3, w + r * half, half, b + c, width, both, shrink + r, sums + r * width + c, width);
            else if (columns == 2)
                for (int r = 0; r < ROWS; r += 12)
                    multiply(12, 2, w + r * half, half, b + c, width, both, shrink + r, sums + r * width + c, width);
            else
                multiply(24, 1, w, half, b + c, width, both, shrink, sums + c, width);
            left -= columns, c += columns * LANES;
        }
    }

    uint16_t *to = job->out + batch * job->outs.batch + within * job->outs.head + first * job->outs.row;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < job->d; i += LANES) {
            __m512 mean = _mm512_div_ps(_mm512_loadu_ps(sums + r * width + i), _mm512_set1_ps(total[r]));
            _mm256_mask_storeu_epi16(to + r * job->outs.row + i, first_of(job->d - i), (__m256i)_mm512_cvtneps_pbh(mean));
        }
}

/* With AMX (AMX-BF16 is bit 22 of edx) torch's own attention is at the rate of its tiles, which is above this. */
int tintype_attention_here(void) {
    unsigned a, b, c, d = 0;
    return tintype_here() && !(__get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 22 & 1);
}

/* 0, or 1 where there was no memory: then nothing in `out` counts. `d` is even. */
int tintype_attention(const uint16_t *q, const uint16_t *k, const uint16_t *v, const uint16_t *mask, uint16_t *out,
                      const int64_t *strides, int64_t batch, int64_t heads, int64_t n, int64_t s, int64_t d, float scale,
                      int threads) {
    Job job = {.q = q, .k = k, .v = v, .mask = mask, .out = out, .heads = heads, .n = n, .s = s, .d = d};
    memcpy(&job.qs, strides, sizeof job.qs), memcpy(&job.ks, strides + 3, sizeof job.ks);
    memcpy(&job.vs, strides + 6, sizeof job.vs), memcpy(&job.outs, strides + 9, sizeof job.outs);
    job.scale = scale * 1.44269504f;
    job.pairs = d / 2, job.width = rounded_up(d, LANES), job.keys = rounded_up(s, PANEL);
    job.tiles = (n + ROWS - 1) / ROWS;
    job.packed_k = aligned_alloc(64, rounded_up(batch * heads * job.keys * job.pairs * sizeof(uint32_t), 64));
    job.packed_v = aligned_alloc(64, rounded_up(batch * heads * job.keys / 2 * job.width * sizeof(uint32_t), 64));
    int failed = !job.packed_k || !job.packed_v || tintype_share(pack, &job, batch * heads, 0, threads) ||
                 tintype_share(attend, &job, batch * heads * job.tiles, room(&job), threads);
    free(job.packed_k);
    free(job.packed_v);
    return failed;
}
