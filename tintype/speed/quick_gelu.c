/* CLIP's activation, x sigmoid(1.702 x), in the place of what it is of: one pass, where torch takes three. bf16, fp32 between. */

#include "kernels.h"

enum { BLOCK = 64 * LANES }; /* numbers of an item */

typedef struct {
    uint16_t *x;
    int64_t count;
} Job;

WITH_BF16 static void activate(const void *of, int64_t item, void *unused) {
    const Job *job = of;
    int64_t first = item * BLOCK, end = first + BLOCK < job->count ? first + BLOCK : job->count;
    (void)unused;
    for (int64_t i = first; i < end; i += LANES) {
        __m512 x = widened(job->x + i);
        narrowed(job->x + i, _mm512_mul_ps(x, sigmoid(_mm512_mul_ps(x, _mm512_set1_ps(1.702f)))));
    }
}

/* `count` is a multiple of 16. */
int tintype_quick_gelu(uint16_t *x, int64_t count, int threads) {
    Job job = {x, count};
    return tintype_share(activate, &job, (count + BLOCK - 1) / BLOCK, 0, threads);
}
