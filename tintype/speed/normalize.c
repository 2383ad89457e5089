/* Group normalisation of maps that are channels-last, with or without SiLU, and its gradients, in one go.
 *
 * y = (x - mean) / sqrt(var + eps) weight + bias over the channels of a group and all pixels (Wu and He 2018, arXiv
 * 1803.08494); z = y sigmoid(y). bf16 in and out, fp32 between. A picture's map is read from the nearest caches after the
 * first time, and what lies between x and z is never written.
 */

#include "kernels.h"

#include <math.h>
#include <string.h>

typedef struct {
    const uint16_t *x, *dz;
    uint16_t *out; /* z, or dx */
    const float *weight, *bias;
    float *mean, *rstd; /* (batch channels): the group's, for each of its channels */
    float *sums;        /* (batch 2 channels): of a picture, the gradients of bias and weight */
    int64_t pixels, channels, group, width; /* channels of a group, and of an item: whole groups and registers */
    float eps;
    int silu;
} Job;

/* Sums over pixels, by channel, become means over the group's channels and pixels, for each of its channels. */
static void average(float *sums, const Job *job) {
    for (int64_t g = 0; g < job->width; g += job->group) {
        double sum = 0;
        for (int64_t i = g; i < g + job->group; i++) sum += sums[i];
        for (int64_t i = g; i < g + job->group; i++) sums[i] = (float)(sum / ((double)job->pixels * job->group));
    }
}

#define FOR_ALL_PIXELS for (int64_t at = 0; at < job->pixels * job->channels; at += job->channels)
#define FOR_ALL_CHANNELS for (int64_t i = 0; i < job->width; i += LANES)
#define OF(array) _mm512_loadu_ps((array) + i)

WITH_BF16 static void forward(const void *of, int64_t item, void *memory) {
    const Job *job = of;
    int64_t parts = job->channels / job->width, first = item % parts * job->width, picture = item / parts;
    const uint16_t *x = job->x + picture * job->pixels * job->channels + first;
    uint16_t *z = job->out + picture * job->pixels * job->channels + first;
    float *mean = job->mean + picture * job->channels + first, *rstd = job->rstd + picture * job->channels + first;
    float *scale = memory, *shift = scale + job->width;

    memset(mean, 0, job->width * sizeof *mean);
    FOR_ALL_PIXELS FOR_ALL_CHANNELS _mm512_storeu_ps(mean + i, _mm512_add_ps(OF(mean), widened(x + at + i)));
    average(mean, job);
    memset(rstd, 0, job->width * sizeof *rstd);
    FOR_ALL_PIXELS FOR_ALL_CHANNELS {
        __m512 apart = _mm512_sub_ps(widened(x + at + i), OF(mean));
        _mm512_storeu_ps(rstd + i, _mm512_fmadd_ps(apart, apart, OF(rstd)));
    }
    average(rstd, job);
    for (int64_t i = 0; i < job->width; i++) {
        rstd[i] = 1 / sqrtf(rstd[i] + job->eps);
        scale[i] = rstd[i] * job->weight[first + i], shift[i] = job->bias[first + i] - mean[i] * scale[i];
    }
    FOR_ALL_PIXELS FOR_ALL_CHANNELS {
        __m512 y = _mm512_fmadd_ps(widened(x + at + i), OF(scale), OF(shift));
        narrowed(z + at + i, job->silu ? _mm512_mul_ps(y, sigmoid(y)) : y);
    }
}

/* With xh = (x - mean) rstd: dx = rstd (weight dy - mean(weight dy) - xh mean(weight dy xh)), means over a group. */
WITH_BF16 static void backward(const void *of, int64_t item, void *memory) {
    const Job *job = of;
    int64_t parts = job->channels / job->width, first = item % parts * job->width, picture = item / parts;
    int64_t map = picture * job->pixels * job->channels + first;
    const uint16_t *x = job->x + map, *dz = job->dz + map, *dy = job->silu ? job->out + map : dz;
    uint16_t *dx = job->out + map; /* where dy waits until its sums are known */
    const float *mean = job->mean + picture * job->channels + first, *rstd = job->rstd + picture * job->channels + first;
    float *dbias = job->sums + 2 * picture * job->channels + first, *dweight = dbias + job->channels;
    float *scale = memory, *shift = scale + job->width, *times_x = shift + job->width, *plus = times_x + job->width;

    for (int64_t i = 0; i < job->width; i++) {
        scale[i] = rstd[i] * job->weight[first + i], shift[i] = job->bias[first + i] - mean[i] * scale[i];
        dbias[i] = dweight[i] = 0;
    }
    FOR_ALL_PIXELS FOR_ALL_CHANNELS {
        __m512 here = widened(x + at + i), slope = widened(dz + at + i);
        if (job->silu) {
            __m512 y = _mm512_fmadd_ps(here, OF(scale), OF(shift)), s = sigmoid(y), one = _mm512_set1_ps(1);
            slope = _mm512_mul_ps(slope, _mm512_mul_ps(s, _mm512_fmadd_ps(y, _mm512_sub_ps(one, s), one)));
            narrowed(dx + at + i, slope);
        }
        _mm512_storeu_ps(dbias + i, _mm512_add_ps(OF(dbias), slope));
        _mm512_storeu_ps(dweight + i, _mm512_fmadd_ps(slope, _mm512_sub_ps(here, OF(mean)), OF(dweight)));
    }
    for (int64_t i = 0; i < job->width; i++) {
        dweight[i] *= rstd[i];
        plus[i] = job->weight[first + i] * dbias[i], times_x[i] = job->weight[first + i] * dweight[i];
    }
    average(plus, job), average(times_x, job);
    for (int64_t i = 0; i < job->width; i++) {
        times_x[i] *= -rstd[i] * rstd[i];
        plus[i] = -rstd[i] * plus[i] - times_x[i] * mean[i];
    }
    FOR_ALL_PIXELS FOR_ALL_CHANNELS {
        __m512 rest = _mm512_fmadd_ps(widened(x + at + i), OF(times_x), OF(plus));
        narrowed(dx + at + i, _mm512_fmadd_ps(widened(dy + at + i), OF(scale), rest));
    }
}

/* x, dz, out: (batch pixels channels). Without dz forwards, which writes mean and rstd; with it backwards, which reads
 * them. `width` is a multiple of 16 and of the channels in a group, and divides the channels. 1 where there was no memory. */
int tintype_normalize(const uint16_t *x, const uint16_t *dz, uint16_t *out, const float *weight, const float *bias,
                      float *mean, float *rstd, float *sums, int64_t batch, int64_t pixels, int64_t channels,
                      int64_t groups, int64_t width, float eps, int silu, int threads) {
    Job job = {x, dz, out, weight, bias, mean, rstd, sums, pixels, channels, channels / groups, width, eps, silu};
    return tintype_share(dz ? backward : forward, &job, batch * (channels / width), 4 * width * sizeof(float), threads);
}
