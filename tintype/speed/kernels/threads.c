/* Threads for the kernels, and whether this processor can run them. */

#include "common.h"

#ifdef WITH_BF16

#include <cpuid.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct {
    Work *work;
    const void *job;
    int64_t items;
    size_t room;
    atomic_llong next;
    atomic_int short_of_memory;
} Shared;

static void *worker(void *of) {
    Shared *shared = of;
    void *memory = shared->room ? aligned_alloc(64, rounded_up(shared->room, 64)) : NULL;
    if (shared->room && !memory) {
        shared->short_of_memory = 1;
        return NULL;
    }
    for (int64_t item; (item = atomic_fetch_add(&shared->next, 1)) < shared->items;)
        shared->work(shared->job, item, memory);
    free(memory);
    return NULL;
}

typedef void Team(void (*)(void *), void *, unsigned, unsigned); /* GOMP_parallel's type */

static Team *team;

/* torch's own threads, which wait for work by spinning: others would have to share the processor with them. */
void tintype_use(Team *of_torch) { team = of_torch; }

static void member(void *of) { worker(of); }

/* Without a team, threads of the system; where none can be had, this one does all. */
int tintype_run(Work *work, const void *job, int64_t items, size_t room, int threads) {
    Shared shared = {.work = work, .job = job, .items = items, .room = room};
    if (team && threads > 1 && items > 1) {
        team(member, &shared, (unsigned)threads, 0);
        return shared.short_of_memory;
    }
    pthread_t others[threads];
    int begun = 0;
    while (begun < threads - 1 && begun < items - 1 && !pthread_create(others + begun, NULL, worker, &shared)) begun++;
    worker(&shared);
    while (begun) pthread_join(others[--begun], NULL);
    return shared.short_of_memory;
}

/* With AMX (AMX-BF16 is bit 22 of edx) torch's own attention is at the rate of its tiles, which is above ours. */
int tintype_here(void) {
    unsigned a, b, c, d = 0;
    __builtin_cpu_init();
    return !(__get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 22 & 1) && __builtin_cpu_supports("avx512bf16") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#else

int tintype_here(void) { return 0; }

#endif
